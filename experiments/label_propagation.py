"""Runs label propagation, a baseline without training: `python -m experiments.label_propagation --dataset ogbn-arxiv`.

Tries weights and numbers of steps, selects the best on the validation nodes, and scores it once on the test nodes.
"""

import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import tabulate
import tyro

from abkd_jax.models import label_propagation
from abkd_jax.run.data import prepare_data
from experiments.program import run_program


@dataclass(frozen=True)
class Args:
    """Propagate the training labels along the edges."""

    dataset: str = "ogbn-arxiv"
    """Data set."""
    data_root: Path | None = None
    """Folder of the data files."""
    alphas: tuple[float, ...] = (0.7, 0.8, 0.9, 0.95)
    """Weights of the neighbours against the initial labels."""
    steps: tuple[int, ...] = (10, 50)
    """Numbers of propagation steps."""


def main(args: Args) -> None:
    """Prints the validation accuracies, and the test accuracy of the best combination."""
    data = prepare_data(args.dataset, args.data_root)
    batch, classes = data.batch, data.outputs
    results = {}
    for alpha, steps in itertools.product(args.alphas, args.steps):
        propagate = jax.jit(partial(label_propagation, classes=classes, alpha=alpha, steps=steps))
        scores = propagate(batch.graph, batch.labels, batch.masks.train)
        validation = float(data.task.score(scores, batch.labels, data.val_mask))
        results[alpha, steps] = (validation, scores)
    rows = [(alpha, steps, 100 * validation) for (alpha, steps), (validation, _) in results.items()]
    print(tabulate.tabulate(rows, ("alpha", "steps", "validation %"), floatfmt=("", "", ".2f")))
    (alpha, steps), (_, scores) = max(results.items(), key=lambda item: item[1][0])
    test = float(data.task.score(scores, batch.labels, data.test_mask))
    print(f"\nalpha {alpha}, {steps} steps: test {100 * test:.2f} %")


if __name__ == "__main__":
    run_program("experiments.label_propagation", lambda: main(tyro.cli(Args)))
