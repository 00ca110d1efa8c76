"""The report of a run: reads files, needs no jax."""
