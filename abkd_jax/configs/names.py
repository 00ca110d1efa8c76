"""Names of data sets: those of the list, `layout:name` for files of a known layout, and paths. No jax, no file is read.

A `layout:name` that is in the list is that listed set: `canonical("planetoid:cora")` is `"cora"`.
"""

import os.path
from pathlib import Path

__all__ = [
    "DATASETS",
    "LAYOUTS",
    "canonical",
    "full_name",
    "is_listed",
    "is_path",
    "listed_in",
    "short_name",
    "split_layout",
]

# Equal to `datasets.names()`, whose import takes too long for the completion of the command line.
# fmt: off
DATASETS = (
    "digits", "synthetic", "cora", "citeseer", "pubmed", "cora_ml", "amazon_photo", "coauthor_cs", "acm",
    "heco_acm", "heco_acm_40", "heco_acm_60", "heco_freebase", "heco_freebase_40", "heco_freebase_60", "aifb",
    "mutag", "proteins", "ogbn-arxiv", "ogbn-mag", "ogbg-molbace", "ogbg-molbbbp", "ogbg-molclintox", "ogbg-molsider",
    "ogbg-moltox21", "ogbg-moltoxcast", "ogbg-molhiv", "ogbg-molchembl", "ogbg-molesol", "ogbg-molfreesolv",
    "ogbg-mollipo",
)
# fmt: on

# Of the listed sets, by layout: the name of their files, where it is another than the name in the list.
_RENAMED = {
    "heco": {name.removeprefix("heco_"): name for name in DATASETS if name.startswith("heco_")},
    "tu": {"MUTAG": "mutag", "PROTEINS": "proteins"},
}
_LISTED = {
    "planetoid": ("cora", "citeseer", "pubmed"),
    "gnn_benchmark": ("cora_ml", "amazon_photo", "coauthor_cs", "acm"),
    "kgbench": ("aifb",),
    "ogb": tuple(name for name in DATASETS if name.startswith("ogb")),
}

LAYOUTS = ("planetoid", "gnn_benchmark", "heco", "kgbench", "tu", "ogb", "heterophilous", "geom_gcn")
"""Layouts of files that are read whatever the set is; the folder below the data root has the same name."""


def split_layout(name: str) -> tuple[str, str] | None:
    """Splits `layout:name`; None for all other names.

    Examples:
        >>> split_layout("tu:NCI109"), split_layout("cora")
        (('tu', 'NCI109'), None)
    """
    layout, colon, own = name.partition(":")
    plain = own not in ("", ".", "..") and not set(own) & {"/", "\\", ":"}
    return (layout, own) if colon and layout in LAYOUTS and plain else None


def canonical(name: str) -> str:
    """Returns the name in the list of a `layout:name` that is one of it; any other name as it is.

    Examples:
        >>> canonical("tu:MUTAG"), canonical("heco:acm_40"), canonical("tu:NCI109")
        ('mutag', 'heco_acm_40', 'tu:NCI109')
    """
    layout, own = split_layout(name) or ("", "")
    return _RENAMED.get(layout, {}).get(own, own if own in _LISTED.get(layout, ()) else name)


def listed_in(layout: str) -> tuple[str, ...]:
    """Returns the sets of the list whose files are in a layout, as `layout:name`.

    Examples:
        >>> listed_in("tu"), listed_in("geom_gcn")
        (('tu:MUTAG', 'tu:PROTEINS'), ())
    """
    return tuple(f"{layout}:{own}" for own in (*_RENAMED.get(layout, {}), *_LISTED.get(layout, ())))


def is_listed(name: str) -> bool:
    """Tells whether a name means a set of the list, with descriptions, checksums and settings of its own."""
    return canonical(name) in DATASETS


def is_path(name: str) -> bool:
    """Tells whether a name is a path: it has a separator or the suffix `.npz`, or there is such a file or folder.

    Names of the list and of a known layout are none, whatever lies in the current folder.

    Examples:
        >>> is_path("data/graph.npz"), is_path("./cora"), is_path("cora"), is_path("tu:NCI109")
        (True, True, False, False)
    """
    if not name or is_listed(name) or split_layout(name) is not None:
        return False
    return "/" in name or "\\" in name or name.endswith(".npz") or Path(name).exists()


def short_name(name: str | Path) -> str:
    """Returns the name of a data set for folders, tables and figures: without its layout, and of a path its stem.

    Examples:
        >>> short_name("gnn_benchmark:dblp"), short_name("cora"), short_name("graphs/mine.npz")
        ('dblp', 'cora', 'mine')
    """
    name = str(name)
    if is_path(name):
        path = Path(full_name(name))
        return (path.stem if path.suffix == ".npz" else path.name) or "graph"
    named = canonical(name)
    return (split_layout(named) or ("", named))[1]


def full_name(name: str) -> str:
    """Returns what tells a data set from all others: its name in the list, `layout:name`, or the resolved path.

    Examples:
        >>> full_name("planetoid:cora"), full_name("tu:NCI109")
        ('cora', 'tu:NCI109')
    """
    return str(Path(os.path.expanduser(name)).resolve()) if is_path(name) else canonical(name)
