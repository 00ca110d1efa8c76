"""A data-parallel step for ogbn-papers100M on sampled neighbours, with the largest batches that can be drawn.

GraphSAGE teacher and student by the rules for large graphs; per device 1,024 roots with fan-outs 15, 10 and 5. Nothing
of the graph is on a device but the batch: 111 million nodes and 1.6 billion edges stay on the hosts.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from abkd_jax.configs import presets, rules
from abkd_jax.distill.build import LossContext, build_objective
from abkd_jax.graph.host import HostGraph
from abkd_jax.models import build
from abkd_jax.sampling.batches import to_batch
from abkd_jax.sampling.buckets import Capacity
from abkd_jax.sampling.subgraph import Subgraph
from abkd_jax.training.accumulate import Parts, make_parts_step
from abkd_jax.training.sharding import AXES
from abkd_jax.training.step import make_gradients, make_optimizer, with_teacher_targets
from abkd_jax.training.tasks import classification
from abkd_jax.types import Batch
from experiments.bench.ahead_of_time.compile import on_device
from experiments.bench.ahead_of_time.steps import Program, Site, learning

__all__ = ["FACTS", "papers100m_step"]

# Hu et al. 2020 (arXiv 2005.00687), table of node-level sets; the training papers of its split by time.
FACTS = rules.Facts(
    "node", "classification", nodes=111_059_956, edges=1_615_685_872, features=128, outputs=172, train=1_207_179
)


def papers100m_step(site: Site) -> Program:
    """Returns the step of `abkd` on one minibatch per device of a site, with the teacher inside."""
    config = presets.distill_config("papers100m.npz", FACTS)
    teacher, student = (build(model, FACTS.outputs) for model in (config.teacher.model, config.student))
    method, context = config.abkd, LossContext(minibatches=True)
    objective, optimizer = build_objective(method, context), make_optimizer(method.optim)
    assert objective is not None  # abkd has terms
    batch = _largest_batch(config.batches.size, config.batches.fan_outs)
    found = learning(teacher, student, objective, optimizer, batch)
    mesh = Mesh(np.reshape(site.devices, (len(site.devices), 1, 1)), AXES)
    gradients = make_gradients(student, objective, classification(), method.task_weight)
    step = make_parts_step(with_teacher_targets(gradients, objective, teacher.apply), optimizer, mesh)
    everywhere, parts = NamedSharding(mesh, PartitionSpec()), _parts(batch, mesh)
    return Program(step, (*on_device((found.state,), everywhere), parts, *on_device(found[1:3], everywhere)))


def _parts(batch: Batch, mesh: Mesh) -> Parts:
    """Returns the shapes of one batch per device."""
    sharding, count = NamedSharding(mesh, PartitionSpec("data")), mesh.size

    def many(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype, sharding=sharding)

    number = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)
    return Parts(*jax.tree.map(many, (batch, *number)))


def _largest_batch(roots: int, fan_outs: tuple[int, ...]) -> Batch:
    """Returns a batch where every node has as many neighbours as are drawn, none of them twice: a tree per root."""
    layers = [roots]
    for fan_out in fan_outs:
        layers.append(layers[-1] * fan_out)
    nodes, edges = sum(layers), sum(layers[1:])
    senders = np.arange(roots, nodes, dtype=np.int32)
    parents = [np.repeat(np.arange(size), fan_out) for size, fan_out in zip(layers, fan_outs, strict=False)]
    starts = np.cumsum([0, *layers])
    receivers = np.concatenate([start + of for start, of in zip(starts, parents, strict=False)]).astype(np.int32)
    graph = HostGraph(
        indptr=np.zeros(nodes + 1, np.int64),
        senders=senders,
        relations=None,
        num_relations=1,
        features=np.zeros((nodes, FACTS.features), np.float32),
        node_types=None,
        labels=np.zeros(nodes, np.int32),
        train_mask=np.ones(nodes, bool),
        target_mask=np.ones(nodes, bool),
    )
    drawn = Subgraph(np.arange(nodes, dtype=np.int32), roots, senders, receivers, np.arange(edges))
    return to_batch(graph, drawn, Capacity(nodes + 1, edges), roots_only=True)
