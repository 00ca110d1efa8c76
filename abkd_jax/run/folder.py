"""The folder of a run: config, records, metrics, layer maps, report, figures, checkpoints."""

import contextlib
import io
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from abkd_jax.datasets.files.atomic import as_json, read_json, write_atomic
from abkd_jax.datasets.files.manifest import DIGESTS, check_seal, write_sealed
from abkd_jax.run.report.latency import LATENCY
from abkd_jax.run.report.markdown import write_report
from abkd_jax.training.checkpoint import differences
from abkd_jax.types import InputError

__all__ = [
    "STUDENTS",
    "RunFolder",
    "claim",
    "clear",
    "conflicts",
    "is_method",
    "map_rows",
    "metric_lines",
    "open_run",
    "point_to",
    "read_full_name",
    "read_made_from",
    "read_results",
    "write",
    "write_latency",
    "write_made_from",
    "writing_to",
]

log = logging.getLogger(__name__)

MAP_EVALUATIONS = 6  # evaluations whose layer maps are kept for the figures
SHOWN_CONFLICTS = 3
STUDENTS = "students"  # bundles by method and seed, see `run.keep`
FINISHED = "checkpoints/finished.json"  # beside what it speaks of: neither says anything without the other
FILES = ("config.json", "results.json", "metrics.jsonl", "maps.npz", "report.md", LATENCY, DIGESTS)


class RunFolder(NamedTuple):
    """A run folder as it was opened.

    Attributes:
        path: of the folder.
        description: its `config.json`: fingerprint of the data and settings; `{}` where there is none yet.
        records: its records by method; `{}` where there are none yet.
        complete: whether it held all methods that were asked for.
    """

    path: Path
    description: dict[str, Any]
    records: dict[str, list[dict[str, Any]]]
    complete: bool


def open_run(path: Path) -> RunFolder:
    """Reads what a run folder says of its run; nothing is written.

    Raises:
        InputError: a file of the folder is damaged.
    """
    results = read_results(path)
    names = dict.fromkeys(record["method"] for record in results["records"])
    records = {name: [r for r in results["records"] if r["method"] == name] for name in names}
    return RunFolder(path, _read_description(path), records, results["complete"])


def conflicts(run: RunFolder, description: dict[str, Any], methods: Collection[str]) -> list[str]:
    """Returns the settings in which the run of a folder differs from another, one line each; `[]` for a new folder.

    Only settings of what runs count: no other methods, no student that none of them trains, no number of seeds.

    Args:
        run: the folder.
        description: of the other run, see `Plan.description`.
        methods: that the other run trains.
    """
    if not run.description:
        return []
    parts = [*run.description.items(), *description.items()]
    idle = {name for name, part in parts if is_method(part) and (name not in methods or name not in run.description)}
    idle |= {"seeds", "extended_at"}
    if all(description[name]["student"] is not None for name in methods):
        idle.add("student")
    there, here = ({k: v for k, v in of.items() if k not in idle} for of in (run.description, description))
    return differences(there, here)


def is_method(part: Any) -> bool:
    """Tells whether a part of a `config.json` holds the settings of a method."""
    return isinstance(part, dict) and "task_weight" in part


def claim(run: RunFolder, description: dict[str, Any], methods: Collection[str], *, latest: bool) -> None:
    """Makes the run folder, or checks that the one there is of the same run, and writes down what is new.

    Args:
        run: the folder as it was opened.
        description: of the run, see `Plan.description`.
        methods: that the run trains.
        latest: whether `latest`, beside the folder, is to point to it.

    Raises:
        InputError: the folder cannot be written, holds a run of another config, or results of methods that are not
            among these, which `write` would lose.
    """
    lost = [name for name in run.records if name not in ("teacher", *methods)]
    if lost:
        raise InputError(
            f"run folder {run.path} holds results of {', '.join(lost)}, a method that these settings do not have; "
            "choose another --out, or --overwrite"
        )
    changed = conflicts(run, description, methods)
    if changed:
        more = f"; and {len(changed) - SHOWN_CONFLICTS} more" if len(changed) > SHOWN_CONFLICTS else ""
        raise InputError(
            f"run folder {run.path} holds a run of another config: {'; '.join(changed[:SHOWN_CONFLICTS])}{more}; "
            "choose another --out, or --overwrite"
        )
    if run.description != description:
        with writing_to(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
            write_sealed(run.path, {"config.json": json.dumps(description, indent=1)})
    if latest:
        point_to(run.path)


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Ends in one line where the run folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"run folder {path} cannot be written: {error.strerror}") from error


