"""Objectives in PyTorch: in straightforward form, and the layer alignment also with the best algebra known.

Every function takes `(teacher, student, params, targets, edges)`: both models' `(logits, hiddens)`, the parameters of
the JAX objective under the same names, the frozen teacher's constants as on the JAX side, and `[2, e]` edges. The
straightforward ones start from the teacher's features in every step; those named `best_` use the constants.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.utils import softmax as edge_softmax

__all__ = ["BEST", "STRAIGHTFORWARD", "Side"]


class Side(NamedTuple):
    """Outputs of a model: logits `[n, c]`, layers `[n, d]`."""

    logits: Tensor
    hiddens: list[Tensor]


def soft_label(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    log_q, p = F.log_softmax(student.logits / 4.0, dim=1), F.softmax(teacher.logits / 4.0, dim=1)
    return 16.0 * F.kl_div(log_q, p, reduction="batchmean")


def _project(p: dict[str, Tensor], x: Tensor) -> Tensor:
    y = F.linear(x, p["kernel"].T, p["bias"])
    return F.relu(F.batch_norm(y, None, None, p["scale"], p["shift"], training=True))


def fitnet(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    s_rows, t_rows = _project(params["student"], student.hiddens[-1]), _project(params["teacher"], teacher.hiddens[-1])
    return F.mse_loss(F.normalize(s_rows, dim=1), F.normalize(t_rows, dim=1))


def attention_transfer(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    s_rows, t_rows = (F.normalize(side.hiddens[-1].pow(2).sum(dim=1), dim=0) for side in (student, teacher))
    return F.mse_loss(s_rows, t_rows)


def mustad(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    s_rows = F.linear(student.hiddens[-1], params["kernel"].T, params["bias"])
    return F.kl_div(F.log_softmax(s_rows, dim=1), F.softmax(teacher.hiddens[-1], dim=1), reduction="batchmean")


def lsp(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    u, v = edges
    weights = [
        edge_softmax(F.cosine_similarity(side.hiddens[-1][u], side.hiddens[-1][v]), v) for side in (teacher, student)
    ]
    return F.kl_div(weights[1].log(), weights[0], reduction="none").mean()


def gsp(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    s_rows, t_rows = (F.normalize(side.hiddens[-1], dim=1) for side in (student, teacher))
    return F.mse_loss(s_rows @ s_rows.T, t_rows @ t_rows.T)


def gcrd(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    s_rows, t_rows = _project(params["student"], student.hiddens[-1]), _project(params["teacher"], teacher.hiddens[-1])
    logits = F.normalize(s_rows, dim=1) @ F.normalize(t_rows, dim=1).T / 0.075
    return F.cross_entropy(logits, torch.arange(len(logits)))


def geometric(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    s_rows, t_rows = (torch.tanh(side.hiddens[-1] @ side.hiddens[-1].T) for side in (student, teacher))
    return F.mse_loss(s_rows, t_rows, reduction="sum")


def _attention(params: Any, t_rows: Tensor, student: Side) -> Tensor:
    """Returns the attention `[T, S]`, rows of sum 1, from the means of the layers."""
    s_rows = torch.stack(student.hiddens).mean(dim=1)
    a = torch.einsum("td,tdk->tk", t_rows, params["teacher"]["kernel"]) + params["teacher"]["bias"]
    c = torch.einsum("sd,sdk->sk", s_rows, params["student"]["kernel"]) + params["student"]["bias"]
    return F.softmax(a @ c.T / a.shape[1] ** 0.5, dim=1)


def _aligned(params: Any, teacher: Side, student: Side, dissimilarity: Tensor) -> Tensor:
    attention = _attention(params["attention"], torch.stack(teacher.hiddens).mean(dim=1), student)
    return (attention * dissimilarity).sum() / len(attention)


def _projected(layers: dict[str, Tensor], projection: Tensor, hiddens: list[Tensor]) -> Tensor:
    """Returns `[L, n, k]`: every layer through its linear map, then all through one matrix."""
    linear = zip(hiddens, layers["kernel"], layers["bias"], strict=True)
    return torch.stack([(h @ w + b) @ projection for h, w, b in linear])


def trained_heads(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    """Computes all pairs at once, `[T, S, n, k]`."""
    p = params["dissimilarity"]
    t_rows = _projected(p["teacher"], p["projection"], teacher.hiddens)
    s_rows = _projected(p["student"], p["projection"], student.hiddens)
    difference = t_rows[:, None] - s_rows[None]
    return _aligned(params, teacher, student, difference.pow(2).sum(dim=-1).mean(dim=-1))


def trained_heads_pooled(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    p = params["dissimilarity"]
    t_rows = _projected(p["teacher"], p["projection"], teacher.hiddens).mean(dim=1)
    s_rows = _projected(p["student"], p["projection"], student.hiddens).mean(dim=1)
    return _aligned(params, teacher, student, (t_rows[:, None] - s_rows[None]).pow(2).sum(dim=-1))


def fixed_axes(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    """Computes correlations per pair; the principal components of the frozen teacher come from its constants."""
    centred = [h - h.mean(dim=0) for h in student.hiddens]
    rest = []
    for y in _axes(teacher, targets):
        for x, w in zip(centred, params["dissimilarity"]["kernel"], strict=True):
            z = x @ w
            rest.append(2.0 - 2.0 * (y.T * z).sum() / (y.norm() * z.norm()))
    return _aligned(params, teacher, student, torch.stack(rest).view(len(teacher.hiddens), -1))


def _axes(teacher: Side, targets: Any) -> Tensor:
    """Returns the rows of the constants, `[T, k, n]`, the teacher's principal components over the number of nodes."""
    n, rows = len(teacher.logits), targets["dissimilarity"]["rows"]
    whole = rows["factor"] if rows["basis"] is None else rows["basis"].T @ rows["factor"]
    return n * whole.view(len(teacher.hiddens), -1, n)


