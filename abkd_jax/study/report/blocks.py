"""Parts of a report, the same for HTML, Markdown and LaTeX."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

__all__ = [
    "Block",
    "Entry",
    "Folded",
    "Heading",
    "Items",
    "Picture",
    "Table",
    "Text",
    "picture_file",
    "plain",
    "with_own_files",
]

Mark = Literal["better", "worse", "open"]


class Entry(NamedTuple):
    """Entry of a table, and whether it is significantly better or worse than the baseline."""

    text: str
    mark: Mark = "open"


class Heading(NamedTuple):
    """Heading of a section."""

    text: str


class Text(NamedTuple):
    """Paragraph."""

    text: str


class Items(NamedTuple):
    """List of lines."""

    lines: Sequence[str]


class Table(NamedTuple):
    """Table; its first columns are text, the others are numbers.

    Attributes:
        caption: one sentence.
        headers: names of the columns.
        rows: as many entries each.
        latex: label of the table in LaTeX; empty where it is not for a paper.
        texts: number of the columns of text.
    """

    caption: str
    headers: tuple[str, ...]
    rows: list[tuple[Entry, ...]]
    latex: str = ""
    texts: int = 1


class Picture(NamedTuple):
    """Name of the file, caption and SVG of a figure."""

    name: str
    caption: str
    svg: bytes


class Folded(NamedTuple):
    """Part that is closed until the reader opens it, where the format can."""

    title: str
    blocks: "list[Block]"


Block = Heading | Text | Items | Table | Picture | Folded


def plain(*texts: str) -> tuple[Entry, ...]:
    """Returns a row of entries without a mark."""
    return tuple(Entry(text) for text in texts)


def picture_file(*parts: str) -> str:
    """Returns the name of a file that every system and every link takes.

    Examples:
        >>> picture_file("costs", "mol/a b", "x")
        'costs_mol-a-b_x.svg'
    """
    return "_".join(re.sub(r"[^\w.]+", "-", part) for part in parts) + ".svg"


def with_own_files(blocks: Sequence[Block], taken: set[str] | None = None) -> list[Block]:
    """Returns the same parts, where each picture has a file of its own: other names may differ in signs alone.

    Args:
        blocks: the parts.
        taken: names of files that pictures have already; those of these are added.
    """
    taken, found = set() if taken is None else taken, []
    for block in blocks:
        if isinstance(block, Folded):
            block = Folded(block.title, with_own_files(block.blocks, taken))
        elif isinstance(block, Picture):
            stem, number, name = block.name.removesuffix(".svg"), 1, block.name
            while name in taken:
                number += 1
                name = f"{stem}_{number}.svg"
            taken.add(name)
            block = block._replace(name=name)
        found.append(block)
    return found
