"""Prepared data: a data set on the device, with its task, its masks and the sampler of its minibatches."""

import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from abkd_jax import datasets, sampling
from abkd_jax.configs.options import BatchConfig, ModelConfig
from abkd_jax.datasets.facts import check_batches
from abkd_jax.distill.build import LossContext
from abkd_jax.graph import from_dataset, node_entry, node_mask, num_nodes, partition, place
from abkd_jax.graph.host import HostGraph, host_graph, target_mask, whole_graph
from abkd_jax.graph.partition import pad_rows
from abkd_jax.graph.partitioned import NODES_AXIS, row_shardings
from abkd_jax.inference.by_parts import MAX_NODES_AT_ONCE
from abkd_jax.layers.output import Units
from abkd_jax.models import build, with_hops
from abkd_jax.models.build import READ_EDGE_FEATURES, READ_WEIGHTS, require_embeddings
from abkd_jax.outside import is_outside
from abkd_jax.run.identity import DataIdentity, config_dict, fingerprint
from abkd_jax.run.targets import target_units, task_of
from abkd_jax.training.sharding import axis_size, in_blocks, of_process
from abkd_jax.training.tasks import Task
from abkd_jax.types import Batch, Dataset, GraphDataset, InputError, NodeMasks, shape_of

__all__ = ["PreparedData", "build_model", "prepare_data", "with_powers"]

log = logging.getLogger(__name__)

# Graphs of more nodes are evaluated layer by layer from the host: an RGCN of 512 units holds 14 kB per node and layer.
MAX_FULL_BATCH_NODES = 1_000_000


class PreparedData(NamedTuple):
    """A data set on the device.

    Attributes:
        dataset: as loaded.
        task: its loss and score.
        batch: the whole graph, or all graphs, without teacher targets; one minibatch of a graph that is too large.
        labels: of the rows that are evaluated: all nodes, all graphs, or `eval_nodes`.
        train_mask: over these rows.
        val_mask: likewise.
        test_mask: likewise.
        identity: name and fingerprint of the data set, and the sampling options.
        sampler: makes the minibatches of an epoch, arrays of the host; None where a step reads the whole graph.
        host: the graph on the host, where it is sampled.
        trim: makes the sampler whose minibatches are trimmed for models of at most so many layers (`trimming`); None
            where there is none.
        eval_nodes: nodes that are evaluated, layer by layer from the host; None evaluates `batch` as a whole.
        parts: the graphs of a large data set that labels graphs, which modules evaluate part by part; else None.
        split: seed of the split that the data set was loaded with.
        per_step: minibatches that one step reads.
        mesh: devices that models are trained on; None is the default device.
        profile_dir: folder for traces of the trainings; None writes none.
        stop: set where models that train beside this one have failed, so that it ends; see `slices`.
        units: mean and deviation of the real targets for training, which the outputs of models are scaled by; None
            where targets are classes or labels.
    """

    dataset: Dataset | GraphDataset
    task: Task
    batch: Batch
    labels: jax.Array
    train_mask: jax.Array
    val_mask: jax.Array
    test_mask: jax.Array
    identity: DataIdentity
    sampler: sampling.EpochSampler | None = None
    host: HostGraph | None = None
    trim: Callable[[int], sampling.EpochSampler] | None = None
    eval_nodes: np.ndarray | None = None
    parts: sampling.GraphParts | None = None
    split: int = 0
    per_step: int = 1
    mesh: Mesh | None = None
    profile_dir: Path | None = None
    stop: threading.Event | None = None
    units: Units | None = None

    @property
    def outputs(self) -> int:
        """Returns the width of the logits."""
        return self.dataset.num_outputs if isinstance(self.dataset, GraphDataset) else self.dataset.num_classes

    @property
    def example(self) -> Batch:
        """Returns a batch of the shapes that steps read: a minibatch where there are any, which is small."""
        return next(iter(self.sampler(np.random.default_rng(0)))) if self.sampler else self.batch

    @property
    def loss_context(self) -> LossContext:
        """Returns what a loss must know of the data."""
        graph_level = isinstance(self.dataset, GraphDataset)
        scale = None if self.units is None else self.units.scale
        return LossContext(self.dataset.task, graph_level, self.sampler is not None, scale)

    @property
    def summary(self) -> dict[str, Any]:
        """Returns the entry `data` of a record, JSON-like: name, source, fingerprint, split and counts."""
        dataset = self.dataset
        shape = shape_of(dataset.features)
        sizes = {"graphs": dataset.labels.shape[0]} if isinstance(dataset, GraphDataset) else {}
        nodes = shape[0] if isinstance(dataset, GraphDataset) else dataset.num_nodes
        splits = {
            name: int(mask.sum()) for name, mask in zip(("train", "validation", "test"), _masks(dataset), strict=True)
        }
        counts = {
            **sizes,
            "nodes": nodes,
            "edges": dataset.senders.shape[0],
            "features": shape[1],
            "outputs": self.outputs,
        }
        return {
            "name": dataset.name,
            "source": dataset.source,
            "fingerprint": self.identity.fingerprint,
            "split": self.split,
            "counts": {**counts, **splits},
        }


