"""Functions from outside the package: their names, and the digests of their sources."""

import linecache
import sys
import types

import pytest

from abkd_jax.outside import Kind, function_of, name_of, source_digest
from abkd_jax.types import InputError

KIND = Kind("model", "my_models:tiny", "a flax.linen.Module")
CELLS = {
    "base": "class Base:\n    def norm(self, x):\n        return 2 * x\n",
    "helper": "def helper(x):\n    return x + 1\n",
    "default": "def default(x):\n    return x\n",
    "of_property": "def of_property():\n    return 3\n",
    "bound": "def bound(x, y):\n    return x + y\n",
    "class": "class Layer(Base):\n    def __call__(self, x):\n        return helper(x)\n"
    "    @property\n    def size(self):\n        return of_property()\n",
    "fields": "from dataclasses import dataclass\n@dataclass\nclass Fields:\n    scale: float = 1.0\n",
    "width": "WIDTH = 4\n",
    "list": "WIDTHS = [16, 8, {'a': {1.0}}]\n",
    "array": "import numpy as np\nTABLE = np.arange(4)\n",
    "partial": "import functools\nadd = functools.partial(bound, 1)\n",
    "instance": "SCALE = Fields(2.0)\nact = np.tanh\n",
    "function": "def tiny(config, classes, of=default):\n"
    "    return Layer(WIDTH, WIDTHS, TABLE, classes.ndim), add, SCALE, act\n",
    "another": "def another():\n    return 0\nndim = 1\n",
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
        ("base", CELLS["base"].replace("2", "3"), False),
        ("default", CELLS["default"].replace("x\n", "-x\n"), False),
        ("of_property", CELLS["of_property"].replace("3", "4"), False),
        ("bound", CELLS["bound"].replace("+", "-"), False),
        ("partial", CELLS["partial"].replace("1", "2"), False),
        ("list", CELLS["list"].replace("16, 8", "8, 16"), False),
        ("list", CELLS["list"].replace("1.0", "2.0"), False),
        ("array", CELLS["array"].replace("(4)", "(5)"), False),
        ("fields", CELLS["fields"].replace("1.0", "3.0"), False),
        ("instance", CELLS["instance"].replace("2.0", "3.0"), False),
        ("instance", CELLS["instance"].replace("tanh", "sinh"), False),
        ("another", CELLS["another"].replace("0", "1").replace("= 1", "= 2"), True),
    ],
)
def test_the_digest_in_a_notebook_is_of_the_cells_that_a_function_needs(run, cell, text, same):
    for name, content in CELLS.items():
        run(name, content)
    before = source_digest("notebook_of_test:tiny", KIND)
    for name, content in {**CELLS, cell: text}.items():  # in a new process, whose cells have other names
        run(f"{name}_again", content)
    assert (source_digest("notebook_of_test:tiny", KIND) == before) is same


def test_a_function_of_another_script_is_said_to_be_of_one():
    with pytest.raises(InputError, match=r"the program that runs, __main__, has no tiny, .*, as the script that"):
        function_of("__main__:tiny", KIND)


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


def test_an_error_in_a_users_code_is_said_with_its_file_and_line(tmp_path, monkeypatch):
    """The last one that is the user's: neither the library that raised it, nor the first of several files."""
    (tmp_path / "first_file.py").write_text("import second_file\n")
    (tmp_path / "second_file.py").write_text("import json\n\njson.loads('{')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"failed with JSONDecodeError: Expecting .* \(second_file\.py, line 3\)$"):
        function_of("first_file:loss", KIND)
