"""Figures of a run: learning curves over the seeds, layer maps of single seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from abkd_jax.run.report.canvas import COLOURS, LINE_STYLES, canvas, footer, png
from abkd_jax.run.report.heatmaps import layer_maps
from abkd_jax.run.report.pareto import pareto
from abkd_jax.run.report.statistics import Summary
from abkd_jax.run.report.trends import Record, is_finite
from abkd_jax.types import InputError, Metric

__all__ = ["Image", "layer_maps", "learning_curves", "run_figures"]

PARETO = "Scores against cost: means over the seeds, bars one standard deviation, grey steps the Pareto frontier"
MAPS = {"attention": "Layer attention", "dissimilarity": "Layer dissimilarity"}
UNKNOWN = Metric("score", "", 1.0, True)  # for logs without records, which name the metric


class Image(NamedTuple):
    """File name, caption and PNG bytes of a figure."""

    name: str
    caption: str
    png: bytes


class _Curve(NamedTuple):
    """Curve of a method: epochs, mean over seeds, standard deviation (0 for one seed), each `[epochs]`; seeds."""

    epochs: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    seeds: int


def run_figures(
    metrics: Sequence[Record],
    maps: Mapping[str, np.ndarray],
    metric: Metric = UNKNOWN,
    data: str = "",
    summaries: Sequence[Summary] = (),
    one_ms: Mapping[str, float] | None = None,
) -> list[Image]:
    """Returns all figures that can be drawn from the logs and the records of a run.

    Args:
        metrics: as for `learning_curves`; may be empty.
        maps: for every method with layer maps `"<method>:epochs"` `[k]` and, each `[k, seeds, T_l, S_l]`,
            `"<method>:attention"` and `"<method>:dissimilarity"`; may be empty.
        metric: metric of the scores in the logs.
        data: name of the data set, for the footers.
        summaries: of the records; scores are drawn against cost where two methods have both.
        one_ms: as for `pareto`.

    Raises:
        InputError: maps without their epochs, or as for `layer_maps`.
    """
    images = []
    if sum(s.test is not None and s.parameters is not None for s in summaries) > 1:
        images.append(Image("pareto.png", PARETO, png(pareto(summaries, metric, one_ms, data))))
    if any(is_finite(row.get(key)) for row in metrics for key, *_ in _curves(metric)):
        images.append(
            Image("learning_curves.png", "Learning curves", png(learning_curves(metrics, "teacher", metric, data)))
        )
    for key, values in maps.items():
        method, _, quantity = key.rpartition(":")
        if quantity in MAPS:
            if f"{method}:epochs" not in maps:
                raise InputError(f"maps: expected {method}:epochs beside {key}, got {', '.join(maps)}")
            title = f"{data}, {method}" if data else method
            picture = layer_maps(maps[f"{method}:epochs"], values, quantity, title)
            images.append(Image(f"{quantity}_{method}.png", f"{MAPS[quantity]} of {method}", png(picture)))
    return images


def learning_curves(
    metrics: Sequence[Record], teacher: str = "teacher", metric: Metric = UNKNOWN, data: str = ""
) -> Any:
    """Draws validation score, validation loss and training loss against the epoch, one panel each.

    The lines are means over the seeds with a finite value at the epoch, the bands one standard deviation (ddof 1) to
    either side. The teacher has its own column of panels, because it trains for another number of epochs.

    Args:
        metrics: one mapping per method, seed and epoch: `"method"`, `"seed"`, `"epoch"` and the logged scalars.
        teacher: name of the teacher among the methods.
        metric: metric of the validation score.
        data: name of the data set, for the footer.

    Returns:
        A `matplotlib.figure.Figure`, which notebooks show; `canvas.png` encodes it.

    Raises:
        InputError: no line of the log has a finite value of any of the three.

    Examples:
        >>> log = [{"method": "abkd", "seed": 0, "epoch": epoch, "loss": 1.0 / (1 + epoch)} for epoch in range(3)]
        >>> [axis.get_ylabel() for axis in learning_curves(log).axes]
        ['training loss']
    """
    names = list(dict.fromkeys(row["method"] for row in metrics))
    students = [name for name in names if name != teacher]
    columns = [column for column in (students, [teacher] if teacher in names else []) if column]
    rows = [curve for curve in _curves(metric) if any(is_finite(row.get(curve[0])) for row in metrics)]
    if not rows:
        raise InputError(f"learning_curves: expected metrics with one of {', '.join(c[0] for c in _curves(metric))}")
    # From the seventh method on colours meet other line styles: no two of 36 look the same.
    lines = [(i % len(COLOURS), (i + i // len(COLOURS)) % len(LINE_STYLES)) for i in range(len(students))]
    styles = {name: (COLOURS[c], LINE_STYLES[s]) for name, (c, s) in zip(students, lines, strict=True)}
    styles[teacher] = ("black", "-")
    seeds: dict[str, int] = {}
    with canvas(4.2 * len(columns), 2.3 * len(rows) + 0.5) as figure:
        panels = figure.subplots(len(rows), len(columns), sharex="col", squeeze=False)
        for panel_row, (key, label, factor) in zip(panels, rows, strict=True):
            panel_row[0].set_ylabel(label)
            for panel, column in zip(panel_row, columns, strict=True):
                for name in column:
                    curve = _curve(metrics, name, key, factor)
                    seeds[name] = max(seeds.get(name, 0), curve.seeds)
                    _draw_curve(panel, curve, styles[name], name)
        for column, top, bottom in zip(columns, panels[0], panels[-1], strict=True):
            top.set_title("teacher" if column == [teacher] else "students")
            bottom.set_xlabel("epoch")
        if students:
            handles = {line.get_label(): line for panel in panels[:, 0] for line in panel.get_lines()}
            wide = 5 if len(columns) > 1 else 3  # names have no more room
            figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=wide, frameon=False)
        footer(figure, data, _seed_counts(seeds))
        return figure


def _curves(metric: Metric) -> tuple[tuple[str, str, float], ...]:
    """Returns the key in the logs, the label and the factor of each row of panels."""
    score = f"validation {metric.name}" + (f", {metric.unit}" if metric.unit else "")
    return ("val_accuracy", score, metric.factor), ("val_loss", "validation loss", 1.0), ("loss", "training loss", 1.0)


def _seed_counts(seeds: Mapping[str, int]) -> str:
    """Returns `"5 seeds"`, and the methods that have fewer."""
    most = max(seeds.values())
    fewer = [f"{name} {number}" for name, number in seeds.items() if number < most]
    return f"{most} seed{'s' * (most > 1)}" + (f" ({', '.join(fewer)})" if fewer else "")


def _curve(metrics: Sequence[Record], method: str, key: str, factor: float) -> _Curve:
    """Returns the curve of a method, masked where no seed is finite."""
    points = {
        (row["seed"], row["epoch"]): float(row[key])  # a resumed run may log an epoch again: the last entry counts
        for row in metrics
        if row["method"] == method and is_finite(row.get(key))
    }
    seeds, epochs = (sorted(set(axis)) for axis in zip(*points, strict=True)) if points else ([], [])
    values = np.array([[points.get((seed, epoch), np.nan) for epoch in epochs] for seed in seeds])
    values = np.ma.masked_invalid(values.reshape(len(seeds), len(epochs)) * factor)
    std = np.zeros(len(epochs)) if len(seeds) < 2 else values.std(axis=0, ddof=1).filled(0.0)
    return _Curve(np.array(epochs), values.mean(axis=0), std, len(seeds))


def _draw_curve(panel: Any, curve: _Curve, style: tuple[str, Any], label: str) -> None:
    if len(curve.epochs) == 0:
        return
    colour, line_style = style
    marker = "o" if len(curve.epochs) == 1 else None  # one point makes no line
    panel.plot(curve.epochs, curve.mean, color=colour, linestyle=line_style, marker=marker, markersize=3, label=label)
    low, high = curve.mean - curve.std, curve.mean + curve.std
    panel.fill_between(curve.epochs, low, high, color=colour, alpha=0.18, linewidth=0)
