"""Compares a study that is stored in this repository with a new run of it."""

from collections.abc import Sequence

import tabulate

from abkd_jax.run.report.markdown import format_score
from abkd_jax.run.report.statistics import Record, metric_of, summarise

__all__ = ["comparison"]


def comparison(stored: Sequence[Record], new: Sequence[Record]) -> str:
    """Returns a table of stored and new test scores by method, and the provenance of both.

    "Within deviation" is whether the means differ by at most the larger of the two standard deviations over the seeds;
    "equal" counts the seeds with equal scores, among those that both have.
    """
    metric = metric_of([*stored, *new])
    old, rerun = ({summary.method: summary.test for summary in summarise(records)} for records in (stored, new))
    rows = []
    for method in dict.fromkeys([*old, *rerun]):
        before, after = old.get(method), rerun.get(method)
        texts = [format_score(e.mean, metric, e.std) if e else "-" for e in (before, after)]
        if before is None or after is None:
            rows.append((method, *texts, "-", "-", "-"))
            continue
        rows.append(
            (
                method,
                *texts,
                format_score(after.mean - before.mean, metric, sign="+"),
                "yes" if before.agrees(after) else "no",
                _equal(method, stored, new),
            )
        )
    headers = ("method", f"stored {metric.heading}", "new", "difference", "within deviation", "equal")
    table = tabulate.tabulate(rows, headers, disable_numparse=True)
    return "\n".join([table, f"stored: {_made_by(stored)}", f"new: {_made_by(new)}"])


def _equal(method: str, stored: Sequence[Record], new: Sequence[Record]) -> str:
    """Returns the number of seeds of a method with equal test scores, of those that both have."""
    before, after = (
        {r["seed"]: r["test_accuracy"] for r in records if r["method"] == method} for records in (stored, new)
    )
    both = before.keys() & after.keys()
    return f"{sum(before[seed] == after[seed] for seed in both)} of {len(both)}"


def _made_by(records: Sequence[Record]) -> str:
    """Returns commits, versions and machines of the records."""
    sources = [record.get("provenance", {}) for record in records]
    jax = [source.get("versions", {}).get("jax", "unknown") for source in sources]
    made = [
        f"commit {source.get('commit', 'unknown')}, jax {version}, {source.get('hardware', 'unknown hardware')}"
        for source, version in zip(sources, jax, strict=True)
    ]
    return "; ".join(dict.fromkeys(made))
