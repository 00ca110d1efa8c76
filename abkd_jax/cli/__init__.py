"""Command line: options are read without jax, then passed to one call."""
