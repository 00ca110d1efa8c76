"""Studies with the library: configs of the tables, the script that runs them, benchmarks, and their results."""
