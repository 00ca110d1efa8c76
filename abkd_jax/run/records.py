"""One record per model and seed: scores, sizes, times, and where they come from."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from abkd_jax.inference import evaluation
from abkd_jax.inference.by_parts import apply_to
from abkd_jax.models.external import Stored
from abkd_jax.run.data import PreparedData
from abkd_jax.run.identity import weights_digest
from abkd_jax.run.program import Trained, select_seed
from abkd_jax.run.scores import graph_of, make_scores
from abkd_jax.run.targets import mean_labels
from abkd_jax.training.divergence import diverged_epochs
from abkd_jax.training.provenance import provenance
from abkd_jax.types import Pytree

__all__ = [
    "compare_sizes",
    "invalidate",
    "kept_or_new",
    "make_records",
    "make_split_scores",
    "of_teachers",
    "parameter_counts",
]

log = logging.getLogger(__name__)

SCORES = ("test_accuracy", "val_accuracy", "test_accuracy_best_val")


def make_records(splits: Sequence[PreparedData], name: str, trained: Trained) -> list[dict[str, Any]]:
    """Scores the models of a method, one record per seed. Seeds that were trained together have one time.

    Scores are None where they are not defined, and all of them where a seed has diverged: `diverged` is then the epoch
    at which that was found. Sizes and times of a teacher that was made elsewhere are None where they are not known.

    Args:
        splits: the data with each split; seed `k` is scored on split `k` modulo their number.
        name: of the method.
        trained: its models.
    """
    data, scores = splits[0], make_split_scores(splits, trained.module)
    seeds = len(trained.epochs)
    last, best = (
        [select_seed(stacked, seed) for seed in range(seeds)] for stacked in (trained.variables, trained.best_variables)
    )
    seconds = np.broadcast_to(trained.history["seconds"], seeds)
    parameters, embedded = parameter_counts(trained.module, last[0])
    latency = _latency_ms(data, trained.module, last[0])
    found = []
    for seed, diverged in enumerate(diverged_epochs(trained.history)):
        at_end, at_best = scores(last[seed], seed), scores(best[seed], seed)
        record = {
            "dataset": data.dataset.name,
            "method": name,
            "metric": data.task.metric,
            "seed": seed,
            "test_accuracy": _defined(at_end["test_accuracy"]),
            "val_accuracy": _defined(at_end["val_accuracy"]),
            "test_accuracy_best_val": _defined(at_best["test_accuracy"]),
            "parameters": parameters,
            "compression": 1.0,
            "epochs": int(trained.epochs[seed]),
            "seconds": _defined(seconds[seed]),
            "latency_ms": latency,
            **({"embedding_parameters": embedded} if embedded else {}),
            "weights": weights_digest(last[seed]),
            "data": splits[seed % len(splits)].summary,
            "provenance": _made_by(trained, seed),
        }
        found.append(invalidate(record, diverged))
    _warn_of_real_targets(data, name, found[:: len(splits)])
    return found


def _warn_of_real_targets(data: PreparedData, name: str, found: list[dict[str, Any]]) -> None:
    """Logs a warning where models of real targets are no better than the mean of the training targets."""
    scores = [record["test_accuracy"] for record in found if record["test_accuracy"] is not None]
    if data.dataset.task != "regression" or not scores:
        return
    targets, known, tested = data.dataset.labels, data.dataset.train_mask, data.dataset.test_mask
    means = np.nan_to_num(mean_labels(targets[known], targets.shape[1]))
    score = float(data.task.score(np.broadcast_to(means, targets.shape), targets, tested))
    if max(scores) <= score:
        log.warning(
            "%s: RMSE %.4g on the test part, that of the mean of the training targets is %.4g: what was learned does "
            "not hold there",
            name,
            -max(scores),
            -score,
        )


def make_split_scores(splits: Sequence[PreparedData], module: Any) -> Callable[[Pytree, int], dict[str, jax.Array]]:
    """Makes `(variables, seed) -> scores` on the split of the seed, compiled once for each graph; see `make_scores`."""
    scores = {id(data.batch.graph): make_scores(data, module) for data in splits}

    def of_seed(variables: Pytree, seed: int) -> dict[str, jax.Array]:
        data = splits[seed % len(splits)]
        return scores[id(data.batch.graph)](variables, data)

    return of_seed


def parameter_counts(module: Any, variables: Any) -> tuple[int | None, int]:
    """Returns the number of parameters without learned node embeddings, None where it is not known, and of these."""
    if isinstance(module, Stored):
        return module.parameters, 0
    params = variables.get("params", {})
    embedded = evaluation.embedding_count(params)
    return evaluation.parameter_count(params) - embedded or None, embedded


def _latency_ms(data: PreparedData, module: Any, variables: Any) -> float | None:
    """Measures the median time of one inference; None of outputs alone, and where other processes hold blocks."""
    if isinstance(module, Stored) or not data.batch.labels.is_fully_addressable:
        return None
    predict = jax.jit(lambda variables, graph: apply_to(module, variables, graph).logits)
    return evaluation.latency(predict, variables, graph_of(data, module))["median_ms"]


def invalidate(record: dict[str, Any], diverged: int | None) -> dict[str, Any]:
    """Returns the record without its scores where the seed has diverged, with the epoch; as it is for None."""
    if diverged is None:
        return record
    log.warning("%s seed %d diverged at epoch %d: it has no score", record["method"], record["seed"], diverged)
    return record | dict.fromkeys(SCORES) | {"diverged": diverged}


def kept_or_new(known: list[dict[str, Any]], data: PreparedData, name: str, trained: Trained) -> list[dict[str, Any]]:
    """Returns the known records of the models that were read from finished checkpoints, and new ones for all others.

    A known record whose model is not on disk is replaced: what was trained in its place is measured, and the log
    says by how much it differs.
    """
    origins = trained.origins
    believed = {r["seed"]: r for r in known if r["seed"] < len(origins) and not origins[r["seed"]].trained}
    for record in believed.values():
        record.setdefault("data", data.summary)  # written down since; the fingerprint in the checkpoint is the same
    if len(believed) == len(origins):
        return [believed[seed] for seed in range(len(origins))]
    new = make_records((data,), name, trained)
    doubted = {r["seed"]: r for r in known if r["seed"] not in believed and r["seed"] < len(new)}
    if doubted:
        _say_how_much_differs(name, doubted, {seed: new[seed] for seed in doubted})
    return [believed.get(seed, record) for seed, record in enumerate(new)]


def _say_how_much_differs(name: str, stored: dict[int, dict[str, Any]], new: dict[int, dict[str, Any]]) -> None:
    pairs = [(stored[seed].get("test_accuracy"), new[seed]["test_accuracy"]) for seed in stored]
    log.warning(
        "%s: %d stored records had no checkpoint and were made anew; %d differ (test score by seed: stored %s, new %s)",
        name,
        len(pairs),
        sum(one != other for one, other in pairs),
        *(", ".join("-" if score is None else f"{score:.4f}" for score in side) for side in zip(*pairs, strict=True)),
    )


def of_teachers(
    found: list[dict[str, Any]], students: Trained, teachers: Trained, teacher_records: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the records of students with the weights of their teachers, and no scores where a teacher has diverged.

    A record that names the weights of its teacher already keeps them, and a checkpoint that does too decides: they may
    be those of another one than that of now.
    """
    epochs = diverged_epochs(teachers.history)
    weights = {record["seed"]: record.get("weights") for record in teacher_records}
    for record in found:
        seed = record["seed"]
        record.setdefault("teacher_weights", students.origins[seed].teachers.get(str(seed), weights[seed]))
    return [record if "diverged" in record else invalidate(record, epochs[record["seed"]]) for record in found]


def compare_sizes(teacher: dict[str, Any], students: list[dict[str, Any]]) -> None:
    """Adds to the records how many times smaller the students are, with and without learned node embeddings.

    Compression is None where the size of the teacher is not known.
    """

    def whole(record: dict[str, Any]) -> int:
        return record["parameters"] + record.get("embedding_parameters", 0)

    known = teacher["parameters"] is not None
    for record in students:
        record["compression"] = teacher["parameters"] / record["parameters"] if known else None
        if known and "embedding_parameters" in record:
            record["compression_with_embeddings"] = whole(teacher) / whole(record)


def _defined(score: Any) -> float | None:
    return float(score) if np.isfinite(score) else None


def _made_by(trained: Trained, seed: int) -> dict[str, Any]:
    """Returns the provenance of the last process that trained the model, with the commits of those before it."""
    made_by = trained.origins[seed].made_by
    if not made_by:
        return {"commit": "unknown", "date": "unknown", "scored": provenance()}
    earlier = [made["commit"] for made in made_by[:-1]]
    return made_by[-1] | ({"begun_at": earlier} if earlier else {})
