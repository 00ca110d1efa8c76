"""Data sets by name: `load("cora")` returns a checked `types.Dataset` or `types.GraphDataset` on the host.

>>> from abkd_jax import datasets
>>> data = datasets.load("digits", seed=0)
>>> data.features.shape
(1797, 64)
"""

import os
from difflib import get_close_matches
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

from abkd_jax.datasets import digits, heco, kgbench, npz, ogb, ogb_graphs, planetoid, synthetic, tu
from abkd_jax.datasets.checks.node_level import validate
from abkd_jax.datasets.checks.published import verify
from abkd_jax.datasets.files.locations import cache_root, expanded
from abkd_jax.datasets.files.reading import missing_files
from abkd_jax.datasets.splits import per_class
from abkd_jax.datasets.synthetic import generate
from abkd_jax.types import Dataset, GraphDataset, InputError

__all__ = ["data_root", "describe", "generate", "load", "names", "paths", "per_class", "validate"]


class _Reader(Protocol):
    """A module that reads the data sets of one format."""

    DESCRIPTIONS: dict[str, str]

    def files(self, name: str, root: Path) -> tuple[Path, ...]: ...

    def load(self, name: str, root: Path, seed: int = 0) -> Dataset | GraphDataset: ...


_FORMATS: tuple[_Reader, ...] = (digits, synthetic, planetoid, npz, heco, kgbench, tu, ogb, ogb_graphs)
_DOWNLOADING: tuple[_Reader, ...] = (planetoid, ogb, ogb_graphs)
_READERS = {name: reader for reader in _FORMATS for name in reader.DESCRIPTIONS}


def data_root(root: str | Path | None = None) -> Path:
    """Returns the folder that holds `planetoid/`, `gnn_benchmark/`, `ogb/` and the others.

    Args:
        root: the folder, or None for the environment variable `ABKD_JAX_DATA`, else `~/.cache/abkd_jax`.

    Returns:
        The folder, which need not exist.
    """
    named = root or os.environ.get("ABKD_JAX_DATA")
    return expanded(named) if named else cache_root()


def paths(name: str, root: str | Path | None = None) -> tuple[Path, ...]:
    """Returns the files that `load` reads, whether they exist or not; `()` for embedded sets and unknown names.

    Examples:
        >>> [path.name for path in paths("acm", "data")]
        ['acm.npz']
    """
    return _READERS[name].files(name, data_root(root)) if name in _READERS else ()


def names() -> tuple[str, ...]:
    """Returns the names that `load` accepts, those that need no files first.

    Examples:
        >>> names()[:3]
        ('digits', 'synthetic', 'cora')
    """
    return tuple(_READERS)


def describe(root: str | Path | None = None) -> list[dict[str, Any]]:
    """Lists the data sets and which of their files are missing; reads and downloads nothing.

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
    for name, reader in _READERS.items():
        needed = reader.files(name, data_root(root))
        listing.append(
            {
                "name": name,
                "description": reader.DESCRIPTIONS[name],
                "folder": needed[0].parent if needed else None,
                "missing": [path.name for path in missing_files(needed)],
                "downloads": reader in _DOWNLOADING,
            }
        )
    return listing


def load(name: str, root: str | Path | None = None, seed: int = 0) -> Dataset | GraphDataset:
    """Loads a data set by name and checks it.

    Args:
        name: one of `names()`.
        root: see `data_root`; `digits` and `synthetic` need none.
        seed: of the split, for sets without an official one, and of everything in `synthetic`; a whole number, not
            negative.

    Returns:
        The data set. Where files have the published totals and another content than was published, a warning is logged
        and `source` says so.

    Raises:
        InputError: an unknown name, a bad seed, files that are missing, damaged or inconsistent, or other totals than
            those of the published data set.

    Examples:
        >>> data = load("synthetic", seed=1)
        >>> data.features.shape, data.num_classes, int(data.train_mask.sum())
        ((300, 32), 3, 60)
    """
    if name not in _READERS:
        nearest = get_close_matches(name.lower(), _READERS, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(f"no data set {name!r}; {hint}Known: {', '.join(_READERS)}")
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"{name}: seed is {seed!r}; expected a whole number that is not negative")
    reader, folder = _READERS[name], data_root(root)
    return verify(validate(reader.load(name, folder, seed)), folder, reader.files(name, folder))
