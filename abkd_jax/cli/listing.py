"""Text for the command `datasets`: the list of data sets, and the description of one."""

import shutil
import textwrap
from pathlib import Path
from typing import Any

import tabulate

from abkd_jax import datasets
from abkd_jax.types import Dataset, GraphDataset, shape_of

__all__ = ["describe", "list_all"]

MARGIN = 18  # columns: the longest name and a gap


def list_all(data_root: str | Path | None = None) -> str:
    """Returns the list of all data sets: name, description, and whether the files are present; then what else is there.

    Args:
        data_root: see `datasets.data_root`.

    Returns:
        Lines as wide as the terminal, or 80 columns without one.
    """
    root, width = datasets.data_root(data_root), shutil.get_terminal_size((80, 24)).columns
    lines = []
    for entry in datasets.describe(data_root):
        text, name = f"{entry['description']} [{_state(entry, root)}]", entry["name"].ljust(MARGIN)
        lines.append(textwrap.fill(text, width, initial_indent=name, subsequent_indent=" " * MARGIN))
    lines += ["", "any set in a known layout:"]
    for layout, found in datasets.layouts_below(data_root).items():
        names = f": {', '.join(found)}" if found else ""
        lines.append(textwrap.fill(layout + names, width, initial_indent="  ", subsequent_indent="    "))
    lines.append("  PATH of a graph in the neutral form, .npz or a folder")
    return "\n".join([*lines, "", f"data root (--data-root, or $ABKD_JAX_DATA): {root}"])


def _state(entry: dict[str, Any], root: Path) -> str:
    """Returns whether the files of a data set are embedded, present or missing, and where."""
    if entry["folder"] is None:
        return "embedded"
    if not entry["missing"]:
        return "present"
    folder, number = entry["folder"], len(entry["missing"])
    place = folder.relative_to(root) if folder.is_relative_to(root) else folder
    download = "; downloads itself" if entry["downloads"] else ""
    return f"{number} file{'s' if number > 1 else ''} missing in {place}/{download}"


def _kinds_of_edges(found: Dataset) -> list[str]:
    """Returns what edges have that those of most data sets have not."""
    width = 0 if found.edge_features is None else found.edge_features.shape[1]
    known = {
        "directed": found.directed,
        "weighted": found.edge_weights is not None,
        f"{width} features": width > 0,
    }
    return [kind for kind, there in known.items() if there]


def describe(found: Dataset | GraphDataset) -> str:
    """Returns the source, the sizes and the split of a loaded data set as text.

    Examples:
        >>> print(describe(datasets.load("synthetic")))  # doctest: +NORMALIZE_WHITESPACE, +ELLIPSIS
        source                      ...
        nodes                       300
        edges of the files          ...
        classes                     3
        features                    ...
        train / validation / test   60 / 90 / 150
    """
    rows: list[tuple[str, Any]] = [("source", found.source)]
    if isinstance(found, GraphDataset):
        rows += [("graphs", f"{found.labels.shape[0]:,}"), ("nodes", f"{found.features.shape[0]:,}")]
        rows += [("edges, both directions", f"{found.senders.shape[0]:,}"), ("outputs", found.num_outputs)]
    else:
        rows += [("nodes", f"{found.num_nodes:,}"), ("edges of the files", f"{found.senders.shape[0]:,}")]
        rows += [("classes" if found.task == "classification" else found.task, found.num_classes)]
        rows += [("edges", ", ".join(kinds))] if (kinds := _kinds_of_edges(found)) else []
    if isinstance(found, Dataset) and found.schema is not None:
        rows += [("node types", ", ".join(found.schema.node_types)), ("edge types", f"{len(found.schema.relations)}")]
        rows += [("nodes without features", f"{found.num_embeddings:,}")]
    masks = " / ".join(f"{m.sum():,}" for m in (found.train_mask, found.val_mask, found.test_mask))
    shape = shape_of(found.features)
    rows += [("features", f"{shape[1]:,}"), ("train / validation / test", masks)]
    return tabulate.tabulate(rows, tablefmt="plain")
