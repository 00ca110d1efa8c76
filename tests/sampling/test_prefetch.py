import threading

import numpy as np
import pytest
from sampling_samples import sample

from abkd_jax.sampling import PrefetchStats, neighbour_batches, prefetch


def ours():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_batches_come_in_order_and_as_they_are():
    sampler = neighbour_batches(sample()[1], 9, (2,))
    plain = list(sampler(np.random.default_rng(0)))
    stats = PrefetchStats()
    ahead = list(prefetch(sampler(np.random.default_rng(0)), stats=stats))
    assert len(plain) == len(ahead) == stats.batches
    for a, b in zip(plain, ahead, strict=True):
        np.testing.assert_array_equal(a.graph.nodes["features"], b.graph.nodes["features"])
        np.testing.assert_array_equal(a.graph.senders, b.graph.senders)
        np.testing.assert_array_equal(a.labels, b.labels)
    assert 0.0 <= stats.waited <= stats.total
    assert 0.0 <= stats.idle_share <= 1.0
    assert not ours()


def test_put_is_the_last_thing_done_to_a_batch():
    assert list(prefetch(range(5), 1, put=lambda x: x * 10)) == [0, 10, 20, 30, 40]


def test_an_exception_comes_out_after_the_batches_before_it():
    def failing():
        yield 1
        raise RuntimeError("no more")

    ahead = prefetch(failing(), put=lambda x: x)
    assert next(ahead) == 1
    with pytest.raises(RuntimeError, match="no more"):
        next(ahead)
    assert not ours()


def test_stopping_early_ends_the_thread_and_closes_the_source():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    ahead = prefetch(endless(), put=lambda x: x)
    next(ahead)
    ahead.close()
    assert closed.is_set()
    assert not ours()


@pytest.mark.parametrize("ended", ["by the consumer", "by put"])
def test_the_source_is_closed_however_it_ends(ended):
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    def put(batch):
        if ended == "by put":
            raise MemoryError("no room on the device")
        return batch

    ahead = prefetch(endless(), put=put)
    if ended == "by put":
        with pytest.raises(MemoryError, match="no room"):
            next(ahead)
    else:
        next(ahead)
        del ahead  # an iterator that nobody holds any more
    assert closed.wait(10)
    for thread in ours():
        thread.join(10)
    assert not ours()


def test_no_more_than_depth_batches_are_built_ahead():
    built = []
    full = threading.Event()

    def counted():
        for number in range(20):
            built.append(number)
            if len(built) == 4:  # one used, two ready, one in hand
                full.set()
            yield number

    ahead = prefetch(counted(), 2, put=lambda x: x)
    assert next(ahead) == 0
    assert full.wait(10)
    assert len(built) == 4
    assert list(ahead) == list(range(1, 20))


def test_nobody_asking_starts_nothing():
    prefetch(iter([1]))
    assert not ours()
    assert PrefetchStats().idle_share == 0.0
