"""Files of the Open Graph Benchmark: their places, downloads, splits, and the comparison with the published sets.

Layout of the published archives (Hu et al. 2020, arXiv 2005.00687; https://ogb.stanford.edu), version 1.3.6 of its
package: `<root>/ogb/ogbn_arxiv/{raw,split}/...csv.gz`; `<root>/ogbn_arxiv`, the layout of that package, is read too.

A folder there must have the size of the published set. A folder with a file `SYNTHETIC.txt` holds another graph in the
same layout (`experiments/mag_like` writes one): it may have any size, and its source says what it is.
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from abkd_jax.datasets.checks import published
from abkd_jax.datasets.files.archive import check_recorded, fetch_zip
from abkd_jax.datasets.files.csv_gz import integers
from abkd_jax.types import InputError

__all__ = [
    "SPLITS",
    "check_size",
    "fetch_missing",
    "find_files",
    "generated",
    "own_split",
    "source_of",
    "split_masks",
]

SPLITS = ("train", "valid", "test")
MARKER = "SYNTHETIC.txt"
HOME = "https://ogb.stanford.edu"

logger = logging.getLogger(__name__)


def find_files(name: str, root: Path, parts: tuple[str, ...]) -> tuple[Path, ...]:
    """Returns the paths of the files of a data set, whether they exist or not.

    Args:
        name: with a dash, as OGB writes it: `ogbn-arxiv`.
        root: the data root.
        parts: the paths of the files in the folder of the set, without `.csv.gz`.

    Returns:
        One path per part, in the first of the two possible folders that exists, else in `<root>/ogb`.

    Examples:
        >>> find_files("ogbn-arxiv", Path("data"), ("raw/edge",))[0].as_posix()
        'data/ogb/ogbn_arxiv/raw/edge.csv.gz'
    """
    places = [root / "ogb" / name.replace("-", "_"), root / name.replace("-", "_")]
    folder = next((place for place in places if place.is_dir()), places[0])
    return tuple(folder / f"{part}.csv.gz" for part in parts)


def own_split(name: str, root: Path, default: str) -> str:
    """Returns the name of the split of a set that is not in the list: its only folder below `split/`, else `default`.

    Args:
        name: of the set.
        root: the data root.
        default: where there is not one folder.
    """
    (first,) = find_files(name, root, ("raw/edge",))
    folders = [path.name for path in first.parents[1].glob("split/*") if path.is_dir()]
    return folders[0] if len(folders) == 1 else default


def fetch_missing(
    name: str, root: Path, parts: tuple[str, ...], url: str | None, sha256: str | None = None
) -> dict[str, Path]:
    """Returns the files of a data set; where its whole folder is missing, downloads and unpacks the archive.

    Args:
        name: of the set.
        root: the data root.
        parts: see `find_files`.
        url: of the archive; None for a set whose folder must be there.
        sha256: of the archive, where it is known. A folder that was unpacked from another archive is refused.

    Returns:
        The path of each part.

    Raises:
        InputError: files are missing in a folder that exists, or the download fails (`fetch_zip`).
    """
    paths = dict(zip(parts, find_files(name, root, parts), strict=True))
    folder = _folder(paths)
    try:
        if url is not None and not folder.is_dir():
            fetch_zip(url, folder, sha256)
        missing = [f"{part}.csv.gz" for part, path in paths.items() if not path.is_file()]
    except PermissionError as error:
        raise InputError(f"{error.filename}: {error.strerror}; expected a folder that may be read") from error
    if missing:
        verb, files = ("is", "it") if len(missing) == 1 else ("are", "them")
        raise InputError(
            f"{name}: {', '.join(missing)} {verb} missing; put {files} in {folder} by hand, from {url or HOME}"
        )
    if sha256 is not None:
        check_recorded(folder, sha256)
    return paths


def generated(paths: Mapping[str, Path]) -> Path | None:
    """Returns the file that marks a graph other than the published one, or None where there is none.

    Args:
        paths: from `fetch_missing`.
    """
    marker = _folder(paths) / MARKER
    return marker if marker.is_file() else None


def check_size(name: str, paths: Mapping[str, Path], totals: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Compares totals with those of the published set, unless a file marks another graph (`generated`).

    Made to be called while the files are read: a graph of another size is refused before its features are copied.

    Args:
        name: of the set.
        paths: from `fetch_missing`.
        totals: of the published set, see `published.check_totals`.
        found: totals of the files.

    Raises:
        InputError: a total differs.
    """
    if not generated(paths):
        expected = f"the files of the published {name}, or a file {MARKER} there that says what it is"
        published.check_totals(str(_folder(paths)), found, totals, expected)


def source_of(
    name: str, origin: str, paths: Mapping[str, Path], arrays: Mapping[str, np.ndarray], sha256: str | None
) -> str:
    """Describes the origin of a graph; logs a warning where it has the size of the published one, but not its content.

    Args:
        name: of the set.
        origin: of the published set.
        paths: from `fetch_missing`.
        arrays: of the set, by name.
        sha256: hexadecimal SHA-256 of the bytes of the published arrays, in the order of their names; None where it is
            not known.

    Returns:
        `origin`, with an addition where the content differs; or that the graph is generated, and its folder.
    """
    if marker := generated(paths):
        return f"generated in the layout of the Open Graph Benchmark, in {marker.parent}"
    digest = hashlib.sha256()
    for key in sorted(arrays) if sha256 else ():
        digest.update(np.ascontiguousarray(arrays[key]).data)
    if sha256 in (None, digest.hexdigest()):
        return origin
    logger.warning(
        "%s: the content of the files is not the published one; no result on it is a result on %s", *[name] * 2
    )
    return f"{origin}; content of the files not the published one"


def _folder(paths: Mapping[str, Path]) -> Path:
    part, path = next(iter(paths.items()))
    return path.parents[part.count("/")]


def split_masks(paths: list[Path], count: int) -> dict[str, np.ndarray]:
    """Reads the masks of the official split.

    Args:
        paths: of the index files, in the order of `SPLITS`.
        count: number of nodes, or graphs.

    Returns:
        `train_mask`, `val_mask` and `test_mask`, each `[count]` bool, without overlap.

    Raises:
        InputError: an index is out of range or listed twice, or a file is damaged.
    """
    owner = np.full(count, -1, np.int8)
    for number, path in enumerate(paths):
        ids = integers(path, 1, below=count, most=count)[:, 0]
        taken = ids[owner[ids] >= 0]
        if taken.size:
            raise InputError(f"{path}: {taken[0]} is in {paths[owner[taken[0]]].name} too; expected disjoint splits")
        owner[ids] = number
        if np.count_nonzero(owner == number) != ids.size:
            raise InputError(f"{path}: lists a number twice; expected each once")
    return {f"{name}_mask": owner == number for number, name in enumerate(("train", "val", "test"))}
