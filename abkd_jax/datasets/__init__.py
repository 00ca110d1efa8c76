"""Data sets by name or path: `load("cora")` returns a checked `types.Dataset` or `types.GraphDataset` on the host.

A name is one of the list, `layout:name` for any files of a known layout below the data root, or the path of a graph in
the neutral form.

>>> from abkd_jax import datasets
>>> data = datasets.load("digits", seed=0)
>>> data.features.shape
(1797, 64)
"""

import os
from difflib import get_close_matches
from numbers import Integral
from pathlib import Path
from typing import Any

from abkd_jax.configs.names import LAYOUTS, canonical, full_name, is_path, short_name, split_layout
from abkd_jax.configs.rules import Facts
from abkd_jax.datasets import user
from abkd_jax.datasets.checks.node_level import validate
from abkd_jax.datasets.checks.published import verify
from abkd_jax.datasets.convert.graphs_tuples import from_jraph, to_jraph
from abkd_jax.datasets.convert.matrices import from_scipy
from abkd_jax.datasets.convert.networkx_graphs import from_networkx
from abkd_jax.datasets.convert.pyg_data import from_pyg
from abkd_jax.datasets.convert.pyg_export import to_pyg
from abkd_jax.datasets.facts import facts_of
from abkd_jax.datasets.files.locations import cache_root, expanded
from abkd_jax.datasets.files.reading import missing_files
from abkd_jax.datasets.layouts import DOWNLOADING, PLACES, READERS, found_below, nearest_of, reader_of
from abkd_jax.datasets.neutral.folder import save_folder
from abkd_jax.datasets.neutral.npz import save_npz
from abkd_jax.datasets.splits import per_class
from abkd_jax.datasets.synthetic import generate
from abkd_jax.types import Dataset, GraphDataset, InputError

__all__ = [
    "data_root",
    "describe",
    "facts",
    "facts_of",
    "from_jraph",
    "from_networkx",
    "from_pyg",
    "from_scipy",
    "generate",
    "layouts_below",
    "load",
    "names",
    "paths",
    "per_class",
    "save_folder",
    "save_npz",
    "short_name",
    "to_jraph",
    "to_pyg",
    "validate",
]

# The set that `facts` has loaded, until `load` takes it: nothing is read twice at the start of a run.
_LOADED: dict[tuple[str, Path, int], Dataset | GraphDataset] = {}


def data_root(root: str | Path | None = None) -> Path:
    """Returns the folder that holds `planetoid/`, `gnn_benchmark/`, `ogb/` and the others.

    Args:
        root: the folder, or None for the environment variable `ABKD_JAX_DATA`, else `~/.cache/abkd_jax`.

    Returns:
        The folder, which need not exist.
    """
    named = root or os.environ.get("ABKD_JAX_DATA")
    return expanded(named) if named else cache_root()


def paths(name: str | Path, root: str | Path | None = None) -> tuple[Path, ...]:
    """Returns the files that `load` reads, whether they exist or not; `()` for embedded sets and unknown names.

    Examples:
        >>> [path.name for path in paths("acm", "data")], [path.name for path in paths("gnn_benchmark:dblp", "data")]
        (['acm.npz'], ['dblp.npz'])
    """
    name = str(name)
    if is_path(name):
        return tuple(user.files(Path(full_name(name))))
    named = canonical(name)
    if named in READERS:
        return READERS[named].files(named, data_root(root))
    layout, own = split_layout(named) or ("", "")
    return reader_of(layout, own).files(own, data_root(root)) if layout else ()


def names() -> tuple[str, ...]:
    """Returns the names of the list, those that need no files first.

    Examples:
        >>> names()[:3]
        ('digits', 'synthetic', 'cora')
    """
    return tuple(READERS)


def describe(root: str | Path | None = None) -> list[dict[str, Any]]:
    """Describes the data sets of the list and which of their files are missing; reads and downloads nothing.

    Args:
        root: see `data_root`.

    Returns:
        One dict per name: `name`, `description`, `folder` (where the files belong; None where none are needed),
        `missing` (names of the files that are not there) and `downloads` (whether `load` fetches them).

    Examples:
        >>> describe("no/such/folder")[3]["missing"][:2]
        ['ind.citeseer.allx', 'ind.citeseer.ally']
    """
    listing = []
    for name, reader in READERS.items():
        needed = reader.files(name, data_root(root))
        listing.append(
            {
                "name": name,
                "description": reader.DESCRIPTIONS[name],
                "folder": needed[0].parent if needed else None,
                "missing": [path.name for path in missing_files(needed)],
                "downloads": reader in DOWNLOADING,
            }
        )
    return listing


