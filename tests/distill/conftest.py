"""Fixtures of the tests of the distillation losses."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision inside one test."""
    with jax.enable_x64(True):
        yield
