"""Layouts: for each the module that reads it, and which sets of it lie below the data root."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from abkd_jax.configs.names import DATASETS, canonical, listed_in
from abkd_jax.datasets import (
    digits,
    geom_gcn,
    heco,
    heterophilous,
    kgbench,
    npz,
    ogb,
    ogb_graphs,
    ogb_own,
    planetoid,
    synthetic,
    tu,
)
from abkd_jax.types import Dataset, GraphDataset

__all__ = ["DOWNLOADING", "PLACES", "READERS", "Reader", "found_below", "nearest_of", "reader_of"]


@runtime_checkable
class Reader(Protocol):
    """A module that reads the data sets of one layout, by the name in the list or by that of the files."""

    DESCRIPTIONS: dict[str, str]

    def files(self, name: str, root: Path) -> tuple[Path, ...]: ...

    def load(self, name: str, root: Path, seed: int = 0) -> Dataset | GraphDataset: ...


class _Place(NamedTuple):
    """Where the files of a layout are: their names below the data root with `*` for the name, and what they hold."""

    pattern: str
    content: str


PLACES = {
    "planetoid": _Place("planetoid/ind.*.graph", "raw Planetoid files"),
    "gnn_benchmark": _Place("gnn_benchmark/*.npz", "adjacency, attributes and labels as CSR arrays"),
    "heco": _Place("heco/*/labels.npy", "heterogeneous, text edge lists"),
    "kgbench": _Place("kgbench/*/relations.int.csv*", "knowledge graphs, comma-separated integers"),
    "tu": _Place("tu/*/*_A.txt", "many graphs, text"),
    "ogb": _Place("ogb/*/raw", "Open Graph Benchmark, raw files"),
    "heterophilous": _Place("heterophilous/*.npz", "features, edges, labels and ten splits"),
    "geom_gcn": _Place("geom_gcn/*/out1_graph_edges.txt", "text and ten splits"),
}

_MODULES: dict[str, Reader] = {
    "planetoid": planetoid,
    "gnn_benchmark": npz,
    "heco": heco,
    "kgbench": kgbench,
    "tu": tu,
    "heterophilous": heterophilous,
    "geom_gcn": geom_gcn,
}
_LISTED: tuple[Reader, ...] = (digits, synthetic, planetoid, npz, heco, kgbench, tu, ogb, ogb_graphs)
READERS: dict[str, Reader] = {name: reader for reader in _LISTED for name in reader.DESCRIPTIONS}
DOWNLOADING: tuple[Reader, ...] = (planetoid, ogb, ogb_graphs)


def reader_of(layout: str, name: str) -> Reader:
    """Returns the module that reads the set `name` of a layout; node-level and graph-level sets of OGB have two."""
    if layout == "ogb":
        return ogb_graphs if name.startswith("ogbg") else ogb_own
    return _MODULES[layout]


def found_below(root: Path) -> tuple[str, ...]:
    """Returns the sets below a data root that are in a known layout and not in the list, as `layout:name`.

    Examples:
        >>> found_below(Path("no/such/folder"))
        ()
    """
    found = []
    for layout, place in PLACES.items():
        named = re.compile(re.escape(place.pattern).replace(r"\*", "([^/.][^/]*)", 1).replace(r"\*", "[^/]*"))
        paths = (path.relative_to(root).as_posix() for path in root.glob(place.pattern))
        names = {match[1] for match in map(named.fullmatch, paths) if match}
        if layout == "ogb":
            names = {name.replace("_", "-", 1) for name in names if name.startswith(("ogbn_", "ogbg_"))}
        found += [f"{layout}:{name}" for name in sorted(names)]
    return tuple(name for name in found if canonical(name) not in DATASETS)


def nearest_of(layout: str, own: str, root: Path) -> str | None:
    """Returns the set of a layout, in the list or below the data root, whose name is nearest, as `layout:name`.

    Examples:
        >>> nearest_of("tu", "MUTAGG", Path("no/such/folder"))
        'tu:MUTAG'
    """
    there = (name for name in found_below(root) if name.startswith(f"{layout}:"))
    known = {name.partition(":")[2].lower(): name for name in (*there, *listed_in(layout))}
    nearest = get_close_matches(own.lower(), known, n=1)
    return known[nearest[0]] if nearest else None
