"""Generates a random graph of ogbn-mag's schema and of any size, in the files of the Open Graph Benchmark.

For tests and timings of everything between the raw files and a trained model. Nothing measured on it is an ogbn-mag
result: the counts and the files are those of Hu et al. 2020 (arXiv 2005.00687, appendix B), the graph is not.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from abkd_jax.datasets.files import progress
from abkd_jax.types import InputError
from experiments.mag_like.write_csv_gz import (
    LIMIT,
    blocks,
    hundredths,
    whole_numbers,
    write_lines,
    write_text,
)

__all__ = ["write"]

NODES = {"author": 1_134_649, "field_of_study": 59_965, "institution": 8_740, "paper": 736_389}
VALID, TEST = 64_879, 41_939
CLASSES = 349
FEATURES = 128


class _Relation(NamedTuple):
    """Node types, number of edges, share of edges within a topic, and tails of the degrees (smaller is heavier)."""

    head: str
    name: str
    tail: str
    edges: int
    share: float
    head_tail: float
    tail_tail: float


RELATIONS = (
    _Relation("author", "affiliated_with", "institution", 1_043_998, 0.3, 4.0, 1.3),
    _Relation("author", "writes", "paper", 7_145_660, 0.3, 2.0, 4.0),
    _Relation("paper", "cites", "paper", 5_416_271, 0.4, 4.0, 1.5),
    _Relation("paper", "has_topic", "field_of_study", 7_505_078, 0.2, 4.0, 1.5),
)
MAX_WEIGHT = 1000.0
MAX_DENSITY = 0.25  # of all pairs of a relation; reached by very small graphs only
OTHER_LABEL = 0.3  # share of papers whose label is not their topic: no model can predict them
SIGNAL = 2.9  # distance of a topic's mean from the origin, in deviations of the noise
FEATURE_ROWS = 2**13


def write(
    folder: str | Path, *, scale: float = 1.0, classes: int = CLASSES, features: int = FEATURES, seed: int = 0
) -> Path:
    """Draws a graph and writes it as `<folder>/ogbn_mag`, which is complete or absent.

    Every node has a latent topic; topics are of unequal popularity. The ends of an edge share their topic with a
    probability of 0.2 to 0.4 by relation, else they are drawn independently of it. Degrees have the tails of power
    laws; no edge is repeated and no paper cites itself. The features of a paper are the mean of its topic plus noise,
    in steps of a hundredth. The label of a paper is its topic, or in three of ten cases a random one: features alone
    predict about a third of the labels, relations more, and an accuracy of 0.7 is the highest possible. Papers are
    split by year as in ogbn-mag: to 2017, 2018, 2019. A file `SYNTHETIC.txt` marks the graph as generated.

    At full size: 1.9 million nodes, 21 million edges, 94 million feature values, about 6 GB of memory.

    Args:
        folder: folder of the OGB data sets; it is created.
        scale: size relative to ogbn-mag; every count of nodes and edges is multiplied by it, and rounded. A relation
            has at most a quarter of all possible edges.
        classes: number of topics and classes.
        features: of each paper.
        seed: of everything; the same arguments give the same bytes.

    Returns:
        `<folder>/ogbn_mag`.

    Raises:
        InputError: an argument out of range, a scale that leaves a type or a part of the split empty, or a folder
            that exists already.
    """
    if not 0 < scale < 100 or classes < 2 or features < 1 or seed < 0:
        raise InputError(
            f"mag_like: scale {scale:g}, classes {classes}, features {features}, seed {seed}; expected a scale in "
            "(0, 100), at least 2 classes, at least 1 feature and a seed that is not negative"
        )
    sizes = {name: round(count * scale) for name, count in NODES.items()}
    if min(sizes["institution"], round(TEST * scale)) < 2:
        raise InputError(f"mag_like: scale {scale:g} leaves {sizes['institution']} institutions; expected at least 2")
    target = Path(folder) / "ogbn_mag"
    if target.exists():
        raise InputError(f"{target}: exists already; expected a folder without it")
    temporary = target.with_name(f".ogbn_mag.{os.getpid()}.tmp")
    try:
        _write(temporary, sizes, scale, classes, features, seed)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write(folder: Path, sizes: dict[str, int], scale: float, classes: int, features: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    papers, raw = sizes["paper"], folder / "raw"
    edges = [min(round(r.edges * scale), int(MAX_DENSITY * sizes[r.head] * sizes[r.tail])) for r in RELATIONS]
    popularity = 1 / (np.arange(classes) + 5)
    popularity /= popularity.sum()
    topics = {name: rng.choice(classes, size, p=popularity) for name, size in sizes.items()}
    total = papers * (features + 3) + 3 * sum(edges)
    with progress.bar(total=total, unit=" numbers", unit_scale=True, desc="ogbn_mag") as bar:
        for number, (relation, count) in enumerate(zip(RELATIONS, edges, strict=True)):
            pairs = _pairs(relation, topics[relation.head], topics[relation.tail], count, classes, rng)
            part = raw / "relations" / "___".join(relation[:3])
            write_lines(part / "edge.csv.gz", blocks(pairs), whole_numbers, bar)
            reltype = np.full((count, 1), number, np.int32)
            write_lines(part / "edge_reltype.csv.gz", blocks(reltype), whole_numbers, bar)
            write_text(part / "num-edge-list.csv.gz", f"{count}\n")
        years = _years(papers, scale, rng)
        other = rng.random(papers) < OTHER_LABEL
        labels = np.where(other, rng.choice(classes, papers, p=popularity), topics["paper"])
        write_lines(raw / "node-feat/paper/node_year.csv.gz", blocks(years[:, None]), whole_numbers, bar)
        write_lines(raw / "node-label/paper/node-label.csv.gz", blocks(labels[:, None]), whole_numbers, bar)
        _write_split(folder / "split" / "time", years, bar)
        centres = rng.standard_normal((classes, features), np.float32) * (SIGNAL / features**0.5)
        starts = range(0, papers, FEATURE_ROWS)
        words = (_features(centres, topics["paper"][start : start + FEATURE_ROWS], rng) for start in starts)
        write_lines(raw / "node-feat/paper/node-feat.csv.gz", words, hundredths, bar)
    write_text(raw / "num-node-dict.csv.gz", _row(sizes) + _row(sizes.values()))
    write_text(raw / "triplet-type-list.csv.gz", "".join(_row(relation[:3]) for relation in RELATIONS))
    for name in ("raw/nodetype-has-feat", "raw/nodetype-has-label", "split/time/nodetype-has-split"):
        write_text(folder / f"{name}.csv.gz", _row(sizes) + _row(node_type == "paper" for node_type in sizes))
    (folder / "RELEASE_v2.txt").touch()
    (folder / "SYNTHETIC.txt").write_text(
        f"Drawn by experiments.mag_like: scale {scale:g}, {classes} classes, {features} features, seed {seed}.\n"
        "This is not ogbn-mag; results on it are no ogbn-mag results.\n"
    )


def _row(fields: Iterable[object]) -> str:
    return ",".join(map(str, fields)) + "\n"


def _years(papers: int, scale: float, rng: np.random.Generator) -> Int[np.ndarray, " papers"]:
    years = rng.integers(2010, 2018, papers)
    order = rng.permutation(papers)
    valid, test = round(VALID * scale), round(TEST * scale)
    years[order[:valid]] = 2018
    years[order[valid : valid + test]] = 2019
    return years


def _write_split(folder: Path, years: Int[np.ndarray, " papers"], bar: tqdm) -> None:
    for name, mask in {"train": years < 2018, "valid": years == 2018, "test": years == 2019}.items():
        ids = np.nonzero(mask)[0]
        write_lines(folder / "paper" / f"{name}.csv.gz", blocks(ids[:, None]), whole_numbers, bar)


def _features(
    centres: Float[np.ndarray, "classes f"], topics: Int[np.ndarray, " rows"], rng: np.random.Generator
) -> Int[np.ndarray, "rows f"]:
    """Draws the features of some papers, in hundredths."""
    values = rng.standard_normal((topics.size, centres.shape[1]), np.float32)
    values += centres[topics]
    values *= 100
    return np.clip(np.rint(values, out=values), -LIMIT, LIMIT, out=values).astype(np.int16)


def _pairs(
    relation: _Relation,
    head_topics: Int[np.ndarray, " heads"],
    tail_topics: Int[np.ndarray, " tails"],
    count: int,
    classes: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "count 2"]:
    """Draws distinct pairs, in ascending order, until there are enough."""
    tails = tail_topics.size
    head_sums = np.cumsum(_weights(head_topics.size, relation.head_tail, rng))
    by_topic = np.argsort(tail_topics, kind="stable")
    tail_sums = np.append(0.0, np.cumsum(_weights(tails, relation.tail_tail, rng)[by_topic]))
    bounds = tail_sums[np.searchsorted(tail_topics[by_topic], np.arange(classes + 1))]  # of each topic
    keys = np.zeros(0, np.int64)
    while keys.size < count:
        missing = count - keys.size
        head = _intervals(head_sums, head_sums[-1] * rng.random(missing))
        low, high = bounds[head_topics[head]], bounds[head_topics[head] + 1]
        anywhere = (rng.random(missing) >= relation.share) | (low == high)
        low[anywhere], high[anywhere] = 0.0, tail_sums[-1]
        tail = by_topic[_intervals(tail_sums[1:], low + (high - low) * rng.random(missing))]
        new = head * tails + tail
        keys = np.unique(np.append(keys, new[head != tail] if relation.head == relation.tail else new))
    return np.stack(np.divmod(keys, tails), axis=1).astype(np.int32)


def _weights(size: int, tail: float, rng: np.random.Generator) -> Float[np.ndarray, " size"]:
    """Draws expected degrees, up to a factor: a Pareto distribution from 1 to 1000."""
    return np.minimum(rng.random(size) ** (-1 / tail), MAX_WEIGHT)


def _intervals(sums: Float[np.ndarray, " n"], values: Float[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """Returns the interval between running sums that each value falls into."""
    return np.minimum(np.searchsorted(sums, values, side="right"), sums.size - 1)
