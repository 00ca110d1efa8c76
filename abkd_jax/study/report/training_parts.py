"""What happened in training: terms of the losses, layer attention and CKA."""

from typing import Any

import numpy as np

from abkd_jax.run.report.canvas import svg
from abkd_jax.run.report.heatmaps import layer_maps
from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.report.blocks import Picture, Table, picture_file, plain
from abkd_jax.study.report.grid import Grid
from abkd_jax.study.report.score_tables import label

__all__ = ["attention_pictures", "cka_table", "terms_table"]

NAMES = {
    "dissimilarity": "D",
    "dissimilarity_share": "D / variance",
    "attention_entropy": "row entropy",
}


def terms_table(grid: Grid) -> Table | None:
    """Returns terms, D, D / variance, row entropy and gradient shares, first to last; None where none was logged."""
    lines = [
        plain(method, label(grid, column), _name(term), *(_number(end) for end in ends))
        for (column, method), cell in grid.cells.items()
        for term, ends in cell.get("terms", {}).items()
    ]
    caption = "Logged numbers at the first recorded and at the last epoch, means over seeds"
    return Table(caption, ("method", "data set", "number", "first", "last"), lines, texts=3) if lines else None


def cka_table(grid: Grid) -> Table | None:
    """Returns the CKA of the last hidden layers of teacher and student; None where no cell has it."""
    lines = []
    for (column, method), cell in grid.cells.items():
        parts = [[v for v in cell.get("cka", {}).get(when, []) if is_finite(v)] for when in ("before", "after")]
        if any(parts):
            lines.append(plain(method, label(grid, column), *(f"{np.mean(p):.3f}" if p else "-" for p in parts)))
    caption = "CKA of the last hidden layers of teacher and student, means over seeds"
    return Table(caption, ("method", "data set", "before training", "after"), lines, texts=2) if lines else None


def attention_pictures(grid: Grid) -> list[Picture]:
    """Returns the layer attention after training of every cell that has it, seed by seed and never their mean."""
    pictures = []
    for (column, method), cell in grid.cells.items():
        if cell.get("attention"):
            maps = np.array(cell["attention"], float)[None]  # [1, seeds, T_l, S_l]; null is NaN
            title = f"{method}, {label(grid, column)}"
            figure = layer_maps(np.array([cell.get("epochs", 0)]), maps, "attention", title)
            pictures.append(
                Picture(picture_file("attention", *column, method), f"Layer attention of {title}", svg(figure))
            )
    return pictures


def _name(term: str) -> str:
    return NAMES.get(term, term.replace("gradient_share/", "share of the gradient: "))


def _number(value: Any) -> str:
    return f"{value:.3g}" if is_finite(value) else "-"
