"""What both PyTorch sides share: forward and backward, a training step, CSR products with their transposes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from experiments.bench.message_passing.inputs import Inputs
from experiments.bench.message_passing.worker import Variant

__all__ = ["SparseProduct", "csr_pair", "forward_backward", "leaf", "training"]


def leaf(array: np.ndarray) -> torch.Tensor:
    """A differentiable copy."""
    return torch.tensor(array, requires_grad=True)


def forward_backward(
    layer: Callable[[], torch.Tensor], leaves: dict[str, torch.Tensor], cotangent: np.ndarray, shapes: Inputs
) -> Variant:
    """The layer's output, and the gradients to all leaves for the given cotangent.

    Args:
        layer: reads the leaves.
        leaves: name and tensor; gradients come back under the name, transposed where the shape is so.
        cotangent: of the output.
        shapes: inputs whose leaves give the shapes.
    """
    g = torch.tensor(cotangent)

    def program() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        out = layer()
        return out, torch.autograd.grad(out, list(leaves.values()), g)

    def values() -> dict[str, np.ndarray]:
        out, grads = program()
        named = zip(leaves, grads, strict=True)
        return {"out": out.detach().numpy()} | {
            f"gradient of {name}": _as_given(grad.numpy(), shapes.leaves[name]) for name, grad in named
        }

    return Variant(lambda: _ignore(program()), values, {})


def training(
    forward: Callable[[], torch.Tensor],
    groups: dict[float, dict[str, list[torch.Tensor]]],
    inputs: Inputs,
    train: np.ndarray | None = None,
) -> Variant:
    """A training step: cross-entropy, backward, Adam. `values` as on the `jax` side.

    Args:
        forward: the logits, in training mode.
        groups: L2 decay -> name -> the tensors of that name (several where the inputs stack them).
        inputs: labels, and shapes of the leaves.
        train: `[n]` labelled nodes; None takes all.
    """
    everything = [tensor for group in groups.values() for tensors in group.values() for tensor in tensors]
    first = [tensor.detach().clone() for tensor in everything]
    labels = torch.tensor(inputs.constants["labels"])
    mask = None if train is None else torch.tensor(train)
    labels = labels if mask is None else labels[mask]

    def fresh() -> torch.optim.Optimizer:
        with torch.no_grad():
            for tensor, value in zip(everything, first, strict=True):
                tensor.copy_(value)
        decays = [
            {"params": [tensor for tensors in group.values() for tensor in tensors], "weight_decay": decay}
            for decay, group in groups.items()
        ]
        return torch.optim.Adam(decays, lr=0.01)

    def step(optimizer: torch.optim.Optimizer) -> torch.Tensor:
        optimizer.zero_grad()
        logits = forward()
        loss = torch.nn.functional.cross_entropy(logits if mask is None else logits[mask], labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def values() -> dict[str, np.ndarray]:
        own, losses, moments = fresh(), [], {}
        for index in range(3):
            losses.append(step(own).numpy())
            if index == 0:
                for name, tensors in ((n, t) for group in groups.values() for n, t in group.items()):
                    mus = [10 * own.state[tensor]["exp_avg"].numpy() for tensor in tensors]
                    shape = inputs.leaves[name]
                    stacked = shape.ndim == mus[0].ndim + 1
                    moments[name] = np.stack(mus) if stacked else _as_given(mus[0], shape)
        return {"losses": np.stack(losses)} | {f"gradient of {name}": mu for name, mu in moments.items()}

    optimizer = fresh()
    return Variant(lambda: _ignore(step(optimizer)), values, {})


class SparseProduct(torch.autograd.Function):
    """`matrix @ x` whose backward pass is a product with the transpose at hand; no gradient to the matrix."""

    @staticmethod
    def forward(ctx: Any, matrix: torch.Tensor, transpose: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        ctx.transpose = transpose
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        return None, None, ctx.transpose @ cotangents[0].contiguous()


def csr_pair(matrix: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A SciPy matrix and its transpose as CSR tensors with int32 indices, which MKL reads as they are."""
    return _csr(sp.csr_matrix(matrix)), _csr(sp.csr_matrix(matrix.T))


def _csr(matrix: Any) -> torch.Tensor:
    matrix.sort_indices()
    parts = (torch.tensor(part) for part in (matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)))
    return torch.sparse_csr_tensor(
        *parts, torch.tensor(matrix.data), matrix.shape, dtype=torch.float32, check_invariants=False
    )


def _as_given(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    return array.T if array.shape != like.shape and array.T.shape == like.shape else array.reshape(like.shape)


def _ignore(_: Any) -> None: ...