def prepare_data(
    source: str | Dataset | GraphDataset,
    data_root: str | Path | None = None,
    batches: BatchConfig | None = None,
    split: int = 0,
    mesh: Mesh | None = None,
    platform: str | None = None,
) -> PreparedData:
    """Loads a data set and puts what fits of it on the device.

    Args:
        source: what `datasets.load` takes, or a data set, which is checked.
        data_root: see `datasets.data_root`.
        batches: how steps are sampled; None is the whole graph.
        split: seed of the split, where there is no official one.
        mesh: devices that models are trained on; None is the default device.
        platform: that of the programs that read minibatches, see `sampling.node_sampler`.

    Raises:
        InputError: the data set cannot be loaded, its graphs cannot be sampled so, or JAX computes in 64 bits.

    Examples:
        >>> data = prepare_data("synthetic")
        >>> data.labels.shape, data.outputs, data.task.metric
        ((300,), 3, 'accuracy')
    """
    if jax.config.values["jax_enable_x64"]:  # stored models, and what is compared with them, are of 32 bits
        off = "JAX_ENABLE_X64=0, or jax.config.update('jax_enable_x64', False)"
        raise InputError(f"jax_enable_x64 is True, expected False: {off}")
    batches = BatchConfig() if batches is None else batches
    if isinstance(source, str):
        log.info("loading %s", source)
    dataset: Dataset | GraphDataset = (
        datasets.load(source, data_root, split) if isinstance(source, str) else datasets.validate(source)
    )
    name = dataset.name
    check_batches(name, batches.kind, graph_level=isinstance(dataset, GraphDataset))
    _check_validation(dataset)
    if isinstance(dataset, GraphDataset):
        data = _of_graphs(dataset, batches, platform)
    else:
        data = _whole(dataset, mesh) if batches.kind == "full" else _sampled(dataset, batches, platform)
    return data._replace(split=split, per_step=batches.per_step, mesh=mesh, units=target_units(dataset))


def _check_validation(dataset: Dataset | GraphDataset) -> None:
    """Checks that there is a validation part; a warning is logged where no score is defined on it."""
    item = "graph" if isinstance(dataset, GraphDataset) else "node"
    if not dataset.val_mask.any():
        raise InputError(f"{dataset.name}: no validation {item}, expected at least one")
    labels = dataset.labels[dataset.val_mask]
    if dataset.task == "multilabel" and not ((labels == 0).any(axis=0) & (labels == 1).any(axis=0)).any():
        log.warning(
            "%s: no label has both answers on validation %ss, so no ROC-AUC is defined there: the best evaluation is "
            "that of the lowest validation loss",
            dataset.name,
            item,
        )


def build_model(data: PreparedData, config: ModelConfig) -> nn.Module:
    """Builds the model of a config for the graph and the task of the data.

    A warning is logged where the graph has edge weights or features that such a model does not read.

    Raises:
        InputError: the config makes no model, or the model reads features, of which the data set has none.
    """
    dataset = data.dataset
    if not shape_of(dataset.features)[1]:
        require_embeddings(dataset.name, config.name)
    edge_features = 0 if dataset.edge_features is None else dataset.edge_features.shape[1]
    if isinstance(dataset, GraphDataset):
        return build(
            config,
            data.outputs,
            vocabulary=dataset.vocabulary,
            edge_vocabulary=dataset.edge_vocabulary,
            edge_features=0 if dataset.edge_vocabulary else edge_features,
        )
    if not is_outside(config.name):
        _warn_of_unread(dataset, config.name)
    if dataset.schema is None:
        return build(config, data.outputs, edge_features=edge_features)
    return build(
        config,
        data.outputs,
        edge_features=edge_features,
        relations=dataset.schema.num_relations,
        node_types=len(dataset.schema.node_types),
        embeddings=dataset.num_embeddings,
    )


@functools.cache  # once per data set and model
def _log_unread(name: str, model: str, what: str, readers: tuple[str, ...]) -> None:
    log.warning("%s: edges have %s, which %s does not read; models that do: %s", name, what, model, ", ".join(readers))


def _warn_of_unread(dataset: Dataset, model: str) -> None:
    if dataset.edge_weights is not None and model not in READ_WEIGHTS:
        _log_unread(dataset.name, model, "weights", READ_WEIGHTS)
    if dataset.edge_features is not None and model not in READ_EDGE_FEATURES:
        _log_unread(dataset.name, model, "features", READ_EDGE_FEATURES)


