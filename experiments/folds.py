"""The graph-level table over folds: `python -m experiments.folds --dataset mutag --folds 10`.

One seed a fold: each of the ten folds is the test set once, the next one the validation set. Finished folds are kept in
`experiments/results/folds_<data set>`; the table is the mean and standard deviation (ddof 1) over the folds.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from abkd_jax import pipeline, runfolder
from abkd_jax.files import write_atomic
from abkd_jax.report import remarks, table
from abkd_jax.results import summarise
from experiments.configs import graphs


@dataclass(frozen=True)
class Args:
    """Distil on every fold of a data set of the TU collection."""

    dataset: str = "mutag"
    """Data set."""
    data_root: Path | None = None
    """Folder of the data files."""
    folds: int = 10
    """How many of the ten folds."""
    max_epochs: int | None = None
    """Upper limit on the epochs of every training."""


def main(args: Args) -> None:
    """Runs or resumes the folds, prints the table, stores it."""
    folder = Path("experiments/results") / f"folds_{args.dataset}"
    study = replace(graphs.study(args.dataset), data_root=args.data_root, max_epochs=args.max_epochs, seeds=1)
    records = []
    for fold in range(args.folds):
        pipeline.distill(replace(study, split=fold, out=folder / "checkpoints" / f"fold_{fold}"))
        found = runfolder.read_results(folder / "checkpoints" / f"fold_{fold}")["records"]
        records += [record | {"fold": fold} for record in found]
    summaries = summarise([record | {"seed": record["fold"]} for record in records])
    note = "seeds in this table are folds, each of them trained with one seed"
    print("\n".join([table(summaries), "", *remarks(summaries), note]))
    write_atomic(folder / "results.json", json.dumps({"dataset": args.dataset, "records": records}, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args))
