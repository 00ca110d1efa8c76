"""Several processes that train as one: how they start, what the first tells the others, and how they end together.

Every process runs the same command and holds its own devices; collectives of XLA join them. Process 0 alone reads and
writes run folders and checkpoints, and what is decided by them comes from it.
"""

import ctypes
import itertools
import os
import pickle
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import jax
from jax.experimental import multihost_utils

from abkd_jax.types import InputError, Pytree

__all__ = ["are_several", "arrays_from_first", "end", "from_first", "is_first", "start"]

Value = TypeVar("Value")

LOST_AFTER = 30  # seconds without a sign of life, after which a process counts as lost
CONNECT = 300  # seconds that the processes wait for each other at the start
DAY = 86_400  # seconds that a process may wait for another one that is alive, as while that one writes a report
CPU_THREADS = 64  # of XLA on CPUs: collectives block one for each device, and by default there are as many as cores
PIECE = 2**20  # bytes of one message
LOST = "another process of this run has ended; the same command in all of them goes on from here"
FORM = re.compile(r"(\d+)/(\d+)@([^@\s]+:\d+)")

_ending = threading.Lock()
_messages = itertools.count()
_kept: list[Any] = []  # the handler of the signal, which must not be collected


def start(process: str, *, verbose: bool = False) -> None:
    """Joins this process with the others, before JAX is used for the first time.

    From then on the end of one is the end of all: within a minute, each with one line and a status other than 0.

    Args:
        process: `auto` where JAX finds the others itself (TPU slices, Slurm, Open MPI), else
            `<index>/<number>@<address of process 0>:<port>`, such as `0/2@10.0.0.1:8476`.
        verbose: whether the messages of the libraries below are written to standard error.

    Raises:
        InputError: another form, or the others cannot be reached.
    """
    index, number, address = None, None, None
    if process != "auto":
        found = FORM.fullmatch(process)
        if found is None or int(found[1]) >= int(found[2]):
            raise InputError(
                f"--process is {process}, expected auto, or <index>/<number>@<address>:<port> such as 0/2@10.0.0.1:8476"
            )
        index, number, address = int(found[1]), int(found[2]), found[3]
    _end_in_one_line(verbose=verbose)
    os.environ.setdefault("NPROC", str(CPU_THREADS))
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would ignore SIGTERM
    try:
        jax.distributed.initialize(
            address,
            number,
            index,
            initialization_timeout=CONNECT,
            heartbeat_timeout_seconds=LOST_AFTER,
            shutdown_timeout_seconds=DAY,
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--process {process}: the other processes cannot be reached: {reason}") from error


def are_several() -> bool:
    """Tells whether this process is one of several that train as one."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Tells whether this process is the one that reads and writes files: process 0, or the only one."""
    return not are_several() or jax.process_index() == 0


def from_first(make: Callable[[], Value]) -> Value:
    """Returns in every process what `make` returns in process 0, where alone it is called.

    All processes must come here in the same order. They wait as long as process 0 is alive; where `make` raises, it
    ends, and so do the others.

    Args:
        make: returns anything that can be pickled.
    """
    if not are_several():
        return make()
    client, key = _client(), f"abkd_jax/{next(_messages)}"
    if is_first():
        value = make()
        content = pickle.dumps(value)
        pieces = [content[begin : begin + PIECE] for begin in range(0, len(content), PIECE)]
        for number, piece in enumerate(pieces):
            client.key_value_set_bytes(f"{key}/{number}", piece)
        client.key_value_set_bytes(key, str(len(pieces)).encode())
        return value
    count = int(client.blocking_key_value_get_bytes(key, DAY * 1000))
    received = [client.blocking_key_value_get_bytes(f"{key}/{number}", DAY * 1000) for number in range(count)]
    return pickle.loads(b"".join(received))


def arrays_from_first(tree: Pytree) -> Pytree:
    """Returns in every process the arrays of process 0, by a collective; all give arrays of one shape and type."""
    return multihost_utils.broadcast_one_to_all(tree) if are_several() else tree


def end(line: str) -> NoReturn:
    """Ends this process at once with one line: a regular exit would wait for the others, which wait for this one."""
    with _ending:
        if sys.stdout is not None:
            sys.stdout.flush()
        print(line, file=sys.stderr, flush=True)
        os._exit(1)


def _client() -> Any:
    from jax._src import distributed  # the store of the coordinator has no public name yet

    return distributed.global_state.client


def _crash(*of: Any) -> NoReturn:
    """Ends after an error that nothing handles, without the wait for the others that a regular exit has."""
    sys.__excepthook__(*of)
    os._exit(1)


def _end_in_one_line(*, verbose: bool) -> None:
    """Replaces the way in which JAX ends a process that has lost another: a dump of the stack, and SIGABRT."""
    sys.excepthook = _crash
    if not verbose:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what the libraries write themselves

    def lost(_: int) -> None:
        end(f"abkd_jax: {LOST}")

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lost)
    _kept.append(handler)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), handler)
