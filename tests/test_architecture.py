"""The shape of the house: what imports what, what an import costs, and the tools' verdict."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "ogb", "pandas", "matplotlib", "sklearn")
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


def test_types_hold():
    run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable)


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
