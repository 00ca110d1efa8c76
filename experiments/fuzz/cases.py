"""All cases: random damages to every layout, bombs and hostile pickles to some."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from experiments.fuzz import bombs, mutations, pickles
from experiments.fuzz.layouts import LAYOUTS, Layout, real

__all__ = ["MOST", "Layout", "globals_of_pickles", "layouts", "names", "plan"]

SPECIAL = ("pickles", "bombs")
"""Names beside those of the layouts."""
MOST = {"bombs": len(bombs.BOMBS)}
"""Numbers of cases that are worth running, by name."""


def layouts(data_root: Path | None) -> dict[str, Layout]:
    """Returns the small layouts, or, where a data root is given, those of the published data sets below it."""
    return LAYOUTS if data_root is None else real(data_root)


def names(data_root: Path | None) -> tuple[str, ...]:
    """Returns the names of all that can be damaged, in the order of the table."""
    return (*layouts(data_root), *(SPECIAL if data_root is None else ()))


def plan(name: str, number: int) -> tuple[str, Callable[[Path, np.random.Generator], str]]:
    """Returns the layout that a case damages, and the function that does it."""
    if name == "bombs":
        bomb = bombs.BOMBS[number % len(bombs.BOMBS)]
        return bomb.layout, bomb.plant
    if name == "pickles":
        return "planetoid", pickles.plant
    return name, mutations.damage


def globals_of_pickles() -> dict[str, dict[str, Any]]:
    """Returns the attributes of the classes that a hostile pickle may try to change."""
    classes = (sp.csr_matrix, sp.csr_array, np.dtype, np.ndarray, list, dict)
    return {f"{kind.__module__}.{kind.__qualname__}": dict(vars(kind)) for kind in classes}
