"""Studies: many methods on many graphs, tuned alike, one JSON file per cell of a table."""
