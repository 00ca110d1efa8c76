"""The mesh of devices of a run, and the placement of arrays on it.

Three axes, each of size 1 unless it is named: `data` (minibatches of one step), `seeds` (models that train side by
side) and `nodes` (blocks of receivers of one large graph). `seeds` goes together with each of the others.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from abkd_jax.training.multihost import are_several
from abkd_jax.types import InputError, Pytree

__all__ = [
    "AXES",
    "Fit",
    "axis_size",
    "check_seeds_axis",
    "in_blocks",
    "make_mesh",
    "mesh_sizes",
    "of_process",
    "on_mesh",
    "put",
    "slices",
    "take",
]

Fit = Callable[..., tuple[Any, Any]]

AXES = ("data", "seeds", "nodes")


def mesh_sizes(words: Sequence[str]) -> dict[str, int]:
    """Reads the sizes of the axes of a mesh, as the command line gives them; 1 where an axis is not named.

    Args:
        words: one `axis=size` per axis, in any order.

    Raises:
        InputError: an unknown axis, one that is named twice, or a size that is no whole number above 0.

    Examples:
        >>> mesh_sizes(["seeds=2", "data=4"])
        {'data': 4, 'seeds': 2, 'nodes': 1}
    """
    sizes: dict[str, int] = {}
    for word in words:
        axis, _, size = word.partition("=")
        if axis not in AXES or axis in sizes or not (size.isascii() and size.isdecimal() and int(size) > 0):
            raise InputError(
                f"--mesh {' '.join(words)}: {word!r}, expected {'=N, '.join(AXES)}=N, each at most once, N at least 1"
            )
        sizes[axis] = int(size)
    return {axis: sizes.get(axis, 1) for axis in AXES}


def make_mesh(words: Sequence[str]) -> Mesh | None:
    """Makes the mesh of a run over the devices of all its processes; None where no axis is named.

    Args:
        words: see `mesh_sizes`.

    Raises:
        InputError: the sizes multiply to more devices than there are, or with several processes to fewer.

    Examples:
        >>> make_mesh(["data=1"]).axis_names
        ('data', 'seeds', 'nodes')
    """
    if not words and not are_several():
        return None
    sizes, found = mesh_sizes(words), jax.device_count()
    wanted = sizes["data"] * sizes["seeds"] * sizes["nodes"]
    if wanted > found or (wanted < found and are_several()):
        bound = "exactly" if are_several() else "at most"
        raise InputError(
            f"--mesh {' '.join(words) or 'without an axis'} has {wanted:,} devices, expected {bound} {found:,}, the "
            f"number found"
        )
    shape, devices = tuple(sizes.values()), jax.devices()[:wanted]
    return jax.make_mesh(shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES))


def axis_size(mesh: Mesh | None, axis: str) -> int:
    """Returns the number of devices along an axis; 1 without a mesh, or where it has no such axis."""
    return 1 if mesh is None else mesh.shape.get(axis, 1)


def in_blocks(mesh: Mesh | None) -> TypeGuard[Mesh]:
    """Tells whether graphs on a mesh are in blocks of nodes: one for each device of the axis `nodes`, if several."""
    return axis_size(mesh, "nodes") > 1


def check_seeds_axis(mesh: Mesh) -> None:
    """Checks that a mesh has an axis `seeds`, and leaves shardings to the compiler.

    Raises:
        InputError: it has not, or does not: meshes of `jax.make_mesh` are `Explicit` unless told otherwise.
    """
    if "seeds" not in mesh.axis_names or not mesh.are_all_axes_auto:
        kinds = ", ".join(f"{name} {kind.name}" for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True))
        raise InputError(f"mesh has axes {kinds}, expected seeds, all Auto, as training.make_mesh(['seeds=4']) has")


def slices(mesh: Mesh, axis: str) -> list[Mesh]:
    """Returns the parts of a mesh at each place of an axis, which has size 1 in them.

    Examples:
        >>> [part.size for part in slices(make_mesh(["data=1"]), "seeds")]
        [1]
    """
    place = mesh.axis_names.index(axis)
    parts = np.split(mesh.devices, mesh.shape[axis], axis=place)
    return [Mesh(devices, mesh.axis_names, axis_types=mesh.axis_types) for devices in parts]


def put(tree: Pytree, mesh: Mesh, *axes: str | None) -> Pytree:
    """Puts arrays that every process holds as a whole on a mesh: an explicit transfer.

    Args:
        tree: of arrays and typed PRNG keys; those that lie on a mesh of several processes already are spread anew.
        mesh: of devices of all processes.
        axes: for each leading dimension the axis of the mesh that shares it, or None; without any, every device holds
            everything.
    """
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put_one(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put_one(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        whole = jax.device_get(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put_one, tree)


def take(tree: Pytree, mesh: Mesh | None) -> Pytree:
    """Returns arrays that lie on a mesh as whole arrays on one device of this process; without a mesh as they are."""
    if mesh is None:
        return tree
    if not all(leaf.is_fully_replicated for leaf in jax.tree.leaves(tree)):
        tree = _replicate(mesh)(tree)
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def of_process(tree: Pytree, mesh: Mesh | None) -> Pytree:
    """Returns arrays of which other processes hold parts as whole arrays on one device of this one; others as they are.

    All processes must come here in the same order.
    """
    return tree if all(leaf.is_fully_addressable for leaf in jax.tree.leaves(tree)) else take(tree, mesh)


@functools.cache
def _replicate(mesh: Mesh) -> Callable[[Pytree], Pytree]:
    return jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))


def on_mesh(fit: Fit, put_run: Callable[..., tuple[Any, Any]], take_run: Callable[..., tuple[Any, Any]]) -> Fit:
    """Returns a fit on a mesh that is resumed and saved as on one device: checkpoints know nothing of the mesh.

    Args:
        fit: a loop of `training.loops` that is given everything but `resume` and `on_chunk`.
        put_run: `(state, history) -> (state, history)`, from one device to the mesh.
        take_run: the same back.
    """

    def run(*, resume: Any = None, on_chunk: Any = None) -> tuple[Any, Any]:
        def taken(state: Any, history: Any, epochs: int) -> None:
            on_chunk(*take_run(state, history), epochs)

        found = fit(resume=resume and put_run(*resume), on_chunk=on_chunk and taken)
        return take_run(*found)

    return run
