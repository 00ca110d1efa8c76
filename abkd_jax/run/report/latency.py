"""Section of the report on latency: what `evaluate` has measured and left in the run folder."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from abkd_jax.datasets.files.atomic import read_json
from abkd_jax.datasets.files.manifest import check_seal
from abkd_jax.run.report.tables import latency_table
from abkd_jax.run.report.trends import is_finite
from abkd_jax.types import InputError

__all__ = ["LATENCY", "latency_section", "read_latency"]

log = logging.getLogger(__name__)

LATENCY = "latency.json"
ANSWERS, COST = ("p50", "p99", "cold"), ("warm", "cold", "flops", "weight_bytes", "program_bytes")
LATENCY_NOTE = """\
Milliseconds from the question to the logits on the host, and in brackets how many times faster than the teacher: for
one random test node and for 256 of them with the neighbourhood that their logits depend on (test graphs in graph-level
tasks), and for all nodes at once; medians, and the 99th percentile over 200 single nodes. "Cold" is the first question,
with the compilation of its program, or its reading from the cache of compiled programs. MFLOP are the matrix products
of one pass over the whole graph, KiB the weights, and MiB all that the program for the whole graph allocates. "-": the
model answers for the whole graph alone. Measured on {hardware}."""


def read_latency(folder: Path) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """Reads what was measured: the hardware, and one row per method, see `run.timing.time_model`.

    Without a file, or with a damaged one, which is logged, there are no rows.
    """
    path = folder / LATENCY
    if not path.exists():
        return "", []
    try:
        check_seal(folder, [LATENCY])
        found = read_json(path)
        rows = found.get("rows") if isinstance(found, dict) else None
        if not isinstance(rows, list) or not all(map(_is_row, rows)):
            raise InputError(f"{path}: expected latencies by method, but it is damaged")
        return str(found.get("hardware", "unknown")), rows
    except InputError as error:
        log.warning("%s; `evaluate` measures again", error)
        return "", []


def latency_section(timed: tuple[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Returns the paragraphs of the section; none where nothing was measured."""
    hardware, rows = timed
    return ["## Latency", latency_table(rows, "github"), LATENCY_NOTE.format(hardware=hardware)] if rows else []


def _is_row(row: Any) -> bool:
    def numbers(part: Any, keys: Sequence[str]) -> bool:
        return isinstance(part, dict) and all(is_finite(part.get(key)) for key in keys)

    if not isinstance(row, dict) or not isinstance(row.get("method"), str):
        return False
    parts = ((row.get("one"), ANSWERS), (row.get("batch"), ANSWERS), (row.get("all"), COST))
    return {"one", "batch", "all"} <= row.keys() and all(part is None or numbers(part, keys) for part, keys in parts)
