"""The fastest PyTorch that we could write: CSR products with precomputed transposes, fused updates, sparse words."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from experiments.bench.message_passing.cases import Case
from experiments.bench.message_passing.inputs import Inputs
from experiments.bench.message_passing.torch_work import SparseProduct, csr_pair, forward_backward, leaf, training
from experiments.bench.message_passing.worker import Variant

__all__ = ["BUILD", "start"]


def start(threads: int) -> dict[str, str]:
    """Versions; sets the number of threads."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    return {"torch": torch.__version__}


def adjacency(case: Case, inputs: Inputs, weights: np.ndarray) -> Any:
    """`[n, n]`, receivers as rows."""
    return sp.csr_matrix((weights, (inputs.receivers, inputs.senders)), shape=(case.nodes, case.nodes))


def _weighted_sum(case: Case, inputs: Inputs) -> dict[str, Variant]:
    pair = csr_pair(adjacency(case, inputs, inputs.constants["weights"]))
    x = leaf(inputs.leaves["x"])
    layer = lambda: SparseProduct.apply(*pair, x)  # noqa: E731
    return {"csr": forward_backward(layer, {"x": x}, inputs.constants["cotangent"], inputs)}


def _gcnii(case: Case, inputs: Inputs) -> dict[str, Variant]:
    """The initial residual's factors are folded into the matrix and into h0; identity mapping by one `addmm`."""
    size, alpha = case.options, 0.1
    plain = adjacency(case, inputs, np.ones(case.edges, np.float32)) + sp.eye_array(case.nodes, dtype=np.float32)
    scale = sp.diags_array(1 / np.sqrt(np.asarray(plain.sum(axis=1)).ravel()))
    pair = csr_pair(((1 - alpha) * (scale @ plain @ scale)).astype(np.float32))
    thetas = [math.log1p(0.5 / (layer + 1)) for layer in range(size["layers"])]

    def drop(h: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(h, size["dropout"])

    def variant(product: Callable[[torch.Tensor], torch.Tensor]) -> Variant:
        leaves = {name: leaf(array) for name, array in inputs.leaves.items() if name != "conv"}
        kernels = [leaf(kernel) for kernel in inputs.leaves["conv"]]

        def forward() -> torch.Tensor:
            h = (product(leaves["input"]) + leaves["input_bias"]).relu_()
            residual = alpha * h
            for kernel, theta in zip(kernels, thetas, strict=True):
                support = SparseProduct.apply(*pair, drop(h)) + residual
                h = torch.addmm(support, support, kernel, beta=1 - theta, alpha=theta).relu_()
            return torch.addmm(leaves["output_bias"], drop(h), leaves["output"])

        groups = {0.01: {"conv": kernels}, 5e-4: {name: [tensor] for name, tensor in leaves.items()}}
        return training(forward, groups, inputs, inputs.constants["train"])

    dense = torch.tensor(inputs.constants["words"].toarray())
    return {
        "csr": variant(_sparse_words(inputs.constants["words"], drop)),
        "csr, dense words": variant(lambda kernel: drop(dense) @ kernel),
    }


def _sparse_words(words: Any, drop: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """`drop(words) @ kernel` with sparse words: dropout acts on the values, in both orders."""
    matrix, transpose = csr_pair(words)
    numbered = sp.csr_matrix(words, dtype=np.int64, copy=True)
    numbered.data = np.arange(words.nnz)
    turned = sp.csr_matrix(numbered.T)
    turned.sort_indices()
    order = torch.tensor(turned.data)

    def product(kernel: torch.Tensor) -> torch.Tensor:
        values = drop(matrix.values())
        pair = (_with_values(matrix, values), _with_values(transpose, values[order]))
        return SparseProduct.apply(*pair, kernel)

    return product


def _with_values(matrix: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    parts = matrix.crow_indices(), matrix.col_indices(), values
    return torch.sparse_csr_tensor(*parts, matrix.shape, check_invariants=False)


BUILD = {"weighted_sum": _weighted_sum, "gcnii": _gcnii}
