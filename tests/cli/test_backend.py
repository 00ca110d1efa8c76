"""A device that is not there is one line; compiled programs are kept, and read only if they are as they were."""

import json

import jax
import jax.numpy as jnp
import pytest

from abkd_jax.cli import backend
from abkd_jax.types import InputError

DIRECTORY = "jax_compilation_cache_dir"


@backend.ready()
def compiled(number):
    """Compiles a program of its own for every number, or reads it."""
    jax.clear_caches()
    return float(jax.jit(lambda x: jnp.sin(x) * number)(jnp.float32(1.0)))


def programs(folder):
    return sorted(folder.glob("*-cache"))


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'cuda':\n no device"), AssertionError()])
def test_a_platform_that_is_not_there_is_one_line(monkeypatch, error):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(InputError, match=r"^JAX_PLATFORMS is cuda, expected a platform that JAX finds here") as caught:
        compiled(1.0)
    assert "\n" not in str(caught.value)


def test_programs_are_kept_and_read_back(program_folder):
    first = compiled(2.0)
    kept = {path: path.read_bytes() for path in programs(program_folder)}
    assert kept
    assert len(json.loads((program_folder / "digests.json").read_text())) == len(kept)
    assert compiled(2.0) == first
    assert {path: path.read_bytes() for path in programs(program_folder)} == kept
    assert jax.config.values[DIRECTORY] is None


def test_a_damaged_program_is_removed_and_compiled_anew(program_folder):
    first = compiled(3.0)
    for path in programs(program_folder):
        whole = path.read_bytes()
        path.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
        damaged = path.read_bytes()
        assert compiled(3.0) == first
        assert path.read_bytes() != damaged


def test_what_a_killed_command_has_left_is_removed(program_folder):
    compiled(4.0)
    program = programs(program_folder)[0]
    for name in ("torn-cache", "whole-cache", "whole-atime", "alone-atime"):
        (program_folder / name).write_bytes(b"12345678")
    program.with_name(program.name.removesuffix("-cache") + "-atime").unlink()
    compiled(5.0)
    assert not {"torn-cache", "whole-cache", "whole-atime", "alone-atime"} & {
        path.name for path in program_folder.iterdir()
    }
    (program_folder / "digests.json").write_text("[1]")
    compiled(5.0)


def test_no_program_is_kept_where_the_folder_cannot_be(program_folder):
    program_folder.write_text("a file")
    assert compiled(6.0) == pytest.approx(5.0488, abs=1e-4)
    assert program_folder.read_text() == "a file"


def test_a_folder_of_the_user_is_left_alone(program_folder, tmp_path):
    jax.config.update(DIRECTORY, str(tmp_path / "mine"))
    compiled(7.0)
    assert not program_folder.exists()


def test_jax_can_be_told_to_keep_nothing(program_folder):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        compiled(8.0)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert not program_folder.exists()
