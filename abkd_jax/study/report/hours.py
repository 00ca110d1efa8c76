"""Hours and memory that the cells of a study took."""

from collections.abc import Sequence

from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.blocks import Entry, Table, plain
from abkd_jax.study.report.grid import Grid

__all__ = ["hours_table"]

CAPTION = """\
Hours of teachers, tuning, and training at the chosen length; "in all" has other lengths, compilation and evaluation as
well, in the processes that finished the cells. Memory is the most that such a process held"""


def hours_table(grid: Grid) -> Table:
    """Returns hours and memory of every data set, then of the table; teachers of several regimes count once."""
    lines, whole = [], ([], [])
    for dataset in dict.fromkeys(column.dataset for column in grid.columns):
        students = [cell for (column, _), cell in grid.cells.items() if column.dataset == dataset]
        of_dataset = [cell for (name, _), cell in grid.teachers.items() if name == dataset]
        teachers = list({str(cell.get("weights", id(cell))): cell for cell in of_dataset}.values())
        lines.append(_row(dataset, teachers, students))
        whole = whole[0] + teachers, whole[1] + students
    if len(lines) > 1:
        lines.append(_row("all data sets", *whole))
    headers = ("data set", "cells", "teachers h", "tuning h", "training h", "in all h", "memory GiB")
    return Table(" ".join(CAPTION.split()), headers, lines)


def _row(name: str, teachers: Sequence[Cell], students: Sequence[Cell]) -> tuple[Entry, ...]:
    of_teachers, whole = _times(teachers, "training_seconds"), _times(students, "seconds")
    hours = [of_teachers, *(_times(students, key) for key in ("tuning_seconds", "training_seconds"))]
    hours.append(of_teachers + whole if whole else [])
    memory = _times([*teachers, *students], "peak_memory_gib")
    texts = (f"{sum(of) / 3600:.2f}" if of else "-" for of in hours)
    return plain(name, str(len(students)), *texts, f"{max(memory):.2f}" if memory else "-")


def _times(cells: Sequence[Cell], key: str) -> list[float]:
    return [value for cell in cells if is_finite(value := cell.get("times", {}).get(key))]
