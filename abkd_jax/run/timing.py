"""Latency and cost of the models of a run: what `evaluate` prints and keeps for the report."""

from typing import Any

import numpy as np

from abkd_jax.configs.options import ModelConfig
from abkd_jax.graph.host import host_graph
from abkd_jax.inference import serving
from abkd_jax.inference.neighbourhood import radius
from abkd_jax.models.external import Stored
from abkd_jax.run.data import PreparedData
from abkd_jax.run.scores import graph_of
from abkd_jax.types import GraphDataset, InputError, Pytree

__all__ = ["time_model", "with_host"]


def with_host(data: PreparedData) -> PreparedData:
    """Adds to node-level data the graph on the host, which the neighbourhoods of single nodes are cut out of."""
    if isinstance(data.dataset, GraphDataset) or data.host is not None:
        return data
    return data._replace(host=host_graph(data.dataset))


def time_model(
    data: PreparedData, name: str, config: ModelConfig | None, model: Any, variables: Pytree
) -> dict[str, Any]:
    """Measures one model on the test nodes, or test graphs, of its data.

    Args:
        data: evaluated as a whole; for several models `with_host`, so that the graph is built once.
        name: of the method.
        config: of the model; None where it is not known.
        model: with an `apply`, as `build_model` makes it.
        variables: of the model.

    Returns:
        JSON-like: `method`; `one` and `batch`, `serving.Answers` each, None for models that answer for the whole graph
        alone; `all`, `serving.Cost`. All three are None for a teacher of which only outputs are known.
    """
    if isinstance(model, Stored):
        return {"method": name, "one": None, "batch": None, "all": None}
    whole = serving.cost_of_all(model, variables, graph_of(data, model))._asdict()
    data = with_host(data)
    answers: dict[str, Any] = {"one": None, "batch": None}
    for kind, size in (("one", 1), ("batch", serving.BATCH)):
        queries = _queries(data, config, size)
        if queries:
            answers[kind] = serving.time_queries(model, variables, queries)._asdict()
    return {"method": name, **answers, "all": whole}


def _queries(data: PreparedData, config: ModelConfig | None, size: int) -> list[Any]:
    """Returns queries for random test nodes or graphs; none for models that read more than a neighbourhood."""
    rng, chosen = np.random.default_rng(0), np.flatnonzero(data.dataset.test_mask)
    if isinstance(data.dataset, GraphDataset):
        return serving.graph_queries(data.dataset, chosen, rng, batch=size)
    if config is None or data.host is None:
        return []
    try:
        hops = radius(config)
    except InputError:
        return []
    return serving.node_queries(data.host, hops, chosen, rng, batch=size)
