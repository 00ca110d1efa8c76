"""Steps that read several minibatches: one after the other on one device, or shared by the devices of a mesh.

A step reads `k` parts. Loss, gradient, metrics and the new state of the model (batch-norm statistics) are means over
them; every part starts from the same state, and draws its random numbers from the key of the step and its own position.
So the numbers are the same on any number of devices, up to the order of sums.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from abkd_jax.sampling.batches import Build
from abkd_jax.training.sharding import axis_size
from abkd_jax.training.step import Gradients, TrainState, make_update
from abkd_jax.training.tables import sum_over_devices, table_specs, unread, weigh
from abkd_jax.types import Batch

__all__ = ["Parts", "build_parts", "make_parts_step"]


class Parts(NamedTuple):
    """The minibatches of one step.

    Attributes:
        batches: `[k, ...]`, all of one shape.
        weights: `[k]` 1, or 0 for those that only fill up the last step of an epoch.
        positions: `[k]` int32, from 0: they tell the random numbers of the parts apart.
    """

    batches: Batch
    weights: Float[Array, " k"]
    positions: Int[Array, " k"]


def make_parts_step(
    gradients: Callable[..., Gradients], optimizer: optax.GradientTransformation, mesh: Mesh | None = None
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """Makes one jitted step on `Parts`, which donates its state: `(state, parts, *more) -> (state, metrics)`.

    Args:
        gradients: of one minibatch, `(state, batch, *more) -> Gradients`: `make_gradients`, with or without
            `with_teacher_targets`.
        optimizer: as for `make_distill_step`.
        mesh: its axis `data` shares the parts, whose number it divides, and tables of learned node embeddings, see
            `tables`; everything else is copied to all devices.
    """
    update, alone = make_update(optimizer), axis_size(mesh, "data") == 1

    def mean(state: TrainState, parts: Parts, *more: Any) -> Gradients:
        found = _weighted_sum(gradients, state, parts, more, spread=not alone)
        total, weight = found if alone else sum_over_devices(found)
        return jax.tree.map(lambda summed, own: _divided(summed, weight, own.dtype), total, found[0])

    def step(state: TrainState, parts: Parts, *more: Any) -> tuple[TrainState, dict[str, Array]]:
        if alone:
            return update(state, mean(state, parts, *more))
        whole, shared = PartitionSpec(), PartitionSpec("data")
        specs = (table_specs(state), shared, *map(table_specs, more))
        out = Gradients(table_specs(state.params), whole, whole)  # type: ignore[arg-type]  # specs in place of arrays
        sharded = jax.shard_map(mean, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)
        return update(state, sharded(state, parts, *more))

    return jax.jit(step, donate_argnums=0)


def _weighted_sum(
    gradients: Callable[..., Gradients], state: TrainState, parts: Parts, more: Sequence[Any], *, spread: bool
) -> tuple[Gradients, Float[Array, ""]]:
    """Returns the sum over parts that one device holds, one after the other, and the sum of their weights.

    Where tables are spread over devices, those of parts without a weight are not read, as in `tables`.
    """

    def weighted(part: Parts) -> Gradients:
        own = state._replace(key=jax.random.fold_in(state.key, part.positions))
        if spread:
            return weigh(gradients(own, unread(part.batches, part.weights), *more), part.weights)
        found = gradients(own, part.batches, *more)
        return jax.tree.map(lambda leaf: leaf * part.weights.astype(leaf.dtype), found)

    def add(total: Gradients, part: Parts) -> tuple[Gradients, None]:
        return jax.tree.map(jnp.add, total, weighted(part)), None

    shapes = jax.eval_shape(weighted, jax.tree.map(lambda leaf: leaf[0], parts))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(add, zero, parts)[0], jnp.sum(parts.weights)


def _divided(total: Array, weight: Float[Array, ""], dtype: Any) -> Array:
    """Returns a mean in the type of what was summed: of whole numbers rounded down, of booleans whether any holds."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return total / weight.astype(dtype)
    return total.astype(dtype) if dtype == jnp.bool_ else total // weight.astype(dtype)


def build_parts(group: Sequence[Build], count: int, mesh: Mesh | None = None) -> Parts:
    """Builds the minibatches of one step and puts them on the device, or those of this process on its devices.

    Args:
        group: the drawn minibatches, at least one; where they are fewer than `count`, copies of the last one of weight
            0 fill up.
        count: parts of the step.
        mesh: see `make_parts_step`.
    """
    last, weights = len(group) - 1, (np.arange(count) < len(group)).astype(np.float32)
    sharding = jax.sharding.SingleDeviceSharding(jnp.zeros(()).device)
    if mesh is not None:
        sharding = NamedSharding(mesh, PartitionSpec("data"))
    indices: Any = sharding.addressable_devices_indices_map((count,)).values()
    own = sorted({position for (index,) in indices for position in range(count)[index]})
    built = {number: group[number]().batch for number in {min(position, last) for position in own}}

    def put(*leaves: Any) -> Array:
        by_position = dict(zip(own, leaves, strict=True))

        def of_device(index: Any) -> np.ndarray:
            return np.stack([by_position[position] for position in range(count)[index[0]]])

        return jax.make_array_from_callback((count, *leaves[0].shape), sharding, of_device)

    batches = jax.tree.map(put, *(built[min(position, last)] for position in own))
    return Parts(batches, put(*weights[own]), put(*np.arange(count, dtype=np.int32)[own]))
