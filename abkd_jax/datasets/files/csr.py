"""Builds CSR matrices safely from the arrays of a file, and normalises their rows."""

from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["check_csr", "csr_from_entries", "csr_from_parts", "row_normalize"]

LIMIT = 2**31  # rows and columns: node and word numbers are int32


def check_csr(data: Any, indices: Any, indptr: Any, shape: Any) -> None:
    """Compares every number of a CSR matrix with its shape, before SciPy's compiled code trusts it.

    Args:
        data: `[nnz]` values.
        indices: `[nnz]` columns.
        indptr: `[rows + 1]` row starts.
        shape: `(rows, columns)`.

    Raises:
        ValueError: the arrays do not describe a matrix of that shape; the text begins with the part that is wrong.

    Examples:
        >>> check_csr(np.ones(2), np.array([0, 5]), np.array([0, 1, 2]), (2, 3))
        Traceback (most recent call last):
        ValueError: indices reach from 0 to 5; expected columns in [0, 3)
    """
    for name, array, kinds in (("data", data, "biuf"), ("indices", indices, "iu"), ("indptr", indptr, "iu")):
        vector = isinstance(array, np.ndarray) and array.ndim == 1
        if not vector or array.dtype.kind not in kinds or not array.dtype.isnative:
            found = f"shape {array.shape}, {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ValueError(f"{name}: {found}; expected a vector of {'numbers' if name == 'data' else 'integers'}")
    if len(shape) != 2 or not all(isinstance(n, int | np.integer) and 0 <= n < LIMIT for n in shape):
        raise ValueError(f"shape {shape}; expected rows and columns, both below {LIMIT}")
    rows, columns = shape
    if indptr.size != rows + 1 or not indices.size == data.size == indptr[-1]:
        raise ValueError(
            f"indptr has {indptr.size} entries, indices {indices.size} and data {data.size}; expected {rows + 1}, "
            "and as many as the last entry of indptr says"
        )
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        raise ValueError("indptr does not rise from 0")
    if indices.size and (indices.min() < 0 or indices.max() >= columns):
        raise ValueError(f"indices reach from {indices.min()} to {indices.max()}; expected columns in [0, {columns})")


def csr_from_parts(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: Any) -> sp.csr_matrix:
    """Builds a CSR matrix from arrays that pass `check_csr`.

    Args:
        data: `[nnz]` values.
        indices: `[nnz]` columns.
        indptr: `[rows + 1]` row starts.
        shape: `(rows, columns)`.

    Returns:
        The matrix, duplicates summed; the arrays stay as they are.

    Raises:
        ValueError: the arrays do not describe a matrix of that shape.
    """
    check_csr(data, indices, indptr, shape)
    matrix = sp.csr_matrix((data, indices, indptr), shape=shape, copy=True)
    matrix.sum_duplicates()
    return matrix


def csr_from_entries(data: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: Any) -> sp.csr_matrix:
    """Builds a CSR matrix from a list of entries, each of which is compared with the shape.

    Args:
        data: `[nnz]` values.
        rows: `[nnz]` row of each.
        columns: `[nnz]` column of each.
        shape: `(rows, columns)`.

    Returns:
        The matrix, duplicates summed.

    Raises:
        ValueError: the arrays do not describe a matrix of that shape.
    """
    for numbers, limit in ((rows, shape[0]), (columns, shape[1])):
        check_csr(data, numbers, np.array([0, data.size]), (1, limit))
    return sp.csr_matrix(sp.coo_matrix((data, (rows, columns)), shape=shape))


def row_normalize(features: sp.csr_matrix) -> sp.csr_matrix:
    """Divides every row by its sum, as Planetoid, GCN and GCNII do; rows that sum to zero stay as they are.

    Args:
        features: `[n, f]` CSR.

    Returns:
        `[n, f]` CSR float32. Rows without a finite sum become NaN, which `validate` reports.

    Examples:
        >>> row_normalize(sp.csr_matrix([[1.0, 3.0], [0.0, 0.0]])).toarray().tolist()
        [[0.25, 0.75], [0.0, 0.0]]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        values = features.data.astype(np.float64)
        row_sums = np.asarray(features.sum(axis=1, dtype=np.float64)).ravel()
        row_sums[~np.isfinite(row_sums)] = np.nan  # a quotient by infinity would pass as zero
        divisor = np.repeat(row_sums, np.diff(features.indptr))
        np.divide(values, divisor, out=values, where=divisor != 0)
        return sp.csr_matrix((values.astype(np.float32), features.indices, features.indptr), shape=features.shape)
