"""Chooses hyper-parameters by validation accuracy: `python -m experiments.tune --dataset cora`.

Trains every candidate of `experiments.configs.citation.grid` and stores mean and deviation of the validation accuracy
after the last epoch. Test nodes are never looked at.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tabulate
import tyro

from abkd_jax.configs.options import RunConfig
from abkd_jax.configs.presets import student, teacher
from abkd_jax.datasets.files.atomic import read_json, write_atomic
from abkd_jax.run.data import load_problem
from abkd_jax.run.pipeline import teachers_of
from abkd_jax.run.students import train_students
from abkd_jax.training.provenance import provenance
from experiments.configs.citation import grid


@dataclass(frozen=True)
class Args:
    """Try candidates on validation nodes."""

    dataset: str = "cora"
    """Data set."""
    data_root: Path | None = None
    """Folder of the data files."""
    teachers: Path | None = None
    """Folder where teachers are kept."""
    seeds: int = 5
    """Number of seeds."""
    only: str = ""
    """Only candidates whose name starts so."""


def main(args: Args) -> None:
    """Trains the candidates, prints them best first, stores them."""
    problem = load_problem(args.dataset, args.data_root)
    config = teacher(args.dataset)
    run = RunConfig(dataset=args.dataset, seeds=args.seeds, teachers=args.teachers, teacher=config)
    teachers = teachers_of(run, problem)
    rows = []
    for name, method in grid(args.dataset).items():
        if name.startswith(args.only):
            model = method.student or student(args.dataset)
            with tempfile.TemporaryDirectory() as folder:
                found = train_students(problem, config.model, teachers, model, name, method, Path(folder))
            accuracy = 100 * found.history["val_accuracy"][-1].astype(float)
            rows.append((name, accuracy.mean(), accuracy.std(ddof=1) if args.seeds > 1 else 0.0))
    rows.sort(key=lambda row: -row[1])
    headers = ("candidate", "validation %", "std")
    print(tabulate.tabulate(rows, headers, floatfmt=".2f"))
    out = Path(f"experiments/results/tuning_{args.dataset}.json")
    earlier = read_json(out) if out.exists() else {"candidates": {}}
    # In the first versions one number of seeds stood beside all candidates.
    common = {"seeds": earlier["seeds"]} if "seeds" in earlier else {}
    stored = {name: common | candidate for name, candidate in earlier["candidates"].items()}
    here = {"seeds": args.seeds, "data": problem.facts, "provenance": provenance()}
    stored |= {name: {"validation": round(mean, 3), "std": round(std, 3), **here} for name, mean, std in rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, json.dumps({"candidates": stored}, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args))
