"""A data set made ready: on the device, with its task, its masks, and what a training step sees of it."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from abkd_jax import datasets, sampling
from abkd_jax.configs.options import BatchConfig, ModelConfig, described
from abkd_jax.distill.build import Setting
from abkd_jax.graph.build import from_dataset, node_mask
from abkd_jax.graph.host import HostGraph, host_graph, target_mask
from abkd_jax.inference.layerwise import layerwise
from abkd_jax.models import build, with_hops
from abkd_jax.run.identity import DataIdentity
from abkd_jax.training import tasks
from abkd_jax.training.tasks import Task
from abkd_jax.types import Batch, Dataset, GraphDataset, InputError, NodeMasks, Pytree

__all__ = ["Problem", "build_model", "load_problem", "make_predict", "make_scores", "setting_of", "with_powers"]

log = logging.getLogger(__name__)

# Graphs of more nodes are evaluated layer by layer from the host: an RGCN of 512 units holds 14 kB a node and layer.
LARGEST_WHOLE = 1_000_000

TASKS = {"classification": tasks.classification, "multilabel": tasks.binary, "regression": tasks.regression}


class Problem(NamedTuple):
    """A data set on the device.

    Attributes:
        dataset: as loaded.
        task: its loss and score.
        batch: the whole graph, or all graphs, without teacher targets; one minibatch of a graph that is too large.
        labels: of the rows that are evaluated: all nodes, all graphs, or the nodes in `rows`.
        train_mask: over these rows.
        val_mask: likewise.
        test_mask: likewise.
        fingerprint: hash of everything a teacher saw; part of its identity.
        batches: the sampling options, `{}` where a step sees all.
        epoch: makes the minibatches of an epoch, arrays of the host; None where a step sees all.
        host: the graph on the host, where it is sampled.
        rows: nodes that are evaluated, layer by layer from the host; None evaluates `batch` as a whole.
        split: seed of the split that the data set was loaded with.
    """

    dataset: Dataset | GraphDataset
    task: Task
    batch: Batch
    labels: jax.Array
    train_mask: jax.Array
    val_mask: jax.Array
    test_mask: jax.Array
    fingerprint: str
    batches: dict[str, Any]
    epoch: sampling.Epochs | None = None
    host: HostGraph | None = None
    rows: np.ndarray | None = None
    split: int = 0

    @property
    def outputs(self) -> int:
        """Width of the logits."""
        return self.dataset.num_outputs if isinstance(self.dataset, GraphDataset) else self.dataset.num_classes

    @property
    def identity(self) -> DataIdentity:
        """What identifies the data of a trained model."""
        return DataIdentity(self.dataset.name, self.fingerprint, self.batches)

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of its data, JSON-like: name, source, fingerprint, split and counts."""
        data = self.dataset
        shape: Any = data.features.shape
        sizes = {"graphs": data.labels.shape[0]} if isinstance(data, GraphDataset) else {}
        nodes = shape[0] if isinstance(data, GraphDataset) else data.num_nodes
        splits = {
            name: int(mask.sum()) for name, mask in zip(("train", "validation", "test"), _masks(data), strict=True)
        }
        counts = {
            **sizes,
            "nodes": nodes,
            "edges": data.senders.shape[0],
            "features": shape[1],
            "outputs": self.outputs,
        }
        return {
            "name": data.name,
            "source": data.source,
            "fingerprint": self.fingerprint,
            "split": self.split,
            "counts": {**counts, **splits},
        }


def load_problem(
    name: str, data_root: str | Path | None, batches: BatchConfig | None = None, split: int = 0
) -> Problem:
    """Loads a data set by name and puts what fits of it on the device.

    Args:
        name: of the data set.
        data_root: see `datasets.data_root`.
        batches: what a step sees; None is the whole graph.
        split: seed of the split, where there is no official one.

    Raises:
        InputError: the data set cannot be loaded, or its graphs cannot be sampled so.
    """
    log.info("loading %s", name)
    batches = BatchConfig() if batches is None else batches
    dataset: Dataset | GraphDataset = datasets.load(name, data_root, split)
    if isinstance(dataset, GraphDataset) != (batches.kind == "graphs"):
        fitting = "graphs" if isinstance(dataset, GraphDataset) else "full, neighbours, walks or clusters"
        raise InputError(f"{name}: batches are {batches.kind}, expected {fitting}")
    if not dataset.val_mask.any():
        raise InputError(
            f"{name}: no validation {'graph' if batches.kind == 'graphs' else 'node'}, expected at least one"
        )
    if isinstance(dataset, GraphDataset):
        problem = _of_graphs(dataset, batches)
    else:
        problem = _whole(dataset) if batches.kind == "full" else _sampled(dataset, batches)
    return problem._replace(split=split)


def build_model(problem: Problem, config: ModelConfig) -> nn.Module:
    """The model of a config for the graph and the task of a problem."""
    dataset = problem.dataset
    if isinstance(dataset, GraphDataset):
        return build(config, problem.outputs, vocabulary=dataset.vocabulary, edge_vocabulary=dataset.edge_vocabulary)
    if dataset.schema is None:
        return build(config, problem.outputs)
    return build(
        config,
        problem.outputs,
        relations=dataset.schema.num_relations,
        node_types=len(dataset.schema.node_types),
        embeddings=dataset.num_embeddings,
    )


