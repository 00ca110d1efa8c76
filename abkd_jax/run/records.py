"""One record a model and seed: scores, sizes, times, and where they come from."""

import hashlib
import logging
from typing import Any

import jax
import numpy as np

from abkd_jax.configs.options import ModelConfig
from abkd_jax.inference import evaluation
from abkd_jax.run.data import Problem, build_model, make_scores
from abkd_jax.run.students import Students
from abkd_jax.training.divergence import diverged_epochs
from abkd_jax.training.provenance import provenance

__all__ = ["compare_sizes", "invalidate", "kept_or_new", "of_teachers", "records"]

log = logging.getLogger(__name__)

SCORES = ("test_accuracy", "val_accuracy", "test_accuracy_best_val")


def records(problem: Problem, name: str, config: ModelConfig, run: Students) -> list[dict[str, Any]]:
    """Scores the models of a method, one record a seed. Seeds that were trained together have one time.

    Scores are None where they are not defined, and all of them where a seed has diverged: `diverged` is then the epoch
    at which that was found.
    """
    model = build_model(problem, config)
    apply: Any = model.apply
    scores = make_scores(problem, model)
    seeds = len(run.epochs)
    last, best = (
        [jax.tree.map(lambda x, s=s: x[s], t) for s in range(seeds)] for t in (run.variables, run.best_variables)
    )
    predict = jax.jit(lambda variables, graph: apply(variables, graph).logits)
    latency = evaluation.latency(predict, last[0], problem.batch.graph)
    seconds = np.broadcast_to(run.history["seconds"], seeds)
    parameters = evaluation.parameter_count(last[0]["params"])
    embedded = evaluation.embedding_count(last[0]["params"])
    found = []
    for seed, diverged in enumerate(diverged_epochs(run.history)):
        at_end, at_best = scores(last[seed]), scores(best[seed])
        record = {
            "dataset": problem.dataset.name,
            "method": name,
            "metric": problem.task.metric,
            "seed": seed,
            "test_accuracy": _defined(at_end["test_accuracy"]),
            "val_accuracy": _defined(at_end["val_accuracy"]),
            "test_accuracy_best_val": _defined(at_best["test_accuracy"]),
            "parameters": parameters - embedded,
            "compression": 1.0,
            "epochs": int(run.epochs[seed]),
            "seconds": float(seconds[seed]),
            "latency_ms": latency["median_ms"],
            **({"embedding_parameters": embedded} if embedded else {}),
            "weights": _weights(last[seed]),
            "data": problem.facts,
            "provenance": _made_by(run, seed),
        }
        found.append(invalidate(record, diverged))
    return found


def invalidate(record: dict[str, Any], diverged: int | None) -> dict[str, Any]:
    """Returns the record without its scores where the seed has diverged, with the epoch; as it is for None."""
    if diverged is None:
        return record
    log.warning("%s seed %d diverged at epoch %d: it has no score", record["method"], record["seed"], diverged)
    return record | dict.fromkeys(SCORES) | {"diverged": diverged}


def kept_or_new(
    known: list[dict[str, Any]], problem: Problem, name: str, config: ModelConfig, run: Students
) -> list[dict[str, Any]]:
    """Returns the known records of the models that were read from finished checkpoints, and new ones for all others.

    A known record whose model is not on disk is not believed: what was trained in its place is measured, and the log
    says by how much it differs.
    """
    believed = {r["seed"]: r for r in known if r["seed"] < len(run.origins) and not run.origins[r["seed"]].trained}
    for record in believed.values():
        record.setdefault("data", problem.facts)  # written down since; the fingerprint in the checkpoint is the same
    if len(believed) == len(run.origins):
        return [believed[seed] for seed in range(len(run.origins))]
    new = records(problem, name, config, run)
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
    found: list[dict[str, Any]], teachers: Students, teacher_records: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the records of students with the weights of their teachers, and no scores where a teacher has diverged.

    A record that names the weights of its teacher already keeps them: they may be those of another one.
    """
    epochs = diverged_epochs(teachers.history)
    weights = {record["seed"]: record.get("weights") for record in teacher_records}
    for record in found:
        record.setdefault("teacher_weights", weights[record["seed"]])
    return [record if "diverged" in record else invalidate(record, epochs[record["seed"]]) for record in found]


def compare_sizes(teacher: dict[str, Any], students: list[dict[str, Any]]) -> None:
    """Writes down how many times smaller the students are, with and without the vectors of nodes without features."""

    def whole(record: dict[str, Any]) -> int:
        return record["parameters"] + record.get("embedding_parameters", 0)

    for record in students:
        record["compression"] = teacher["parameters"] / record["parameters"]
        if "embedding_parameters" in record:
            record["compression_with_embeddings"] = whole(teacher) / whole(record)


def _defined(score: Any) -> float | None:
    return float(score) if np.isfinite(score) else None


def _weights(variables: Any) -> str:
    """Digest of the numbers of a model."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(variables):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def _made_by(run: Students, seed: int) -> dict[str, Any]:
    """Provenance of the last sitting that trained the model, with the commits of those before it."""
    sittings = run.origins[seed].made_by
    if not sittings:
        return {"commit": "unknown", "date": "unknown", "scored": provenance()}
    earlier = [sitting["commit"] for sitting in sittings[:-1]]
    return sittings[-1] | ({"begun_at": earlier} if earlier else {})
