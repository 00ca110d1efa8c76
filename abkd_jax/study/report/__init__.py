"""Report of a study: reads its cells, needs no jax."""
