"""Side of the fastest PyTorch known to this project: CSR products with precomputed transposes, fused updates.

Of PyTorch's two CSR kernels each case takes the one that is faster on this machine, which `facts` name.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from experiments.bench.message_passing.cases import Case
from experiments.bench.message_passing.inputs import Inputs
from experiments.bench.message_passing.torch_attention import attention
from experiments.bench.message_passing.torch_work import (
    SparseProduct,
    csr,
    csr_pair,
    forward_backward,
    leaf,
    training,
    with_values,
)
from experiments.bench.message_passing.worker import Variant

__all__ = ["BUILD", "start"]


def start(threads: int) -> dict[str, str]:
    """Sets the number of threads and returns versions."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    return {"torch": torch.__version__}


def _adjacency(case: Case, inputs: Inputs, weights: np.ndarray | None = None) -> Any:
    """Returns `[n, n]`, receivers as rows, of the weights or ones."""
    weights = np.ones(case.edges, np.float32) if weights is None else weights
    return sp.csr_matrix((weights, (inputs.receivers, inputs.senders)), shape=(case.nodes, case.nodes))


def _weighted_sum(case: Case, inputs: Inputs) -> dict[str, Variant]:
    pair = csr_pair(_adjacency(case, inputs, inputs.constants["weights"]), case.options["width"])
    x = leaf(inputs.leaves["x"])
    return {"csr": forward_backward(lambda: SparseProduct.apply(pair, x), {"x": x}, inputs, kernel=pair.kernel)}


def _maximum(case: Case, inputs: Inputs) -> dict[str, Variant]:
    """Uses PyTorch's CSR maximum, which keeps the positions for its backward pass."""
    matrix, x = csr(_adjacency(case, inputs)), leaf(inputs.leaves["x"])
    return {"csr": forward_backward(lambda: torch.sparse.mm(matrix, x, "amax"), {"x": x}, inputs)}


def _sage(case: Case, inputs: Inputs) -> dict[str, Variant]:
    """Returns the plain formula, and the algebra of the fastest form on the `jax` side."""
    ones, widths = _adjacency(case, inputs), case.options["widths"]
    degrees = np.maximum(np.asarray(ones.sum(axis=1)).ravel(), 1)
    pair = csr_pair(sp.diags_array((1 / degrees).astype(np.float32)) @ ones, widths[1])
    x = torch.tensor(inputs.constants["x"])
    kept = pair.product(pair.matrix, x)

    def variant(first: torch.Tensor | None) -> Variant:
        p = {name: leaf(array) for name, array in inputs.leaves.items()}

        def forward() -> torch.Tensor:
            h = x
            for layer in range(len(widths) - 1):
                kernel = p[f"neighbours_{layer}"]
                self_term = torch.addmm(p[f"bias_{layer}"], h, p[f"own_{layer}"])
                if first is not None and kernel.shape[0] > kernel.shape[1]:
                    h = self_term + SparseProduct.apply(pair, h @ kernel)
                else:
                    means = first if first is not None and layer == 0 else SparseProduct.apply(pair, h)
                    h = torch.addmm(self_term, means, kernel)
                h = h.relu_() if layer < len(widths) - 2 else h
            return h

        return training(forward, {0.0: {name: [tensor] for name, tensor in p.items()}}, inputs, kernel=pair.kernel)

    return {"csr": variant(None), "csr, narrower side, first mean kept": variant(kept)}


def _gat(case: Case, inputs: Inputs) -> dict[str, Variant]:
    looped = sp.csr_matrix(_adjacency(case, inputs) + sp.eye_array(case.nodes, dtype=np.float32))
    layer, kernel = attention(looped, case.options["head_width"])
    p = {name: leaf(array) for name, array in inputs.leaves.items()}

    def forward() -> torch.Tensor:
        h = (p["x"] @ p["kernel"]).view(case.nodes, case.options["heads"], case.options["head_width"])
        sender, receiver = (h * p["sender"]).sum(-1), (h * p["receiver"]).sum(-1)
        return layer(sender, receiver, h).flatten(1) + p["bias"]

    return {"csr": forward_backward(forward, p, inputs, kernel=kernel)}


