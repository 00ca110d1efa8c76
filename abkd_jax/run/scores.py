"""Predictions and scores of a model on prepared data, on the rows that are evaluated."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jraph
import numpy as np

from abkd_jax import sampling
from abkd_jax.inference.by_parts import apply_to
from abkd_jax.inference.layerwise import layerwise
from abkd_jax.models.external import Applied, Ensemble, Stored, combine
from abkd_jax.run.data import PreparedData
from abkd_jax.training.sharding import of_process
from abkd_jax.training.tasks import Task
from abkd_jax.types import GNNOutput, GraphDataset, InputError, Pytree

__all__ = ["for_validation", "graph_of", "make_predict", "make_scores"]


def graph_of(data: PreparedData, model: Any) -> jraph.GraphsTuple | sampling.GraphParts:
    """Returns what `by_parts.apply_to` takes of the data: parts of large ones where the model is a module.

    Others are functions of the whole, or outputs that were stored for it.
    """
    members = model.members if isinstance(model, Ensemble) else (model,)
    return data.batch.graph if data.parts is None or not all(isinstance(m, nn.Module) for m in members) else data.parts


def for_validation(data: PreparedData) -> PreparedData:
    """Returns data whose evaluated rows are those that validate, where that spares the others: in parts.

    Scores of other rows are undefined there.
    """
    dataset = data.dataset
    if data.parts is None or not isinstance(dataset, GraphDataset):
        return data
    chosen = np.flatnonzero(dataset.val_mask)
    rows = np.append(chosen, dataset.val_mask.size)  # and that of padding
    masks = {name: getattr(data, name)[rows] for name in ("labels", "train_mask", "val_mask", "test_mask")}
    return data._replace(parts=jax.device_put(sampling.graph_parts(dataset, chosen)), **masks)


def make_predict(data: PreparedData, model: Any) -> Callable[[Pytree], Any]:
    """`variables -> logits` of the rows that are evaluated.

    Raises:
        InputError: a function that must be given the whole graph, of a graph that is evaluated layer by layer.
    """
    if data.eval_nodes is None or data.host is None:
        graph = graph_of(data, model)
        predict = jax.jit(lambda variables, graph: apply_to(model, variables, graph).logits)
        return lambda variables: of_process(predict(variables, graph), data.mesh)
    host, nodes = data.host, data.eval_nodes
    if isinstance(model, Stored):
        return lambda variables: variables["outputs"].logits[nodes]
    if isinstance(model, Ensemble):
        members = [make_predict(data, member) for member in model.members]
        of_all = lambda v: [GNNOutput(p(model.variables_of(v, i)), ()) for i, p in enumerate(members)]  # noqa: E731
        return lambda variables: combine(of_all(variables), model.task).logits
    if isinstance(model, Applied):
        raise InputError(f"{data.dataset.name}: too large for a teacher that is a function, expected stored outputs")
    return lambda variables: layerwise(model, variables, host, nodes=nodes)


def make_scores(data: PreparedData, model: Any) -> Callable[..., dict[str, jax.Array]]:
    """`variables -> {"val_loss", "val_accuracy", "test_accuracy"}`, the scores those of the task.

    A second argument is the same data with another split, whose nodes are scored.
    """
    predict, task = make_predict(data, model), data.task

    def scores(variables: Pytree, of: PreparedData = data) -> dict[str, jax.Array]:
        return _score_all(task, predict(variables), of.labels, of.val_mask, of.test_mask)

    return scores


@functools.partial(jax.jit, static_argnums=0)  # the same program for all models of a task
def _score_all(task: Task, logits: Any, labels: Any, val_mask: Any, test_mask: Any) -> dict[str, jax.Array]:
    return {
        "val_loss": task.loss(logits, labels, val_mask),
        "val_accuracy": task.score(logits, labels, val_mask),
        "test_accuracy": task.score(logits, labels, test_mask),
    }
