"""What a cell says of its models: scores, cost, ends of the logged quantities, attention."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from abkd_jax.run.data import PreparedData
from abkd_jax.run.program import Trained, select_seed
from abkd_jax.run.records import make_records, make_split_scores
from abkd_jax.run.report.statistics import mean_score, metric_named, stored_score

__all__ = ["length_chosen", "student_cell", "teacher_cell"]

NEAR = 0.005  # "within half a point" of the end; of real targets half a percent
CURVE_POINTS = 31
SCALARS = {
    "abkd/attended_dissimilarity": "dissimilarity",
    "abkd/attended_unexplained": "dissimilarity_share",
    "abkd/row_entropy": "attention_entropy",
}


def teacher_cell(
    splits: Sequence[PreparedData],
    teachers: Trained,
    tests: Mapping[str, Sequence[PreparedData]],
    validation: Sequence[PreparedData] | None = None,
) -> dict[str, Any]:
    """Returns the content of the cell of the teachers; see `student_cell`."""
    return _content(splits, "teacher", teachers, tests, validation) | {"compression": 1.0}


def student_cell(
    splits: Sequence[PreparedData],
    by_length: Mapping[int, Trained],
    tests: Mapping[str, Sequence[PreparedData]],
    teacher_parameters: int,
    validation: Sequence[PreparedData] | None = None,
) -> dict[str, Any]:
    """Returns the content of a cell: that of the length which the mean validation score chooses.

    Args:
        splits: what the students were trained on; seed `k` has split `k` modulo their number.
        by_length: the students of each length, in epochs.
        tests: further test nodes, by the name of their score, for each split.
        teacher_parameters: number of parameters of the teacher.
        validation: graphs with other validation nodes than those of `splits`, for each of them.
    """
    contents = {
        length: _content(splits, "student", trained, tests, validation) for length, trained in by_length.items()
    }
    chosen = length_chosen({length: content["scores"]["validation"] for length, content in contents.items()})
    content, trained = contents[chosen], by_length[chosen]
    lengths = {
        str(length): {name: of["scores"][name] for name in ("validation", "test")} for length, of in contents.items()
    }
    return content | {
        "teacher_parameters": teacher_parameters,
        "compression": teacher_parameters / content["parameters"],
        "epochs": chosen,
        "lengths": lengths,
        **_over_epochs(trained.history, content["metric"]),
    }


def length_chosen(validation: Mapping[int, list[float | None]]) -> int:
    """Returns the length of the best mean validation score, the shortest of equal ones.

    Lengths with fewer seeds that diverged, whose score is None, come first whatever the scores of the others are.

    Examples:
        >>> length_chosen({300: [0.5, 0.7], 900: [0.6, 0.6], 2700: [0.9, None]})
        300
    """

    def order(length: int) -> tuple[int, float, int]:
        scores = [score for score in validation[length] if score is not None]
        return len(validation[length]) - len(scores), -mean_score(scores) if scores else 0.0, length

    return min(validation, key=order)


def _content(
    splits: Sequence[PreparedData],
    name: str,
    trained: Trained,
    tests: Mapping[str, Sequence[PreparedData]],
    validation: Sequence[PreparedData] | None,
) -> dict[str, Any]:
    found, metric = make_records(splits, name, trained), splits[0].task.metric
    scores = {
        score: [_score(record[key], metric) for record in found]
        for score, key in (
            ("test", "test_accuracy"),
            ("validation", "val_accuracy"),
            ("test_at_best_validation", "test_accuracy_best_val"),
        )
    }
    diverged = [record.get("diverged") for record in found]
    scores |= {test: _scores_on(on, trained, diverged, "test_accuracy") for test, on in tests.items()}
    if validation is not None:
        scores["validation"] = _scores_on(validation, trained, diverged, "val_accuracy")
    seconds = sorted(set(np.broadcast_to(trained.history["seconds"], len(found)).tolist()))
    return {
        "metric": metric,
        "seeds": [record["seed"] for record in found],
        "splits": [splits[seed % len(splits)].split for seed in range(len(found))],
        "scores": scores,
        "diverged": diverged,
        "parameters": found[0]["parameters"],
        "weights": [record["weights"] for record in found],
        "times": {
            "training_seconds": sum(seconds),
            "seconds_per_epoch": sum(seconds) / float(np.sum(trained.epochs)),
            "latency_ms": found[0]["latency_ms"],
            "peak_memory_gib": _peak_memory_gib(),
        },
        "provenance": found[-1]["provenance"],
    }


def _peak_memory_gib() -> float | None:
    """Returns the most memory that this process has held, whatever it did before; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return round(peak / 2**30, 3)


