"""Figure of score against size and against latency: what a smaller or faster model costs in quality."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from abkd_jax.run.report.canvas import COLOURS, canvas, footer
from abkd_jax.run.report.statistics import Summary
from abkd_jax.types import InputError, Metric

__all__ = ["MARKERS", "frontier", "logarithmic", "pareto"]

NARROW = 50.0  # ratio of the largest to the smallest cost below which powers of ten are too few ticks
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")


def pareto(
    summaries: Sequence[Summary], metric: Metric, one_ms: Mapping[str, float] | None = None, data: str = ""
) -> Any:
    """Draws the test score of every method against its parameters, and against the time of one inference.

    Points are means over the seeds, bars one standard deviation (ddof 1); the grey steps join the methods that no other
    one beats in both respects. The axes of cost are logarithmic.

    Args:
        summaries: as from `summarise`; methods without a score or a cost are left out of a panel.
        metric: metric of the scores.
        one_ms: median milliseconds for the neighbourhood of one node, by method, where they were measured.
        data: name of the data set, for the footer.

    Returns:
        A `matplotlib.figure.Figure`, which notebooks show; `canvas.png` encodes it.

    Raises:
        InputError: no method has a score and a cost.
    """
    panels = [
        ("parameters", {s.method: s.parameters for s in summaries}),
        ("whole graph, ms", {s.method: s.latency_ms for s in summaries}),
        ("one node or graph, ms", dict(one_ms or {})),
    ]
    scores = {s.method: s.test for s in summaries if s.test is not None}
    drawn = [(label, {m: c for m, c in costs.items() if c and m in scores}) for label, costs in panels]
    drawn = [(label, costs) for label, costs in drawn if costs]
    if not drawn:
        raise InputError("pareto: expected a method with a test score and parameters or a latency")
    with canvas(2.9 * len(drawn) + 0.4, 2.9) as figure:
        axes = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        axes[0].set_ylabel(f"test {metric.heading}")
        for axis, (label, costs) in zip(axes, drawn, strict=True):
            axis.set_xlabel(label)
            logarithmic(axis, costs.values())
            _points(axis, [s.method for s in summaries], costs, scores, metric)
        handles: dict[Any, Any] = {}
        for axis in axes:
            handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
        footer(figure, data)
        return figure


def logarithmic(axis: Any, costs: Collection[int | float]) -> None:
    """Gives an axis few enough ticks that their labels do not overlap."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    low, high = min(costs), max(costs)
    if low == high:  # matplotlib's own limits may be one rounding apart, which it divides by
        axis.set_xlim(low / 2.0, high * 2.0)
    narrow = high < NARROW * low
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _points(
    axis: Any, methods: Sequence[str], costs: Mapping[str, int | float], scores: Mapping[str, Any], metric: Metric
) -> None:
    shown = {method: metric.factor * scores[method].mean for method in costs}
    best = frontier([(costs[method], scores[method].mean, method) for method in costs])  # stored: higher is better
    axis.step(
        [costs[method] for method in best],
        [shown[method] for method in best],
        where="post",
        color="0.7",
        linewidth=1.0,
        zorder=1,
    )
    for number, method in enumerate(methods):
        if method in costs:
            spread = abs(metric.factor) * (scores[method].std or 0.0)
            axis.errorbar(
                costs[method],
                shown[method],
                yerr=spread,
                marker=MARKERS[number % len(MARKERS)],
                color="black" if method == "teacher" else COLOURS[number % len(COLOURS)],
                linestyle="none",
                markersize=5,
                capsize=2,
                linewidth=1.0,
                label=method,
            )


def frontier(points: Sequence[tuple[int | float, float, str]]) -> list[str]:
    """Returns the names of the points that no other one beats in both respects, the cheapest first.

    Args:
        points: cost, value (higher is better) and name.

    Examples:
        >>> frontier([(10.0, 0.8, "small"), (20.0, 0.7, "poor"), (90.0, 0.9, "large")])
        ['small', 'large']
    """
    found, best = [], float("-inf")
    for _, value, name in sorted(points, key=lambda point: (point[0], -point[1])):
        if value > best:
            found.append(name)
            best = value
    return found
