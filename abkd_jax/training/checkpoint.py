"""Saves and restores checkpoints: pytrees of arrays beside their config, written atomically, verified on every read.

`<directory>/<step>/` holds what orbax writes, and a `manifest.json` with the digests of all its files. A step is first
written as `<step>.new`, which counts as the step from the moment its manifest is there. The last two steps are kept.
"""

import contextlib
import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.datasets.files.manifest import MANIFEST, read_manifest, write_manifest
from abkd_jax.training import trees
from abkd_jax.types import InputError, Pytree

__all__ = ["differences", "prepare", "restore", "save", "verify"]

NEW = ".new"

_logger = logging.getLogger(__name__)


def prepare(directory: str | Path) -> None:
    """Creates the folder, so that a run fails before its training, not after it, where nothing can be written.

    Removes temporary folders of interrupted saves: no other process may be saving there (`locks.locked`).

    Raises:
        InputError: the folder cannot be written.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        for path in directory.glob(trees.TEMPORARY):
            shutil.rmtree(path)
        for path in directory.glob(f"*{NEW}"):
            _settle(path)
    except OSError as error:
        raise _unwritable(directory, error) from error


def save(
    directory: str | Path, state: Pytree, history: dict[str, np.ndarray], config: dict[str, Any], step: int = 0
) -> None:
    """Writes a state, its history and their config under `directory`, as the last step there.

    Once it is complete, the step before it is kept and the others are removed, later or equal ones included.

    Args:
        directory: created where missing.
        state: a pytree of arrays and typed PRNG keys, none of them empty.
        history: arrays by name.
        config: JSON-like; `restore` refuses the checkpoint for any other.
        step: of the training.

    Raises:
        InputError: the folder cannot be written or has no space, or a leaf cannot be stored. Earlier steps are intact.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(folder, {"w": np.ones(2)}, {"loss": np.array([0.5])}, {"epochs": 1}, step=1)
        ...     state, history = restore(folder, {"w": np.zeros(2)}, {"epochs": 1})
        ...     state["w"].tolist(), history["loss"].tolist()
        ([1.0, 1.0], [0.5])
    """
    directory = Path(directory).absolute()
    content = {"step": step, "config": config, "state": trees.described(state)}
    trees.described(history)
    json.dumps(content, allow_nan=False)  # raises before anything is written
    new = directory / f"{step}{NEW}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(new, state, history, content)
        _settle(new)
        older = [path for path in _steps(directory) if _step(path) < step]
        for path in {*_steps(directory)} - {directory / str(step), *older[:1]}:
            _remove(path)
    except OSError as error:
        raise _unwritable(directory, error) from error


def restore(
    directory: str | Path, template: Pytree, config: dict[str, Any]
) -> tuple[Pytree, dict[str, np.ndarray]] | None:
    """Reads back the state and the history that `save` wrote, or returns None where there is no checkpoint.

    A damaged last step is skipped, with a warning, and the one before it is read. A checkpoint without a manifest, as
    older versions wrote it, is read with a warning that it cannot be verified.

    Args:
        directory: as given to `save`.
        template: a pytree of the state's structure, shapes and types; `jax.ShapeDtypeStruct` leaves suffice.
        config: must equal the saved one.

    Raises:
        InputError: every step is damaged, or the checkpoint was made by another config or holds other arrays.
    """
    directory = Path(directory).absolute()
    damage: list[str] = []
    for path in _steps(directory):
        try:
            signed = read_manifest(path)
            content = signed or _unsigned(path)
        except InputError as error:
            damage.append(f"step {_step(path)} is damaged ({error})")
            continue
        _require(directory, "was made by another config", differences(content["config"], config))
        leaves = trees.described(template if signed else trees.raw(template))
        _require(directory, "holds other arrays", differences(content["state"], leaves)[:1])
        try:
            restored = trees.read(path, template)
        except InputError as error:
            damage.append(f"step {_step(path)} is damaged ({error})")
            continue
        if damage:
            _logger.warning("checkpoint %s: %s, going on from step %d", directory, "; ".join(damage), _step(path))
        if not signed:
            _logger.warning("checkpoint %s cannot be verified: it was made before checkpoints had digests", directory)
        return restored
    if damage:
        raise InputError(f"checkpoint {directory} cannot be read, remove it to start anew: {damage[0]}")
    return None


def verify(directory: str | Path, config: dict[str, Any]) -> int | None:
    """Returns the step of the newest undamaged checkpoint of this config, or None where there is none.

    Files are compared with their digests, and no array is read. A checkpoint without digests counts as none.
    """
    for path in _steps(Path(directory).absolute()):
        with contextlib.suppress(InputError):
            content = read_manifest(path)
            if content and not differences(content["config"], config):
                return _step(path)
    return None


def differences(saved: Any, wanted: Any, path: str = "") -> list[str]:
    """Returns the entries in which two JSON-like configs differ, one line each.

    Examples:
        >>> differences({"a": {"b": 1}, "c": 3}, {"a": {"b": 2}, "c": 3})
        ['a.b is 1 there, 2 here']
    """
    if isinstance(saved, dict) and isinstance(wanted, dict):
        keys = list(dict.fromkeys([*saved, *wanted]))
        return [
            line
            for key in keys
            for line in differences(saved.get(key, "absent"), wanted.get(key, "absent"), f"{path}.{key}".lstrip("."))
        ]
    return [] if saved == wanted else [f"{path} is {saved!r} there, {wanted!r} here"]


def _require(directory: Path, what: str, changed: list[str]) -> None:
    if changed:
        raise InputError(f"checkpoint {directory} {what}: {'; '.join(changed)}; use the old settings or another folder")


def _write(new: Path, state: Pytree, history: dict[str, np.ndarray], content: dict[str, Any]) -> None:
    trees.write(new, state, history, content["config"])
    try:
        write_manifest(new, content)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _unsigned(path: Path) -> dict[str, Any]:
    """Reads the description of a step without a manifest, which all steps before it must lack too."""
    if any((older / MANIFEST).exists() for older in _steps(path.parent) if _step(older) < _step(path)):
        raise InputError(f"{MANIFEST}: missing")
    return trees.read_described(path)


def _steps(directory: Path) -> list[Path]:
    """Returns the folders of all steps, the newest first; of a step in two folders its replacement comes first."""
    if not directory.is_dir():
        return []
    complete = (path for path in directory.iterdir() if not path.name.endswith(NEW) or (path / MANIFEST).exists())
    steps = [path for path in complete if path.name.removesuffix(NEW).isdecimal() and path.is_dir()]
    return sorted(steps, key=lambda path: (_step(path), path.name.endswith(NEW)), reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removesuffix(NEW))


def _settle(new: Path) -> None:
    """Renames a complete new step to its place; removes an incomplete one."""
    if not (new / MANIFEST).exists():
        shutil.rmtree(new)
        return
    place = new.with_name(new.name.removesuffix(NEW))
    if place.exists():
        _remove(place)
    new.rename(place)


def _remove(path: Path) -> None:
    """Removes a step; it is renamed first, since a kill must not leave a step without its manifest."""
    shutil.rmtree(path.rename(path.with_name(path.name + trees.TEMPORARY.strip("*"))))


def _unwritable(directory: str | Path, error: OSError) -> InputError:
    return InputError(f"checkpoint folder {directory} cannot be written: {error.strerror or error}")
