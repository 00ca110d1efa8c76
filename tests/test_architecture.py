"""The shape of the house: what imports what, what an import costs, and the tools' verdict."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import abkd_jax

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "ogb", "pandas", "matplotlib", "sklearn", "pymetis")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "abkd_jax").rglob("*.py")
)


def run(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def loaded_after(*modules):
    """Top-level names in `sys.modules` of a fresh process that has imported `modules`."""
    names = "print(*{name.partition('.')[0] for name in sys.modules})"
    return set(run(sys.executable, "-c", f"import sys, {', '.join(modules)}; {names}").split())


def test_imports_go_down_only():
    run(sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")


def test_importing_everything_is_light_and_touches_no_device():
    """A backend that cannot be had would fail at the first touch."""
    modules = [module for module in MODULES if not module.endswith("__main__")]
    code = f"""
import importlib, os, sys
os.environ["JAX_PLATFORMS"] = "no_such_platform"
for module in {modules!r}:
    importlib.import_module(module)
print(*(name for name in {HEAVY!r} if name in sys.modules))
import jax
try:
    jax.devices()
except RuntimeError:
    print("untouched")
"""
    assert run(sys.executable, "-c", code).split() == ["untouched"]


@pytest.mark.parametrize("module", ["abkd_jax", "abkd_jax.configs.options", "abkd_jax.cli.parser"])
def test_help_needs_no_jax(module):
    assert not loaded_after(module) & {"jax", "jaxlib", "flax", "optax", *HEAVY}


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_is_content(arguments):
    run(sys.executable, "-m", "ruff", *arguments, "--no-cache", ".")


def test_words_are_spelt_right():
    run(sys.executable, "-m", "codespell_lib", ".")


def test_types_hold():
    run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable)


def test_type_checkers_see_the_public_names_as_they_are(tmp_path):
    """Pyright infers for every name what the import gives."""
    lines = ["import abkd_jax", *(f"reveal_type(abkd_jax.{name})" for name in abkd_jax.__all__)]
    lines += ["reveal_type(abkd_jax.__version__)", "abkd_jax.Objektive", "abkd_jax.NodeMasks(al=1)"]
    path = tmp_path / "user.py"
    path.write_text("\n".join(lines))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    revealed = [line["message"].split(" is ")[1] for line in found if line["severity"] == "information"]
    values = [getattr(abkd_jax, name) for name in abkd_jax.__all__]
    assert revealed.pop() == '"str"'
    for value, text in zip(values, revealed, strict=True):
        if isinstance(value, FunctionType):
            assert re.fullmatch(r'"\(.*\) -> \w+"', text), text
        else:
            name = value.__name__
            assert text == (f'"type[{name}]"' if isinstance(value, type) else f'"Module("{name}")"')
    errors = [line["range"]["start"]["line"] for line in found if line["severity"] == "error"]
    assert set(errors) == {len(lines) - 2, len(lines) - 1}


@pytest.mark.parametrize("module", MODULES)
def test_files_stay_small(module):
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert len(path.read_text().splitlines()) <= 350


def test_every_module_says_what_it_offers():
    """Package files and `__main__` aside, each names its public names."""
    silent = [
        path.name
        for path in (ROOT / "abkd_jax").rglob("*.py")
        if path.stem not in ("__init__", "__main__") and "\n__all__ = [" not in path.read_text()
    ]
    assert silent == []
