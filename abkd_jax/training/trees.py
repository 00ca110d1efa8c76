"""Writes and reads a state, its history and their config with orbax: one error where its threads raise many."""

import contextlib
import gc
import logging
import math
import os
import re
import shutil
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from abkd_jax.datasets.files.atomic import read_json
from abkd_jax.types import InputError, Pytree

__all__ = ["TEMPORARY", "described", "raw", "read", "read_described", "with_keys", "write"]

TEMPORARY = "*.orbax-checkpoint-tmp*"  # folders that an interrupted write leaves
MAX_HISTORY = 1 << 30  # most bytes of a history without a manifest, whose header alone tells its size
QUIET = 0.2  # seconds without a new file, after which the threads of a failed write have ended

_quieting = threading.Lock()  # models that train side by side write and read in threads of their own


def described(tree: Pytree) -> dict[str, str]:
    """Returns type and shape of every leaf by its path.

    Raises:
        InputError: a leaf is no array or PRNG key, or has no elements; orbax stores neither.

    Examples:
        >>> described({"params": {"w": jnp.zeros((2, 3))}, "key": jax.random.key(0)})
        {'key': 'key<fry>[]', 'params.w': 'float32[2, 3]'}
    """
    leaves = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        dtype, shape = getattr(leaf, "dtype", None), getattr(leaf, "shape", ())
        if dtype is None or not (_is_key(leaf) or jnp.issubdtype(dtype, np.number) or dtype == np.bool_):
            raise InputError(f"{name} is of type {dtype or type(leaf).__name__}, expected numbers or PRNG keys")
        if 0 in shape:
            raise InputError(f"{name} has shape {tuple(shape)}, expected at least one element")
        leaves[name] = f"{dtype.name}{list(shape)}"
    return leaves


def raw(tree: Pytree) -> Pytree:
    """Returns the tree with the words of PRNG keys, or their `jax.ShapeDtypeStruct`, in place of the keys."""

    def words(leaf: Any) -> Any:
        if not _is_key(leaf):
            return leaf
        abstract = isinstance(leaf, jax.ShapeDtypeStruct)
        return jax.eval_shape(jax.random.key_data, leaf) if abstract else jax.random.key_data(leaf)

    return jax.tree.map(words, tree)


def with_keys(tree: Pytree, template: Pytree) -> Pytree:
    """Returns the tree that `raw` was made of: with PRNG keys where `template` has them."""
    return jax.tree.map(_as_key, tree, template)


def write(folder: Path, state: Pytree, history: dict[str, np.ndarray], config: dict[str, Any]) -> None:
    """Writes into a new folder, which appears once it is complete.

    Raises:
        OSError: the folder cannot be written, or has no space. Nothing is left of it then.
    """
    history = {name: np.asarray(values) for name, values in history.items()}
    state = raw(state) if jax.process_count() == 1 else jax.device_get(raw(state))  # else orbax expects global arrays
    arguments = ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        history=ocp.args.StandardSave(history),
        config=ocp.args.JsonSave(config),
    )
    with _one_error(folder), _checkpointer() as checkpointer:
        checkpointer.save(folder, arguments, force=True)


def read(folder: Path, template: Pytree) -> tuple[Pytree, dict[str, np.ndarray]]:
    """Reads the state, in the structure of `template` and on the default device, and the history.

    Raises:
        InputError: a file is missing, damaged, or holds something else than the template says.
    """
    device = jax.sharding.SingleDeviceSharding(jnp.zeros(()).device)

    def wanted(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray):
            return leaf  # numpy's 64 bits come back as such
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)

    arguments = ocp.args.Composite(
        state=ocp.args.StandardRestore(jax.tree.map(wanted, raw(template))), history=ocp.args.StandardRestore()
    )
    with _one_line(), _checkpointer() as checkpointer:
        restored = checkpointer.restore(folder, args=arguments)
        state = with_keys(restored["state"], template)
    if described(state) != described(template):
        raise InputError("its arrays are of other types than its headers say")
    return state, jax.tree.map(np.array, restored["history"])


def read_described(folder: Path) -> dict[str, Any]:
    """Reads config and leaves from orbax's own headers, for a folder that no manifest describes.

    Returns:
        `config`, and `state` as `described` gives it for the raw state.

    Raises:
        InputError: a header is missing or damaged, or claims a history of more than 1 GiB.
    """
    config = read_json(folder / "config" / "metadata")
    with _one_line():
        headers: Any = ocp.StandardCheckpointHandler().metadata  # annotated with another class of paths
        state, history = (headers(folder / name).tree for name in ("state", "history"))
        size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(history))
    if size > MAX_HISTORY:
        raise InputError(f"its history claims {size:,} bytes, expected at most {MAX_HISTORY:,}")
    return {"config": config, "state": described(state)}


def _checkpointer() -> ocp.Checkpointer:
    """Returns orbax's reader and writer for this process alone: of several processes, the others do not come here."""
    if jax.process_count() == 1:
        return ocp.Checkpointer(ocp.CompositeCheckpointHandler())
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(own, {own}, barrier_sync_key_prefix=f"process_{own}")
    handler = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(multiprocessing_options=alone))
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _as_key(words: Any, template: Any) -> Any:
    if not _is_key(template):
        return words
    impls: list[Any] = []
    jax.eval_shape(lambda key: impls.append(jax.random.key_impl(key)), template)  # takes no `jax.ShapeDtypeStruct`
    return jax.random.wrap_key_data(words, impl=impls[0])


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turns all errors of a failed read into one class."""
    try:
        with _quiet():
            yield
    except Exception as error:  # orbax raises many kinds for missing, truncated and mismatching files
        raise InputError(textwrap.shorten(str(error), 160) or type(error).__name__) from error


@contextlib.contextmanager
def _one_error(folder: Path) -> Iterator[None]:
    """Turns a failed write into one `OSError`, and removes its files: threads keep writing for a moment."""
    with _quiet():
        try:
            yield
        except BaseException as error:
            _clear(folder)
            code = re.search(r"os_error_code='(\d+)'", str(error))  # tensorstore's errors are ValueErrors
            if isinstance(error, ValueError) and code:
                logging.getLogger("asyncio").addFilter(_is_unrelated)
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            raise


def _is_unrelated(record: logging.LogRecord) -> bool:
    """Drops later messages of asyncio about the other writes that failed on the same full disk."""
    failure = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return not (isinstance(failure, ValueError) and "os_error_code" in str(failure))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax's threads from printing tracebacks of their own when a read or write fails; one caller at a time."""
    _quieting.acquire()
    levels = {log: log.level for log in map(logging.getLogger, ("absl", "asyncio"))}
    hook = sys.unraisablehook
    try:
        for log in levels:
            log.setLevel(logging.CRITICAL)
        sys.unraisablehook = lambda _: None
        yield
    except BaseException as error:
        time.sleep(QUIET)  # until the threads have ended what they had begun
        traceback.clear_frames(error.__traceback__)  # they hold futures, which complain when they are collected
        gc.collect()
        raise
    finally:
        for log, level in levels.items():
            log.setLevel(level)
        sys.unraisablehook = hook
        _quieting.release()


def _clear(folder: Path) -> None:
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < QUIET:
        for path in (folder, *folder.parent.glob(f"{folder.name}{TEMPORARY[1:]}")):
            if path.exists():
                shutil.rmtree(path, ignore_errors=True)
                quiet_since = time.monotonic()
        time.sleep(QUIET / 10)