def with_powers(data: PreparedData, *configs: ModelConfig) -> PreparedData:
    """Adds to the data what its models read of the graph once: the powers of the adjacency, where one is a SIGN.

    Data that have them stay as they are.

    Raises:
        InputError: two SIGN models read different powers, or steps see parts of the graph.
    """
    powers = {config.hops for config in configs if config.name == "sign"}
    if not powers:
        return data
    if len(powers) > 1 or data.sampler is not None:
        raise InputError(f"sign: hops are {sorted(powers)}, expected one number for all models and the whole graph")
    if node_entry(data.batch.graph, "hops") is not None:
        return data
    return data._replace(batch=data.batch._replace(graph=with_hops(data.batch.graph, powers.pop())))


def _whole(dataset: Dataset, mesh: Mesh | None = None) -> PreparedData:
    """Returns the data of steps that read the whole graph, in blocks where the mesh has an axis `nodes`."""
    if in_blocks(mesh):
        host = host_graph(dataset)
        cut = partition(whole_graph(host), axis_size(mesh, NODES_AXIS), relations=host.num_relations)
        graph, size = place(cut, mesh), num_nodes(cut)

        def on_device(rows: np.ndarray, fill: int = 0) -> jax.Array:
            return jax.device_put(pad_rows(rows, size, fill), row_shardings(rows, mesh))

    else:
        graph = jax.device_put(from_dataset(dataset))

        def on_device(rows: np.ndarray, fill: int = 0) -> jax.Array:
            return jnp.asarray(rows)

    train, *_ = masks = [on_device(mask) for mask in _masks(dataset)]
    targets = node_mask(graph) & on_device(target_mask(dataset))
    batch = Batch(graph, on_device(dataset.labels, -1), NodeMasks(all=targets, train=train))
    identity = DataIdentity(dataset.name, fingerprint(dataset), {})
    scored = of_process((batch.labels, *masks), mesh)
    return PreparedData(dataset, task_of(dataset), batch, *scored, identity=identity)


def _sampled(dataset: Dataset, batches: BatchConfig, platform: str | None) -> PreparedData:
    host = host_graph(dataset)
    sampler, trim = _sampler(host, batches, platform), None
    if batches.kind == "neighbours":
        trim = functools.cache(functools.partial(_sampler, host, batches, platform))  # its capacities are fitted once
    if dataset.num_nodes <= MAX_FULL_BATCH_NODES:
        whole = _whole(dataset)
        identity = whole.identity._replace(batches=config_dict(batches))
        return whole._replace(identity=identity, sampler=sampler, host=host, trim=trim)
    batch = jax.device_put(next(iter(sampler(np.random.default_rng(0)))))
    nodes = np.flatnonzero(dataset.val_mask | dataset.test_mask)
    return PreparedData(
        dataset,
        task_of(dataset),
        batch,
        *(jnp.asarray(array[nodes]) for array in (dataset.labels, *_masks(dataset))),
        identity=DataIdentity(dataset.name, fingerprint(dataset), config_dict(batches)),
        sampler=sampler,
        host=host,
        trim=trim,
        eval_nodes=nodes,
    )


def _masks(dataset: Dataset | GraphDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return dataset.train_mask, dataset.val_mask, dataset.test_mask


def _sampler(
    host: HostGraph, batches: BatchConfig, platform: str | None, layers: int | None = None
) -> sampling.EpochSampler:
    if batches.kind == "neighbours":
        roots = np.flatnonzero(host.train_mask).astype(np.int32)
        return sampling.neighbour_batches(
            host, batches.size, batches.fan_outs, roots=roots, platform=platform, layers=layers
        )
    if batches.kind == "walks":
        return sampling.walk_batches(host, batches.size, batches.length, batches.steps, platform=platform)
    parts = sampling.partition(host, batches.parts)
    return sampling.cluster_batches(host, parts, batches.size, platform=platform)


def _of_graphs(dataset: GraphDataset, batches: BatchConfig, platform: str | None) -> PreparedData:
    batch = jax.device_put(sampling.all_graphs(dataset))
    large = dataset.features.shape[0] > MAX_NODES_AT_ONCE
    return PreparedData(
        dataset,
        task_of(dataset),
        batch,
        batch.labels,
        *(jnp.asarray(np.append(mask, False)) for mask in _masks(dataset)),  # the last graph is padding
        identity=DataIdentity(dataset.name, fingerprint(dataset), config_dict(batches)),
        sampler=sampling.graph_batches(dataset, batches.size, platform=platform),
        parts=jax.device_put(sampling.graph_parts(dataset, platform=platform)) if large else None,
    )
