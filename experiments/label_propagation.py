"""Label propagation, the baseline without parameters: `python -m experiments.label_propagation --dataset ogbn-arxiv`.

Tries weights and numbers of steps, keeps what is best on the validation nodes, and scores that on the test nodes once.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import tabulate
import tyro

from abkd_jax.models import label_propagation
from abkd_jax.run.data import load_problem


@dataclass(frozen=True)
class Args:
    """Propagate the training labels along the edges."""

    dataset: str = "ogbn-arxiv"
    """Data set."""
    data_root: Path | None = None
    """Folder of the data files."""
    alphas: tuple[float, ...] = (0.7, 0.8, 0.9, 0.95)
    """Weights of the neighbours against the start."""
    steps: tuple[int, ...] = (10, 50)
    """Numbers of steps."""


def main(args: Args) -> None:
    """Prints validation accuracies, and the test accuracy of the best."""
    problem = load_problem(args.dataset, args.data_root)
    batch, classes = problem.batch, problem.outputs
    found = {}
    for alpha in args.alphas:
        for steps in args.steps:
            spread = jax.jit(
                lambda graph, labels, mask, a=alpha, k=steps: label_propagation(
                    graph, labels, mask, classes, alpha=a, steps=k
                )
            )
            scores = spread(batch.graph, batch.labels, batch.masks.train)
            validation = float(problem.task.score(scores, batch.labels, problem.val_mask))
            found[alpha, steps] = (validation, scores)
    rows = [(alpha, steps, 100 * validation) for (alpha, steps), (validation, _) in found.items()]
    print(tabulate.tabulate(rows, ("alpha", "steps", "validation %"), floatfmt=("", "", ".2f")))
    (alpha, steps), (_, scores) = max(found.items(), key=lambda item: item[1][0])
    test = float(problem.task.score(scores, batch.labels, problem.test_mask))
    print(f"\nalpha {alpha}, {steps} steps: test {100 * test:.2f} %")


if __name__ == "__main__":
    main(tyro.cli(Args))
