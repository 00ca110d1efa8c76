"""Studies with the library: configs of the tables, programs that run them, benchmarks, and their results."""
