"""The command line."""

from abkd_jax.cli.parser import main

__all__ = ["main"]
