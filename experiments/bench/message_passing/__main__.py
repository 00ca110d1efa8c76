"""Measures, stores and prints the table of ratios: `python -m experiments.bench.message_passing`."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tabulate
import tyro

from abkd_jax.datasets.files.atomic import write_atomic
from experiments.bench.message_passing.cases import CASES
from experiments.bench.message_passing.driver import Bench, Side
from experiments.bench.message_passing.roofline import least_work
from experiments.program import run_program


@dataclass(frozen=True)
class Args:
    """Compare message passing with PyTorch Geometric and with the fastest PyTorch known to this project, on the CPU."""

    cases: tuple[str, ...] = tuple(CASES)
    """Cases to measure."""
    rounds: int = 5
    """Number of timings per variant and start, taken in turn."""
    starts: int = 3
    """How often the processes of a case are started: where their memory lies moves small cases by up to 2 times."""
    threads: int = 2
    """Number of threads (and cores) per side."""
    tuned: bool = True
    """Measure cases with large buffers a second time with the allocator of all sides tuned alike (Linux only)."""
    out: Path = Path("experiments/results/bench_message_passing.json")
    """File of the results, written after every case."""


def main(args: Args) -> None:
    """Measures, stores and prints all cases."""
    unknown = [name for name in args.cases if name not in CASES]
    if unknown or min(args.rounds, args.starts, args.threads) < 1:
        raise SystemExit(f"cases are {', '.join(CASES)}; rounds, starts and threads at least 1; got {args}")
    machine = _machine(args.threads)
    record: dict[str, Any] = {
        "hardware": f"{os.cpu_count()} x {platform.machine()} cores, {platform.system()}",
        "machine": machine,
        "threads": args.threads,
        "rounds": args.rounds,
        "starts": args.starts,
        "versions": {},
        "cases": {name: asdict(CASES[name]) | least_work(CASES[name])._asdict() for name in args.cases},
        "variants": [],
        "rows": [],
    }
    reported: set[str] = set()
    for name in args.cases:
        for tuned in (False, True) if args.tuned and CASES[name].tuned else (False,):
            seconds: dict[tuple[str, str], list[float]] = {}
            for _ in range(args.starts):
                with Bench(name, args.threads, tuned) as bench:
                    bench.load()
                    for variant, times in bench.time(args.rounds).items():
                        seconds.setdefault(variant, []).extend(times)
                for failure in set(bench.failures) - reported:
                    print(f"{failure}: left out of the table", flush=True)
                reported |= set(bench.failures)
            setting = {"case": name, "tuned": tuned}
            record["versions"] |= bench.versions
            record["variants"] += [
                setting | {"side": side, "variant": variant, "seconds": times} | bench.variants[side, variant]
                for (side, variant), times in seconds.items()
            ]
            rows = _rows(name, seconds, machine)
            record["rows"] += [setting | row for row in rows]
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(args.out, json.dumps(record, indent=1) + "\n")
            print(_table([setting | row for row in rows], bench.variants), flush=True)
    print(f"\n{_table(record['rows'], None)}\n\n{_legend(record)}")


def _machine(threads: int) -> dict[str, float]:
    """Returns bandwidth and speed of the machine, measured in a process of their own."""
    side = Side("jax", threads, tuned=False)
    side.receive()
    try:
        return side.request("machine", threads=threads)
    finally:
        side.close()


def _rows(case: str, seconds: dict[tuple[str, str], list[float]], machine: dict[str, float]) -> list[dict[str, Any]]:
    """Returns medians and ratios of a case; comparisons with a missing side are left out."""
    work = least_work(CASES[case])
    bounds = {"bytes": 1e-9 * work.bytes / machine["copy_gb_s"], "flops": 1e-9 * work.flops / machine["gemm_gflop_s"]}
    rows = []
    for ours, side, peer, target in CASES[case].comparisons:
        if (side, peer) not in seconds:
            continue
        a, b = np.array(seconds["jax", ours]), np.array(seconds[side, peer])
        rows.append(
            {
                "ours": ours,
                "ours_ms": _spread(1e3 * a),
                "peer": f"{side}: {peer}",
                "peer_ms": _spread(1e3 * b),
                "ratio": _spread(a / b),
                "target": target,
                "roofline": {name: bound / float(np.median(a)) for name, bound in bounds.items()},
            }
        )
    return rows


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(values)), "min": float(values.min()), "max": float(values.max())}


def _table(rows: list[dict[str, Any]], facts: dict[tuple[str, str], dict[str, Any]] | None) -> str:
    def cell(spread: dict[str, float]) -> str:
        return "{median:.3g} [{min:.3g} {max:.3g}]".format(**spread)

    lines = []
    for row in rows:
        bound = max(row["roofline"], key=row["roofline"].get)
        line = {
            "case": row["case"] + (", allocator tuned" if row["tuned"] else ""),
            "ours": row["ours"],
            "ms": cell(row["ours_ms"]),
            "peer": row["peer"],
            "its ms": cell(row["peer_ms"]),
            "ours / peer": cell(row["ratio"]),
            "target": "" if row["target"] is None else f"{row['target']:.2f}",
            "roofline": f"{row['roofline'][bound]:.2f} {bound}",
        }
        if facts is not None:
            line["temporary MB"] = f"{facts['jax', row['ours']].get('temp_mb', float('nan')):.0f}"
        lines.append(line)
    return tabulate.tabulate(lines, headers="keys", disable_numparse=True)


def _legend(record: dict[str, Any]) -> str:
    about = "\n".join(
        f"{name}: {case['about']}; {case['nodes']:,} nodes, {CASES[name].edges:,} directed edges, seed {case['seed']}"
        for name, case in record["cases"].items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{about}\n\nMedians [min max] of {record['rounds']} interleaved rounds in each of {record['starts']} starts, "
        f"{record['threads']} threads per side; "
        "the ratio is the median of the rounds' ratios.\nRoofline: the least bytes at copy bandwidth "
        f"({record['machine']['copy_gb_s']:.0f} GB/s), or the least arithmetic at the speed of matrix products "
        f"({record['machine']['gemm_gflop_s']:.0f} GFLOP/s), whichever takes longer, over our time.\n"
        f"{record['hardware']}; {versions}"
    )


if __name__ == "__main__":
    run_program("experiments.bench.message_passing", lambda: main(tyro.cli(Args)))
