"""Records, logs and layer maps of runs that were never made, and what tests read off a report."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from abkd_jax.run.report.canvas import png

TEST = {
    "teacher": (0.853, 0.850, 0.856, 0.853),
    "supervised": (0.740, 0.755, 0.721, 0.738),
    "soft_label": (0.842, 0.850, 0.845, 0.839),
    "abkd": (0.851, 0.849, 0.852, 0.846),
}


PARAMETERS = {"teacher": 354_000, "supervised": 5_900, "soft_label": 5_900, "abkd": 5_900}


def record(method: str, seed: int, test: float, **more: object) -> dict:
    record = {"dataset": "cora", "method": method, "seed": seed, "test_accuracy": test, "val_accuracy": test - 0.01}
    record |= {"test_accuracy_best_val": test - 0.002, "parameters": PARAMETERS.get(method, 5_900), "epochs": 20}
    record |= {"compression": 354_000 / record["parameters"], "seconds": 10.0 + seed, "latency_ms": 0.394}
    return record | more


def all_records() -> list[dict]:
    return [record(method, seed, test) for method, tests in TEST.items() for seed, test in enumerate(tests)]


def log(method: str, seeds: int, dissimilarity: float = 0.5) -> list[dict]:
    """Epochs 5, 10, ..., 20; D falls from 2 to `dissimilarity` in its last epoch, the other values likewise."""
    rows = []
    for seed, epoch in itertools.product(range(seeds), range(5, 21, 5)):
        row = {"method": method, "seed": seed, "epoch": epoch, "loss": 2.0 / epoch, "val_loss": 1.0 / epoch}
        row["val_accuracy"] = 0.5 + epoch / 100 + seed / 50
        if method == "abkd":
            d = {5: 2.0, 20: dissimilarity}.get(epoch, 1.0) * (1 + seed)
            row |= {
                "abkd/attended_dissimilarity": d,
                "abkd/attended_variance": d / 10,
                "abkd/attended_unexplained": 10.0,
                "abkd/row_entropy": d / 9,
                "gradient_share/soft_label": 1.0 - 0.1 / epoch - seed / 10,
                "gradient_share/abkd": 0.1 / epoch + seed / 10,
            }
        rows.append(row)
    return rows


def maps(seeds: int = 2, layers: tuple[int, int] = (6, 2)) -> dict[str, np.ndarray]:
    attention = np.random.default_rng(0).random((3, seeds, *layers))
    return {"abkd:epochs": np.array([0, 10, 20]), "abkd:attention": attention, "abkd:dissimilarity": 2 * attention}


def write_run(folder: Path, *, results: dict | None = None, metrics: list | None = None, arrays: dict | None = None):
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
    if metrics is not None:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    if arrays is not None:
        np.savez(folder / "maps.npz", **arrays)


def full_results() -> dict:
    about = {"dataset": "cora", "complete": True, "commit": "0123abc", "hardware": "one CPU core", "config": {}}
    return about | {"versions": {"jax": "0.10.2", "flax": "0.12.8"}, "records": all_records()}


def pixels(picture: object) -> np.ndarray:
    """`[height, width, 3]` of a figure, or of a PNG file."""
    return imread(io.BytesIO(picture if isinstance(picture, bytes) else png(picture)))[..., :3]


RMSE = {"teacher": (-2.0, -2.5), "abkd": (-2.2, -2.9), "supervised": (-1.8, -2.2)}  # stored: minus the error


def regression_records() -> list[dict]:
    return [record(m, s, t, metric="-RMSE", val_accuracy=t) for m, of in RMSE.items() for s, t in enumerate(of)]


def cells(table: str, method: str) -> list[str]:
    """The row of a method in a Markdown table."""
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {method} ")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def diverged(method: str, seed: int, epoch: int) -> dict:
    """A diverged seed keeps its size and its time; the scores are null."""
    return (
        record(method, seed, 0.0)
        | dict.fromkeys(("test_accuracy", "val_accuracy", "test_accuracy_best_val"))
        | {
            "diverged": epoch,
            "seconds": 1000.0,
        }
    )
