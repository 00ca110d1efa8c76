"""What the four commands do once their options are read."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tabulate

from abkd_jax import datasets as data
from abkd_jax.cli import backend, listing
from abkd_jax.configs.options import DistillConfig, RunConfig
from abkd_jax.inference import evaluation
from abkd_jax.run import folder as runfolder
from abkd_jax.run import pipeline
from abkd_jax.run.data import Problem, build_model, load_problem
from abkd_jax.run.records import records as of_models
from abkd_jax.run.report import markdown, statistics
from abkd_jax.run.students import Students
from abkd_jax.types import GNNOutput, InputError, Metric

__all__ = ["datasets", "distill", "evaluate", "teacher"]

DIVERGED = 3  # exit status

log = logging.getLogger(__name__)


@backend.ready()
def distill(config: DistillConfig) -> int:
    """Runs or resumes the comparison and prints its table; gives the exit status."""
    folder = pipeline.distill(config)
    records = runfolder.read_results(folder)["records"]
    _print_table(records)
    print(f"\nreport, figures and records: {folder}")
    return _status(records)


def _status(records: Sequence[statistics.Record]) -> int:
    """The exit status of a run, with one line in the log where seeds have diverged."""
    diverged = [r for r in records if r.get("diverged") is not None]
    if not diverged:
        return 0
    named = "; ".join(f"{r['method']} seed {r['seed']} at epoch {r['diverged']}" for r in diverged)
    log.error("%d of %d models diverged: %s", len(diverged), len(records), named)
    return DIVERGED


@backend.ready()
def teacher(config: RunConfig) -> int:
    """Trains the teachers that are not kept yet and prints their scores, a row a seed; gives the exit status."""
    config = pipeline.capped(config)
    pipeline.check(config)
    problem = load_problem(config.dataset, config.data_root, config.batches, config.split)
    teachers = pipeline.as_students(pipeline.teachers_of(config, problem))
    records = of_models(problem, "teacher", config.teacher.model, teachers)
    metric = statistics.metric_of(records)
    scores = [[markdown.shown(r[key], metric) for key in ("test_accuracy", "val_accuracy")] for r in records]
    rows = [(r["seed"], *shown, r["epochs"], r["seconds"]) for r, shown in zip(records, scores, strict=True)]
    headers = ("seed", f"test {metric.heading}", f"validation {metric.unit}".rstrip(), "best epoch", "training s")
    print(tabulate.tabulate(rows, headers, floatfmt=".2f", disable_numparse=[1, 2], colalign=("right",) * 5))
    print()
    _print_table(records)
    return _status(records)


def _print_table(records: Sequence[statistics.Record]) -> None:
    """Prints the summaries of the records, and below them what must be known of single methods."""
    summaries = statistics.summarise(records)
    print("\n\n".join(filter(None, [markdown.table(summaries), "\n".join(markdown.remarks(summaries))])))


@backend.ready()
def evaluate(config: DistillConfig) -> int:
    """Reads the models of a finished run and prints what the table of `distill` does not say; gives the exit status.

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
    plan = runfolder.plan(folder, config)
    changed = runfolder.conflicts(folder, plan, problem.fingerprint)
    if changed:
        raise InputError(f"run folder {folder} holds a run of another config: {'; '.join(changed)}")
    runs = pipeline.trained(config, problem, folder)
    metric = statistics.metric_named(problem.task.metric)
    headings = (f"{part} {metric.heading}" for part in ("train", "validation", "test"))
    headers = ("method", *headings, "agreement %", "CKA", "parameters", "MFLOP")
    formats: Any = {"floatfmt": ("", "", "", "", "", ".3f", "", ".1f"), "intfmt": ",", "disable_numparse": [1, 2, 3, 4]}
    align = ("left", *["right"] * (len(headers) - 1))
    diverged = {(r["method"], r["seed"]) for of in known.values() for r in of if r.get("diverged") is not None}
    rows = _evaluation_rows(plan.config, problem, runs, metric, diverged)
    print(tabulate.tabulate(rows, headers, **formats, colalign=align))
    left_out = f", {len(diverged)} diverged models left out" if diverged else ""
    print(
        f"\nmeans over {plan.config.seeds} seeds{left_out}; "
        "agreement: nodes or graphs classified as by the teacher of the same seed; "
        "CKA: last hidden layer against the teacher's last; "
        "MFLOP: matrix products of one inference, dense and sparse"
    )
    return 0


def _evaluation_rows(
    config: DistillConfig, problem: Problem, runs: dict[str, Students], metric: Metric, diverged: set[tuple[str, int]]
) -> list[tuple[Any, ...]]:
    """One row a method with a seed that has not diverged; `runs` starts with the teacher. Only classes can agree."""
    graph, labels, masks = problem.batch.graph, problem.labels, problem.batch.masks
    rows_of_logits = masks.all if masks.graphs is None else masks.graphs
    splits = (problem.train_mask, problem.val_mask, problem.test_mask)
    teacher_outs: dict[int, GNNOutput] = {}
    rows = []
    for name, run in runs.items():
        seeds = [seed for seed in range(config.seeds) if (name, seed) not in diverged]
        if not seeds:
            continue
        predict: Any = jax.jit(build_model(problem, pipeline.model_of(config, name)).apply)
        variables = [jax.tree.map(lambda leaf, s=seed: leaf[s], run.variables) for seed in seeds]
        outs: list[Any] = [predict(v, graph) for v in variables]
        if name == "teacher":
            teacher_outs = dict(zip(seeds, outs, strict=True))
        pairs = [(o, teacher_outs[seed]) for seed, o in zip(seeds, outs, strict=True) if seed in teacher_outs]
        agreement = [evaluation.agreement(o.logits, t.logits, rows_of_logits) for o, t in pairs]
        similarity = [evaluation.cka(o.hiddens[-1], t.hiddens[-1], masks.all) for o, t in pairs]
        scores = [float(np.mean([problem.task.score(o.logits, labels, m) for o in outs])) for m in splits]
        size = evaluation.parameter_count(variables[0]["params"])
        flops = evaluation.flops(predict, variables[0], graph)
        agreed = f"{100 * np.mean(agreement):.2f}" if metric.name == "accuracy" and pairs else "-"
        row = (name, *(markdown.shown(score, metric) for score in scores), agreed)
        rows.append((*row, np.mean(similarity) if pairs else "-", size, flops / 1e6))
    return rows


def datasets(name: str, data_root: Path | None, split: int) -> int:
    """Lists the data sets, or loads and describes one; gives the exit status."""
    print(listing.described(data.load(name, data_root, split)) if name else listing.listed(data_root))
    return 0
