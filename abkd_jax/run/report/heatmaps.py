"""Heat maps of layer maps: teacher layers as rows, input side first, student layers as columns; one panel per seed.

Attention ends nearly one-hot, on other pairs in each seed: a mean over seeds would look like soft attention.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from abkd_jax.run.report.canvas import canvas, footer
from abkd_jax.types import InputError

__all__ = ["draw_layer_maps", "layer_maps"]

MAX_EPOCHS = 6  # side by side
MAX_SEEDS = 3  # one below the other
ONE_HOT = 0.95  # least share of the sum of a row of attention in its largest entry
COLOUR_MAP = "YlGnBu"


class _Row(NamedTuple):
    """Row of panels, one per epoch `[k, T_l, S_l]`, with a common colour scale from 0 to `top`."""

    title: str
    maps: Any
    top: float
    bar: str


def layer_maps(
    epochs: Int[np.ndarray, " k"], maps: Float[np.ndarray, "maps seeds T_l S_l"], label: str, data: str = ""
) -> Any:
    """Returns heat maps of teacher layers against student layers at several epochs.

    Args:
        epochs: `[k]`, ascending; at most six of them are drawn, evenly chosen, the first and the last among them.
        maps: `[k, seeds, T_l, S_l]`, not negative. The first three seeds with finite values are drawn, each on its own.
            For attention of more seeds, a last row of panels shows the share of seeds with over 95 % of a row's weight
            on a pair.
        label: quantity of the maps: `"attention"` or another one.
        data: name of the data set, for the footer.

    Returns:
        A `matplotlib.figure.Figure`, which notebooks show; `canvas.png` encodes it.

    Raises:
        InputError: there is no map, or not one map per epoch.
    """
    chosen, rows, seeds = _panels(epochs, maps, label)
    teacher_layers, student_layers = maps.shape[2:]
    width = np.clip(0.26 * student_layers, 0.9, 4.0) + 0.25
    height = np.clip(0.075 * teacher_layers, 1.8, 6.0 if len(rows) == 1 else 2.6)
    with canvas(width * len(chosen) + 1.6, height * len(rows) + 1.1) as figure:
        _draw(figure, chosen, rows)
        footer(figure, data, seeds)
        return figure


def draw_layer_maps(
    figure: Any, epochs: Int[np.ndarray, " k"], maps: Float[np.ndarray, "maps seeds T_l S_l"], label: str
) -> str:
    """Draws the panels of `layer_maps` into a figure or subfigure of matplotlib and returns which seeds they show."""
    chosen, rows, seeds = _panels(epochs, maps, label)
    _draw(figure, chosen, rows)
    return seeds


def _panels(epochs: np.ndarray, maps: np.ndarray, label: str) -> tuple[np.ndarray, list[_Row], str]:
    """Returns the epochs that are drawn, the rows of panels, and which seeds these show."""
    if maps.shape[:1] != epochs.shape or maps.size == 0:
        raise InputError(f"layer_maps: expected [k, seeds, T_l, S_l] with k = {epochs.size}, got {maps.shape}")
    chosen = np.unique(np.linspace(0, len(epochs) - 1, min(MAX_EPOCHS, len(epochs))).round().astype(int))
    values = np.ma.masked_invalid(maps[chosen])
    finite = [seed for seed in range(maps.shape[1]) if values[:, seed].count()]
    drawn = finite[:MAX_SEEDS] or [0]
    largest = float(values.max()) if finite else 0.0
    top = max(largest, 1.0) if label == "attention" else largest or 1.0
    rows = [_Row(f"seed {seed}", values[:, seed], top, label) for seed in drawn]
    shown = f"{label} of seed{'s' * (len(drawn) > 1)} {', '.join(map(str, drawn))} of {maps.shape[1]}"
    if len(finite) < maps.shape[1]:
        shown += f" ({maps.shape[1] - len(finite)} without values)"
    several = label == "attention" and len(finite) > len(drawn)
    if several and (shares := _one_hot_shares(values[:, finite])).any():
        rows.append(_Row(f"{len(finite)} seeds", shares, 1.0, "share"))
        shown += f"; below: share of {len(finite)} seeds with over {ONE_HOT:.0%} of the row here"
    return epochs[chosen], rows, shown


def _one_hot_shares(maps: Any) -> np.ndarray:
    """Returns the share of seeds with over 95 % of a row's weight on a pair: `[k, seeds, T, S]` -> `[k, T, S]`."""
    weights = maps.filled(0.0)
    return ((weights > ONE_HOT * weights.sum(axis=3, keepdims=True)) & (weights > 0.0)).mean(axis=1)


def _draw(figure: Any, epochs: np.ndarray, rows: list[_Row]) -> None:
    panels = figure.subplots(len(rows), len(epochs), sharex=True, sharey=True, squeeze=False)
    bars: dict[str, Any] = {}
    for line, row in zip(panels, rows, strict=True):
        scale = {"cmap": COLOUR_MAP, "vmin": 0.0, "vmax": row.top, "aspect": "auto", "interpolation": "none"}
        images = [panel.imshow(values, **scale) for panel, values in zip(line, row.maps, strict=True)]
        line[0].set_ylabel(row.title)
        bars.setdefault(row.bar, (images[0], []))[1].extend(line)
    for label, (image, axes) in bars.items():
        bar = figure.colorbar(image, ax=axes, label=label, fraction=0.05, pad=0.02, aspect=20 * len(axes) / len(epochs))
        bar.outline.set_visible(False)
    teacher_layers, student_layers = rows[0].maps.shape[1:]
    panels[0, 0].set_xticks(*_layer_ticks(student_layers))
    panels[0, 0].set_yticks(*_layer_ticks(teacher_layers))
    for panel, epoch in zip(panels[0], epochs, strict=True):
        panel.set_title(f"epoch {epoch}")
    for panel in panels.flat:
        panel.grid(False)
    for panel in panels[-1]:
        panel.set_xlabel("student layer")
    figure.supylabel("teacher layer (1 = input side)", fontsize="medium")


def _layer_ticks(layers: int) -> tuple[list[int], list[str]]:
    """Returns positions and labels, counted from 1: every layer up to 8 layers, else the first and every quarter."""
    step = 1 if layers <= 8 else round(layers / 4)
    numbers = [1, *range(2 if step == 1 else step, layers + 1, step)]
    return [n - 1 for n in numbers], [str(n) for n in numbers]
