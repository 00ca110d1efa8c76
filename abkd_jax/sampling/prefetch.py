"""Builds the next batches, and moves them to the device, in a background thread while the device is busy."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

__all__ = ["PrefetchStats", "prefetch"]

STOP_CHECK = 0.1  # seconds after which a thread that waits for a free place checks whether it is to stop


@dataclass
class PrefetchStats:
    """Waiting times of the consumer of batches; updated while it runs.

    Attributes:
        waited: seconds that it waited for batches.
        total: seconds from the first request to the last.
        batches: how many it received.
    """

    waited: float = 0.0
    total: float = 0.0
    batches: int = 0

    @property
    def idle_share(self) -> float:
        """Returns the share of the time that went into waiting; 0 before the first batch."""
        return self.waited / self.total if self.total > 0.0 else 0.0


def prefetch(
    batches: Iterable[Any],
    depth: int = 2,
    *,
    put: Callable[[Any], Any] = jax.device_put,
    stats: PrefetchStats | None = None,
) -> Iterator[Any]:
    """Yields the same batches in the same order, built ahead by one background thread.

    The content of the batches does not depend on timing: one thread draws them, one after the other. An exception in it
    is raised here, after the batches before it. When the consumer stops early (`close`, or the end of the iterator's
    life) the thread finishes its current batch and ends, and `batches` is closed where it is a generator.

    Args:
        batches: iterable that builds the batches; used by the thread alone.
        depth: most finished batches that are kept waiting; one more is being built.
        put: function that the thread applies to each batch last; `jax.device_put`, or one onto a mesh.
        stats: updated if given.

    Examples:
        >>> sum(int(batch) for batch in prefetch([1, 2, 3]))
        6
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
    worker.start()  # with the first request: an iterator that is never used leaves no thread behind
    try:
        while True:
            requested = time.perf_counter()
            kind, value = ready.get()
            received = time.perf_counter()
            stats.waited += received - requested
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
    """Puts an item into the queue; returns whether it got in before the consumer stopped."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=STOP_CHECK)
            return True
        except queue.Full:
            continue
    return False
