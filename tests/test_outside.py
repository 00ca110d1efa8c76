"""Functions from outside the package: their names, and the digests of their sources."""

import linecache
import sys
import types

import pytest

from abkd_jax.outside import Kind, function_of, name_of, source_digest
from abkd_jax.types import InputError

KIND = Kind("model", "my_models:tiny", "a flax.linen.Module")
CELLS = {
    "function": "def tiny(config, classes):\n    return Layer(WIDTH, classes)\n",
    "class": "class Layer:\n    def __call__(self, x):\n        return helper(x)\n",
    "helper": "def helper(x):\n    return x + 1\n",
    "width": "WIDTH = 4\n",
    "another": "def another():\n    return 0\n",
}


@pytest.fixture
def run(monkeypatch):
    """Runs a cell in a module `notebook` that has no file, as notebooks do."""
    module = types.ModuleType("notebook_of_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(linecache, "cache", dict(linecache.cache))

    def run_cell(name, text):
        place = f"/nowhere/{name}.py"
        linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)
        exec(compile(text, place, "exec"), vars(module))

    return run_cell


@pytest.mark.parametrize(
    ("cell", "text", "same"),
    [
        ("function", CELLS["function"], True),
        ("function", CELLS["function"].replace("WIDTH", "2 * WIDTH"), False),
        ("class", CELLS["class"].replace("(x)\n", "(2 * x)\n"), False),
        ("helper", CELLS["helper"].replace("1", "2"), False),
        ("width", "WIDTH = 5\n", False),
        ("another", "def another():\n    return 1\n", True),
    ],
)
def test_the_digest_in_a_notebook_is_of_the_cells_that_a_function_needs(run, cell, text, same):
    for name, content in CELLS.items():
        run(name, content)
    before = source_digest("notebook_of_test:tiny", KIND)
    run(cell, text)
    assert (source_digest("notebook_of_test:tiny", KIND) == before) is same


def test_a_function_without_a_source_is_refused(monkeypatch):
    module = types.ModuleType("typed_in")
    exec("def tiny(config, classes):\n    return 0\n", vars(module))
    monkeypatch.setitem(sys.modules, "typed_in", module)
    with pytest.raises(InputError, match="typed_in:tiny: its source is not known, expected that of a file or"):
        source_digest("typed_in:tiny", KIND)


def test_a_function_is_found_by_its_name():
    assert function_of(name_of(KIND_maker, KIND), KIND) is KIND_maker
    inner = lambda: None  # noqa: E731
    for function in (inner, types.SimpleNamespace()):
        with pytest.raises(InputError, match="it cannot be found by name, expected a function at the top of a module"):
            name_of(function, KIND)


def KIND_maker():
    """Stands at the top of a module."""
