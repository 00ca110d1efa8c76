"""A study that is stored in this repository, beside the same study as it was just run."""

from collections.abc import Sequence

import tabulate

from abkd_jax.run.report.markdown import shown
from abkd_jax.run.report.statistics import Record, metric_of, summarise

__all__ = ["comparison"]


def comparison(stored: Sequence[Record], new: Sequence[Record]) -> str:
    """Returns a table of stored and new test scores by method, and where each side comes from.

    "Within deviation" says whether the means differ by no more than the larger of the two standard deviations over the
    seeds; "equal" counts the seeds whose scores are the same to the last digit, of those that both sides have.
    """
    metric = metric_of([*stored, *new])
    sides = [{summary.method: summary for summary in summarise(records)} for records in (stored, new)]
    rows = []
    for method in dict.fromkeys([*sides[0], *sides[1]]):
        ours, theirs = (side[method].test if method in side else None for side in (sides[1], sides[0]))
        texts = [shown(e.mean, metric, e.std) if e else "-" for e in (theirs, ours)]
        if ours is None or theirs is None:
            rows.append((method, *texts, "-", "-", "-"))
            continue
        gap = ours.mean - theirs.mean
        within = abs(gap) <= max(ours.std or 0.0, theirs.std or 0.0)
        one, other = ({r["seed"]: r["test_accuracy"] for r in side if r["method"] == method} for side in (stored, new))
        both = one.keys() & other.keys()
        equal = f"{sum(one[seed] == other[seed] for seed in both)} of {len(both)}"
        rows.append((method, *texts, shown(gap, metric, sign="+"), "yes" if within else "no", equal))
    headers = ("method", f"stored {metric.heading}", "new", "difference", "within deviation", "equal")
    table = tabulate.tabulate(rows, headers, disable_numparse=True)
    return "\n".join([table, f"stored: {_made_by(stored)}", f"new: {_made_by(new)}"])


def _made_by(records: Sequence[Record]) -> str:
    sources = [record.get("provenance", {}) for record in records]
    jax = [source.get("versions", {}).get("jax", "unknown") for source in sources]
    made = [
        f"commit {source.get('commit', 'unknown')}, jax {version}, {source.get('hardware', 'unknown hardware')}"
        for source, version in zip(sources, jax, strict=True)
    ]
    return "; ".join(dict.fromkeys(made))
