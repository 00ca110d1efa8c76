"""Message passing side by side with PyTorch: `python -m experiments.bench.message_passing`.

Three sides run in processes of their own, which never import each other's framework: `jax` (this library), `pyg`
(PyTorch Geometric as its users call it: `edge_index`, eager) and `torch` (the fastest PyTorch we could write).
"""
