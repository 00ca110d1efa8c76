"""Report of a study table: one HTML file, Markdown with its figures, and tables for LaTeX."""

import logging
from collections.abc import Sequence
from pathlib import Path

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.run.report.canvas import MISSING, can_draw
from abkd_jax.study.cells import Cell
from abkd_jax.study.report import score_figures, training_parts
from abkd_jax.study.report.blocks import Block, Folded, Heading, Items, Picture, Text, with_own_files
from abkd_jax.study.report.claims import Claim, claims_table, claims_text, decide
from abkd_jax.study.report.comparisons import Test, compare, compare_over_datasets
from abkd_jax.study.report.cost_figures import cost_pictures
from abkd_jax.study.report.grid import Grid, make_grid
from abkd_jax.study.report.hours import hours_table
from abkd_jax.study.report.html import as_html
from abkd_jax.study.report.latex import as_latex
from abkd_jax.study.report.markdown import as_markdown
from abkd_jax.study.report.origin_tables import data_table, models_table, programs_table, settings
from abkd_jax.study.report.score_tables import comparison_table, cost_table, groups, lengths_table, main_table, ranks
from abkd_jax.study.report.size_figures import size_pictures
from abkd_jax.study.report.tuning import tuning_strip, tuning_table
from abkd_jax.study.report.words import findings, remarks, summary
from abkd_jax.types import InputError

__all__ = ["study_blocks", "write_report"]

log = logging.getLogger(__name__)

NOTE = """\
Mean +- standard deviation (ddof 1) over the seeds. Above the scores: layers x width of the student, and how many times
fewer parameters than its teacher it has. Bold is significantly better than {baseline}, an arrow significantly
worse: two-sided {test} test of the differences paired by seed and split, Holm p < .05 over all comparisons of the
table. Average ranks are those of methods with a score on every data set. Epochs to .5: first evaluated epoch from which
validation stays within .5 points of its last value, median over seeds, mean over data sets. Failed: starts that
diverged or ended more than 5 points below the median of the seeds. Of real targets a point is a percent of the RMSE."""
BEST_NOTE = """\
The best student is that of the highest mean test score: choosing it so makes its gap to the teacher look smaller."""
TESTS_NOTE = """\
Differences are of test scores, paired by seed and split. Intervals are BCa bootstraps; the permutation test flips
signs, exactly up to 13 pairs; d_z is the mean over the standard deviation. "-" stands where there are fewer than
three pairs or the differences do not vary. Over all data sets every one weighs the same, students of several sizes
are one pair a seed by their mean, the deviation is that between data sets, and Holm's correction is that of the
permutation test over the methods. Test scores after changes of the graph are corrected among themselves."""


def write_report(
    cells: Sequence[Cell],
    folder: Path,
    baseline: str = "soft_label",
    test: Test = "permutation",
    claims: Sequence[Claim] = (),
) -> Path:
    """Writes `report.html`, `report.md` with its figures, and `tables.tex`.

    Args:
        cells: of one study table.
        folder: where to; it is made.
        baseline: name of the method to compare with.
        test: whose p is corrected and decides what is bold.
        claims: comparisons that were chosen before the table was trained.

    Returns:
        The path of `report.html`.

    Raises:
        InputError: as for `make_grid`, or the report cannot be written.
    """
    grid = make_grid(cells, baseline)
    title, blocks = f"Study {grid.name}", study_blocks(grid, baseline, test, claims)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in _pictures(blocks):
            write_atomic(folder / picture.name, picture.svg)
        write_atomic(folder / "report.md", as_markdown(title, blocks))
        write_atomic(folder / "tables.tex", as_latex(blocks))
        write_atomic(folder / "report.html", as_html(title, blocks))
    except OSError as error:
        raise InputError(f"{folder}: the report cannot be written: {error.strerror}") from error
    return folder / "report.html"


