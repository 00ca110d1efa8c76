"""The folder of a run: `config.json`, `results.json`, `metrics.jsonl`, `maps.npz`, `report.md`, figures."""

import io
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from abkd_jax.checkpoint import differences
from abkd_jax.config import DistillConfig, described
from abkd_jax.files import read_json, write_atomic
from abkd_jax.report import write_report
from abkd_jax.types import InputError

__all__ = ["claim", "finished_records", "read_results", "write"]

MAP_EVALUATIONS = 6  # evaluations whose layer maps are kept for the figures
PACKAGES = ("jax", "jaxlib", "flax", "optax", "jraph", "numpy")
# Settings that change no record; the split is part of the data's fingerprint.
NOT_THE_NUMBERS = ("data_root", "out", "teachers", "max_epochs", "methods", "split")


def claim(folder: Path, config: DistillConfig, fingerprint: str) -> None:
    """Makes the run folder, or checks that the one there is of the same run.

    Args:
        folder: the run folder.
        config: the run, with `max_epochs` already applied to its parts.
        fingerprint: of the data.

    Raises:
        InputError: the folder cannot be written, or holds a run of another config.
    """
    described = {"data": fingerprint, **_described(config)}
    path = folder / "config.json"
    if path.exists():
        saved = read_json(path)
        if not isinstance(saved, dict):
            raise InputError(f"{path}: expected a JSON object, but it is damaged")
        changed = differences(saved, described)
        if changed:
            raise InputError(
                f"run folder {folder} holds a run of another config: {'; '.join(changed)}; choose another --out"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(described, indent=1))
    except OSError as error:
        raise InputError(f"run folder {folder} cannot be written: {error.strerror}") from error


def read_results(folder: Path) -> dict[str, Any]:
    """What `results.json` holds; incomplete and without records where there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / "results.json"
    if not path.exists():
        return {"complete": False, "records": []}
    results = read_json(path)
    whole = isinstance(results, dict) and "complete" in results and isinstance(results.get("records"), list)
    if not whole or not all(isinstance(record, dict) and "method" in record for record in results["records"]):
        raise InputError(f"{path}: expected a JSON object with the records of a run, but it is damaged")
    return results


def finished_records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records that an earlier sitting wrote, by method; `{}` where there are none.

    Raises:
        InputError: `results.json` is damaged.
    """
    records = read_results(folder)["records"]
    return {name: [r for r in records if r["method"] == name] for name in dict.fromkeys(r["method"] for r in records)}


def write(
    folder: Path,
    config: DistillConfig,
    records: dict[str, list[dict[str, Any]]],
    histories: dict[str, dict[str, np.ndarray]],
    *,
    complete: bool,
) -> None:
    """Writes everything but the checkpoints, each file whole or not at all; the report once all methods are there.

    Args:
        folder: a claimed run folder.
        config: the run.
        records: by method.
        histories: by method, arrays `[evaluations, seeds, ...]`.
        complete: whether all methods are there.
    """
    results = {
        "dataset": config.dataset,
        "complete": complete,
        "commit": _commit(),
        "hardware": f"{os.cpu_count()} x {platform.machine()} cores, jax on {jax.devices()[0].device_kind}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "config": _described(config),
        "records": [record for of_method in records.values() for record in of_method],
    }
    lines = [json.dumps(line) for name, history in histories.items() for line in _metric_lines(name, history)]
    maps = {f"{name}:{key}": value for name, history in histories.items() for key, value in _maps(history).items()}
    archive = io.BytesIO()
    np.savez_compressed(archive, **maps)  # type: ignore[arg-type]  # numpy's stub takes a name for its option
    try:
        write_atomic(folder / "metrics.jsonl", "".join(line + "\n" for line in lines))
        write_atomic(folder / "maps.npz", archive.getvalue())
        write_atomic(folder / "results.json", json.dumps(results, indent=1))
        if complete:
            write_report(folder)
    except OSError as error:
        raise InputError(f"run folder {folder} cannot be written: {error.strerror}") from error


def _described(config: DistillConfig) -> dict[str, Any]:
    """The config as JSON, less the settings that change no record."""
    fields = {k: v for k, v in described(config).items() if k not in NOT_THE_NUMBERS}
    return json.loads(json.dumps(fields))


def _metric_lines(name: str, history: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """One line an evaluation and seed; layer maps as their mean."""
    lines = []
    for row, seed in np.argwhere(history["recorded"]):
        line: dict[str, Any] = {"method": name, "seed": int(seed), "epoch": int(history["epoch"][row, seed])}
        for key in sorted(history.keys() - {"epoch", "recorded", "seconds"}):
            line[key] = float(np.mean(history[key][row, seed]))
        lines.append(line)
    return lines


def _maps(history: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layer maps at a few evaluations, denser at the start, `[k, seeds, T_l, S_l]`."""
    if "abkd/attention" not in history:
        return {}
    rows = np.unique(np.geomspace(1, len(history["epoch"]), MAP_EVALUATIONS).round().astype(int)) - 1
    names = ("attention", "dissimilarity", "unexplained")
    return {"epochs": history["epoch"][rows, 0]} | {name: history[f"abkd/{name}"][rows] for name in names}


def _commit() -> str:
    """The commit of the checkout that the package lies in, with a plus sign where files have been changed."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() or "unknown"
