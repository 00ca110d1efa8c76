"""Report of a run: reads the files of its folder, needs no jax."""
