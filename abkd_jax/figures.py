"""Figures of a run as PNG bytes: learning curves and layer maps. Colour-blind safe, and readable in grey."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from abkd_jax.types import InputError

__all__ = ["Image", "layer_maps", "learning_curves", "run_figures"]

DOTS_PER_INCH = 150
MAX_MAPS = 6  # epochs shown side by side
# The palette of Okabe and Ito (jfly.uni-koeln.de/color); the line styles tell the methods apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
CURVES = (  # metric, label, factor
    ("val_accuracy", "validation accuracy, %", 100.0),
    ("val_loss", "validation loss", 1.0),
    ("loss", "training loss", 1.0),
)
MAPS = {"attention": "Layer attention", "dissimilarity": "Layer dissimilarity"}
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
}


class Image(NamedTuple):
    """A figure to be written: file name, caption, and the content of the PNG file."""

    name: str
    caption: str
    png: bytes


def run_figures(metrics: Sequence[Mapping[str, Any]], maps: Mapping[str, np.ndarray]) -> list[Image]:
    """All figures that the logs of a run allow for.

    Args:
        metrics: as for `learning_curves`; may be empty.
        maps: for every method with layer maps `"<method>:epochs"` `[k]` and, each `[k, seeds, T_l, S_l]`,
            `"<method>:attention"` and `"<method>:dissimilarity"`; may be empty.

    Raises:
        InputError: maps without their epochs, or as for `layer_maps`.
    """
    images = []
    if any(row.get(metric) is not None for row in metrics for metric, *_ in CURVES):
        images.append(Image("learning_curves.png", "Learning curves", learning_curves(metrics)))
    for key, values in maps.items():
        method, _, quantity = key.rpartition(":")
        if quantity in MAPS:
            if f"{method}:epochs" not in maps:
                raise InputError(f"maps: expected {method}:epochs beside {key}, got {', '.join(maps)}")
            png = layer_maps(maps[f"{method}:epochs"], values, quantity)
            images.append(Image(f"{quantity}_{method}.png", f"{MAPS[quantity]} of {method}", png))
    return images


def learning_curves(metrics: Sequence[Mapping[str, Any]], teacher: str = "teacher") -> bytes:
    """Validation accuracy, validation loss and training loss against the epoch, one panel each.

    The lines are means over the seeds that have reached the epoch, the bands one standard deviation (ddof 1) to either
    side. The teacher has its own column of panels, because it trains for another number of epochs.

    Args:
        metrics: one mapping for every method, seed and epoch: `"method"`, `"seed"`, `"epoch"` and the logged scalars.
        teacher: the method that is the teacher.

    Returns:
        A PNG file.

    Raises:
        InputError: no line of the log carries any of the three metrics.
    """
    names = list(dict.fromkeys(row["method"] for row in metrics))
    students = [name for name in names if name != teacher]
    columns = [column for column in (students, [teacher] if teacher in names else []) if column]
    rows = [curve for curve in CURVES if any(row.get(curve[0]) is not None for row in metrics)]
    if not rows:
        raise InputError(f"learning_curves: expected metrics with one of {', '.join(c[0] for c in CURVES)}, got none")
    styles = {n: (COLOURS[i % len(COLOURS)], LINE_STYLES[i % len(LINE_STYLES)]) for i, n in enumerate(students)}
    styles[teacher] = ("black", "-")
    with _figure(4.2 * len(columns), 2.3 * len(rows) + 0.3) as figure:
        panels = figure.subplots(len(rows), len(columns), sharex="col", squeeze=False)
        for panel_row, (metric, label, factor) in zip(panels, rows, strict=True):
            panel_row[0].set_ylabel(label)
            for panel, column in zip(panel_row, columns, strict=True):
                for name in column:
                    _draw_curve(panel, *_curve(metrics, name, metric, factor), styles[name], name)
        for column, top, bottom in zip(columns, panels[0], panels[-1], strict=True):
            top.set_title("teacher" if column == [teacher] else "students")
            bottom.set_xlabel("epoch")
        if students:
            handles = {line.get_label(): line for panel in panels[:, 0] for line in panel.get_lines()}
            figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
        return _png(figure)


def layer_maps(epochs: Int[np.ndarray, " k"], maps: Float[np.ndarray, "maps seeds T_l S_l"], label: str) -> bytes:
    """Heat maps of teacher layers against student layers at several epochs, on one colour scale from 0.

    Args:
        epochs: `[k]`, ascending; at most six of them are drawn, evenly chosen, the first and the last among them.
        maps: `[k, seeds, T_l, S_l]`, not negative; the mean over seeds is drawn.
        label: what the colours mean.

    Returns:
        A PNG file.

    Raises:
        InputError: there is no map, or not one map an epoch.
    """
    if maps.shape[0] != epochs.shape[0] or maps.size == 0:
        raise InputError(f"layer_maps: expected [k, seeds, T_l, S_l] with k = {epochs.shape[0]}, got {maps.shape}")
    chosen = np.unique(np.linspace(0, len(epochs) - 1, min(MAX_MAPS, len(epochs))).round().astype(int))
    means = np.ma.masked_invalid(maps[chosen]).mean(axis=1)
    top = float(means.max()) if means.count() else 0.0
    teacher_layers, student_layers = maps.shape[2:]
    width, height = np.clip(0.26 * student_layers, 0.9, 4.0), np.clip(0.075 * teacher_layers, 1.8, 6.0)
    with _figure((width + 0.25) * len(chosen) + 1.3, height + 1.0) as figure:
        panels = figure.subplots(1, len(chosen), sharey=True, squeeze=False)[0]
        scale = {"cmap": "YlGnBu", "vmin": 0.0, "vmax": top or 1.0}
        images = [p.imshow(m, **scale, aspect="auto", interpolation="none") for p, m in zip(panels, means, strict=True)]
        for panel, index in zip(panels, chosen, strict=True):
            panel.set_title(f"epoch {epochs[index]}")
            panel.set_xticks(*_layer_ticks(student_layers))
            panel.grid(False)
        panels[0].set_yticks(*_layer_ticks(teacher_layers))
        panels[0].set_ylabel("teacher layer (1 = input side)")
        figure.supxlabel("student layer", fontsize="medium")
        bar = figure.colorbar(images[0], ax=list(panels), label=f"{label}, mean over seeds", fraction=0.04, pad=0.02)
        bar.outline.set_visible(False)
        return _png(figure)


def _curve(
    metrics: Sequence[Mapping[str, Any]], method: str, metric: str, factor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs, mean over seeds, standard deviation (0 for one seed), each `[epochs]`; masked where nothing is finite."""
    points = {
        (row["seed"], row["epoch"]): float(row[metric])  # after a resumed run the last entry of an epoch counts
        for row in metrics
        if row["method"] == method and row.get(metric) is not None
    }
    seeds, epochs = (sorted(set(axis)) for axis in zip(*points, strict=True)) if points else ([], [])
    values = np.array([[points.get((seed, epoch), np.nan) for epoch in epochs] for seed in seeds])
    values = np.ma.masked_invalid(values.reshape(len(seeds), len(epochs)) * factor)
    if len(seeds) < 2:
        return np.array(epochs), values.mean(axis=0), np.zeros(len(epochs))
    return np.array(epochs), values.mean(axis=0), values.std(axis=0, ddof=1).filled(0.0)


def _draw_curve(
    panel: Any, epochs: np.ndarray, mean: np.ndarray, std: np.ndarray, style: tuple[str, Any], label: str
) -> None:
    if len(epochs) == 0:
        return
    colour, line_style = style
    marker = "o" if len(epochs) == 1 else None  # one point makes no line
    panel.plot(epochs, mean, color=colour, linestyle=line_style, marker=marker, markersize=3, label=label)
    panel.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.18, linewidth=0)


def _layer_ticks(layers: int) -> tuple[list[int], list[str]]:
    """Positions and labels, counted from 1: every layer up to 8, then the first and every eighth part."""
    step = max(1, round(layers / 8))
    numbers = [1, *range(2 if step == 1 else step, layers + 1, step)]
    return [n - 1 for n in numbers], [str(n) for n in numbers]


@contextmanager
def _figure(width: float, height: float) -> Iterator[Any]:
    """A figure of that size in inches on the Agg canvas: no window, no global state, nothing imported before."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=DOTS_PER_INCH)
        FigureCanvasAgg(figure)
        yield figure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()
