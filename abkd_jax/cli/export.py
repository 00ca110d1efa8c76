"""Runs the commands that use a trained student."""

import logging
from pathlib import Path

import numpy as np

from abkd_jax import datasets
from abkd_jax.cli import backend
from abkd_jax.inference import bundle as bundles
from abkd_jax.inference.predict import logits, probabilities
from abkd_jax.inference.predictions import Predictions, check_format, named_nodes, rows_named, to_csv, write
from abkd_jax.inference.student import find
from abkd_jax.types import GraphDataset

__all__ = ["predict"]

log = logging.getLogger(__name__)


@backend.ready()
def predict(
    model: Path,
    method: str | None,
    seed: int | None,
    graph: str,
    nodes: tuple[str, ...],
    out: Path | None,
    data_root: Path | None,
) -> int:
    """Prints the predictions of a student as csv, or writes them into a file; returns the exit status.

    Args:
        model: folder of the student, or of a run.
        method: of the run.
        seed: of the run; None takes the one with the best validation score.
        graph: name or path of the graph.
        nodes: identifiers of nodes, or the path of a file of them; `()` takes all.
        out: the file; None prints.
        data_root: folder of the data files.
    """
    if out is not None:
        check_format(out)
    folder = find(model, method, seed)
    log.info("model: %s%s", folder, ", by its validation score" if seed is None and folder != model else "")
    bundle = bundles.load(folder)
    dataset = datasets.load(graph, data_root, labelled=False)
    ids = None if isinstance(dataset, GraphDataset) else dataset.node_ids
    count = dataset.labels.shape[0]
    rows = rows_named(named_nodes(nodes), ids, count) if nodes else None
    values = probabilities(bundle.task, logits(bundle, dataset, rows, progress=True))
    known = np.arange(count) if ids is None else ids
    noun = "target" if bundle.task == "regression" else "class"
    names = bundle.classes or tuple(f"{noun}_{number}" for number in range(bundle.outputs))
    table = Predictions(known if rows is None else known[rows], values, names, bundle.task == "classification")
    if out is None:
        print(to_csv(table), end="")
    else:
        write(out, table)
        log.info("%d predictions: %s", values.shape[0], out)
    return 0
