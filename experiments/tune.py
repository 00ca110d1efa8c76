"""Chooses hyper-parameters by validation accuracy: `python -m experiments.tune --dataset cora`.

Trains every candidate of `experiments.configs.citation.grid` and stores mean and standard deviation of the validation
accuracy after the last epoch. Test nodes are never used.
"""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tabulate
import tyro

from abkd_jax.cli import backend
from abkd_jax.configs.options import RunConfig
from abkd_jax.configs.presets import student, teacher
from abkd_jax.datasets.files.atomic import as_json, read_json, write_atomic
from abkd_jax.run.data import prepare_data
from abkd_jax.run.resolve import Job
from abkd_jax.run.students import train_students
from abkd_jax.run.teachers import as_teacher, teachers_root
from abkd_jax.training.provenance import provenance
from experiments.configs.citation import grid
from experiments.program import run_program


@dataclass(frozen=True)
class Args:
    """Try candidates on validation nodes."""

    dataset: str = "cora"
    """Data set."""
    data_root: Path | None = None
    """Folder of the data files."""
    teachers: Path | None = None
    """Folder of the trained teachers."""
    seeds: int = 5
    """Number of seeds."""
    only: str = ""
    """Only candidates whose name starts with this."""


@backend.ready()
def main(args: Args) -> None:
    """Trains the candidates, prints them best first, stores them."""
    data = prepare_data(args.dataset, args.data_root)
    config = teacher(args.dataset)
    run = RunConfig(dataset=args.dataset, seeds=args.seeds, teachers=args.teachers, teacher=config)
    teacher_of_seeds = as_teacher(data, config, args.seeds, teachers_root(run))
    rows = []
    for name, method in grid(args.dataset).items():
        if name.startswith(args.only):
            job = Job(name, method.student or student(args.dataset), method)
            with tempfile.TemporaryDirectory() as folder:
                programs = [(Path(folder), list(range(args.seeds)))]
                trained = train_students(data, job, teacher_of_seeds, programs)
            rows.append((name, *_validation(trained.history)))
    rows.sort(key=lambda row: (not math.isfinite(row[1]), -row[1]))
    headers = ("candidate", "validation %", "std")
    print(tabulate.tabulate(rows, headers, floatfmt=".2f"))
    out = Path(f"experiments/results/tuning_{args.dataset}.json")
    earlier = read_json(out) if out.exists() else {"candidates": {}}
    # Files of the first versions hold one number of seeds for all candidates.
    common = {"seeds": earlier["seeds"]} if "seeds" in earlier else {}
    stored = {name: common | candidate for name, candidate in earlier["candidates"].items()}
    here = {"seeds": args.seeds, "data": data.summary, "provenance": provenance()}
    stored |= {name: {"validation": round(mean, 3), "std": round(std, 3), **here} for name, mean, std in rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, as_json({"candidates": stored}, indent=1) + "\n")


def _validation(history: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Returns mean and deviation over the seeds of the last validation accuracy in percent, NaN where one diverged."""
    if history["diverged"].any():
        return math.nan, math.nan
    accuracy = 100 * history["val_accuracy"][-1].astype(float)
    return float(accuracy.mean()), float(accuracy.std(ddof=1)) if len(accuracy) > 1 else 0.0


if __name__ == "__main__":
    run_program("experiments.tune", lambda: main(tyro.cli(Args)))
