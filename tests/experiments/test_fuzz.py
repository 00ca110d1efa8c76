"""The fuzz program: the same cases every time, no fault goes unseen, and a short run of it over every layout."""

import logging
import re
import time
import warnings

import numpy as np
import pytest

from abkd_jax.types import InputError
from experiments.fuzz import __main__ as program
from experiments.fuzz import cases, pool, worker
from experiments.fuzz.bombs import BOMBS
from experiments.fuzz.layouts import LAYOUTS, Layout

NUMBER = 8  # of cases of each layout
CHEAP_BOMBS = {("gnn_benchmark", "huge_shape"), ("heco", "deflated_zeros"), ("report", "nested_json"), ("tu", "sparse")}


@pytest.mark.parametrize("name", ["planetoid", "heco", "kgbench", "pickles"])
def test_a_case_depends_on_its_seed_name_and_number_alone(tmp_path, name):
    def damaged(number, place):
        base, damage = cases.plan(name, number)
        folder = tmp_path / place
        LAYOUTS[base].write(folder)
        done = damage(folder, np.random.default_rng([0, number]))
        return done, {
            path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
        }

    first = [damaged(number, f"first {number}") for number in range(5)]
    assert first == [damaged(number, f"again {number}") for number in range(5)]
    assert len({done for done, _ in first}) > 1


def write_numbers(folder):
    (folder / "numbers").write_text("1 2 3")


def numbers(folder):
    return np.array([int(word) for word in (folder / "numbers").read_text().split()])


def other_exception(folder):
    raise KeyError("labels")


def two_lines(folder):
    raise InputError("damaged\nin two lines")


def one_line(folder):
    raise InputError("damaged")


def told(change):
    def read(folder):
        logging.getLogger("abkd_jax.datasets").warning("this was damaged")
        return change(numbers(folder))

    return read


def stray_warning(folder):
    warnings.warn("cast", RuntimeWarning, stacklevel=1)
    return numbers(folder)


JUDGED = {
    "as before": (numbers, False, "equal", ""),
    "another number": (lambda folder: numbers(folder) + 1, False, "same counts", ""),
    "another number under a seal": (
        lambda folder: numbers(folder) + 1,
        True,
        "fault",
        "another content without a word",
    ),
    "another count": (lambda folder: numbers(folder)[:2], False, "fault", r"\(3,\) became \(2,\)"),
    "another number, told": (told(lambda values: values + 1), False, "recovered", "this was damaged"),
    "another count, told": (told(lambda values: values[:2]), False, "fault", r"\(3,\) became \(2,\)"),
    "an older state, told": (told(lambda values: values[:2]), True, "recovered", "this was damaged"),
    "refused": (one_line, False, "refused", "damaged"),
    "refused in two lines": (two_lines, False, "fault", "InputError: damaged"),
    "another exception": (other_exception, False, "fault", "KeyError: 'labels'"),
    "a warning of Python": (stray_warning, False, "fault", "RuntimeWarning: cast"),
}


@pytest.mark.parametrize("case", JUDGED)
def test_what_came_of_a_case(tmp_path, monkeypatch, case):
    read, sealed, kind, what = JUDGED[case]
    monkeypatch.setattr(cases, "plan", lambda name, number: (name, lambda folder, rng: "nothing"))
    begun = []
    with worker.Bench(tmp_path, {"numbers": Layout(write_numbers, numbers, sealed=sealed)}) as bench:
        assert bench.run("numbers", 0, 0, begun.append).kind == "equal"
        bench.layouts["numbers"] = Layout(write_numbers, read, sealed=sealed)
        outcome = bench.run("numbers", 1, 0, begun.append)
    assert begun == ["nothing"] * 2
    assert outcome.kind == kind
    if what:
        assert re.search(what, outcome.what)


def test_a_process_that_dies_is_a_fault_and_is_replaced(tmp_path):
    process = pool.Process(tmp_path / "root", 0, None)
    try:
        process.give(("planetoid", 3))
        process.damage = "bytes exchanged"  # as the process says when it begins to read
        process.process.kill()
        while (outcome := process.poll()) is None:
            time.sleep(0.01)
        assert (outcome.kind, outcome.what) == ("fault", "the process ended by signal 9")
        assert outcome.damage == "bytes exchanged"
        assert process.process.is_alive()
    finally:
        process.end()


def test_progress_is_lines_in_the_log_without_a_terminal(monkeypatch, capsys, caplog):
    outcome = worker.Outcome("fault", "KeyError: 'x'", "heco.py:1", "bytes exchanged", 0.5, 2**20)
    monkeypatch.setattr(program.pool, "run", lambda wanted, *_: ((case, outcome) for case in wanted))
    with caplog.at_level(logging.INFO, "abkd_jax"):
        assert program.main(program.Args(cases=2, layouts=("heco",))) == 1
    assert [record.getMessage() for record in caplog.records] == ["fuzz: case 0 of 2", "fuzz: case 2 of 2"]
    shown = capsys.readouterr()
    assert "2 x KeyError at heco.py:1: heco:0 heco:1" in shown.out
    assert shown.err == ""


def test_a_short_run_has_no_fault():
    numbers = dict.fromkeys((*LAYOUTS, "pickles"), NUMBER) | {"run": 5, "report": 3}  # figures take most of a second
    wanted = [(name, number) for name, count in numbers.items() for number in range(count)]
    wanted += [("bombs", n) for n, bomb in enumerate(BOMBS) if (bomb.layout, bomb.make.__name__) in CHEAP_BOMBS]
    found = dict(pool.run(wanted, 0, None, 1))
    assert {case: outcome for case, outcome in found.items() if outcome.kind == "fault"} == {}
    assert {outcome.kind for outcome in found.values()} >= {"equal", "refused"}
    assert found.keys() == set(wanted)