def study_blocks(grid: Grid, baseline: str, test: Test = "permutation", claims: Sequence[Claim] = ()) -> list[Block]:
    """Returns the parts of the report in their order; the same for the same cells."""
    rows = compare(grid, baseline, test)
    missing = remarks(grid)
    blocks: list[Block] = [Items(summary(grid)), Text(findings(grid, baseline, test, rows)), Text(BEST_NOTE)]
    blocks += [Heading("What is missing"), Items(missing)] if missing else []
    blocks += _claims(grid, claims, test)
    blocks += [Heading("Scores"), *(main_table(grid, title, columns, rows) for title, columns in groups(grid))]
    blocks.append(Text(NOTE.format(baseline=baseline, test=test)))
    over = compare_over_datasets(grid, baseline)
    blocks += [Heading("Comparisons"), *([comparison_table(grid, baseline, over)] if over else [])]
    blocks += [comparison_table(grid, baseline, rows), Text(TESTS_NOTE)]
    blocks += _views(grid, baseline, test)
    if can_draw():
        blocks += _score_figures(grid)
    else:
        log.warning("the report has no figures: %s", MISSING)
        blocks += [Heading("Figures"), Text(f"There are none: {MISSING}")]
    return with_own_files(blocks + _training(grid) + _origin(grid))


def _claims(grid: Grid, claims: Sequence[Claim], test: Test) -> list[Block]:
    decisions = decide(grid, claims, test)
    if not decisions:
        return []
    return [Heading("Claims"), Text(claims_text(grid, decisions, test)), claims_table(grid, decisions)]


def _views(grid: Grid, baseline: str, test: Test) -> list[Block]:
    """Returns tables of the further test scores of the regimes."""
    blocks: list[Block] = []
    for view in grid.views()[1:]:
        rows = compare(grid, baseline, test, view)
        tables = [main_table(grid, title, columns, rows, view) for title, columns in groups(grid)]
        shown = [table for table in tables if any(entry.text != "-" for line in table.rows for entry in line[1:-3])]
        blocks += [Heading(view.capitalize()), *shown, Text(findings(grid, baseline, test, rows))]
        blocks.append(Folded("Comparisons", [comparison_table(grid, baseline, rows, view)]))
        blocks += score_figures.score_pictures(grid, view) if can_draw() else []
    return blocks


def _score_figures(grid: Grid) -> list[Block]:
    blocks: list[Block] = []
    for number, (title, columns) in enumerate(groups(grid)):
        found = ranks(grid, columns)
        drawn = score_figures.critical_difference(found)
        if drawn is None:  # one data set, or one method
            continue
        p = "" if found.friedman_p is None else f" Friedman's test that no method differs: p = {found.friedman_p:.2g}."
        blocks += [] if blocks else [Heading("Average ranks")]
        blocks.append(Text(f"{title}: {len(found.ranks)} methods on {found.datasets} data sets.{p}"))
        caption = f"Average ranks, {title}; bars join methods that Nemenyi's test at 5 % does not tell apart"
        blocks.append(Picture(f"ranks_{number}.svg", caption, drawn))
    blocks.append(Heading("Scores by data set"))
    blocks += score_figures.score_pictures(grid)
    blocks.append(Heading("Scores against cost"))
    pictures = [*size_pictures(grid), *cost_pictures(grid)]
    blocks += [*pictures, cost_table(grid), Heading("Scores over epochs")]
    note = f"Validation scores, the {score_figures.MAX_CURVES} best methods"
    return blocks + score_figures.column_pictures(grid, "curves", note, score_figures.curves)


def _training(grid: Grid) -> list[Block]:
    """Returns the parts on training and tuning, those that the cells hold."""
    lengths, terms, cka = lengths_table(grid), training_parts.terms_table(grid), training_parts.cka_table(grid)
    blocks: list[Block] = [lengths] if lengths else []
    parts = [table for table in (terms, cka) if table]
    blocks += [Heading("Inside training"), *parts] if parts else []
    if can_draw():
        attention = training_parts.attention_pictures(grid)
        blocks += [Folded("Layer attention of single seeds", [*attention])] if attention else []
    chosen = tuning_table(grid)
    if chosen:
        draws = can_draw()
        trials = score_figures.column_pictures(grid, "tuning", "Trials of tuning", tuning_strip) if draws else []
        blocks.append(Folded("Tuning", [*trials, chosen]))
    return blocks


def _origin(grid: Grid) -> list[Block]:
    models = models_table(grid)
    tables = [hours_table(grid), data_table(grid), programs_table(grid), *([models] if models else [])]
    return [Heading("Settings and provenance"), *tables, Folded("Settings", [*settings(grid)])]


def _pictures(blocks: Sequence[Block]) -> list[Picture]:
    found = [block for block in blocks if isinstance(block, Picture)]
    return found + [p for block in blocks if isinstance(block, Folded) for p in _pictures(block.blocks)]
