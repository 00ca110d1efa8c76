"""Settings, as plain dataclasses: no jax, so that `--help` prints at once."""
