"""What the four commands do once their options are read."""

from typing import Any

import jax
import numpy as np
import tabulate

from abkd_jax import datasets as data
from abkd_jax import evaluation, pipeline, report, results, runfolder
from abkd_jax.config import DistillConfig, RunConfig
from abkd_jax.problems import Problem, build_model, load_problem
from abkd_jax.records import records as of_models
from abkd_jax.students import Students
from abkd_jax.types import Dataset, GNNOutput, GraphDataset, InputError

__all__ = ["datasets", "distill", "evaluate", "teacher"]


def distill(config: DistillConfig) -> None:
    """Runs or resumes the comparison and prints its table."""
    folder = pipeline.distill(config)
    records = runfolder.read_results(folder)["records"]
    print(report.table(results.summarise(records), metric=records[0].get("metric", "accuracy")))
    print(f"\nreport, figures and records: {folder}")


def teacher(config: RunConfig) -> None:
    """Trains the teachers that are not kept yet and prints their accuracy, a row a seed."""
    config = pipeline.capped(config)
    pipeline.check(config)
    problem = load_problem(config.dataset, config.data_root, config.batches, config.split)
    teachers = pipeline.as_students(pipeline.teachers_of(config, problem))
    records = of_models(problem, "teacher", config.teacher.model, teachers)
    rows = [(r["seed"], 100 * r["test_accuracy"], 100 * r["val_accuracy"], r["epochs"], r["seconds"]) for r in records]
    headers = ("seed", "test accuracy %", "validation %", "best epoch", "training s")
    print(tabulate.tabulate(rows, headers, floatfmt=".2f"))
    print()
    print(report.table(results.summarise(records), metric=records[0].get("metric", "accuracy")))


def evaluate(config: DistillConfig) -> None:
    """Reads the models of a finished run and prints what the table of `distill` does not say.

    Raises:
        InputError: there is no finished run of this config in the folder.
    """
    config = pipeline.capped(config)
    pipeline.check(config)
    folder = pipeline.run_folder(config)
    known = runfolder.finished_records(folder)
    missing = [name for name in ("teacher", *config.methods) if name not in known]
    if missing:
        raise InputError(
            f"run folder {folder} holds no results of {', '.join(missing)}: `distill` first, or name other --methods"
        )
    problem = load_problem(config.dataset, config.data_root, config.batches, config.split)
    if problem.rows is not None:
        raise InputError(f"{config.dataset} is too large to be evaluated as a whole: its scores are in {folder}")
    changed = runfolder.conflicts(folder, runfolder.plan(folder, config), problem.fingerprint)
    if changed:
        raise InputError(f"run folder {folder} holds a run of another config: {'; '.join(changed)}")
    runs = pipeline.trained(config, problem, folder)
    headers = ("method", "train %", "validation %", "test %", "agreement %", "CKA", "parameters", "MFLOP")
    rows = _evaluation_rows(config, problem, runs)
    print(tabulate.tabulate(rows, headers, floatfmt=("", ".2f", ".2f", ".2f", ".2f", ".3f", "", ".1f"), intfmt=","))
    print(
        f"\nmeans over {config.seeds} seeds; agreement: nodes or graphs classified as by the teacher of the same seed; "
        "CKA: last hidden layer against the teacher's last; "
        "MFLOP: matrix products of one inference, dense and sparse"
    )


def _evaluation_rows(config: DistillConfig, problem: Problem, runs: dict[str, Students]) -> list[tuple[Any, ...]]:
    """One row a method; `runs` starts with the teacher."""
    graph, labels, masks = problem.batch.graph, problem.labels, problem.batch.masks
    rows_of_logits = masks.all if masks.graphs is None else masks.graphs
    splits = (problem.train_mask, problem.val_mask, problem.test_mask)
    teacher_outs: list[GNNOutput] = []
    rows = []
    for name, run in runs.items():
        predict: Any = jax.jit(build_model(problem, pipeline.model_of(config, name)).apply)
        variables = [jax.tree.map(lambda leaf, s=seed: leaf[s], run.variables) for seed in range(config.seeds)]
        outs: list[Any] = [predict(v, graph) for v in variables]
        teacher_outs = teacher_outs or outs
        pairs = list(zip(outs, teacher_outs, strict=True))
        agreement = [evaluation.agreement(o.logits, t.logits, rows_of_logits) for o, t in pairs]
        similarity = [evaluation.cka(o.hiddens[-1], t.hiddens[-1], masks.all) for o, t in pairs]
        scores = [100 * np.mean([problem.task.score(o.logits, labels, m) for o in outs]) for m in splits]
        size = evaluation.parameter_count(variables[0]["params"])
        flops = evaluation.flops(predict, variables[0], graph)
        rows.append((name, *scores, 100 * np.mean(agreement), np.mean(similarity), size, flops / 1e6))
    return rows


def datasets(config: RunConfig) -> None:
    """Lists the data sets, or loads and describes one."""
    if not config.dataset:
        rows = [(entry["name"], entry["description"], _state(entry)) for entry in data.describe(config.data_root)]
        print(tabulate.tabulate(rows, ("name", "what it is", "files"), maxcolwidths=[None, 60, 50]))
        print(f"\ndata root: {data.data_root(config.data_root)} (--data-root, or $ABKD_JAX_DATA)")
        return
    found = data.load(config.dataset, config.data_root, config.split)
    masks = " / ".join(f"{m.sum():,}" for m in (found.train_mask, found.val_mask, found.test_mask))
    rows = [("source", found.source)]
    if isinstance(found, GraphDataset):
        rows += [("graphs", f"{found.labels.shape[0]:,}"), ("nodes", f"{found.features.shape[0]:,}")]
        rows += [("edges, both directions", f"{found.senders.shape[0]:,}"), ("outputs", found.num_outputs)]
    else:
        rows += [("nodes", f"{found.num_nodes:,}"), ("edges of the files", f"{found.senders.shape[0]:,}")]
        rows += [("classes", found.num_classes)]
    if isinstance(found, Dataset) and found.schema is not None:
        rows += [("node types", ", ".join(found.schema.node_types)), ("edge types", f"{len(found.schema.relations)}")]
        rows += [("nodes without features", f"{found.num_embeddings:,}")]
    shape: Any = found.features.shape
    rows += [("features", f"{shape[1]:,}"), ("train / validation / test", masks)]
    print(tabulate.tabulate(rows, tablefmt="plain"))


def _state(entry: dict) -> str:
    if entry["folder"] is None:
        return "embedded"
    return f"missing in {entry['folder']}: {', '.join(entry['missing'])}" if entry["missing"] else "present"
