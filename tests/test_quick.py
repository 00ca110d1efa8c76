"""What `-m quick` leaves out: functions that exist, and never all of a folder."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
SLOW = (TESTS / "slow.txt").read_text().splitlines()


def functions():
    """`folder/test_file.py::test_name` of every function of tests, those of classes included."""
    for path in sorted(TESTS.rglob("test_*.py")):
        name, tree = path.relative_to(TESTS).as_posix(), ast.parse(path.read_text())
        scopes = [(name, tree), *((f"{name}::{x.name}", x) for x in tree.body if isinstance(x, ast.ClassDef))]
        for scope, node in scopes:
            yield from (f"{scope}::{x.name}" for x in node.body if getattr(x, "name", "").startswith("test_"))


def test_slow_functions_are_listed_once_in_order_and_exist():
    assert sorted(set(SLOW)) == SLOW
    written = {name.partition("__with")[0] for name in SLOW}  # chex adds what a variant is with
    assert written - set(functions()) == set()


def test_every_folder_has_quick_tests():
    folders = {path.parent for path in TESTS.rglob("test_*.py")}
    assert {(TESTS / name.partition("::")[0]).parent for name in functions() if name not in SLOW} == folders
