"""The mesh of devices of a run, and the placement of arrays on it.

Three axes, each of size 1 unless it is named: `data` (minibatches of one step), `seeds` (models that train side by
side) and `nodes` (blocks of receivers of one large graph).
"""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from abkd_jax.types import InputError, Pytree

__all__ = ["AXES", "axis_size", "make_mesh", "mesh_sizes", "replicated"]

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
    if not words:
        return None
    sizes, found = mesh_sizes(words), jax.device_count()
    wanted = sizes["data"] * sizes["seeds"] * sizes["nodes"]
    if wanted > found or (wanted < found and jax.process_count() > 1):
        bound = "exactly" if jax.process_count() > 1 else "at most"
        raise InputError(
            f"--mesh {' '.join(words)} has {wanted:,} devices, expected {bound} {found:,}, the number found"
        )
    shape, devices = tuple(sizes.values()), jax.devices()[:wanted]
    return jax.make_mesh(shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES))


def axis_size(mesh: Mesh | None, axis: str) -> int:
    """Returns the number of devices along an axis; 1 without a mesh."""
    return 1 if mesh is None else mesh.shape[axis]


def replicated(tree: Pytree, mesh: Mesh) -> Pytree:
    """Copies arrays to every device of a mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