def with_powers(problem: Problem, *configs: ModelConfig) -> Problem:
    """The problem with what its models read of the graph once: the powers of the adjacency, where one is a SIGN.

    Raises:
        InputError: two SIGN models read different powers, or steps see parts of the graph.
    """
    powers = {config.hops for config in configs if config.name == "sign"}
    if not powers:
        return problem
    if len(powers) > 1 or problem.epoch is not None:
        raise InputError(f"sign: hops are {sorted(powers)}, expected one number for all models and the whole graph")
    return problem._replace(batch=problem.batch._replace(graph=with_hops(problem.batch.graph, powers.pop())))


def setting_of(problem: Problem) -> Setting:
    """The setting of a problem."""
    dataset = problem.dataset
    task = dataset.task if isinstance(dataset, GraphDataset) else "classification"
    return Setting(task, isinstance(dataset, GraphDataset), problem.epoch is not None)


def make_predict(problem: Problem, model: nn.Module) -> Callable[[Pytree], Any]:
    """`variables -> logits` of the rows that are evaluated."""
    if problem.rows is None or problem.host is None:
        apply: Any = model.apply
        predict = jax.jit(lambda variables, graph: apply(variables, graph).logits)
        return lambda variables: predict(variables, problem.batch.graph)
    host, rows = problem.host, problem.rows
    return lambda variables: layerwise(model, variables, host, nodes=rows)


def make_scores(problem: Problem, model: nn.Module) -> Callable[[Pytree], dict[str, jax.Array]]:
    """`variables -> {"val_loss", "val_accuracy", "test_accuracy"}`, the scores those of the task."""
    predict, task = make_predict(problem, model), problem.task

    @jax.jit
    def judge(logits: Any, labels: Any, val_mask: Any, test_mask: Any) -> dict[str, jax.Array]:
        return {
            "val_loss": task.loss(logits, labels, val_mask),
            "val_accuracy": task.score(logits, labels, val_mask),
            "test_accuracy": task.score(logits, labels, test_mask),
        }

    return lambda variables: judge(predict(variables), problem.labels, problem.val_mask, problem.test_mask)


def _whole(dataset: Dataset) -> Problem:
    graph = jax.device_put(from_dataset(dataset))
    targets = node_mask(graph) & jnp.asarray(target_mask(dataset))
    batch = Batch(graph, jnp.asarray(dataset.labels), NodeMasks(all=targets, train=jnp.asarray(dataset.train_mask)))
    masks = (jnp.asarray(mask) for mask in _masks(dataset))
    task, fingerprint = tasks.classification(), _fingerprint(dataset)
    return Problem(dataset, task, batch, batch.labels, *masks, fingerprint=fingerprint, batches={})


def _sampled(dataset: Dataset, batches: BatchConfig) -> Problem:
    host = host_graph(dataset)
    epoch = _epochs(host, batches)
    if dataset.num_nodes <= LARGEST_WHOLE:
        return _whole(dataset)._replace(batches=described(batches), epoch=epoch, host=host)
    batch = jax.device_put(next(iter(epoch(np.random.default_rng(0)))))
    rows = np.flatnonzero(dataset.val_mask | dataset.test_mask)
    return Problem(
        dataset,
        tasks.classification(),
        batch,
        *(jnp.asarray(array[rows]) for array in (dataset.labels, *_masks(dataset))),
        fingerprint=_fingerprint(dataset),
        batches=described(batches),
        epoch=epoch,
        host=host,
        rows=rows,
    )


def _masks(dataset: Dataset | GraphDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return dataset.train_mask, dataset.val_mask, dataset.test_mask


def _epochs(host: HostGraph, batches: BatchConfig) -> sampling.Epochs:
    if batches.kind == "neighbours":
        roots = np.flatnonzero(host.train_mask).astype(np.int32)
        return sampling.neighbour_batches(host, batches.size, batches.fan_outs, roots=roots)
    if batches.kind == "walks":
        return sampling.walk_batches(host, batches.size, batches.length, batches.steps)
    return sampling.cluster_batches(host, sampling.partition(host, batches.parts), batches.size)


def _of_graphs(dataset: GraphDataset, batches: BatchConfig) -> Problem:
    batch = jax.device_put(sampling.whole(dataset))
    return Problem(
        dataset,
        TASKS[dataset.task](),
        batch,
        batch.labels,
        *(jnp.asarray(np.append(mask, False)) for mask in _masks(dataset)),  # the last graph is padding
        fingerprint=_fingerprint(dataset),
        batches=described(batches),
        epoch=sampling.graph_batches(dataset, batches.size),
    )


def _fingerprint(dataset: Dataset | GraphDataset) -> str:
    digest = hashlib.sha256()
    for part in dataset:
        if isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, sp.csr_matrix):
            for array in (part.indptr, part.indices, part.data):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
