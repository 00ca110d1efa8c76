"""Writes a graph of ogbn-mag's schema, drawn at random: `python -m experiments.mag_like data/ogb --scale 0.01`.

The files are those of the Open Graph Benchmark, so loading, sampling and training run as on the real data. Results on
it are no ogbn-mag results.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.mag_like import graph as mag_like
from experiments.program import run_program


@dataclass(frozen=True)
class Args:
    """Write a random graph of ogbn-mag's schema."""

    out: tyro.conf.Positional[Path]
    """Folder that gets `ogbn_mag`; `ogb` of a data root."""
    scale: float = 1.0
    """Size relative to ogbn-mag."""
    classes: int = mag_like.CLASSES
    """Number of classes."""
    features: int = mag_like.FEATURES
    """Number of features of a paper."""
    seed: int = 0
    """Seed of everything."""


def main(args: Args) -> None:
    """Writes the graph and says where it is."""
    print(mag_like.write(args.out, scale=args.scale, classes=args.classes, features=args.features, seed=args.seed))


if __name__ == "__main__":
    run_program("experiments.mag_like", lambda: main(tyro.cli(Args)))
