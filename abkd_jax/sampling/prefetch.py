"""The next batches are built, and moved to the device, while it works on this one."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

__all__ = ["PrefetchStats", "prefetch"]

STOP_CHECK = 0.1  # seconds between two looks of a waiting worker at whether anyone still wants its batches


@dataclass
class PrefetchStats:
    """How long the consumer of batches stood still; filled in while it runs.

    Attributes:
        waited: seconds that it waited for a batch.
        total: seconds from the first request to the last.
        batches: how many it received.
    """

    waited: float = 0.0
    total: float = 0.0
    batches: int = 0

    @property
    def idle_share(self) -> float:
        """Share of the time that went into waiting; 0 before the first batch."""
        return self.waited / self.total if self.total > 0.0 else 0.0


def prefetch(
    batches: Iterable[Any],
    depth: int = 2,
    *,
    put: Callable[[Any], Any] = jax.device_put,
    stats: PrefetchStats | None = None,
) -> Iterator[Any]:
    """The same batches in the same order, built ahead by one background thread.

    What the batches hold does not depend on timing: one thread draws them, one after the other. An exception in it
    comes out here, after the batches before it. When the consumer stops early (`close`, or the end of the iterator's
    life) the thread ends with the batch it is at, and `batches` is closed where it is a generator.

    Args:
        batches: what to build; used by the thread alone.
        depth: batches that wait, ready, at most; one more is being built.
        put: what the thread does with each batch last; `jax.device_put`, or one onto a mesh.
        stats: filled in if given.
    """
    stats = PrefetchStats() if stats is None else stats
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(max(depth, 1))
    stop = threading.Event()
    worker = threading.Thread(target=_build, args=(batches, put, ready, stop), daemon=True, name="prefetch")
    return _consume(ready, stop, worker, stats)


def _consume(
    ready: queue.Queue[tuple[str, Any]], stop: threading.Event, worker: threading.Thread, stats: PrefetchStats
) -> Iterator[Any]:
    began, before = time.perf_counter(), stats.total
    worker.start()  # with the first request: an iterator that nobody asks leaves no thread behind
    try:
        while True:
            asked = time.perf_counter()
            kind, value = ready.get()
            received = time.perf_counter()
            stats.waited += received - asked
            stats.total = before + received - began
            if kind == "error":
                raise value
            if kind == "end":
                return
            stats.batches += 1
            yield value
    finally:
        stop.set()
        worker.join()


def _build(
    batches: Iterable[Any], put: Callable[[Any], Any], ready: queue.Queue[tuple[str, Any]], stop: threading.Event
) -> None:
    last: tuple[str, Any] = ("end", None)
    try:
        try:
            for batch in batches:
                if not _offer(ready, ("batch", put(batch)), stop):
                    break
        finally:
            if isinstance(batches, Generator):
                batches.close()
    except BaseException as error:  # raised again where the batches are used
        last = ("error", error)
    _offer(ready, last, stop)


def _offer(ready: queue.Queue[tuple[str, Any]], item: tuple[str, Any], stop: threading.Event) -> bool:
    """Whether there was room before the consumer stopped."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=STOP_CHECK)
            return True
        except queue.Full:
            continue
    return False
