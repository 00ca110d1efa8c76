"""Shared parts of both PyTorch sides: forward and backward, a training step, CSR products with transposes."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from experiments.bench.message_passing.inputs import Inputs
from experiments.bench.message_passing.worker import Variant

__all__ = ["Pair", "SparseProduct", "csr", "csr_pair", "forward_backward", "leaf", "place", "training", "with_values"]


def leaf(array: np.ndarray) -> torch.Tensor:
    """Returns a differentiable copy."""
    return torch.tensor(array, requires_grad=True)


def place(names: dict[str, list[torch.Tensor]], inputs: Inputs, linear: tuple[str, ...] = ()) -> None:
    """Sets the initial values of the parameters of modules.

    Args:
        names: name in the inputs -> the parameter, or several where the inputs stack them.
        inputs: the values.
        linear: names whose parameters belong to a `Linear`, which holds them transposed.
    """
    with torch.no_grad():
        for name, tensors in names.items():
            value = torch.tensor(inputs.leaves[name])
            for tensor, piece in zip(tensors, value if len(tensors) > 1 else [value], strict=True):
                tensor.turned = name in linear  # type: ignore[attr-defined]
                tensor.copy_(piece.T if name in linear else piece.reshape(tensor.shape))


def forward_backward(
    layer: Callable[[], torch.Tensor], leaves: dict[str, torch.Tensor], inputs: Inputs, **facts: Any
) -> Variant:
    """Returns a variant of the layer's output and the gradients to all leaves for the given cotangent.

    Args:
        layer: function of the leaves.
        leaves: tensors by name, as for `place`.
        inputs: the cotangent, and shapes of the leaves.
        facts: facts for the record.
    """
    g = torch.tensor(inputs.constants["cotangent"])

    def program() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        out = layer()
        return out, torch.autograd.grad(out, list(leaves.values()), g)

    def values() -> dict[str, np.ndarray]:
        out, grads = program()
        named = zip(leaves, grads, strict=True)
        return {"out": out.detach().numpy()} | {
            f"gradient of {name}": _as_given([grad.numpy()], inputs.leaves[name], leaves[name]) for name, grad in named
        }

    return Variant(lambda: _ignore(program()), values, facts)


def training(
    forward: Callable[[], torch.Tensor],
    groups: dict[float, dict[str, list[torch.Tensor]]],
    inputs: Inputs,
    train: np.ndarray | None = None,
    **facts: Any,
) -> Variant:
    """Returns a variant of a training step: cross-entropy, backward, Adam; `values` as on the `jax` side.

    Args:
        forward: the logits, in training mode.
        groups: L2 decay -> name -> the tensors of that name, as for `place`.
        inputs: labels, and shapes of the leaves.
        train: `[n]` labelled nodes; None takes all.
        facts: facts for the record.
    """
    everything = [tensor for group in groups.values() for tensors in group.values() for tensor in tensors]
    first = [tensor.detach().clone() for tensor in everything]
    labels = torch.tensor(inputs.constants["labels"])
    mask = None if train is None else torch.tensor(train)
    labels = labels if mask is None else labels[mask]

    def reset() -> torch.optim.Optimizer:
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
        adam, losses, moments = reset(), [], {}
        for index in range(3):
            losses.append(step(adam).numpy())
            if index == 0:
                for name, tensors in ((n, t) for group in groups.values() for n, t in group.items()):
                    mus = [10 * adam.state[tensor]["exp_avg"].numpy() for tensor in tensors]
                    moments[name] = _as_given(mus, inputs.leaves[name], tensors[0])
        return {"losses": np.stack(losses)} | {f"gradient of {name}": mu for name, mu in moments.items()}

    optimizer = reset()
    return Variant(lambda: _ignore(step(optimizer)), values, facts)


class Pair(NamedTuple):
    """CSR matrix and its transpose (int32 indices, which MKL reads without a copy), and their product function."""

    matrix: torch.Tensor
    transpose: torch.Tensor
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    @property
    def kernel(self) -> str:
        """Returns the name of the faster of PyTorch's two kernels."""
        return next(name for name, product in _PRODUCTS.items() if product is self.product)


_PRODUCTS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mkl": torch.matmul,
    "torch.sparse.mm(reduce)": lambda matrix, x: torch.sparse.mm(matrix, x, "sum"),
}


class SparseProduct(torch.autograd.Function):
    """Computes `pair.matrix @ x`; backward multiplies with the stored transpose, without gradient to the matrix."""

    @staticmethod
    def forward(ctx: Any, pair: Pair, x: torch.Tensor) -> torch.Tensor:
        ctx.pair = pair
        return pair.product(pair.matrix, x)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        return None, ctx.pair.product(ctx.pair.transpose, cotangents[0].contiguous())


def csr_pair(matrix: Any, width: int) -> Pair:
    """Returns the pair of a SciPy matrix, with the faster kernel for `x` of that width on this machine."""
    pair = csr(sp.csr_matrix(matrix)), csr(sp.csr_matrix(matrix.T))
    x = torch.ones(pair[0].shape[1], width)
    return Pair(*pair, min(_PRODUCTS.values(), key=lambda product: _fastest(lambda: product(pair[0], x))))


def csr(matrix: Any) -> torch.Tensor:
    """Returns a SciPy CSR matrix as a tensor, columns sorted."""
    matrix.sort_indices()
    parts = (torch.tensor(part) for part in (matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)))
    return torch.sparse_csr_tensor(
        *parts, torch.tensor(matrix.data), matrix.shape, dtype=torch.float32, check_invariants=False
    )


def with_values(matrix: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Returns a CSR tensor of the same pattern."""
    parts = matrix.crow_indices(), matrix.col_indices(), values
    return torch.sparse_csr_tensor(*parts, matrix.shape, check_invariants=False)


def _fastest(work: Callable[[], Any], repeats: int = 7) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _as_given(arrays: list[np.ndarray], like: np.ndarray, tensor: torch.Tensor) -> np.ndarray:
    """Returns gradients in the shape of the inputs, the inverse of `place`."""
    if getattr(tensor, "turned", False):
        return arrays[0].T
    return np.stack(arrays).reshape(like.shape)


def _ignore(_: Any) -> None: ...
