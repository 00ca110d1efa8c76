"""The folder of a run: config, records, metrics, layer maps, report, figures, checkpoints."""

import dataclasses
import io
import itertools
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from abkd_jax.configs.options import DistillConfig, RunConfig
from abkd_jax.datasets.files.atomic import as_json, read_json, write_atomic
from abkd_jax.datasets.files.manifest import DIGESTS, check_seal, write_sealed
from abkd_jax.run.identity import run_digest, settings
from abkd_jax.run.report.markdown import write_report
from abkd_jax.run.resolve import methods_of
from abkd_jax.training.checkpoint import differences
from abkd_jax.types import InputError

__all__ = [
    "Plan",
    "claim",
    "clear",
    "conflicts",
    "finish",
    "finished",
    "finished_records",
    "plan",
    "read_results",
    "run_folder",
    "write",
]

log = logging.getLogger(__name__)

MAP_EVALUATIONS = 6  # evaluations whose layer maps are kept for the figures
SHOWN_CONFLICTS = 3
FINISHED = "checkpoints/finished.json"  # beside what it speaks of: neither says anything without the other
FILES = ("config.json", "results.json", "metrics.jsonl", "maps.npz", "report.md", DIGESTS)


class Plan(NamedTuple):
    """A config together with what its run folder holds already.

    Attributes:
        config: with the methods and the seeds of the folder beside its own.
        sittings: `[first, last)` seeds that are trained together, in the order in which they were asked for.
    """

    config: DistillConfig
    sittings: tuple[tuple[int, int], ...]

    def folders(self, folder: Path, name: str) -> list[tuple[Path, list[int]]]:
        """Returns the checkpoint folder of every program of a method's students, and its seeds."""
        own = folder / "checkpoints" / name
        if self.config.batches.kind != "full":  # one program a seed
            return [(own / f"seed_{seed}", [seed]) for seed in range(self.config.seeds)]
        return [
            (own if first == 0 else own.with_name(f"{name}.seeds_{first}-{last - 1}"), list(range(first, last)))
            for first, last in self.sittings
        ]


def run_folder(config: RunConfig) -> Path:
    """Returns where the run lives: `config.out`, or `runs/<dataset>/<digest of its settings>`.

    Args:
        config: with `max_epochs` already applied to its parts.
    """
    if config.out is not None:
        return config.out
    own = Path("runs") / config.dataset
    return own / run_digest(config) if isinstance(config, DistillConfig) else own


def plan(folder: Path, config: DistillConfig) -> Plan:
    """Returns the config extended by the methods and seeds that the folder holds already.

    Raises:
        InputError: a file of the folder is damaged.
    """
    saved = _saved(folder)
    known = [name for name in finished_records(folder) if name in methods_of(config)]
    methods = tuple(dict.fromkeys([*known, *config.methods]))
    there = saved.get("seeds", config.seeds)
    bounds = [0, *saved.get("extended_at", []), there]
    if config.seeds > there:
        bounds.append(config.seeds)
    sittings = tuple(itertools.pairwise(bounds))
    return Plan(dataclasses.replace(config, methods=methods, seeds=bounds[-1]), sittings)


def conflicts(folder: Path, plan: Plan, fingerprint: str | None) -> list[str]:
    """Returns the settings of what runs in which the folder and the plan differ, one line each; `[]` for a new folder.

    Args:
        folder: the run folder.
        plan: from `plan`.
        fingerprint: of the data; None takes the folder's word.
    """
    saved = _saved(folder)
    if not saved:
        return []
    wanted = _described(plan, saved["data"] if fingerprint is None else fingerprint)
    return differences(_compared(saved, plan.config), _compared(wanted, plan.config))


def claim(folder: Path, plan: Plan, fingerprint: str) -> None:
    """Makes the run folder, or checks that the one there is of the same run, and writes down what is new in the plan.

    Args:
        folder: the run folder.
        plan: from `plan`, with `max_epochs` already applied to its parts.
        fingerprint: of the data.

    Raises:
        InputError: the folder cannot be written, or holds a run of another config.
    """
    changed = conflicts(folder, plan, fingerprint)
    if changed:
        more = f"; and {len(changed) - SHOWN_CONFLICTS} more" if len(changed) > SHOWN_CONFLICTS else ""
        raise InputError(
            f"run folder {folder} holds a run of another config: {'; '.join(changed[:SHOWN_CONFLICTS])}{more}; "
            "choose another --out, or --overwrite"
        )
    wanted = _described(plan, fingerprint)
    if _saved(folder) == wanted:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_sealed(folder, {"config.json": json.dumps(wanted, indent=1)})
        if plan.config.out is None:
            _point_to(folder)
    except OSError as error:
        raise InputError(f"run folder {folder} cannot be written: {error.strerror}") from error


def clear(folder: Path) -> None:
    """Removes what a run left in its folder, and nothing else; does nothing where there was no run.

    Raises:
        InputError: the folder cannot be written.
    """
    if not (folder / "config.json").exists():
        return
    try:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        for path in (*(folder / name for name in reversed(FILES)), *folder.glob("*.png")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"run folder {folder} cannot be written: {error.strerror}") from error


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


