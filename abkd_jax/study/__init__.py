"""Studies: every method on every graph."""
