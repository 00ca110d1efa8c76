"""Benchmarks of speed and memory, which are no part of the tests."""
