"""The picture of the README, from the results of both citation graphs: `python -m experiments.figures`."""

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from abkd_jax.files import read_arrays, read_json, write_atomic
from abkd_jax.results import summarise

RESULTS = Path("experiments/results")
DATASETS = {"cora": "Cora, 60.7x smaller", "citeseer": "Citeseer, 33.5x smaller"}
METHODS = {
    "teacher": "teacher, 64 layers x 64",
    "directions_abkd": "soft labels + ABKD, best start",
    "directions": "soft labels, best start",
    "abkd": "soft labels + ABKD",
    "abkd_paper": "soft labels + literal ABKD",
    "soft_label": "soft labels",
    "labels_abkd": "labels + ABKD",
    "labels_paper": "labels + literal ABKD",
    "supervised": "labels, 4 layers x 4",
}
BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe & Ito


def main() -> None:
    """Draws accuracy by method, and the attention map at the start and at the end."""
    figure = Figure(figsize=(11, 3.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4, width_ratios=(4, 4, 1.3, 1.3))
    for axis, (dataset, title) in zip(axes, DATASETS.items(), strict=False):
        _accuracies(axis, dataset, title)
    axes[1].set_yticklabels([])
    maps = read_arrays(RESULTS / "cora" / "maps.npz")
    epochs, attention = maps["abkd:epochs"], maps["abkd:attention"].mean(axis=1)
    for axis, index in zip(axes[2:], (0, -1), strict=True):
        image = axis.imshow(attention[index], aspect="auto", origin="lower", vmin=0.0, vmax=1.0, cmap="cividis")
        axis.set_title(f"attention,\nepoch {epochs[index]}", fontsize=9)
        axis.set_xticks(range(4), labels=[str(layer) for layer in range(1, 5)])
        axis.set_xlabel("student layer")
    axes[2].set_ylabel("teacher layer")
    axes[3].set_yticks([])
    figure.colorbar(image, ax=axes[3])
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(RESULTS / "overview.png", picture.getvalue())


def _accuracies(axis, dataset: str, title: str) -> None:
    """Mean and standard deviation of the test accuracy, the teacher on top."""
    summaries = {s.method: s for s in summarise(read_json(RESULTS / dataset / "results.json")["records"])}
    names = [name for name in reversed(METHODS) if name in summaries]
    mean = np.array([100 * summaries[name].test.mean for name in names])
    std = np.array([100 * (summaries[name].test.std or 0.0) for name in names])
    rows = np.arange(len(names))
    colours = [ORANGE if "ABKD" in METHODS[name] else BLUE for name in names]
    axis.axvline(mean[-1], color="0.8", zorder=0)
    axis.errorbar(mean, rows, xerr=std, fmt="none", ecolor="0.5", capsize=2)
    axis.scatter(mean, rows, c=colours, zorder=2)
    for row, value in zip(rows, mean, strict=True):
        axis.annotate(f"{value:.1f}", (value, row), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8)
    axis.set_yticks(rows, labels=[METHODS[name] for name in names])
    axis.set_ylim(-0.6, len(names) - 0.3)
    axis.set_xlabel("test accuracy %")
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