def clear(folder: Path) -> None:
    """Removes what a run left in its folder, and nothing else; does nothing where there was no run.

    Raises:
        InputError: the folder cannot be written.
    """
    if not (folder / "config.json").exists():
        return
    with writing_to(folder):
        for name in ("checkpoints", STUDENTS):
            shutil.rmtree(folder / name, ignore_errors=True)
        for path in (*(folder / name for name in reversed(FILES)), *folder.glob("*.png")):
            path.unlink(missing_ok=True)


def read_results(folder: Path) -> dict[str, Any]:
    """Reads `results.json`; incomplete and without records where there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / "results.json"
    if not path.exists():
        return {"complete": False, "records": []}
    check_seal(folder, [path.name])
    results = read_json(path)
    whole = isinstance(results, dict) and "complete" in results and isinstance(results.get("records"), list)
    if not whole or not all(
        isinstance(record, dict) and {"method", "seed"} <= record.keys() for record in results["records"]
    ):
        raise InputError(f"{path}: expected a JSON object with the records of a run, but it is damaged")
    # Before records had a provenance of their own, one for all stood beside them.
    common = {key: results[key] for key in ("commit", "hardware", "versions") if key in results}
    for record in results["records"] if common else ():
        record.setdefault("provenance", common)
    return results


def write(
    run: RunFolder,
    description: dict[str, Any],
    data: dict[str, Any],
    records: Mapping[str, list[dict[str, Any]]],
    histories: Mapping[str, dict[str, np.ndarray]],
    *,
    complete: bool,
) -> None:
    """Writes everything but the checkpoints, each file whole or not at all; the report once all methods are there.

    Nothing is written before all methods that the folder holds are among the records: an interruption while they are
    read back loses none.

    Args:
        run: the folder as it was opened.
        description: of the run, see `Plan.description`.
        data: summary of the data set, JSON-like.
        records: by method.
        histories: by method, arrays `[evaluations, seeds, ...]`.
        complete: whether all methods are there.

    Raises:
        InputError: the folder cannot be written.
    """
    if not run.records.keys() <= records.keys():
        return
    results = {
        "dataset": description["dataset"],
        "complete": complete,
        "data": data,
        "config": {key: value for key, value in description.items() if key not in ("data", "extended_at")},
        "records": [record for of_method in records.values() for record in of_method],
    }
    lines = [as_json(line) for name, history in histories.items() for line in metric_lines(name, history)]
    maps = {f"{name}:{key}": value for name, history in histories.items() for key, value in map_rows(history).items()}
    archive = io.BytesIO()
    np.savez_compressed(archive, **maps)  # type: ignore[arg-type]  # numpy's stub takes a name for its option
    with writing_to(run.path):
        contents = {
            "metrics.jsonl": "".join(line + "\n" for line in lines),
            "maps.npz": archive.getvalue(),
            "results.json": as_json(results, indent=1),
        }
        write_sealed(run.path, contents)
        if complete:
            write_report(run.path)


def write_latency(folder: Path, rows: list[dict[str, Any]], hardware: str) -> None:
    """Writes measured latencies, and the report with them.

    Args:
        folder: of a finished run.
        rows: see `timing.time_model`.
        hardware: what they were measured on.

    Raises:
        InputError: the folder cannot be written.
    """
    with writing_to(folder):
        write_sealed(folder, {LATENCY: as_json({"hardware": hardware, "rows": rows}, indent=1)})
        write_report(folder)


def write_made_from(folder: Path, made_from: dict[str, Any]) -> None:
    """Writes down what the records of a run that is complete were made from; see `read_made_from`.

    Raises:
        InputError: the folder cannot be written.
    """
    with writing_to(folder):
        (folder / FINISHED).parent.mkdir(exist_ok=True)
        write_atomic(folder / FINISHED, json.dumps(made_from, indent=1))


def read_made_from(run: RunFolder) -> dict[str, Any] | None:
    """Reads what the records of a complete run were made from; None where it is not complete, or nothing tells.

    Raises:
        InputError: a file of the folder is damaged.
    """
    whole = run.complete and (run.path / "report.md").exists() and (run.path / FINISHED).exists()
    try:
        check_seal(run.path, ["metrics.jsonl", "maps.npz"])
    except InputError as error:
        log.warning("%s; made anew from the checkpoints", str(error).partition(";")[0])
        return None
    found = read_json(run.path / FINISHED) if whole else None
    return found if isinstance(found, dict) and isinstance(found.get("fingerprint"), str) else None


def read_full_name(folder: Path) -> str | None:
    """Reads the path or the `layout:name` of the data of a finished run; None where their name in the list is enough.

    Raises:
        InputError: the file that says it is damaged.
    """
    found = read_json(folder / FINISHED) if (folder / FINISHED).exists() else None
    name = found.get("dataset") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        return {}
    check_seal(folder, [path.name])
    saved = read_json(path)
    if not isinstance(saved, dict) or not isinstance(saved.get("data"), str):
        raise InputError(f"{path}: expected a JSON object with the settings of a run, but it is damaged")
    numbers = [*saved.get("extended_at", []), saved.get("seeds")]
    if not all(isinstance(number, int) and number > 0 for number in numbers) or numbers != sorted(set(numbers)):
        raise InputError(f"{path}: seeds are {numbers}, expected ascending numbers of at least 1")
    return saved


def point_to(folder: Path) -> None:
    """Lets `latest`, beside the folder, point to it; skipped where the file system has no links."""
    link, temporary = folder.parent / "latest", folder.parent / f".latest.{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        os.replace(temporary, link)
    except OSError:
        temporary.unlink(missing_ok=True)


def metric_lines(name: str, history: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Returns one line per evaluation and seed; layer maps as their mean."""
    lines = []
    for row, seed in np.argwhere(history["recorded"]):
        line: dict[str, Any] = {"method": name, "seed": int(seed), "epoch": int(history["epoch"][row, seed])}
        for key in sorted(history.keys() - {"epoch", "recorded", "seconds", "diverged"}):
            line[key] = float(np.mean(history[key][row, seed]))
        if "diverged" in history and history["diverged"][row, seed]:
            line["diverged"] = True
        lines.append(line)
    return lines


def map_rows(history: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the layer maps at a few evaluations, denser at the start, `[k, seeds, T_l, S_l]`.

    A seed that has stopped keeps the maps of its last evaluation.
    """
    recorded = history["recorded"]
    made = np.flatnonzero(recorded.any(axis=1))
    if "abkd/attention" not in history or not made.size:
        return {}
    rows = made[np.unique(np.geomspace(1, made.size, MAP_EVALUATIONS).round().astype(int)) - 1]
    seeds = np.arange(recorded.shape[1])
    last = np.maximum.accumulate(np.where(recorded, np.arange(len(recorded))[:, None], 0))[rows]
    epochs = np.where(recorded, history["epoch"], 0)[rows].max(axis=1)
    names = ("attention", "dissimilarity", "unexplained")
    return {"epochs": epochs} | {name: history[f"abkd/{name}"][last, seeds] for name in names}
