"""Scores and claims of a study between two marks of a text, made from its cells and compared with them."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from abkd_jax.run.report.canvas import can_draw
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.blocks import Block, Picture, Text, with_own_files
from abkd_jax.study.report.claims import Claim, claims_table, claims_text, decide
from abkd_jax.study.report.comparisons import Test, compare
from abkd_jax.study.report.grid import make_grid
from abkd_jax.study.report.hours import hours_table
from abkd_jax.study.report.markdown import block_text
from abkd_jax.study.report.score_figures import score_pictures
from abkd_jax.study.report.score_tables import groups, lengths_table, main_table
from abkd_jax.study.report.size_figures import size_pictures
from abkd_jax.types import InputError

__all__ = ["excerpt", "filled", "names_of_excerpts", "with_excerpt"]

MARKS = re.compile(r"(<!-- study (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def excerpt(
    cells: Sequence[Cell],
    baseline: str,
    test: Test = "permutation",
    claims: Sequence[Claim] = (),
    folder: str = "",
) -> tuple[str, list[Picture]]:
    """Returns scores, claims, scores by length and hours of a study as Markdown; the same for the same cells.

    Its pictures are of the scores that the claims are on, and of those by size where students have several.

    Args:
        cells: of one table.
        baseline: method that all others are compared with.
        test: whose p is corrected.
        claims: comparisons that were chosen before the table was trained.
        folder: where the text finds the pictures.

    Returns:
        The text, and its pictures: files of that folder. There are none where figures cannot be drawn.

    Raises:
        InputError: as for `make_grid`.
    """
    grid = make_grid(cells, baseline)
    rows = compare(grid, baseline, test)
    claimed = dict.fromkeys(claim.view for claim in claims) or ("test",)
    of_scores = (picture for view in claimed for picture in score_pictures(grid, view))
    drawn = with_own_files([*of_scores, *size_pictures(grid)]) if can_draw() else []
    pictures = [block for block in drawn if isinstance(block, Picture)]
    shown = [block_text(picture._replace(name=f"{PurePosixPath(folder, picture.name)}")) for picture in pictures]
    blocks: list[Block] = [Text("\n".join(shown))] if shown else []
    blocks += [main_table(grid, title, columns, rows) for title, columns in groups(grid)]
    for view in grid.views()[1:]:
        marks = compare(grid, baseline, test, view)
        blocks += [main_table(grid, title, columns, marks, view) for title, columns in groups(grid)]
    decisions = decide(grid, claims, test)
    if decisions:
        blocks += [Text(claims_text(grid, decisions, test)), claims_table(grid, decisions)]
    lengths = lengths_table(grid)
    blocks += [*([lengths] if lengths else []), hours_table(grid)]
    return "\n\n".join(map(block_text, blocks)) + "\n", pictures


def names_of_excerpts(text: str) -> list[str]:
    r"""Returns the tables that have a place in a text.

    Examples:
        >>> names_of_excerpts("<!-- study main -->\nold\n<!-- end -->")
        ['main']
    """
    return [found[2] for found in MARKS.finditer(text)]


def with_excerpt(text: str, name: str, made: str) -> str:
    r"""Returns a text with another excerpt in the place of a table.

    Raises:
        InputError: the text has no place for it.

    Examples:
        >>> with_excerpt("<!-- study main -->\nold\n<!-- end -->", "main", "new\n")
        '<!-- study main -->\nnew\n<!-- end -->'
    """
    if name not in names_of_excerpts(text):
        raise InputError(f"no place for study {name}, expected lines <!-- study {name} --> and <!-- end -->")
    return MARKS.sub(lambda found: found[1] + made + found[3] if found[2] == name else found[0], text)


def filled(readme: Path, name: str, made: str) -> str:
    """Returns the text of a file with another excerpt in the place of a table; the file is left as it is.

    Raises:
        InputError: it cannot be read or has no place for it.
    """
    try:
        return with_excerpt(readme.read_text(), name, made)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{readme}: cannot be read: {error}") from error
    except InputError as error:
        raise InputError(f"{readme}: {error}") from error
