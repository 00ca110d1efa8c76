"""Data sets by name: `load("cora")` gives a checked `types.Dataset` or `types.GraphDataset` on the host.

>>> from abkd_jax import datasets
>>> data = datasets.load("digits", seed=0)
>>> data.features.shape
(1797, 64)
"""

import os
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from abkd_jax.datasets import digits, heco, kgbench, npz, ogb, ogb_graphs, planetoid, synthetic, tu
from abkd_jax.datasets.checks.node_level import validate
from abkd_jax.datasets.checks.published import verify
from abkd_jax.datasets.files.locations import cache_root, expanded
from abkd_jax.datasets.files.reading import missing_files
from abkd_jax.datasets.splits import per_class
from abkd_jax.datasets.synthetic import generate
from abkd_jax.types import Dataset, GraphDataset, InputError

__all__ = ["data_root", "describe", "files", "generate", "load", "names", "per_class", "validate"]


class _Entry(NamedTuple):
    description: str
    load: Callable[[Path, int], Dataset | GraphDataset]
    files: Callable[[Path], tuple[Path, ...]]
    downloads: bool = False


def _embedded(description: str, load: Callable[[int], Dataset]) -> _Entry:
    return _Entry(description, lambda root, seed: load(seed), lambda root: ())


def _planetoid(name: str, description: str) -> _Entry:
    return _Entry(description, lambda root, seed: planetoid.load(name, root), partial(planetoid.files, name), True)


def _heco(name: str, description: str) -> _Entry:
    return _Entry(description, lambda root, seed: heco.load(name, root), partial(heco.files, name))


def _kgbench(name: str, description: str) -> _Entry:
    return _Entry(description, lambda root, seed: kgbench.load(name, root), partial(kgbench.files, name))


def _tu(name: str, description: str) -> _Entry:
    return _Entry(description, partial(tu.load, name), partial(tu.files, name))


def _npz(name: str, description: str) -> _Entry:
    return _Entry(description, partial(npz.load, name), partial(npz.files, name))


def _ogb(name: str, description: str) -> _Entry:
    return _Entry(description, lambda root, seed: ogb.load(name, root), partial(ogb.files, name), True)


def _ogb_graphs(name: str, description: str) -> _Entry:
    return _Entry(description, lambda root, seed: ogb_graphs.load(name, root), partial(ogb_graphs.files, name), True)


_ENTRIES = {
    "digits": _embedded(digits.DESCRIPTION, digits.load),
    "synthetic": _embedded(synthetic.DESCRIPTION, synthetic.load),
    **{name: _planetoid(name, text) for name, text in planetoid.DESCRIPTIONS.items()},
    **{name: _npz(name, text) for name, text in npz.DESCRIPTIONS.items()},
    **{name: _heco(name, text) for name, text in heco.DESCRIPTIONS.items()},
    **{name: _kgbench(name, text) for name, text in kgbench.DESCRIPTIONS.items()},
    **{name: _tu(name, text) for name, text in tu.DESCRIPTIONS.items()},
    **{name: _ogb(name, text) for name, text in ogb.DESCRIPTIONS.items()},
    **{name: _ogb_graphs(name, text) for name, text in ogb_graphs.DESCRIPTIONS.items()},
}


def data_root(root: str | Path | None = None) -> Path:
    """The folder that holds `planetoid/`, `gnn_benchmark/` and `ogb/`.

    Args:
        root: the folder, or None for the environment variable `ABKD_JAX_DATA`, else `~/.cache/abkd_jax`.

    Returns:
        The folder, which need not exist.
    """
    named = root or os.environ.get("ABKD_JAX_DATA")
    return expanded(named) if named else cache_root()


def files(name: str, root: str | Path | None = None) -> tuple[Path, ...]:
    """Returns the files that `load` reads, whether they are there or not; `()` for embedded sets and unknown names."""
    return _ENTRIES[name].files(data_root(root)) if name in _ENTRIES else ()


def names() -> tuple[str, ...]:
    """The names that `load` knows, those that need no files first."""
    return tuple(_ENTRIES)


def describe(root: str | Path | None = None) -> list[dict[str, Any]]:
    """What `load` offers and what it would find, for a listing; reads and downloads nothing.

    Args:
        root: see `data_root`.

    Returns:
        One dict for each name: `name`, `description`, `folder` (where the files are looked for; None where none are
        needed), `missing` (names of the files that are not there) and `downloads` (whether `load` fetches them).
    """
    listing = []
    for name, entry in _ENTRIES.items():
        paths = entry.files(data_root(root))
        listing.append(
            {
                "name": name,
                "description": entry.description,
                "folder": paths[0].parent if paths else None,
                "missing": [path.name for path in missing_files(paths)],
                "downloads": entry.downloads,
            }
        )
    return listing


def load(name: str, root: str | Path | None = None, seed: int = 0) -> Dataset | GraphDataset:
    """Loads a data set by name and checks it.

    Args:
        name: one of `names()`.
        root: see `data_root`; `digits` and `synthetic` need none.
        seed: of the split, for sets without an official one, and of everything in `synthetic`; not negative.

    Returns:
        The data set. Where files have the published totals and another content than was published, a warning is logged
        and `source` says so.

    Raises:
        InputError: an unknown name, a negative seed, files that are missing, damaged or inconsistent, or other totals
            than those of the published data set.
    """
    if name not in _ENTRIES:
        nearest = get_close_matches(name.lower(), _ENTRIES, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(f"no data set {name!r}; {hint}Known: {', '.join(_ENTRIES)}")
    if seed < 0:
        raise InputError(f"{name}: seed is {seed}; expected a whole number that is not negative")
    entry, folder = _ENTRIES[name], data_root(root)
    return verify(validate(entry.load(folder, seed)), folder, entry.files(folder))
