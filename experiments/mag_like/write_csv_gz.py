"""Writes large tables of numbers as `.csv.gz`, as fast as the compression: whole arrays become text at once."""

import gzip
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

__all__ = ["blocks", "hundredths", "whole_numbers", "write_lines", "write_text"]

BLOCK_NUMBERS = 2**20
COMMA, LINE_FEED, ZERO = b",\n0"
LIMIT = 999
"""`hundredths` has one digit before the point."""

_TEXTS = np.array([f"{v / 100:.2f}," if v < 0 else f"{v / 100:.3f}," for v in range(-LIMIT, LIMIT + 1)], "S6")
"""Text of every number from -9.99 to 9.99 with the comma after it, all of one length."""


def write_text(path: Path, text: str) -> None:
    """Writes a small gzip file; its folder is created. The same text gives the same bytes."""
    with _create(path) as file:
        file.write(text.encode())


def write_lines(path: Path, parts: Iterable[np.ndarray], form: Callable[[np.ndarray], bytes], progress: tqdm) -> None:
    """Writes tables as lines of a gzip file, one after the other; its folder is created.

    The same numbers give the same bytes: the file holds neither a name nor a time.

    Args:
        path: the file.
        parts: tables `[rows, columns]`.
        form: function that makes text of them, `whole_numbers` or `hundredths`.
        progress: a bar that advances by one step per number.
    """
    with _create(path) as file:
        for part in parts:
            file.write(form(part))
            progress.update(part.size)


def blocks(table: Int[np.ndarray, "rows columns"]) -> Iterator[Int[np.ndarray, "some columns"]]:
    """Yields the rows of a table, about a million numbers at a time."""
    step = max(1, BLOCK_NUMBERS // table.shape[1])
    return (table[start : start + step] for start in range(0, len(table), step))


def whole_numbers(table: Int[np.ndarray, "rows columns"]) -> bytes:
    r"""Formats whole numbers that are not negative as lines, with commas between them.

    Examples:
        >>> whole_numbers(np.array([[7, 12], [100, 0]]))
        b'7,12\n100,0\n'
    """
    powers = 10 ** np.arange(len(str(table.max())))[::-1].astype(table.dtype)  # of the digits, first to last
    text = np.empty((*table.shape, powers.size + 1), np.uint8)
    text[..., :-1] = table[..., None] // powers % 10 + ZERO
    text[..., -1] = COMMA
    text[:, -1, -1] = LINE_FEED
    shown = np.ones(text.shape, bool)
    shown[..., :-2] = table[..., None] >= powers[:-1]  # no leading zeros; the last digit and the comma always
    return text[shown].tobytes()


def hundredths(table: Int[np.ndarray, "rows columns"]) -> bytes:
    r"""Formats numbers given in hundredths, from -999 to 999, as lines, with commas between them.

    Examples:
        >>> hundredths(np.array([[-7, 250]]))
        b'-0.07,2.500\n'
    """
    text = _TEXTS[table + LIMIT].view(np.uint8).reshape(len(table), -1)
    text[:, -1] = LINE_FEED
    return text.tobytes()


@contextmanager
def _create(path: Path) -> Iterator[gzip.GzipFile]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
        yield file
