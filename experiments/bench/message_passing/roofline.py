"""What the machine can do, and the least that a case asks of it."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from experiments.bench.message_passing.cases import Case

__all__ = ["Work", "least_work", "measure_machine"]

COPY_BYTES = 2**28  # of one buffer: far above any cache
PRODUCT_SIDE = 2048


class Work(NamedTuple):
    """The least that any program must do.

    Attributes:
        bytes: every input, parameter, layer output and gradient read once and written once a pass, if caches were
            infinite within a layer.
        flops: multiplications and additions, matrix products and neighbour sums alike.
    """

    bytes: float
    flops: float


def measure_machine(threads: int) -> dict[str, float]:
    """Copy bandwidth (bytes read plus bytes written, in GB/s) and matrix products (GFLOP/s), best of several."""
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
    """The least work of one call of a case."""
    n, size = case.nodes, case.options
    matrix = 4.0 * (2 * case.edges + n)  # column, value and row pointer; read forwards, and its transpose backwards
    if case.kind == "weighted_sum":
        return Work(2 * matrix + 4 * 4 * n * size["width"], 4 * case.edges * size["width"])
    hidden, layers, words = size["hidden"], size["layers"], n * size["words_a_node"]
    parameters = hidden * (size["words"] + size["classes"] + layers * hidden)
    # A layer reads h and writes the next one; backwards it reads h, h0's share and the gradient, and writes that.
    activations = layers * 7 * n * hidden
    flops = 6 * hidden * (words + n * size["classes"]) + layers * hidden * (6 * n * hidden + 4 * case.edges)
    return Work(layers * 2 * matrix + 4 * (activations + 7 * parameters), flops)
