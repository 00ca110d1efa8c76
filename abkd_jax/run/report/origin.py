"""Provenance of the records of a run: data, published or not, commits, versions and machines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from abkd_jax.run.report.trends import Record
from abkd_jax.types import InputError

__all__ = ["data_facts", "data_title", "program_facts"]


def data_title(records: Sequence[Record], name: str) -> str:
    """Returns the name of the data set, with a remark where it is not the published one.

    Args:
        records: records of the run; those of the first versions do not describe their data.
        name: name of the data set.

    Raises:
        InputError: the `"data"` of a record is no mapping.

    Examples:
        >>> data_title([{"data": {"source": "generated: stochastic block model"}}], "synthetic")
        'synthetic (generated data)'
    """
    remarks = dict.fromkeys(_remark(_part(record, "data")) for record in records)
    said = "; ".join(filter(None, remarks))
    return f"{name} ({said})" if said else name


def data_facts(records: Sequence[Record]) -> dict[str, str | None]:
    """Returns source, fingerprint, counts and split of the data; None where no record has them.

    Raises:
        InputError: as for `data_title`.
    """
    facts = {"Source": "source", "Fingerprint": "fingerprint", "Counts": "counts", "Split": "split"}
    return {fact: _fact(records, lambda record, k=key: _part(record, "data").get(k)) for fact, key in facts.items()}


def program_facts(records: Sequence[Record], of_run: Mapping[str, Any]) -> dict[str, str | None]:
    """Returns commit, hardware, versions and date of the records; where they differ, with the records of each.

    Args:
        records: records of the run.
        of_run: `"commit"`, `"hardware"` and `"versions"` of the records that do not hold their own.

    Raises:
        InputError: the `"provenance"` of a record is no mapping.
    """
    facts = {name.capitalize(): name for name in ("commit", "hardware", "versions")}
    found = {
        fact: _fact(records, lambda record, k=key: _part(record, "provenance").get(k, of_run.get(k)))
        or _text(of_run.get(key))
        for fact, key in facts.items()
    }
    dates = sorted(filter(None, (_text(_part(record, "provenance").get("date")) for record in records)))
    return found | {"Date": " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else None}


def _remark(data: Mapping[str, Any]) -> str:
    """Returns how the data differ from the published ones, or nothing."""
    source = str(data.get("source", "")).lower()
    if "stand-in" in source:
        return "stand-in features"
    if source.startswith("generated"):
        return "generated data"
    return "not the published data" if "differ from the published" in source else ""


def _fact(records: Sequence[Record], value_of: Callable[[Record], Any]) -> str | None:
    """Returns the value that all records share, or every value with its methods and seeds in brackets."""
    owners: dict[str | None, dict[str, list[int]]] = {}
    for record in records:
        owners.setdefault(_text(value_of(record)), {}).setdefault(record["method"], []).append(record["seed"])
    if len(owners) < 2:
        return next(iter(owners), None)
    return "; ".join(f"{value or 'unknown'} [{_who(methods, records)}]" for value, methods in owners.items())


def _who(methods: Mapping[str, list[int]], records: Sequence[Record]) -> str:
    """Returns the methods, with their seeds where some are missing."""
    total = {method: sum(record["method"] == method for record in records) for method in methods}
    return ", ".join(
        method if len(seeds) == total[method] else f"{method} seed{'s' * (len(seeds) > 1)} {' '.join(map(str, seeds))}"
        for method, seeds in methods.items()
    )


def _text(value: Any) -> str | None:
    if value is None or value == {}:
        return None
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    return f"{value:,d}" if type(value) is int else str(value)


def _part(record: Record, key: str) -> Mapping[str, Any]:
    part = record.get(key) or {}
    if not isinstance(part, Mapping):
        raise InputError(f"record of {record.get('method')}: {key} is {part!r}, expected a JSON object")
    return part
