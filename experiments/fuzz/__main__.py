"""Damages files of every kind that the package reads, and counts the outcomes: `python -m experiments.fuzz`.

Every damaged file must be read as before, be refused in one line, or be recovered with a warning. Anything else is a
fault: another exception, a crash, other counts without a word, 10 s, 2 GiB. Case number k of a layout is the same
in every run with the same seed.
"""

import contextlib
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tabulate
import tyro

from abkd_jax.datasets.files import progress
from experiments.fuzz import cases, pool
from experiments.fuzz.worker import Outcome
from experiments.program import run_program

KINDS = ("equal", "same counts", "refused", "recovered", "fault")
NOTE = """\
equal: read as the undamaged files; same counts: another number, where files carry no digests; refused: one line of
`InputError`; recovered: read with a warning; fault: anything else."""


@dataclass(frozen=True)
class Args:
    """Damages files and counts the outcomes; the exit status is 1 where there is a fault."""

    seed: int = 0
    """Seed of all cases."""
    cases: int = 3000
    """Number of cases, the same for each layout; each bomb comes once at most."""
    layouts: tuple[str, ...] = ()
    """Layouts to damage; empty for all."""
    only: tuple[str, ...] = ()
    """Single cases, each <layout>:<number>, shown with their damage and outcome."""
    real: Path | None = None
    """Data root of published data sets, which are damaged in place of the small ones that the program writes."""
    workers: int = 1
    """Number of processes that read."""


def main(args: Args) -> int:
    """Runs the cases, prints the table and every kind of fault with its cases; returns the exit status."""
    wanted = _wanted(args)
    found: dict[pool.Case, Outcome] = {}
    results = pool.run(wanted, args.seed, args.real, args.workers)
    with contextlib.suppress(KeyboardInterrupt):  # the outcomes so far are shown
        bar = progress.bar(
            iterable=results, total=len(wanted), desc="fuzz", unit="case", smoothing=0, disable=bool(args.only)
        )
        for case, outcome in bar:
            found[case] = outcome
            if args.only:
                print(_line(case, outcome), flush=True)
    print(_table({case: found[case] for case in wanted if case in found}))
    print(f"\n{NOTE}\nslowest {max(o.seconds for o in found.values()):.1f} s, ", end="")
    print(f"most memory {max(o.most_memory for o in found.values()) / 2**30:.2f} GiB")
    faults = {case: outcome for case, outcome in sorted(found.items()) if outcome.kind == "fault"}
    print(_report(faults, args), end="")
    return 1 if faults or len(found) < len(wanted) else 0


def _wanted(args: Args) -> list[pool.Case]:
    known = cases.names(args.real)
    single = [(name, int(number)) for name, _, number in (text.partition(":") for text in args.only)]
    names = args.layouts or known
    unknown = {*names, *(name for name, _ in single)} - {*known}
    if unknown:
        sys.exit(f"experiments.fuzz: no layout {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
    share = -(-args.cases // len(names))
    return single or [(name, number) for name in names for number in range(min(share, cases.MOST.get(name, share)))]


def _table(found: dict[pool.Case, Outcome]) -> str:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (name, _), outcome in found.items():
        counts[name][outcome.kind] += 1
    counts["all"] = sum(counts.values(), Counter())
    rows = [(name, *(of_name[kind] for kind in KINDS), of_name.total()) for name, of_name in counts.items()]
    return tabulate.tabulate(rows, ("layout", *KINDS, "cases"))


def _report(faults: dict[pool.Case, Outcome], args: Args) -> str:
    """Groups faults by kind and place, with the cases to run again."""
    groups: defaultdict[tuple[str, str], list[pool.Case]] = defaultdict(list)
    for (name, number), outcome in faults.items():
        groups[outcome.what.partition(":")[0], outcome.place or name].append((name, number))
    lines = []
    for (what, place), of_group in sorted(groups.items(), key=lambda group: -len(group[1])):
        first = faults[of_group[0]]
        names = [f"{name}:{number}" for name, number in of_group]
        lines.append(f"\n{len(names)} x {what} at {place}: {' '.join(names[:8])}{' ...' if len(names) > 8 else ''}")
        lines.append(f"  {names[0]}: {first.damage}: {first.what[:200]!r}")
    if lines:
        root = "" if args.real is None else f" --real {args.real}"
        lines.append(f"\none of them again: python -m experiments.fuzz --seed {args.seed}{root} --only <case>")
    return "".join(f"{line}\n" for line in lines)


def _line(case: pool.Case, outcome: Outcome) -> str:
    name, number = case
    result = f"{outcome.kind} {outcome.place} {outcome.what} ({outcome.seconds:.2f} s)"
    return f"{name}:{number} {outcome.damage}\n  {result}"


if __name__ == "__main__":
    options = tyro.cli(Annotated[Args, tyro.conf.OmitArgPrefixes])
    sys.exit(run_program("experiments.fuzz", lambda: main(options)))
