"""Runs the four commands once their options are read, and prints their results."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tabulate

from abkd_jax import datasets
from abkd_jax.cli import backend, listing
from abkd_jax.cli.allocator import keep_freed_memory
from abkd_jax.configs.options import DistillConfig, RunConfig
from abkd_jax.inference import evaluation
from abkd_jax.inference.by_parts import apply_to
from abkd_jax.run import folder as runfolder
from abkd_jax.run import pipeline
from abkd_jax.run.data import PreparedData
from abkd_jax.run.job_checks import check_teacher
from abkd_jax.run.pipeline import FinishedRun
from abkd_jax.run.program import Trained, select_seed
from abkd_jax.run.records import make_records, parameter_counts
from abkd_jax.run.report import markdown, statistics
from abkd_jax.run.report.tables import latency_table
from abkd_jax.run.resolve import resolve
from abkd_jax.run.scores import graph_of
from abkd_jax.run.teacher_outputs import save_outputs, without_padding
from abkd_jax.run.teachers import read_teacher, teacher_of
from abkd_jax.run.timing import time_model, with_host
from abkd_jax.training.multihost import are_several, is_first
from abkd_jax.training.provenance import provenance
from abkd_jax.training.sharding import in_blocks
from abkd_jax.types import GNNOutput, InputError, Metric

__all__ = ["distill", "evaluate", "show_datasets", "train_teacher"]

DIVERGED = 3  # exit status

log = logging.getLogger(__name__)


@backend.ready()
def distill(config: DistillConfig) -> int:
    """Runs or resumes the comparison and prints its table; returns the exit status."""
    _prepare_memory(config)
    folder = pipeline.distill(config)
    if not is_first():
        return 0
    records = runfolder.read_results(folder)["records"]
    _print_table(records)
    print("\ntraining s: with the compilation of the program, which seeds that train side by side share")
    print(f"report, figures and records: {folder}")
    return _status(records)


def _prepare_memory(config: RunConfig) -> None:
    # A program that reads the whole graph runs many steps per allocation, and some of them slower in kept memory.
    if config.batches.kind != "full":
        keep_freed_memory()


def _status(records: Sequence[statistics.Record]) -> int:
    """Returns the exit status of a run, and logs one line if seeds have diverged."""
    diverged = [r for r in records if r.get("diverged") is not None]
    if not diverged:
        return 0
    named = "; ".join(f"{r['method']} seed {r['seed']} at epoch {r['diverged']}" for r in diverged)
    log.error("%d of %d models diverged: %s", len(diverged), len(records), named)
    return DIVERGED


@backend.ready()
def train_teacher(config: RunConfig, outputs: Path | None = None) -> int:
    """Trains the teachers that are not stored yet and prints their scores by seed; returns the exit status.

    Args:
        config: of the teachers.
        outputs: file for the outputs of the first one; with `{seed}` in its name a file for each.

    Raises:
        InputError: bad settings, data or files, or outputs to write of a graph that is evaluated layer by layer, or of
            which several processes hold blocks.
    """
    _prepare_memory(config)
    config = resolve(config)
    prepared = pipeline.prepare(config)
    if outputs is not None and prepared.eval_nodes is not None:
        raise InputError(f"{config.dataset} is too large to be evaluated as a whole: its outputs cannot be saved")
    share_scores = in_blocks(prepared.mesh)  # all processes that hold some of the blocks
    if outputs is not None and share_scores and are_several():
        raise InputError("--save-outputs: several processes hold blocks of the graph, expected one, once it is trained")
    given = read_teacher(prepared, config)
    if given is None:
        check_teacher(prepared, config.teacher.model, ())
    teachers = teacher_of(prepared, config, given).models
    if not (is_first() or share_scores):
        return 0
    records = make_records((prepared,), "teacher", teachers)
    if not is_first():
        return 0
    metric = statistics.metric_of(records)
    scores = [[markdown.format_score(r[key], metric) for key in ("test_accuracy", "val_accuracy")] for r in records]
    rows = [(r["seed"], *texts, r["epochs"], r["seconds"]) for r, texts in zip(records, scores, strict=True)]
    headers = ("seed", f"test {metric.heading}", f"validation {metric.unit}".rstrip(), "best epoch", "training s")
    print(tabulate.tabulate(rows, headers, floatfmt=".2f", disable_numparse=[1, 2], colalign=("right",) * 5))
    print()
    _print_table(records)
    if outputs is not None:
        _save_outputs(outputs, prepared, teachers)
    return _status(records)


def _save_outputs(path: Path, data: PreparedData, teachers: Trained) -> None:
    """Writes the outputs of the teacher of the first seed, or with `{seed}` in the path those of every seed."""
    predict = jax.jit(teachers.module.apply)
    seeds = range(len(teachers.origins) if "{seed}" in path.name else 1)
    print()
    for seed in seeds:
        variables = select_seed(teachers.variables, seed)
        output = without_padding(predict(variables, data.batch.graph), data)
        own = path.with_name(path.name.replace("{seed}", str(seed)))
        save_outputs(own, output, data, parameter_counts(teachers.module, variables)[0])
        print(f"outputs of the teacher of seed {seed}: {own}")


def _print_table(records: Sequence[statistics.Record]) -> None:
    """Prints the summaries of the records, and remarks on single methods below them."""
    summaries = statistics.summarise(records)
    print("\n\n".join(filter(None, [markdown.table(summaries), "\n".join(markdown.remarks(summaries))])))


@backend.ready()
def evaluate(config: DistillConfig) -> int:
    """Reads the models of a finished run and prints what the table of `distill` lacks; returns the exit status.

    Raises:
        InputError: there is no finished run of this config in the folder.
    """
    run = pipeline.read_finished(resolve(config))
    run = run._replace(models=tuple(run.models))  # they are gone through twice
    if run.data.eval_nodes is not None:
        raise InputError(f"{config.dataset} is too large to be evaluated as a whole: its scores are in {run.plan.path}")
    metric = statistics.metric_named(run.data.task.metric)
    headings = (f"{part} {metric.heading}" for part in ("train", "validation", "test"))
    headers = ("method", *headings, "agreement %", "CKA", "parameters", "node embeddings", "MFLOP")
    diverged = {
        (r["method"], r["seed"])
        for of_method in run.records.values()
        for r in of_method
        if r.get("diverged") is not None
    }
    rows = _evaluation_rows(run, metric, diverged)
    if not any(row[-2] for row in rows):
        headers, *rows = ((*row[:-2], row[-1]) for row in (headers, *rows))
    align = ("left", *["right"] * (len(headers) - 1))
    print(tabulate.tabulate(rows, headers, disable_numparse=True, colalign=align))
    left_out = f", {len(diverged)} diverged models left out" if diverged else ""
    seeds = run.plan.config.seeds
    print(
        f"\nmeans over {seeds} seed{'s' * (seeds != 1)}{left_out}; "
        "agreement: nodes or graphs classified as by the teacher of the same seed; "
        "CKA: last hidden layer against the teacher's last; "
        "parameters: without learned node embeddings; "
        "MFLOP: matrix products of one inference, dense and sparse"
    )
    _time(run)
    return 0


def _time(run: FinishedRun) -> None:
    """Measures the models of seed 0, prints their latencies and adds them to the report."""
    rows, data = [], with_host(run.data)
    for name, model, trained in run.models:
        log.info("%s: measuring the latency", name)
        rows.append(time_model(data, name, model, trained.module, select_seed(trained.variables, 0)))
    hardware = provenance()["hardware"]
    runfolder.write_latency(run.plan.path, rows, hardware)
    print("\n" + latency_table(rows))
    print(
        f"\nmilliseconds on {hardware}, and how many times faster than the teacher: one random test node or graph, 256 "
        "of them, all; cold: the first one, with the compilation of its program or its reading from the cache; KiB: "
        "weights; MiB: all that the program for the whole graph allocates; also in "
        f"{run.plan.path / 'report.md'}"
    )


def _evaluation_rows(run: FinishedRun, metric: Metric, diverged: set[tuple[str, int]]) -> list[tuple[str, ...]]:
    """Returns one row per method with a seed that has not diverged, the teacher first. Only classes can agree."""
    data = run.data
    labels, masks = data.labels, data.batch.masks
    rows_of_logits = masks.all if masks.graphs is None else masks.graphs
    splits = (data.train_mask, data.val_mask, data.test_mask)
    teacher_outs: dict[int, GNNOutput] = {}
    rows = []
    for name, _, trained in run.models:
        seeds = [seed for seed in range(run.plan.config.seeds) if (name, seed) not in diverged]
        if not seeds:
            continue
        graph: Any = graph_of(data, trained.module)
        predict: Any = jax.jit(functools.partial(apply_to, trained.module))
        variables = [select_seed(trained.variables, seed) for seed in seeds]
        outs: list[Any] = [predict(v, graph) for v in variables]
        if name == "teacher":
            teacher_outs = dict(zip(seeds, outs, strict=True))
        pairs = [(o, teacher_outs[seed]) for seed, o in zip(seeds, outs, strict=True) if seed in teacher_outs]
        agreement = [evaluation.agreement(o.logits, t.logits, rows_of_logits) for o, t in pairs]
        similarity = [evaluation.cka(o.hiddens[-1], t.hiddens[-1], masks.all) for o, t in pairs if t.hiddens]
        scores = [float(np.mean([data.task.score(o.logits, labels, m) for o in outs])) for m in splits]
        size, embedded = parameter_counts(trained.module, variables[0])
        flops = evaluation.flops(predict, variables[0], graph) / 1e6
        agreed = f"{100 * np.mean(agreement):.2f}" if metric.name == "accuracy" and pairs else "-"
        row = (name, *(markdown.format_score(score, metric) for score in scores), agreed)
        row += (f"{np.mean(similarity):.3f}" if similarity else "-", f"{size:,}" if size else "-")
        rows.append((*row, f"{embedded:,}" if embedded else "", f"{flops:.1f}" if flops else "-"))
    return rows


def show_datasets(name: str, data_root: Path | None, split: int) -> int:
    """Lists the data sets, or loads and describes one; returns the exit status."""
    print(listing.describe(datasets.load(name, data_root, split)) if name else listing.list_all(data_root))
    return 0