def _scores_on(
    graphs: Sequence[PreparedData], trained: Trained, diverged: Sequence[int | None], key: str
) -> list[float | None]:
    """Returns a score of each seed on the graph of its split; None of seeds that diverged."""
    scores, metric = make_split_scores(graphs, trained.module), graphs[0].task.metric
    return [
        None if at is not None else _score(scores(select_seed(trained.variables, seed), seed)[key], metric)
        for seed, at in enumerate(diverged)
    ]


def _over_epochs(history: Mapping[str, np.ndarray], metric: str) -> dict[str, Any]:
    """Returns the curve, the cost and the ends of what was logged, of students that trained side by side.

    A student that stopped keeps its last values, one that diverged has none afterwards and is in no mean.
    """
    kept, finished = history["recorded"].any(axis=1), ~history["diverged"].any(axis=0)
    epochs, validation = history["epoch"][kept].max(axis=1), _held(history, "val_accuracy")[kept]
    shown = np.unique(np.linspace(0, len(epochs) - 1, CURVE_POINTS).astype(int))
    curve = [[stored_score(score, metric, 4) for score in scores] for scores in validation[shown].tolist()]
    found: dict[str, Any] = {
        "curve": {"epoch": epochs[shown].tolist(), "validation": curve},
        "cost": {
            "epochs_to_half_point": [_epochs_to_stay_near(epochs, of_seed, metric) for of_seed in validation.T],
        },
    }
    named = {key: SCALARS.get(key, key) for key in history if key in SCALARS or key.startswith("gradient_share/")}
    named |= {key: key.removesuffix("/loss") for key in history if key.endswith("/loss")}
    if named and finished.any():
        logged = {name: _held(history, key)[kept][[0, -1]][:, finished] for key, name in named.items()}
        found["terms"] = {name: _rounded(ends.mean(axis=1), 6) for name, ends in logged.items()}
    if "abkd/attention" in history:
        found["attention"] = _rounded(_held(history, "abkd/attention")[kept][-1], 3)
    return found


def _held(history: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    """Returns a logged quantity where seeds that have stopped hold their last value, NaN of those that diverged."""
    values, recorded, diverged = history[key], history["recorded"], history["diverged"].any(axis=0)
    last, seeds = len(recorded) - 1 - np.argmax(recorded[::-1], axis=0), np.arange(recorded.shape[1])
    ends, inner = values[last, seeds], (1,) * (values.ndim - 2)
    ends = np.where(diverged.reshape(-1, *inner), np.nan, ends)
    return np.where(recorded.reshape(*recorded.shape, *inner), values, ends)


def _epochs_to_stay_near(epochs: np.ndarray, validation: np.ndarray, metric: str) -> int | None:
    """Returns the first evaluated epoch from which a seed stays within half a point, or percent, of its last score."""
    if not np.isfinite(validation[-1]):
        return None
    near = NEAR if metric_named(metric).unit == "%" else NEAR * abs(validation[-1])
    far = np.flatnonzero(~(np.abs(validation - validation[-1]) <= near))
    return int(epochs[0 if len(far) == 0 else far[-1] + 1])


def _score(value: Any, metric: str) -> float | None:
    """Returns a score as it is stored; None where it is not defined."""
    return None if value is None or not np.isfinite(value) else stored_score(float(value), metric)


def _rounded(values: np.ndarray, digits: int) -> Any:
    return np.round(values.astype(float), digits).tolist()
