"""Latency in a report: the table, the figure of score against cost, and a damaged file that is measured again."""

import json
from pathlib import Path

import numpy as np
import pytest
from report_samples import all_records, full_results, pixels, write_run

from abkd_jax.datasets.files.manifest import write_sealed
from abkd_jax.run.folder import write_latency
from abkd_jax.run.report import pareto, statistics
from abkd_jax.run.report.latency import read_latency
from abkd_jax.run.report.markdown import write_report
from abkd_jax.types import METRICS, InputError


def _row(method: str, factor: float) -> dict:
    answers = {"queries": 200, "p50": 8.0 / factor, "p99": 9.0 / factor, "cold": 90.0}
    cost = {"warm": 16.0 / factor, "cold": 99.0, "flops": 2e6, "weight_bytes": 4096, "program_bytes": 2**20}
    return {"method": method, "one": answers, "batch": None, "all": cost}


ROWS = [_row("teacher", 1.0), _row("abkd", 4.0)]


def test_the_report_has_the_measured_times_and_their_ratios(tmp_path: Path):
    write_run(tmp_path, results=full_results())
    assert "## Latency" not in write_report(tmp_path).read_text()
    write_latency(tmp_path, ROWS, "a fast machine")
    report = (tmp_path / "report.md").read_text()
    (row,) = (line for line in report.splitlines() if line.startswith("| abkd") and "(4x)" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        *("abkd", "2 (4x)", "2.25", "90", "-", "-", "4 (4x)", "99", "2", "4", "1"),
    ]
    assert "Measured on a fast machine." in report.replace("\n", " ")
    assert "pareto.png" in report


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"rows": 3}', '{"rows": [{"method": "abkd"}]}', json.dumps({"rows": [ROWS[0] | {"all": {}}]})],
    ids=["cut", "a list", "no rows", "no numbers", "no cost"],
)
def test_a_damaged_file_is_named_and_left_out(content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_run(tmp_path, results=full_results())
    write_sealed(tmp_path, {"latency.json": content})
    assert read_latency(tmp_path) == ("", [])
    assert "latency.json" in caplog.text
    assert "measures again" in caplog.text
    assert "## Latency" not in write_report(tmp_path).read_text()


def test_the_frontier_holds_what_nothing_beats():
    points = [(4.0, 0.9, "slow"), (1.0, 0.5, "fast"), (1.0, 0.6, "fast and better"), (2.0, 0.6, "no better")]
    assert pareto.frontier(points) == ["fast and better", "slow"]


def test_one_panel_per_known_cost():
    summaries = statistics.summarise(all_records())
    two, three = (
        pixels(pareto.pareto(summaries, METRICS["accuracy"], one)) for one in (None, {"teacher": 8.0, "abkd": 2.0})
    )
    assert three.shape[1] > 1.3 * two.shape[1]
    assert len(np.unique(two[..., :3].reshape(-1, 3), axis=0)) > 20  # something is drawn
    with pytest.raises(InputError, match="expected a method with a test score"):
        pareto.pareto([], METRICS["accuracy"])


def test_errors_are_drawn_as_they_are_and_the_smallest_are_the_frontier():
    scores = {"teacher": (1000, 0.5), "small": (100, 0.6), "poor": (200, 2.0)}
    records = [
        {"method": method, "seed": 0, "metric": "-RMSE", "parameters": parameters, "test_accuracy": -rmse}
        for method, (parameters, rmse) in scores.items()
    ]
    axis = pareto.pareto(statistics.summarise(records), METRICS["-RMSE"]).axes[0]
    drawn = {bar.get_label(): bar.lines[0].get_xydata()[0].tolist() for bar in axis.containers}
    assert drawn == {method: [*of] for method, of in scores.items()}
    (steps,) = (line for line in axis.lines if line.get_color() == "0.7")
    assert steps.get_xydata().tolist() == [[100.0, 0.6], [1000.0, 0.5]]


def test_the_axis_of_one_cost_is_wide():
    """A logarithm may round to that of a neighbour, and matplotlib's own axis is then as wide as the rounding."""
    one = pareto.pareto(statistics.summarise(all_records()), METRICS["accuracy"], {"abkd": 0.0478630092322639})
    low, high = one.axes[2].get_xlim()
    assert (low, high) == pytest.approx((0.0239315, 0.0957260), rel=1e-4)
    assert pixels(one).shape[1] > 500
