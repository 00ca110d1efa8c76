"""Compiles a program for a target and collects what the compiler says about it."""

import os
import time
from pathlib import Path
from typing import Any

import jax

from experiments.bench.ahead_of_time.bundles import program_cycles
from experiments.bench.ahead_of_time.counts import count
from experiments.bench.ahead_of_time.hlo import parse

__all__ = ["compile_program", "on_device"]


def on_device(tree: Any, sharding: Any) -> Any:
    """Returns arrays, or shapes, as shapes on a device that need not be there; typed keys stay keys.

    Args:
        tree: arrays of NumPy or JAX, or `jax.ShapeDtypeStruct`; those with a sharding keep it.
        sharding: where all others are.
    """

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        if isinstance(leaf, jax.ShapeDtypeStruct) and leaf.sharding is not None:
            return leaf
        return jax.ShapeDtypeStruct(jax.numpy.shape(leaf), jax.dtypes.result_type(leaf), sharding=sharding)

    return jax.tree.map(shape, tree)


def compile_program(function: Any, arguments: tuple[Any, ...], bundles: Path | None = None) -> dict[str, Any]:
    """Compiles a function and returns what the compiler says, as one JSON-like record.

    Args:
        function: jitted.
        arguments: shapes with the sharding of the target, see `on_device`.
        bundles: where the compiler writes its final bundles; None leaves the cycles out.

    Returns:
        `lower_seconds`, `compile_seconds`, `compile_cpu_seconds` (of all threads), those of `memory`, `counts` (see
        `counts.Counts`; None with the reason as `why` where the program cannot be read) and `cycles`.
    """
    began = time.perf_counter()
    lowered = function.lower(*arguments)
    lowering = time.perf_counter() - began
    began, busy = time.perf_counter(), _cpu_seconds()
    compiled = lowered.compile()
    seconds = {"compile_seconds": time.perf_counter() - began, "compile_cpu_seconds": _cpu_seconds() - busy}
    record = {"lower_seconds": lowering, **seconds, **memory(compiled)}
    try:
        text = compiled.as_text()
    except jax.errors.JaxRuntimeError as error:
        # HLO of another version than jaxlib reads, as with offload to a SparseCore: the compiler's own text serves too.
        written = list(bundles.glob("*-TLP-hlo.txt")) if bundles else []
        if not written:
            return record | {"counts": None, "why": str(error).splitlines()[0]}
        text = written[-1].read_text()
    found = count(text)
    record["counts"] = found._asdict() | {"loops": [loop._asdict() for loop in found.loops]}
    if bundles is not None:
        record["cycles"] = program_cycles(parse(text), bundles)._asdict()
    return record


def _cpu_seconds() -> float:
    """Returns the CPU time of all threads, and of programs such as ptxas that have ended."""
    return sum(os.times()[:4])


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
