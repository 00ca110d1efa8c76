"""Sums of rows of a table that lies in the vector memory of a TPU: one kernel, in Pallas, for all groups of rows.

XLA gathers the rows of all slots first and adds them up afterwards. This kernel reads each row where it is and adds it
in registers: 1.7 cycles of a v5e per slot at 128 columns (static count), where XLA takes 7. The numbers of the rows
come through scalar memory, tile by tile, while the tile before is summed.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate.heads import LANES
from abkd_jax.aggregate.slots import placed, rows_of_levels
from abkd_jax.graph.constants import TILE, ByRow
from abkd_jax.graph.slots import SUBLANES, Slots

__all__ = ["table_fits", "table_sums", "traced_alone_for"]

SLOTS_A_TURN = 128  # of the innermost loop: more save a few cycles, and take longer to compile
MARGIN = 2**22  # bytes of vector memory for the tiles of the result


def table_fits(slots: Slots, x: Float[Array, "m f"]) -> bool:
    """Tells whether the kernel runs on `x`: float32, of which 128 columns fit into the vector memory of a TPU.

    It is that of the device that programs are traced for, see `traced_alone_for`.
    """
    if x.dtype != jnp.float32 or not traced_alone_for("tpu"):
        return False
    from jax.experimental.pallas import tpu

    tables = [x.shape[0], *rows_of_levels(slots)[:-1]]
    return tpu.is_tpu_device() and _table_bytes(max(tables) + TILE) + MARGIN <= tpu.get_tpu_info().vmem_capacity_bytes


def traced_alone_for(platform: str) -> bool:
    """Tells whether programs are traced for one device of a platform: of the mesh in scope, else the default one.

    XLA cannot split a kernel over devices: on several it runs inside of `shard_map` alone.
    """
    mesh = jax.sharding.get_abstract_mesh()
    alone = jax.device_count() == 1 if mesh.empty else mesh.size == 1 or set(mesh.manual_axes) == set(mesh.axis_names)
    device = mesh.abstract_device
    return alone and platform == (jax.default_backend() if device is None else device.platform)


def table_sums(slots: Slots, by_row: ByRow, x: Float[Array, "m f"]) -> Float[Array, "n f"]:
    """Computes the sum of `x[col]` over the slots of each row.

    Args:
        slots: of an `[n, m]` matrix.
        by_row: what they hold, row by row: see `graph.constants.slots_by_row`.
        x: `[m, f]`, see `table_fits`.
    """
    outputs = [jnp.pad(x, ((0, 0), (0, -x.shape[1] % LANES)))]
    for ids, given, sizes in zip(by_row, (slots.cols, *slots.parts), slots.sizes.levels, strict=True):
        rows = [own.shape[0] // size for own, size in zip(given, sizes, strict=True)]
        outputs.append(_level_sums(sizes, rows, ids, outputs[-1]))
    return placed(slots, outputs[1:])[:, : x.shape[1]]


def _level_sums(
    sizes: Sequence[int], rows: Sequence[int], ids: Sequence[Int[Array, " _"]], x: Float[Array, "m f"]
) -> Float[Array, "_ f"]:
    """Sums rows of `x` for all groups of a level, one after the other; at least 8 rows of zeros follow.

    Args:
        sizes: per group its slots per row.
        rows: per group, as they follow each other in the result.
        ids: per group `[slots]` the rows of `x`, row by row in whole tiles; those past its end count as zeros.
        x: `[m, f]`, of whole lanes.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu

    tiles = [own.shape[0] // (size * TILE) for own, size in zip(ids, sizes, strict=True)]
    begins = [sum(rows[:group]) for group in range(len(rows))]
    stays = pl.BlockSpec(memory_space=pl.ANY)
    table = tpu.VMEM((x.shape[0] + SUBLANES - x.shape[0] % SUBLANES, LANES), x.dtype)
    return pl.pallas_call(
        functools.partial(_kernel, tuple(zip(sizes, tiles, begins, strict=True))),
        out_shape=jax.ShapeDtypeStruct((begins[-1] + tiles[-1] * TILE, x.shape[1]), x.dtype),
        grid=(x.shape[1] // LANES,),
        in_specs=[stays] * (len(ids) + 1),
        out_specs=stays,
        scratch_shapes=[table],
        compiler_params=tpu.CompilerParams(vmem_limit_bytes=_table_bytes(x.shape[0]) + MARGIN),
        name="table_sums",
    )(*ids, x)


def _table_bytes(rows: int) -> int:
    return 4 * LANES * (rows + SUBLANES)


def _kernel(groups: Sequence[tuple[int, int, int]], *refs: Any) -> None:
    """Sums 128 columns; `groups` have slots per row, tiles, and the first row of the result.

    What a tile has beyond the rows of its group is overwritten by the next group.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu

    *cols, x, out, table = refs
    column, rows = pl.program_id(0), x.shape[0]
    tpu.sync_copy(x.at[:, pl.ds(pl.multiple_of(column * LANES, LANES), LANES)], table.at[pl.ds(0, rows)])
    table[pl.ds(rows, 1)] = jnp.zeros((1, LANES), table.dtype)
    for (size, tiles, begin), own in zip(groups, cols, strict=True):
        numbers = pl.BlockSpec((size * TILE,), lambda tile: (tile,), memory_space=tpu.SMEM)
        sums = pl.BlockSpec((TILE, LANES), lambda tile: (tile, column))
        run = tpu.emit_pipeline(
            functools.partial(_tile_sums, size, table), grid=(tiles,), in_specs=[numbers], out_specs=[sums]
        )
        run(own, out.at[pl.ds(begin, tiles * TILE)])


def _tile_sums(size: int, table: Any, numbers: Any, sums: Any) -> None:
    """Sums the rows of a tile, a few in each turn of a loop."""
    from jax.experimental import pallas as pl

    rows = 2 ** (max(SLOTS_A_TURN // size, 1).bit_length() - 1)

    def some(turn: Array, carry: None) -> None:
        first = pl.multiple_of(turn * rows, rows)
        near = numbers.at[pl.ds(first * size, rows * size)]  # so that the numbers in it are at constant distances
        for row in range(rows):
            slots = [table[pl.ds(near[row * size + slot], 1)] for slot in range(size)]
            sums[pl.ds(first + row, 1)] = functools.reduce(jnp.add, slots)
        return carry

    jax.lax.fori_loop(0, TILE // rows, some, None)
