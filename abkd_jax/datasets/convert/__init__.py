"""Graphs of other libraries to data sets, and back: SciPy, NetworkX, PyTorch Geometric and jraph."""