def finished_records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Reads the records that an earlier sitting wrote, by method; `{}` where there are none.

    Raises:
        InputError: `results.json` is damaged.
    """
    records = read_results(folder)["records"]
    return {name: [r for r in records if r["method"] == name] for name in dict.fromkeys(r["method"] for r in records)}


def write(
    folder: Path,
    plan: Plan,
    data: dict[str, Any],
    records: Mapping[str, list[dict[str, Any]]],
    histories: Mapping[str, dict[str, np.ndarray]],
    *,
    complete: bool,
) -> None:
    """Writes everything but the checkpoints, each file whole or not at all; the report once all methods are there.

    Args:
        folder: a claimed run folder.
        plan: the run.
        data: facts of the data set, JSON-like.
        records: by method.
        histories: by method, arrays `[evaluations, seeds, ...]`.
        complete: whether all methods are there.
    """
    results = {
        "dataset": plan.config.dataset,
        "complete": complete,
        "data": data,
        "config": settings(plan.config) | {"seeds": plan.config.seeds},
        "records": [record for of_method in records.values() for record in of_method],
    }
    lines = [as_json(line) for name, history in histories.items() for line in _metric_lines(name, history)]
    maps = {f"{name}:{key}": value for name, history in histories.items() for key, value in _maps(history).items()}
    archive = io.BytesIO()
    np.savez_compressed(archive, **maps)  # type: ignore[arg-type]  # numpy's stub takes a name for its option
    try:
        contents = {
            "metrics.jsonl": "".join(line + "\n" for line in lines),
            "maps.npz": archive.getvalue(),
            "results.json": as_json(results, indent=1),
        }
        write_sealed(folder, contents)
        if complete:
            write_report(folder)
    except OSError as error:
        raise InputError(f"run folder {folder} cannot be written: {error.strerror}") from error


def finish(folder: Path, made_from: dict[str, Any]) -> None:
    """Writes down what the records of a run that is complete were made from; see `finished`.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        (folder / FINISHED).parent.mkdir(exist_ok=True)
        write_atomic(folder / FINISHED, json.dumps(made_from, indent=1))
    except OSError as error:
        raise InputError(f"run folder {folder} cannot be written: {error.strerror}") from error


def finished(folder: Path) -> dict[str, Any] | None:
    """Reads what the records of a complete run were made from; None where it is not complete, or nothing tells.

    Raises:
        InputError: a file of the folder is damaged.
    """
    whole = read_results(folder)["complete"] and (folder / "report.md").exists() and (folder / FINISHED).exists()
    try:
        check_seal(folder, ["metrics.jsonl", "maps.npz"])
    except InputError as error:
        log.warning("%s; made anew from the checkpoints", str(error).partition(";")[0])
        return None
    found = read_json(folder / FINISHED) if whole else None
    return found if isinstance(found, dict) and isinstance(found.get("fingerprint"), str) else None


def _saved(folder: Path) -> dict[str, Any]:
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


def _described(plan: Plan, fingerprint: str) -> dict[str, Any]:
    bounds = [last for _, last in plan.sittings]
    extended = {"extended_at": bounds[:-1]} if len(bounds) > 1 else {}
    return {"data": fingerprint, **settings(plan.config), "seeds": bounds[-1], **extended}


def _compared(described: dict[str, Any], config: DistillConfig) -> dict[str, Any]:
    """The settings of what runs: no other methods, no student that none of them trains, no number of seeds."""
    idle = {name for name, part in described.items() if isinstance(part, dict) and "task_weight" in part}
    idle -= set(config.methods)
    if all(getattr(config, name).student is not None for name in config.methods):
        idle.add("student")
    return {name: part for name, part in described.items() if name not in idle | {"seeds", "extended_at"}}


def _point_to(folder: Path) -> None:
    """Lets `latest`, beside the folder, point to it; skipped where the file system has no links."""
    link, temporary = folder.parent / "latest", folder.parent / f".latest.{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        os.replace(temporary, link)
    except OSError:
        temporary.unlink(missing_ok=True)


def _metric_lines(name: str, history: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """One line an evaluation and seed; layer maps as their mean."""
    lines = []
    for row, seed in np.argwhere(history["recorded"]):
        line: dict[str, Any] = {"method": name, "seed": int(seed), "epoch": int(history["epoch"][row, seed])}
        for key in sorted(history.keys() - {"epoch", "recorded", "seconds", "diverged"}):
            line[key] = float(np.mean(history[key][row, seed]))
        if "diverged" in history and history["diverged"][row, seed]:
            line["diverged"] = True
        lines.append(line)
    return lines


def _maps(history: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layer maps at a few evaluations, denser at the start, `[k, seeds, T_l, S_l]`."""
    if "abkd/attention" not in history:
        return {}
    rows = np.unique(np.geomspace(1, len(history["epoch"]), MAP_EVALUATIONS).round().astype(int)) - 1
    names = ("attention", "dissimilarity", "unexplained")
    return {"epochs": history["epoch"][rows, 0]} | {name: history[f"abkd/{name}"][rows] for name in names}
