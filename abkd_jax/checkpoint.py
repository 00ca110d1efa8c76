"""Trees of arrays on disk (orbax), each beside the config that made it; written whole or not at all."""

import tempfile
import textwrap
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from abkd_jax.types import InputError, Pytree

__all__ = ["differences", "prepare", "restore", "save"]


def prepare(directory: str | Path) -> None:
    """Makes the folder, so that a run finds out before its training, not after, that nothing can be written there.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise _unwritable(directory, error) from error


def save(
    directory: str | Path, state: Pytree, history: dict[str, np.ndarray], config: dict[str, Any], step: int = 0
) -> None:
    """Writes a state, its history and their config under `directory`; an older step goes once the new one is complete.

    Args:
        directory: made where missing.
        state: a tree of arrays and typed PRNG keys.
        history: arrays by name.
        config: JSON-like; `restore` refuses the checkpoint for any other.
        step: must exceed the step already there.

    Raises:
        InputError: the folder cannot be written.
    """
    directory = Path(directory).absolute()
    arguments = ocp.args.Composite(
        state=ocp.args.StandardSave(jax.tree.map(_raw, state)),
        history=ocp.args.StandardSave(history),
        config=ocp.args.JsonSave(config),
    )
    try:
        with _manager(directory) as manager:
            manager.save(step, args=arguments)
    except OSError as error:
        raise _unwritable(directory, error) from error


def restore(
    directory: str | Path, template: Pytree, config: dict[str, Any]
) -> tuple[Pytree, dict[str, np.ndarray]] | None:
    """Reads back the state and the history that `save` wrote, or returns None where there is nothing.

    Args:
        directory: as given to `save`.
        template: a tree of the state's structure, shapes and types; `jax.ShapeDtypeStruct` leaves suffice.
        config: must equal the saved one.

    Raises:
        InputError: the checkpoint is damaged, or was made by another config.
    """
    directory = Path(directory).absolute()
    if not directory.is_dir():
        return None
    with _manager(directory) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        saved = _read(manager, step, directory, config=ocp.args.JsonRestore())["config"]
        changed = differences(saved, config)
        if changed:
            raise InputError(
                f"checkpoint {directory} was made by another config: {'; '.join(changed)}; "
                f"use the old settings or another folder"
            )
        raw = _read(
            manager,
            step,
            directory,
            state=ocp.args.StandardRestore(jax.tree.map(_abstract, template)),
            history=ocp.args.StandardRestore(),
        )
    return jax.tree.map(_typed, raw["state"], template), jax.tree.map(np.array, raw["history"])


def differences(saved: Any, wanted: Any, path: str = "") -> list[str]:
    """The entries in which two JSON-like configs differ, one line each: `a.b is 1 there, 2 here`."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        keys = list(dict.fromkeys([*saved, *wanted]))
        return [
            line
            for key in keys
            for line in differences(saved.get(key, "absent"), wanted.get(key, "absent"), f"{path}.{key}".lstrip("."))
        ]
    return [] if saved == wanted else [f"{path} is {saved!r} there, {wanted!r} here"]


def _unwritable(directory: str | Path, error: OSError) -> InputError:
    return InputError(f"checkpoint folder {directory} cannot be written: {error.strerror or error}")


def _manager(directory: Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=1, create=True, enable_async_checkpointing=False)
    return ocp.CheckpointManager(directory, options=options)


def _read(manager: ocp.CheckpointManager, step: int, directory: Path, **items: Any) -> Any:
    try:
        return manager.restore(step, args=ocp.args.Composite(**items))
    except Exception as error:  # orbax raises many kinds for missing, truncated and mismatching files
        reason = textwrap.shorten(str(error), 160) or type(error).__name__
        raise InputError(
            f"checkpoint {directory} (step {step}) cannot be read, remove it to start anew: {reason}"
        ) from error


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _abstract(leaf: Any) -> Any:
    if _is_key(leaf):
        return jax.eval_shape(jax.random.key_data, leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _typed(raw: Any, template: Any) -> Any:
    return jax.random.wrap_key_data(raw) if _is_key(template) else raw