def closed_form(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    """Computes a ridge regression per pair; the whitened components of the frozen teacher come from its constants."""
    n, axes = len(student.logits), _axes(teacher, targets)
    centred = [h - h.mean(dim=0) for h in student.hiddens]
    rest = []
    for z in axes:
        for x in centred:
            covariance, cross = x.T @ x / n, z @ x / n
            mean = covariance.diagonal().mean()
            ridged = covariance + (1e-3 * mean + 1e-12) * torch.eye(len(covariance))
            rest.append(1.0 - (cross * torch.linalg.solve(ridged, cross.T).T).sum() / len(z))
    return _aligned(params, teacher, student, torch.stack(rest).view(len(axes), -1).clamp(min=0.0))


def _cross(rows: dict[str, Tensor | None], centred: Tensor, layers: int) -> Tensor:
    """Returns the covariances of all pairs, `[T, d, S, e]`, from one product over the nodes."""
    s, n, e = centred.shape
    product = centred.transpose(1, 2).reshape(s * e, n) @ rows["factor"].T
    product = product if rows["basis"] is None else product @ rows["basis"]
    return product.view(s, e, layers, -1).permute(2, 3, 0, 1)


def _moments(student: Side) -> tuple[Tensor, Tensor, Tensor]:
    stacked = torch.stack(student.hiddens)
    mean = stacked.mean(dim=1)
    centred = stacked - mean[:, None]
    return mean, centred, centred.transpose(1, 2) @ centred / stacked.shape[1]


def best_trained_heads(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    """Expands the square: covariances of both models, precomputed for the teacher, and one product between them."""
    p, t = params["dissimilarity"], targets["dissimilarity"]
    mean, centred, covariance = _moments(student)
    (w, b), (v, c) = (
        (p[s]["kernel"] @ p["projection"], p[s]["bias"] @ p["projection"]) for s in ("teacher", "student")
    )
    difference = (torch.einsum("td,tdk->tk", t["mean"], w) + b)[:, None] - (torch.einsum("sd,sdk->sk", mean, v) + c)[
        None
    ]
    shared = torch.einsum("tkse,sek->ts", torch.einsum("tdk,tdse->tkse", w, _cross(t["rows"], centred, len(w))), v)
    t_rows, s_rows = (w * (t["covariance"] @ w)).sum(dim=(1, 2)), (v * (covariance @ v)).sum(dim=(1, 2))
    d = difference.pow(2).sum(dim=-1) + (t_rows[:, None] + s_rows[None] - 2.0 * shared).clamp(min=0.0)
    attention = _attention(params["attention"], targets["attention"], student)
    return (attention * d).sum() / len(w)


def best_trained_heads_pooled(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    p, t = params["dissimilarity"], targets["dissimilarity"]
    mean = torch.stack(student.hiddens).mean(dim=1)
    (w, b), (v, c) = ([p[s][x] for x in ("kernel", "bias")] for s in ("teacher", "student"))
    difference = (torch.einsum("td,tdk->tk", t["mean"], w) + b)[:, None] - (torch.einsum("sd,sdk->sk", mean, v) + c)[
        None
    ]
    attention = _attention(params["attention"], targets["attention"], student)
    return (attention * (difference @ p["projection"]).pow(2).sum(dim=-1)).sum() / len(w)


def best_fixed_axes(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    v, t = params["dissimilarity"]["kernel"], targets["dissimilarity"]
    _, centred, covariance = _moments(student)
    shared = torch.einsum("tkse,sek->ts", _cross(t["rows"], centred, len(t["variance"])), v)
    correlation = shared / (t["variance"].sqrt()[:, None] * (v * (covariance @ v)).sum(dim=(1, 2)).sqrt()[None])
    attention = _attention(params["attention"], targets["attention"], student)
    return (attention * (2.0 - 2.0 * correlation)).sum() / len(t["variance"])


def best_closed_form(teacher: Side, student: Side, params: Any, targets: Any, edges: Tensor) -> Tensor:
    rows, kept = targets["dissimilarity"]["rows"], targets["dissimilarity"]["axes"]
    _, centred, covariance = _moments(student)
    cross = _cross(rows, centred, len(kept))
    scale = covariance.diagonal(dim1=1, dim2=2).mean(dim=1)
    ridged = covariance + ((1e-3 * scale + 1e-12)[:, None, None]) * torch.eye(covariance.shape[-1])
    shared = torch.einsum("tksd,tkse->tsde", cross, cross)
    explained = (torch.linalg.inv(ridged)[None] * shared).sum(dim=(2, 3))
    attention = _attention(params["attention"], targets["attention"], student)
    return (attention * (1.0 - explained / kept[:, None]).clamp(min=0.0)).sum() / len(kept)


Loss = Callable[[Side, Side, Any, Any, Tensor], Tensor]
STRAIGHTFORWARD: dict[str, Loss] = {
    "soft_label": soft_label,
    "fitnet": fitnet,
    "attention_transfer": attention_transfer,
    "mustad": mustad,
    "lsp": lsp,
    "gsp": gsp,
    "gcrd": gcrd,
    "geometric": geometric,
    "abkd, trained_heads": trained_heads,
    "abkd, trained_heads, rank 256": trained_heads,
    "abkd, trained_heads pooled": trained_heads_pooled,
    "abkd, fixed_axes, rank 64": fixed_axes,
    "abkd, closed_form": closed_form,
    "abkd, closed_form, rank 64": closed_form,
}
BEST: dict[str, Loss] = {
    "abkd, trained_heads": best_trained_heads,
    "abkd, trained_heads, rank 256": best_trained_heads,
    "abkd, trained_heads pooled": best_trained_heads_pooled,
    "abkd, fixed_axes, rank 64": best_fixed_axes,
    "abkd, closed_form": best_closed_form,
    "abkd, closed_form, rank 64": best_closed_form,
}
