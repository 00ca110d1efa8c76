"""Compiles a program for a target and collects what the compiler says about it."""

import time
from typing import Any

import jax

from experiments.bench.ahead_of_time.counts import count

__all__ = ["compile_program", "on_device"]


def on_device(tree: Any, sharding: Any) -> Any:
    """Returns arrays, or shapes, as shapes on a device that need not be there; typed keys stay keys.

    Args:
        tree: arrays of NumPy or JAX, or `jax.ShapeDtypeStruct`.
        sharding: where they are, for all of them.
    """

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(jax.numpy.shape(leaf), jax.dtypes.result_type(leaf), sharding=sharding)

    return jax.tree.map(shape, tree)


def compile_program(function: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Compiles a function and returns seconds, memory per device and `Counts` as one JSON-like record.

    Args:
        function: jitted.
        arguments: shapes with the sharding of the target, see `on_device`.
    """
    began = time.perf_counter()
    lowered = function.lower(*arguments)
    lowering = time.perf_counter() - began
    began = time.perf_counter()
    compiled = lowered.compile()
    record = {"lower_seconds": lowering, "compile_seconds": time.perf_counter() - began, **memory(compiled)}
    try:
        text = compiled.as_text()
    except jax.errors.JaxRuntimeError as error:  # programs of other versions of HLO, as with offload to a SparseCore
        return record | {"counts": None, "why": str(error).splitlines()[0]}
    found = count(text)
    return record | {"counts": found._asdict() | {"loops": [loop._asdict() for loop in found.loops]}}


def memory(compiled: Any) -> dict[str, int]:
    """Returns bytes per device: arguments, results, those among them that are donated, temporaries, and all."""
    sizes = compiled.memory_analysis()
    parts = {
        "argument_bytes": sizes.argument_size_in_bytes,
        "output_bytes": sizes.output_size_in_bytes,
        "donated_bytes": sizes.alias_size_in_bytes,
        "temporary_bytes": sizes.temp_size_in_bytes,
        "code_bytes": sizes.generated_code_size_in_bytes,
    }
    return parts | {"bytes_per_device": sum(parts.values()) - 2 * parts["donated_bytes"]}