def _rgcn(case: Case, inputs: Inputs) -> dict[str, Variant]:
    """Uses a product with all kernels side by side, and a sparse product from (sender, relation) to receivers."""
    n, relations, types = case.nodes, case.options["relations"], inputs.constants["types"]
    groups = inputs.receivers * relations + types
    weights = (1.0 / np.bincount(groups, minlength=n * relations)[groups]).astype(np.float32)
    columns = inputs.senders * relations + types
    pair = csr_pair(sp.csr_matrix((weights, (inputs.receivers, columns)), (n, n * relations)), case.options["out"])
    p = {name: leaf(array) for name, array in inputs.leaves.items()}

    def forward() -> torch.Tensor:
        stacked = p["kernels"].movedim(0, 1).flatten(1)
        messages = (p["x"] @ stacked).view(n * relations, case.options["out"])
        return torch.addmm(p["bias"], p["x"], p["own"]) + SparseProduct.apply(pair, messages)

    return {"csr": forward_backward(forward, p, inputs, kernel=pair.kernel)}


def _gcnii(case: Case, inputs: Inputs) -> dict[str, Variant]:
    """Folds the factors of dropout and of the initial residual into matrix and h0; one `addmm` per layer."""
    size, alpha, rate = case.options, 0.1, case.options["dropout"]
    scale = 1 / (1 - rate)
    looped = _adjacency(case, inputs) + sp.eye_array(case.nodes, dtype=np.float32)
    root = sp.diags_array(1 / np.sqrt(np.asarray(looped.sum(axis=1)).ravel()))
    pair = csr_pair((scale * (1 - alpha) * (root @ looped @ root)).astype(np.float32), size["hidden"])
    thetas = [math.log1p(0.5 / (layer + 1)) for layer in range(size["layers"])]

    def variant(product: Callable[[torch.Tensor], torch.Tensor]) -> Variant:
        leaves = {name: leaf(array) for name, array in inputs.leaves.items() if name != "conv"}
        kernels = [leaf(kernel) for kernel in inputs.leaves["conv"]]

        def forward() -> torch.Tensor:
            h = (product(leaves["input"] * scale) + leaves["input_bias"]).relu_()
            residual = alpha * h
            for kernel, theta in zip(kernels, thetas, strict=True):
                support = SparseProduct.apply(pair, _thinned(h, rate)) + residual
                h = torch.addmm(support, support, kernel, beta=1 - theta, alpha=theta).relu_()
            return torch.addmm(leaves["output_bias"], _thinned(h, rate), leaves["output"], alpha=scale)

        groups = {0.01: {"conv": kernels}, 5e-4: {name: [tensor] for name, tensor in leaves.items()}}
        return training(forward, groups, inputs, inputs.constants["train"], kernel=pair.kernel)

    dense = torch.tensor(inputs.constants["words"].toarray())
    return {
        "csr": variant(_sparse_words(inputs.constants["words"], rate, size["hidden"])),
        "csr, dense words": variant(lambda kernel: _thinned(dense, rate) @ kernel),
    }


def _thinned(h: torch.Tensor, rate: float) -> torch.Tensor:
    """Applies dropout without its factor `1 / (1 - rate)`, 16 random bits per entry: a sixth of PyTorch's time."""
    if rate == 0:
        return h
    words = torch.empty(-(-h.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: h.numel()].view(h.shape)
    return h * (bits >= round(rate * 2**16) - 2**15)


def _sparse_words(words: Any, rate: float, width: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns the product of thinned sparse words with a kernel: values are dropped once, for both orders."""
    pair = csr_pair(words, width)
    numbered = sp.csr_matrix((np.arange(words.nnz), words.indices, words.indptr), words.shape)
    turned = sp.csr_matrix(numbered.T)
    turned.sort_indices()
    order = torch.tensor(turned.data)

    def product(kernel: torch.Tensor) -> torch.Tensor:
        values = _thinned(pair.matrix.values(), rate)
        matrix, transpose = with_values(pair.matrix, values), with_values(pair.transpose, values[order])
        return SparseProduct.apply(pair._replace(matrix=matrix, transpose=transpose), kernel)

    return product


BUILD = {
    "weighted_sum": _weighted_sum,
    "maximum": _maximum,
    "sage": _sage,
    "gat": _gat,
    "rgcn": _rgcn,
    "gcnii": _gcnii,
}
