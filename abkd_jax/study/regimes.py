"""Regimes: what of a graph students are taught on, and what they are tested on besides."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from abkd_jax.graph.host import target_mask
from abkd_jax.types import Dataset, InputError

__all__ = ["REGIMES", "View", "view"]

REGIMES = ("transductive", "labelled_only", "inductive")

UNSEEN_SHARE = 0.2  # of the test nodes, as in GLNN (Zhang et al., arXiv 2110.08727, section 4.1)


class View(NamedTuple):
    """A data set as a regime shows it.

    Attributes:
        train: what teachers and students are trained and chosen on.
        taught: `[n]` nodes whose soft labels and layers the students are given.
        tests: further data sets on whose test nodes the students are scored, by the name of the score.
        with_labels: whether students also learn from labels where they are given soft labels.
    """

    train: Dataset
    taught: Bool[np.ndarray, " n"]
    tests: Mapping[str, Dataset]
    with_labels: bool = False


def view(dataset: Dataset, regime: str, rng: np.random.Generator) -> View:
    """Returns a data set as a regime shows it.

    `transductive`: soft labels of all nodes. `labelled_only`: soft labels and layers of the labelled nodes alone, as in
    efficient-gnns (Joshi et al., arXiv 2111.04964). `inductive`: a fifth of the test nodes, drawn from `rng`, lose all
    edges and are in no loss of teacher or student; afterwards the students are scored on these nodes in the whole graph
    ("test: unseen nodes"), and on all test nodes ("test: production", as GLNN calls it).

    Raises:
        InputError: an unknown regime, or fewer than five test nodes where some are set apart.
    """
    taught = target_mask(dataset)
    if regime == "transductive":
        return View(dataset, taught, {})
    if regime == "labelled_only":
        return View(dataset, taught & dataset.train_mask, {}, with_labels=True)
    if regime != "inductive":
        raise InputError(f"regime {regime} is unknown, expected one of {', '.join(REGIMES)}")
    test = np.flatnonzero(dataset.test_mask)
    count = int(len(test) * UNSEEN_SHARE)
    if count < 1:
        raise InputError(f"{dataset.name}: {len(test)} test nodes, expected at least 5 in the regime inductive")
    unseen = np.zeros(dataset.num_nodes, bool)
    unseen[rng.choice(test, count, replace=False)] = True
    seen = ~(unseen[dataset.senders] | unseen[dataset.receivers])
    of_edges = {
        name: None if (array := getattr(dataset, name)) is None else array[seen]
        for name in ("senders", "receivers", "relations", "edge_weights", "edge_features")
    }
    train = dataset._replace(**of_edges, test_mask=dataset.test_mask & ~unseen)
    tests = {"test: unseen nodes": dataset._replace(test_mask=unseen), "test: production": dataset}
    return View(train, taught & ~unseen, tests)
