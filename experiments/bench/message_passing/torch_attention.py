"""Graph attention in PyTorch: CSR products per head, sampled products in the backward pass, no `[e, h, d]`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from experiments.bench.message_passing.torch_work import Pair, csr_pair, with_values

__all__ = ["attention"]

SLOPE = 0.2


def attention(matrix: Any, width: int) -> tuple[Callable[..., torch.Tensor], str]:
    """Returns GAT's weighted sum over the pattern of a SciPy matrix, and the name of its CSR kernel.

    The function takes `sender` and `receiver` (the two halves of the logits, `[n, h]`) and `x` `[n, h, d]`.
    """
    pair = csr_pair(matrix, width)
    coo = sp.coo_matrix(matrix)
    order = np.lexsort((coo.row, coo.col))
    rows, cols = torch.tensor(coo.row.astype(np.int32)), torch.tensor(coo.col.astype(np.int32))
    layout = pair, rows, cols, torch.tensor(order.astype(np.int32))
    return lambda sender, receiver, x: _Attention.apply(layout, sender, receiver, x), pair.kernel


class _Attention(torch.autograd.Function):
    """Computes the softmax relative to a bound of each receiver's logits, which is as safe as their maximum.

    The bound needs no pass over edges. Arrays are head-major: the weights of a head are the values of a CSR matrix.
    """

    @staticmethod
    def forward(
        ctx: Any, layout: tuple[Pair, ...], sender: torch.Tensor, receiver: torch.Tensor, x: torch.Tensor
    ) -> torch.Tensor:
        pair, rows, cols, _ = layout
        source, target = sender.T.contiguous(), receiver.T.contiguous()  # [h, n]
        bound = torch.nn.functional.leaky_relu(source.amax(1, keepdim=True) + target, SLOPE)
        raw = source.index_select(1, cols).add_(target.index_select(1, rows))  # [h, e]
        slopes = torch.where(raw > 0, 1.0, SLOPE)
        weights = raw.mul_(slopes).sub_(bound.index_select(1, rows)).exp_()
        features = x.transpose(0, 1).contiguous()  # [h, n, d]
        ones = torch.ones(x.shape[0], 1)
        out, totals = torch.empty_like(features), torch.empty(x.shape[1], x.shape[0], 1)
        for head, values in enumerate(weights):
            matrix = with_values(pair.matrix, values)
            totals[head] = matrix @ ones
            out[head] = pair.product(matrix, features[head])
        out /= totals
        ctx.layout = layout
        ctx.save_for_backward(weights, slopes, totals, features, out)
        return out.transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        (pair, rows, _, order), (weights, slopes, totals, features, out) = ctx.layout, ctx.saved_tensors
        g = cotangents[0].transpose(0, 1) / totals  # [h, n, d]
        g = g.contiguous()
        mean = (g * out).sum(-1)
        ones = torch.ones(g.shape[1], 1)
        grad_x, grad_sender, grad_receiver = torch.empty_like(features), torch.empty_like(mean), torch.empty_like(mean)
        for head, values in enumerate(weights):
            dots = torch.sparse.sampled_addmm(pair.matrix, g[head], features[head].T, beta=0.0).values()
            grad = dots.sub_(mean[head].index_select(0, rows)).mul_(values).mul_(slopes[head])
            grad_receiver[head] = (with_values(pair.matrix, grad) @ ones)[:, 0]
            grad_sender[head] = (with_values(pair.transpose, grad.index_select(0, order)) @ ones)[:, 0]
            grad_x[head] = pair.product(with_values(pair.transpose, values.index_select(0, order)), g[head])
        return None, grad_sender.T, grad_receiver.T, grad_x.transpose(0, 1)
