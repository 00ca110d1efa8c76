"""Several threads that draw: the batches of one, in their order, and a clean end however it comes."""

import importlib
import signal
import threading
import time

import jax
import numpy as np
import pytest
from problem_samples import graph_dataset
from sampling_samples import sample

from abkd_jax import sampling
from abkd_jax.sampling import prefetch, worker_count

SAMPLERS = {
    "neighbours": lambda: sampling.neighbour_batches(sample()[1], 7, (3, 2)),
    "walks": lambda: sampling.walk_batches(sample()[1], roots=6, length=3, steps=6),
    "clusters": lambda: sampling.cluster_batches(sample()[1], np.arange(sample()[1].num_nodes) % 9, per_batch=2),
    "graphs": lambda: sampling.graph_batches(graph_dataset(), 3),
}


def drawn(sampler, workers, seed=4):
    draws = sampler.groups(np.random.default_rng(seed), 1)
    return list(prefetch(draws, put=lambda draw: draw()[0](), workers=workers))


def ours():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_any_number_of_threads_draws_the_same_batches(name):
    sampler = SAMPLERS[name]()
    alone = list(sampler.minibatches(np.random.default_rng(4)))
    assert len(alone) > 3
    for workers in (1, 2, 5):
        jax.tree.map(np.testing.assert_array_equal, drawn(sampler, workers), alone)
    other = drawn(sampler, 2, seed=5)
    assert any(not np.array_equal(a.nodes, b.nodes) for a, b in zip(alone, other, strict=False))


@pytest.mark.parametrize("name", ["neighbours", "walks"])
def test_a_batch_depends_on_its_position_and_on_no_other(name):
    """Drawn last to first, and twice."""
    draws = list(SAMPLERS[name]().groups(np.random.default_rng(4), 1))
    backwards = [draw()[0]() for draw in reversed(draws)][::-1]
    again = [draw()[0]() for draw in draws]
    jax.tree.map(np.testing.assert_array_equal, backwards, again)


def test_groups_are_made_of_the_same_batches():
    sampler = SAMPLERS["walks"]()
    alone = list(sampler.minibatches(np.random.default_rng(4)))
    for size in (2, 4):
        groups = [draw() for draw in sampler.groups(np.random.default_rng(4), size)]
        assert [len(group) for group in groups] == [size] * (6 // size) + ([6 % size] if 6 % size else [])
        nodes = [build().nodes for group in groups for build in group]
        for a, b in zip(nodes, alone, strict=True):
            np.testing.assert_array_equal(a, b.nodes)


def test_batches_wait_for_the_ones_before_them():
    """The first one is built last: the others are kept until it is there."""
    last = threading.Barrier(3)

    def put(number):
        if number < 3:
            last.wait(10)  # three threads are at work at once
        return number

    assert list(prefetch(range(9), put=put, workers=3)) == list(range(9))


def test_a_failing_thread_is_reported_after_the_batches_before_it():
    def put(number):
        if number == 3:
            raise OSError("no space left")
        return number

    ahead = prefetch(iter(range(100)), put=put, workers=3)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="no space left"):
        next(ahead)
    assert not ours()


def test_a_thread_that_fails_itself_leaves_nobody_waiting(monkeypatch):
    def broken(ahead, source):
        raise MemoryError("no room for a batch")

    module = importlib.import_module("abkd_jax.sampling.prefetch")  # whose function hides it
    monkeypatch.setattr(module._Ahead, "_build_all", broken)
    with pytest.raises(MemoryError, match="no room"):
        next(prefetch(range(3)))
    assert not ours()


@pytest.fixture
def interruptible():
    """Python's own handler of Ctrl-C, which a process started in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_ends_all_threads(interruptible):
    began = threading.Event()

    def put(number):
        if number < 2:
            return number
        began.set()
        time.sleep(0.05)
        return number

    def interrupt():
        began.wait(10)
        signal.raise_signal(signal.SIGINT)

    ahead = prefetch(iter(range(600)), put=put, workers=3)  # ten seconds, should the interrupt be lost
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in ahead:
            pass
    del ahead  # should it have come between two batches
    assert not ours()


def test_no_more_is_taken_than_is_kept_and_built():
    taken, full = [], threading.Event()

    def counted():
        for number in range(30):
            taken.append(number)
            if len(taken) == 6:  # one used, two ready, three in hand
                full.set()
            yield number

    ahead = prefetch(counted(), 2, put=lambda x: x, workers=3)
    assert next(ahead) == 0
    assert full.wait(10)
    assert len(taken) == 6
    assert list(ahead) == list(range(1, 30))


def test_half_of_the_cores_draw(monkeypatch):
    for cores, expected in ((1, 1), (2, 1), (5, 2), (96, 8)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert worker_count() == expected
