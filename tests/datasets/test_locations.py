"""Where the user's files are kept, with and without a home."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from abkd_jax import datasets
from abkd_jax.datasets.files import locations
from abkd_jax.types import InputError


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    locations._temporary_root.cache_clear()
    yield tmp_path / "temporary"
    locations._temporary_root.cache_clear()


@pytest.fixture
def homeless(monkeypatch, temporary):
    def nobody(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("ABKD_JAX_DATA", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    return temporary


def test_the_home_has_the_cache(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locations.cache_root() == tmp_path / ".cache" / "abkd_jax"
    assert locations.writable(locations.cache_root() / "teachers").is_dir()
    assert caplog.messages == []


def test_without_a_home_there_is_a_folder_among_the_temporary_ones(homeless, caplog):
    place = homeless / f"abkd_jax-{os.getuid()}"
    assert [locations.cache_root(), datasets.data_root()] == [place, place]
    assert (place.stat().st_mode & 0o777, locations.writable(place / "teachers")) == (0o700, place / "teachers")
    assert caplog.messages == [f"there is no home directory: what is kept between runs is kept in {place}"]


def test_a_link_of_that_name_is_not_followed(homeless, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (homeless / f"abkd_jax-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    assert locations.cache_root().parent == homeless
    assert not locations.cache_root().is_symlink()


def test_a_home_that_cannot_be_written_to_is_one_warning(monkeypatch, temporary, tmp_path, caplog):
    home = tmp_path / "home"
    home.write_text("a file")
    monkeypatch.setenv("HOME", str(home))
    wanted = locations.cache_root() / "teachers"
    place = temporary / f"abkd_jax-{os.getuid()}"
    assert {locations.writable(wanted), locations.writable(wanted)} == {place / "teachers"}
    assert caplog.messages == [
        f"{wanted} cannot be created (Not a directory): what is kept between runs is kept in {place}"
    ]


def test_neither_home_nor_temporary_folder_is_one_line(homeless, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(homeless / "nowhere"))
    with pytest.raises(InputError, match=r"^there is no home directory, and there is no place .* HOME to be set$"):
        locations.cache_root()


@pytest.mark.parametrize("name", ["~", "~nobody-of-this-name/x"])
def test_a_home_that_is_not_there_is_one_line(homeless, name, monkeypatch):
    monkeypatch.setenv("ABKD_JAX_DATA", name)
    with pytest.raises(InputError, match=rf"^{name}: .*; expected a path without ~$"):
        datasets.data_root()


def test_a_tilde_is_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locations.expanded("~/x") == tmp_path / "x"
    assert locations.expanded(Path("x~")) == Path("x~")
