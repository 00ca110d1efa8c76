"""Fixtures of the tests of the distillation losses."""

from collections.abc import Iterator

import jax
import jaxtyping
import pytest


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision inside one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls without the tests' type checks, as users make them: the library's own messages must catch mistakes."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
