"""Runs the table of the citation graphs: `python -m experiments.run --dataset cora --seeds 10`."""

import dataclasses
import sys
from pathlib import Path

import tyro

from abkd_jax import commands
from abkd_jax.cli import dataset_in
from abkd_jax.types import InputError
from experiments.configs import citation


def main() -> None:
    """Reads the options, runs or resumes the table in `experiments/results/<data set>`."""
    dataset = dataset_in(sys.argv[1:], default="cora")
    default = dataclasses.replace(citation.study(dataset), seeds=10, out=Path("experiments/results") / dataset)
    config = tyro.cli(citation.Citation, default=default, description=__doc__)
    try:
        commands.distill(config)
    except InputError as error:
        sys.exit(f"experiments.run: {error}")


if __name__ == "__main__":
    main()