def layouts_below(root: str | Path | None = None) -> dict[str, tuple[str, ...]]:
    """Returns for each layout, as `layout:NAME (its files)`, the sets below the data root that are not in the list.

    Args:
        root: see `data_root`.

    Examples:
        >>> layouts_below("no/such/folder")["tu:NAME (tu/NAME/NAME_A.txt: many graphs, text)"]
        ()
    """
    found = found_below(data_root(root))
    return {
        f"{layout}:NAME ({place.pattern.rstrip('*').replace('*', 'NAME')}: {place.content})": tuple(
            name for name in found if name.startswith(f"{layout}:")
        )
        for layout, place in PLACES.items()
    }


def load(
    name: str | Path, root: str | Path | None = None, seed: int = 0, *, labelled: bool = True
) -> Dataset | GraphDataset:
    """Loads a data set by name or path and checks it.

    Args:
        name: one of `names()`; `layout:name` for files of a known layout below the data root; or the path of a graph in
            the neutral form, which has a separator or the suffix `.npz`, or is there.
        root: see `data_root`; `digits`, `synthetic` and paths need none.
        seed: of the split, for sets without an official one, and of everything in `synthetic`; a whole number, not
            negative.
        labelled: False reads neither labels nor split of a path: a graph to predict on needs none.

    Returns:
        The data set; its name is `short_name(name)`. Where files have the published totals and another content than was
        published, a warning is logged and `source` says so.

    Raises:
        InputError: an unknown name, a bad seed, files that are missing, damaged or inconsistent, or other totals than
            those of the published data set.

    Examples:
        >>> data = load("synthetic", seed=1)
        >>> data.features.shape, data.num_classes, int(data.train_mask.sum())
        ((300, 32), 3, 60)
    """
    name = str(name)
    named, folder = canonical(name), data_root(root)
    layout, own = split_layout(named) or ("", "")
    if named not in READERS and not layout and not is_path(name):
        raise InputError(_unknown(name, folder))
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"{name}: seed is {seed!r}; expected a whole number that is not negative")
    loaded = _LOADED.pop((full_name(name), folder, int(seed)), None)
    if loaded is not None:
        return loaded
    if is_path(name):
        return user.load(Path(full_name(name)), seed, labelled=labelled)._replace(name=short_name(name))
    if layout:
        return _load_layout(layout, own, folder, seed)
    reader = READERS[named]
    return verify(validate(reader.load(named, folder, seed)), folder, reader.files(named, folder))


def _load_layout(layout: str, own: str, root: Path, seed: int) -> Dataset | GraphDataset:
    """Loads a set that is not in the list; where none of its files are there, the message names the nearest set."""
    reader = reader_of(layout, own)
    try:
        return validate(reader.load(own, root, seed))
    except InputError as error:
        needed = reader.files(own, root)
        nearest = nearest_of(layout, own, root) if len(missing_files(needed)) == len(needed) else None
        if nearest is None:
            raise
        raise InputError(f"{error}; did you mean {nearest!r}?") from error


def facts(name: str | Path, root: str | Path | None = None, seed: int = 0) -> Facts:
    """Returns what the rules of settings read of a data set; the next `load` of it is given what was read here.

    Args:
        name: see `load`.
        root: see `load`.
        seed: see `load`.

    Raises:
        InputError: see `load`.

    Examples:
        >>> facts("synthetic").nodes
        300
    """
    dataset = load(name, root, seed)
    _LOADED.clear()
    _LOADED[full_name(str(name)), data_root(root), int(seed)] = dataset
    return facts_of(dataset)


def _unknown(name: str, root: Path) -> str:
    """Returns the message on a name that is none, with the nearest that there is."""
    there = found_below(root)
    own = {full.partition(":")[2].lower(): full for full in there}  # a name of the list comes before that of a file
    known = own | {full.lower(): full for full in (*there, *READERS)}
    nearest = get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {known[nearest[0]]!r}? " if nearest else ""
    layouts = f"{', '.join(LAYOUTS)} as LAYOUT:NAME, or a path"
    return f"no data set {name!r}; {hint}Known: {', '.join(READERS)}; {layouts}"
