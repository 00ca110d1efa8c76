"""Figures that show something, and what: seeds on their own, scores in the unit of their metric."""

import math

import matplotlib
import numpy as np
import pytest
from report_samples import full_results, log, maps, pixels, write_run

from abkd_jax.run.report import canvas, figures, heatmaps
from abkd_jax.types import METRICS, InputError
from experiments import figures as overview


def test_layer_maps_share_one_scale_from_zero():
    values = np.zeros((2, 1, 4, 2))
    values[0], values[1] = 0.5, 1.0
    image = pixels(figures.layer_maps(np.array([0, 9]), values, "attention"))
    middle = image[image.shape[0] // 2]
    for share in (0.5, 1.0):  # of the largest entry of all maps
        colour = matplotlib.colormaps["YlGnBu"](share)[:3]
        assert np.sum(np.all(np.abs(middle - colour) < 0.01, axis=1)) > 50  # pixels of one row of the figure


def one_hot(seeds: list[int], layers: tuple[int, int] = (4, 3)) -> np.ndarray:
    """`[1, seeds, T_l, S_l]`: every teacher layer of seed `i` looks at student layer `seeds[i]` alone."""
    maps = np.zeros((1, len(seeds), *layers))
    for seed, column in enumerate(seeds):
        maps[0, seed, :, column] = 1.0
    return maps


def panels_of(maps: np.ndarray, label: str = "attention") -> list[np.ndarray]:
    """What `draw_layer_maps` puts into its panels, row by row, `[T_l, S_l]` each."""
    with canvas.canvas(4.0, 8.0) as figure:
        heatmaps.draw_layer_maps(figure, np.arange(len(maps)), maps, label)
        return [axis.get_images()[0].get_array().filled(np.nan) for axis in figure.axes if axis.get_images()]


def test_one_hot_attention_is_drawn_seed_by_seed_and_as_a_share_of_seeds():
    """A mean over the seeds would show 0.4, 0.4, 0.2 in every row: soft attention that no seed has."""
    maps = one_hot([0, 1, 1, 2, 0])
    *seeds, share = panels_of(maps)
    np.testing.assert_array_equal(seeds, maps[0, :3])
    np.testing.assert_allclose(share, np.tile([0.4, 0.4, 0.2], (4, 1)))


def test_few_seeds_and_soft_attention_have_no_share():
    assert len(panels_of(one_hot([0, 1, 1]))) == 3
    soft = np.full((1, 5, 4, 3), 1 / 3)
    np.testing.assert_array_equal(panels_of(soft), soft[0, :3])
    assert len(panels_of(one_hot([0, 1, 1, 2, 0]), "dissimilarity")) == 3


def test_the_share_counts_the_seeds_that_put_a_whole_row_on_a_pair():
    maps = one_hot([0, 0, 0, 0])
    maps[0, 3] = [[0.0, 0.0, 9.0], [0.9, 0.1, 0.0], [0.0, 0.0, 0.0], [0.97, 0.03, 0.0]]
    expected = [[0.75, 0.0, 0.25], [0.75, 0.0, 0.0], [0.75, 0.0, 0.0], [1.0, 0.0, 0.0]]
    np.testing.assert_allclose(panels_of(maps)[-1], expected)


def test_layer_maps_leave_out_seeds_without_values():
    maps = one_hot([0, 1, 2, 0])
    maps[0, 1] = np.nan
    np.testing.assert_array_equal(panels_of(maps), maps[0, [0, 2, 3]])
    with canvas.canvas(4.0, 8.0) as figure:
        shown = heatmaps.draw_layer_maps(figure, np.arange(1), maps, "attention")
    assert shown == "attention of seeds 0, 2, 3 of 4 (1 without values)"


def test_dollar_signs_of_names_are_no_mathematics():
    with canvas.canvas(4.0, 1.0) as figure:
        canvas.footer(figure, r"a$\frac$b")
    assert rb"a$\frac$b" in canvas.svg(figure)


def test_layer_maps_of_seeds_that_have_all_diverged_are_empty():
    with canvas.canvas(4.0, 4.0) as figure:
        shown = heatmaps.draw_layer_maps(figure, np.arange(1), np.full((1, 2, 3, 2), np.nan), "attention")
    assert shown == "attention of seed 0 of 2 (2 without values)"


def test_the_first_teacher_layer_is_on_top():
    maps = np.zeros((1, 1, 2, 1))
    maps[0, 0, 0] = 1.0
    image = pixels(figures.layer_maps(np.array([0]), maps, "attention"))
    dark = np.argwhere(np.all(np.abs(image - matplotlib.colormaps[heatmaps.COLOUR_MAP](1.0)[:3]) < 0.01, axis=2))
    pale = np.argwhere(np.all(np.abs(image - matplotlib.colormaps[heatmaps.COLOUR_MAP](0.0)[:3]) < 0.01, axis=2))
    panel = dark[:, 1] < image.shape[1] // 2  # left of the colour bar
    assert dark[panel, 0].max() < pale[pale[:, 1] < image.shape[1] // 2, 0].min()


@pytest.mark.parametrize(
    ("metric", "label", "values"),
    [
        ("accuracy", "validation accuracy, %", [20.0, 40.0]),
        ("ROC-AUC", "validation ROC-AUC, %", [20.0, 40.0]),
        ("-RMSE", "validation RMSE", [-0.2, -0.4]),
    ],
)
def test_learning_curves_are_in_the_unit_of_the_metric(metric, label, values):
    rows = [{"method": "abkd", "seed": 0, "epoch": e, "val_accuracy": v} for e, v in ((1, 0.2), (2, 0.4))]
    rows += [{"method": "abkd", "seed": 1, "epoch": 2, "val_accuracy": v} for v in (math.nan, None)]
    axis = figures.learning_curves(rows, metric=METRICS[metric]).axes[0]
    assert axis.get_ylabel() == label
    (line,) = (line for line in axis.get_lines() if line.get_label() == "abkd")
    np.testing.assert_allclose(np.ma.filled(line.get_ydata(), np.nan), values)


def test_the_picture_of_the_readme_draws_maps_as_the_report_does(tmp_path, monkeypatch):
    for dataset in overview.DATASETS:
        (tmp_path / dataset).mkdir()
        write_run(tmp_path / dataset, results=full_results())
    drawn = []
    monkeypatch.setattr(overview, "RESULTS", tmp_path)
    monkeypatch.setattr(overview, "draw_layer_maps", lambda figure, *of: drawn.append(of) or "seed 0")
    overview.main()  # without maps: the scores alone
    assert drawn == []
    write_run(tmp_path / "cora", arrays=maps())
    overview.main()
    ((epochs, attention, label),) = drawn
    assert epochs.tolist() == [0, 20]
    np.testing.assert_array_equal(attention, maps()["abkd:attention"][[0, 2]])
    assert label == "attention"
    assert pixels((tmp_path / "overview.png").read_bytes()).std() > 0.05


def test_layer_maps_of_zeros_nan_and_many_epochs():
    values = np.zeros((9, 2, 64, 4))
    values[:, 1] = np.nan
    assert pixels(figures.layer_maps(np.arange(9), values, "attention")).std() > 0.01


@pytest.mark.parametrize("shape", [(3, 1, 4, 2), (0, 1, 4, 2)])
def test_layer_maps_rejects(shape):
    with pytest.raises(InputError, match="layer_maps: expected"):
        figures.layer_maps(np.arange(min(shape[0], 2)), np.zeros(shape), "attention")


def test_maps_need_their_epochs():
    arrays = maps()
    del arrays["abkd:epochs"]
    with pytest.raises(InputError, match="expected abkd:epochs beside abkd:attention"):
        figures.run_figures([], arrays)


def test_learning_curves_survive_nan_and_uneven_seeds():
    rows = log("abkd", 2)
    rows[1] |= {"loss": math.nan}
    assert pixels(figures.learning_curves(rows[:-2])).std() > 0.01
    assert figures.run_figures([{"method": "abkd", "seed": 0, "epoch": 1}], {}) == []
    with pytest.raises(InputError, match="learning_curves: expected metrics with one of"):
        figures.learning_curves([])
