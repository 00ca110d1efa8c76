"""Regimes: what of a graph students are taught on, and what they are tested on besides."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool

from abkd_jax.graph.host import target_mask
from abkd_jax.types import Dataset, InputError

__all__ = ["DROPPED", "NOISY", "REGIMES", "UNSEEN", "View", "view", "views"]

LABELS = {"labels_1": 1, "labels_5": 5, "labels_20": 20}  # labelled nodes per class
REGIMES = ("transductive", "labelled_only", "inductive", "unseen_validation", "perturbed", *LABELS)

# Names of the scores
UNSEEN = "test: unseen nodes"
DROPPED = "test: a fifth of the edges dropped"
NOISY = "test: noisy features"
UNSEEN_SHARE = 0.2  # of the test nodes, as in GLNN (Zhang et al., arXiv 2110.08727, section 4.1)
UNSEEN_VALIDATION_SHARE = 0.5  # of the validation nodes
DROPPED_SHARE = 0.2  # of the edges
NOISE = 0.5  # share of noise in noisy features


class View(NamedTuple):
    """A data set as a regime shows it.

    Attributes:
        train: what students are trained and, without `validation`, chosen on; without `teacher`, teachers too.
        taught: `[n]` nodes whose soft labels and layers the students are given.
        tests: further data sets on whose test nodes the students are scored, by the name of the score.
        with_labels: whether students also learn from labels where they are given soft labels.
        teacher: what teachers are trained and chosen on.
        validation: the data set on whose validation nodes settings and lengths of students are chosen.
    """

    train: Dataset
    taught: Bool[np.ndarray, " n"]
    tests: Mapping[str, Dataset]
    with_labels: bool = False
    teacher: Dataset | None = None
    validation: Dataset | None = None


def views(splits: Sequence[Dataset], regime: str, seeds: int) -> list[View]:
    """Returns a data set as a regime shows it, for each of its splits.

    `perturbed`: as `transductive`; afterwards the students are also scored with a fifth of the edges dropped ("test: a
    fifth of the edges dropped", an edge with its reverse) and with noisy features ("test: noisy features"). Half of a
    noisy feature is Gaussian noise: `(1 - a) X + a N` with `a` .5, as in GLNN's code (github.com/snap-research/
    graphless-neural-networks), but with the standard deviation of each feature. Both are drawn once for all splits.

    `labels_1`, `labels_5`, `labels_20`: as `transductive`, with so many training nodes of each class, for each of the
    `seeds` drawn from those of its split.

    Args:
        splits: the data set with each of its splits.
        regime: one of `REGIMES`.
        seeds: number of seeds.

    Raises:
        InputError: see `view`; or a class has too few training nodes.
    """
    if regime in LABELS:
        drawn = [
            few_labels(splits[k % len(splits)], LABELS[regime], np.random.default_rng(k))
            for k in range(max(seeds, len(splits)))
        ]
        if all(np.array_equal(one.train_mask, drawn[0].train_mask) for one in drawn):
            drawn = drawn[:1]  # there is nothing to draw
        return [View(one, target_mask(one), {}) for one in drawn]
    if regime == "perturbed":
        tests = perturbed(splits[0], np.random.default_rng(0))
        return [
            View(one, target_mask(one), {name: _with_masks_of(one, test) for name, test in tests.items()})
            for one in splits
        ]
    return [view(one, regime, np.random.default_rng(split)) for split, one in enumerate(splits)]


def view(dataset: Dataset, regime: str, rng: np.random.Generator) -> View:
    """Returns a data set with one split as a regime shows it, one of those that need one split alone.

    `transductive`: soft labels of all nodes. `labelled_only`: soft labels and layers of the labelled nodes alone, as in
    efficient-gnns (Joshi et al., arXiv 2111.04964). `inductive`: a fifth of the test nodes, drawn from `rng`, lose all
    edges and are in no loss of teacher or student; afterwards the students are scored on these nodes in the whole graph
    ("test: unseen nodes"), and on all test nodes ("test: production", as GLNN calls it).

    `unseen_validation`: as `inductive`, with its teachers and unseen test nodes. Half of the validation nodes are
    unseen by the students as well, and choose their settings and lengths, in the graph that the teachers are taught on.

    Raises:
        InputError: an unknown regime, or fewer than five test or two validation nodes where some are set apart.
    """
    taught = target_mask(dataset)
    if regime == "transductive":
        return View(dataset, taught, {})
    if regime == "labelled_only":
        return View(dataset, taught & dataset.train_mask, {}, with_labels=True)
    if regime not in ("inductive", "unseen_validation"):
        raise InputError(f"regime {regime} is unknown, expected one of {', '.join(REGIMES)}")
    unseen = _drawn(dataset, "test", UNSEEN_SHARE, regime, rng)
    train = _without_edges_of(dataset, unseen)._replace(test_mask=dataset.test_mask & ~unseen)
    tests = {UNSEEN: dataset._replace(test_mask=unseen), "test: production": dataset}
    if regime == "inductive":
        return View(train, taught & ~unseen, tests)
    choosing = _drawn(dataset, "validation", UNSEEN_VALIDATION_SHARE, regime, rng)
    of_students = _without_edges_of(train, choosing)._replace(val_mask=dataset.val_mask & ~choosing)
    validation = train._replace(val_mask=choosing)
    return View(of_students, taught & ~(unseen | choosing), tests, teacher=train, validation=validation)


def few_labels(dataset: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    """Returns a data set with a number of training nodes of each class, drawn from its training nodes.

    Raises:
        InputError: nodes have no single class, or a class has fewer training nodes.
    """
    if dataset.task != "classification":
        raise InputError(f"{dataset.name}: task is {dataset.task}, expected one class per node where labels are few")
    train = np.zeros(dataset.num_nodes, bool)
    for label in range(dataset.num_classes):
        members = np.flatnonzero(dataset.train_mask & (dataset.labels == label))
        if len(members) < count:
            raise InputError(
                f"{dataset.name}: class {label} has {len(members)} training nodes, expected at least {count}"
            )
        train[rng.choice(members, count, replace=False)] = True
    return dataset._replace(train_mask=train)


def perturbed(dataset: Dataset, rng: np.random.Generator) -> dict[str, Dataset]:
    """Returns a data set with edges dropped, and with noisy features, by the names of the scores; see `views`."""
    ends = np.sort(np.stack([dataset.senders, dataset.receivers]).astype(np.int64), axis=0)
    pairs, pair = np.unique(ends[0] * dataset.num_nodes + ends[1], return_inverse=True)
    kept = np.ones(len(pairs), bool)
    kept[rng.choice(len(pairs), int(len(pairs) * DROPPED_SHARE), replace=False)] = False
    features = dataset.features.toarray() if isinstance(dataset.features, sp.csr_matrix) else dataset.features
    spread = features.std(axis=0, dtype=np.float64).astype(np.float32)
    noise = rng.standard_normal(features.shape, np.float32) * spread
    noisy = ((1 - NOISE) * features + NOISE * noise).astype(np.float32)
    return {
        DROPPED: _with_edges(dataset, kept[pair]),
        NOISY: dataset._replace(features=noisy),
    }


def _drawn(dataset: Dataset, kind: str, share: float, regime: str, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """Returns a share of the test or validation nodes, rounded down."""
    nodes = np.flatnonzero({"test": dataset.test_mask, "validation": dataset.val_mask}[kind])
    if (count := int(len(nodes) * share)) < 1:
        least = round(1 / share)
        raise InputError(f"{dataset.name}: {len(nodes)} {kind} nodes, expected at least {least} in the regime {regime}")
    drawn = np.zeros(dataset.num_nodes, bool)
    drawn[rng.choice(nodes, count, replace=False)] = True
    return drawn


def _without_edges_of(dataset: Dataset, nodes: Bool[np.ndarray, " n"]) -> Dataset:
    return _with_edges(dataset, ~(nodes[dataset.senders] | nodes[dataset.receivers]))


def _with_edges(dataset: Dataset, kept: Bool[np.ndarray, " e"]) -> Dataset:
    arrays = ("senders", "receivers", "relations", "edge_weights", "edge_features")
    return dataset._replace(
        **{name: None if (array := getattr(dataset, name)) is None else array[kept] for name in arrays}
    )


def _with_masks_of(dataset: Dataset, other: Dataset) -> Dataset:
    return other._replace(train_mask=dataset.train_mask, val_mask=dataset.val_mask, test_mask=dataset.test_mask)
