"""Reading old pickles without running what is in them."""

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy._core.multiarray import _reconstruct

from abkd_jax.types import InputError

__all__ = ["ALLOWED", "load"]

ALLOWED = {
    ("__builtin__", "list"): list,
    ("collections", "defaultdict"): defaultdict,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,  # numpy._core since NumPy 2.0
    ("scipy.sparse.csr", "csr_matrix"): sp.csr_matrix,  # scipy.sparse._csr since SciPy 1.8
}
"""The globals that the Planetoid files name, as Python 2 wrote them, and what they are today."""


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return ALLOWED[module_name, global_name]
        except KeyError:
            raise InputError(
                f"the pickle names the global {module_name}.{global_name}, which a data file has no use for; "
                "refused, because a pickle can run code"
            ) from None


def load(path: Path) -> Any:
    """Read a Python 2 pickle that names no global but those of `ALLOWED`.

    Args:
        path: the file.

    Returns:
        The pickled object. Its arrays are not checked.

    Raises:
        InputError: the file cannot be read, is damaged, or names another global.
    """
    try:
        with open(path, "rb") as file:
            return _RestrictedUnpickler(file, encoding="latin1").load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(f"{path}: not a readable pickle ({error}); expected the file as published") from error
