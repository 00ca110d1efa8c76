"""Benchmark of message passing beside PyTorch: `python -m experiments.bench.message_passing`.

Three sides run in separate processes, which never import each other's framework: `jax` (this library), `pyg`
(PyTorch Geometric as its users call it: `edge_index`, eager) and `torch` (the fastest PyTorch known to this project).
"""
