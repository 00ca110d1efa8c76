"""Graph-level table over folds: `python -m experiments.folds --dataset mutag --folds 10`.

One seed per fold: each of the ten folds is the test set once, the next one the validation set. The folds are trained in
`runs/studies/folds_<data set>`; the table is the mean and standard deviation (ddof 1) over the folds. Where this
repository stores the same table, both are then shown side by side; `--store` replaces it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from abkd_jax.cli import backend
from abkd_jax.datasets.files.atomic import read_json, write_atomic
from abkd_jax.run import folder as runfolder
from abkd_jax.run import pipeline
from abkd_jax.run.report.markdown import remarks, table
from abkd_jax.run.report.statistics import summarise
from experiments.configs import graphs
from experiments.program import run_program
from experiments.stored import comparison


@dataclass(frozen=True)
class Args:
    """Distil on the folds of a data set of the TU collection."""

    dataset: str = "mutag"
    """Data set."""
    data_root: Path | None = None
    """Folder of the data files."""
    folds: int = 10
    """Number of folds, at most ten."""
    max_epochs: int | None = None
    """Upper limit on the epochs of every training."""
    store: bool = False
    """Replace the table in this repository."""


@backend.ready()
def main(args: Args) -> None:
    """Runs or resumes the folds, prints the table, compares it with the stored one."""
    stored = Path("experiments/results") / f"folds_{args.dataset}"
    folder, teachers = Path("runs/studies") / f"folds_{args.dataset}", Path("runs/studies/teachers")
    study = replace(graphs.study(args.dataset), data_root=args.data_root, max_epochs=args.max_epochs, seeds=1)
    study = replace(study, teachers=teachers)
    records = []
    for fold in range(args.folds):
        pipeline.distill(replace(study, split=fold, out=folder / f"fold_{fold}"))
        of_fold = runfolder.read_results(folder / f"fold_{fold}")["records"]
        records += [record | {"fold": fold} for record in of_fold]
    summaries = summarise(_by_fold(records))
    note = "seeds in this table are folds, each of them trained with one seed"
    print("\n".join([table(summaries), "", *remarks(summaries), note]))
    earlier = read_json(stored / "results.json")["records"] if (stored / "results.json").exists() else []
    if earlier:
        print(f"\nstored in {stored}, and new:\n{comparison(_by_fold(earlier), _by_fold(records))}")
    if args.store:
        stored.mkdir(parents=True, exist_ok=True)
        write_atomic(
            stored / "results.json", json.dumps({"dataset": args.dataset, "records": records}, indent=1) + "\n"
        )


def _by_fold(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the records with the fold in place of the seed, so that means are over folds."""
    return [record | {"seed": record["fold"]} for record in records]


if __name__ == "__main__":
    run_program("experiments.folds", lambda: main(tyro.cli(Args)), resumes=True)
