"""Measures the machine, and counts the least bytes and operations of a case."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from experiments.bench.message_passing.cases import Case

__all__ = ["Work", "least_work", "measure_machine"]

COPY_BYTES = 2**28  # per buffer, far above any cache
PRODUCT_SIDE = 2048


class Work(NamedTuple):
    """Lower bounds for any program.

    Attributes:
        bytes: every input, parameter, layer output and gradient read and written once per pass, as if caches were
            infinite within a layer.
        flops: multiplications and additions of matrix products and of neighbour sums.
    """

    bytes: float
    flops: float


def measure_machine(threads: int) -> dict[str, float]:
    """Returns copy bandwidth (bytes read plus bytes written, GB/s) and speed of matrix products (GFLOP/s), the best."""
    source, target = np.ones(COPY_BYTES // 4, np.float32), np.zeros(COPY_BYTES // 4, np.float32)
    pieces = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        copy = _fastest(lambda: list(pool.map(lambda piece: np.copyto(*piece), pieces)))
    a = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), np.float32)
    out = np.empty_like(a)
    product = _fastest(lambda: np.matmul(a, a, out=out))
    return {"copy_gb_s": 2e-9 * COPY_BYTES / copy, "gemm_gflop_s": 2e-9 * PRODUCT_SIDE**3 / product}


def _fastest(work: object, repeats: int = 9) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()  # type: ignore[operator]
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def least_work(case: Case) -> Work:
    """Returns the least work of a call of a case: float32 numbers, int32 indices, sums on the narrower side."""
    n, e, size = case.nodes, case.edges, case.options
    structure = 4.0 * (e + n)  # columns and row pointers of one pass
    if case.kind == "weighted_sum":  # x, out; cotangent, gradient
        return Work(2 * (structure + 4 * e) + 4 * 4 * n * size["width"], 4 * e * size["width"])
    if case.kind == "maximum":  # x, out; x and out again, cotangent, gradient
        return Work(2 * structure + 4 * 6 * n * size["width"], 2 * e * size["width"])
    if case.kind == "gat":  # x, out; x again, cotangent, gradient
        out = size["heads"] * size["head_width"]
        return Work(2 * structure + 4 * n * (3 * size["width"] + 2 * out), 6 * n * size["width"] * out + 6 * e * out)
    if case.kind == "rgcn":
        width, out = size["width"], size["out"]
        products = 6 * n * width * out * (size["relations"] + 1)
        return Work(2 * structure + 4 * n * (3 * width + 2 * out), products + 4 * e * min(width, out))
    if case.kind == "sage":
        return _sage(n, e, structure, size["widths"])
    return _gcnii(n, e, structure, size)


def _sage(n: int, e: int, structure: float, widths: tuple[int, ...]) -> Work:
    """Counts no gradient to the input: its layer needs no sum in the backward pass, and four of six products."""
    layers = list(itertools.pairwise(widths))
    flops = sum(12 * n * a * b + 4 * e * min(a, b) for a, b in layers) - 4 * n * widths[0] * widths[1]
    flops -= 2 * e * min(layers[0])
    numbers = sum(n * (3 * a + 2 * b) for a, b in layers) - n * widths[0]
    return Work((2 * len(layers) - 1) * structure + 4 * numbers, flops)


def _gcnii(n: int, e: int, structure: float, size: dict[str, Any]) -> Work:
    hidden, layers, words = size["hidden"], size["layers"], n * size["words_a_node"]
    parameters = hidden * (size["words"] + size["classes"] + layers * hidden)
    # Forward, a layer reads h and h0 and writes h; backward, it reads h and a gradient, writes one, adds to that of h0.
    bytes_ = layers * 2 * (structure + 4 * e) + 4 * (layers * 7 * n * hidden + 7 * parameters)
    flops = 6 * n * hidden * size["classes"] + 4 * words * hidden + layers * hidden * (6 * n * hidden + 4 * e)
    times = size.get("seeds", 1) * size.get("steps", 1)
    return Work(times * bytes_, times * flops)
