"""What is installed: dependencies and extras, the files of the wheel, and the tools that run before a commit."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import abkd_jax

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def name_of(requirement):
    return re.split(r"[\[<>=!~ ]", requirement)[0]


def test_requirements_are_those_of_the_command_line_with_data_sets_and_figures():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    assert listed == sorted([*PROJECT["dependencies"], *EXTRAS["data"], *EXTRAS["report"]])


def test_every_dependency_has_one_lower_bound():
    declared = [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]
    external = [r for r in declared if name_of(r) != PROJECT["name"]]
    assert [r for r in external if not re.fullmatch(r"[\w-]+>=[\w.]+", r)] == []
    assert len({name_of(r) for r in external}) == len(external)


@pytest.mark.parametrize("extra", ["data", "report", "clusters"])
def test_an_error_message_names_every_extra_that_users_install(extra):
    sources = "".join(path.read_text() for path in (ROOT / "abkd_jax").rglob("*.py"))
    for requirement in EXTRAS[extra]:
        assert f"need {name_of(requirement)}, which is not installed: pip install 'abkd_jax[{extra}]'" in sources


def test_tools_before_a_commit_are_those_of_the_dev_extra():
    tools = re.findall(r"^ +entry: (\w+)", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert tools == ["ruff", "ruff", "pyright", "codespell"]
    assert set(tools) <= {name_of(requirement) for requirement in EXTRAS["dev"]}


def test_the_changelog_has_the_installed_version():
    text = (ROOT / "abkd_jax" / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert PROJECT["version"] in versions


def test_names_are_imported_on_first_use():
    code = """
import sys, abkd_jax
assert not {"jax", "numpy"} & set(sys.modules)
assert set(abkd_jax.__all__) <= set(dir(abkd_jax))
assert abkd_jax.InputError.__name__ == "InputError"
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    with pytest.raises(AttributeError, match="module 'abkd_jax' has no attribute 'Objektive'"):
        abkd_jax.Objektive  # noqa: B018


def test_the_version_is_that_of_the_installed_package(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", {"abkd_jax": "1.2.3"}.__getitem__)
    assert abkd_jax.__version__ == "1.2.3"

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert abkd_jax.__version__ == "unknown"
