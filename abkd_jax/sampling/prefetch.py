"""Builds the next batches, and moves them to the device, in background threads while the device is busy."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

__all__ = ["PrefetchStats", "prefetch", "worker_count"]

MOST_WORKERS = 8  # gathers and sorts, which are most of a batch, run without Python's lock; the rest takes turns


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


def worker_count() -> int:
    """Returns how many threads draw minibatches: half of the cores of this process, 1 to 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // 2, MOST_WORKERS))


def prefetch(
    batches: Iterable[Any],
    depth: int = 2,
    *,
    put: Callable[[Any], Any] = jax.device_put,
    workers: int = 1,
    stats: PrefetchStats | None = None,
) -> Iterator[Any]:
    """Yields `put(batch)` of the same batches in the same order, built ahead by background threads.

    One thread at a time takes the next of `batches`; what `put` does, all do at once. So a sampler's batches are drawn
    by several threads where `put` draws them, `lambda draw: jax.device_put(draw()[0]().batch)` over
    `sampler.groups(rng, 1)`, and are the same for any number of them. An exception is raised here, after the batches
    before it. When the consumer stops early (`close`, the end of the iterator's life, or an interruption) every thread
    finishes its current batch and ends, and `batches` is closed where it is a generator.

    Args:
        batches: iterable that gives the batches; used by one thread at a time.
        depth: most finished batches that are kept waiting; as many more as there are threads are being built.
        put: function that a thread applies to each batch last; `jax.device_put`, or one onto a mesh.
        workers: number of threads; see `worker_count`.
        stats: updated if given.

    Examples:
        >>> sum(int(batch) for batch in prefetch([1, 2, 3]))
        6
        >>> list(prefetch(range(5), put=lambda x: x * x, workers=3))
        [0, 1, 4, 9, 16]
    """
    return _consume(batches, _Ahead(put, max(depth, 1) + workers), workers, PrefetchStats() if stats is None else stats)


class _Ahead:
    """Batches that are being built, in the order in which they were taken."""

    def __init__(self, put: Callable[[Any], Any], most: int):
        self.put, self.most = put, most
        self.taking, self.changed = threading.Lock(), threading.Condition()
        self.finished: dict[int, tuple[str, Any]] = {}  # by position
        self.taken = self.used = 0
        self.stopped = False
        self.failure: BaseException | None = None

    def build(self, source: Iterator[Any]) -> None:
        """Builds batches as `_build_all`; where a thread itself fails, the consumer is told instead of left waiting."""
        try:
            self._build_all(source)
        except BaseException as error:  # raised again where the batches are used
            with self.changed:
                self.failure, self.stopped = error, True
                self.changed.notify_all()

    def _build_all(self, source: Iterator[Any]) -> None:
        """Builds one batch after the other until the source ends, something fails, or the consumer stops."""
        kind = "batch"
        while kind == "batch":
            with self.taking:
                if not self._has_room():
                    return
                position, (kind, value) = self.taken, _next(source)
                self.taken += 1
                self.stopped |= kind != "batch"
            if kind == "batch":
                kind, value = _attempt(self.put, value)
            with self.changed:
                self.finished[position] = kind, value
                self.stopped |= kind != "batch"
                self.changed.notify_all()

    def next(self) -> tuple[str, Any]:
        """Waits for the next batch, the end, or an exception."""
        with self.changed:
            self.changed.wait_for(lambda: self.used in self.finished or self.failure is not None)
            if self.used not in self.finished:
                return "error", self.failure
            self.used += 1
            self.changed.notify_all()
            return self.finished.pop(self.used - 1)

    def stop(self) -> None:
        """Makes every thread end after its current batch."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def _has_room(self) -> bool:
        """Waits for room for one more batch; returns False once there is nothing more to take."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or self.taken - self.used < self.most)
            return not self.stopped


def _next(source: Iterator[Any]) -> tuple[str, Any]:
    try:
        return "batch", next(source)
    except StopIteration:
        return "end", None
    except BaseException as error:  # raised again where the batches are used
        return "error", error


def _attempt(function: Callable[[Any], Any], value: Any) -> tuple[str, Any]:
    try:
        return "batch", function(value)
    except BaseException as error:  # likewise
        return "error", error


def _consume(batches: Iterable[Any], ahead: _Ahead, workers: int, stats: PrefetchStats) -> Iterator[Any]:
    began, before, source = time.perf_counter(), stats.total, iter(batches)
    threads = [
        threading.Thread(target=ahead.build, args=(source,), daemon=True, name="prefetch") for _ in range(workers)
    ]
    try:
        for thread in threads:  # with the first request: an iterator that is never used leaves no thread behind
            thread.start()
        while True:
            requested = time.perf_counter()
            kind, value = ahead.next()
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
        ahead.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        if isinstance(batches, Generator):
            batches.close()
