"""CSR matrices: building them safely from the arrays of a file, and scaling their rows."""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Num

__all__ = ["csr_from_parts", "row_normalize"]


def csr_from_parts(
    data: Num[np.ndarray, " nnz"],
    indices: Num[np.ndarray, " nnz"],
    indptr: Num[np.ndarray, " rows_plus_1"],
    shape: tuple[int, int],
) -> sp.csr_matrix:
    """Build a CSR matrix and look at every index, since SciPy's compiled code trusts them.

    Args:
        data: `[nnz]` values.
        indices: `[nnz]` columns.
        indptr: `[rows + 1]` row starts.
        shape: `(rows, columns)`.

    Returns:
        The matrix, duplicates summed.

    Raises:
        ValueError: the arrays do not describe a matrix of that shape.
    """
    matrix = sp.csr_matrix((data, indices, indptr), shape=shape)
    matrix.check_format(full_check=True)
    matrix.sum_duplicates()
    return matrix


def row_normalize(features: sp.csr_matrix) -> sp.csr_matrix:
    """Divide every row by its sum, as Planetoid, GCN and GCNII do; rows that sum to zero stay as they are.

    Args:
        features: `[n, f]` CSR.

    Returns:
        `[n, f]` CSR float32.
    """
    values = features.data.astype(np.float64)
    row_sums = np.asarray(features.sum(axis=1, dtype=np.float64)).ravel()
    divisor = np.repeat(row_sums, np.diff(features.indptr))
    with np.errstate(invalid="ignore"):  # infinities become NaN here, and validate reports them
        np.divide(values, divisor, out=values, where=divisor != 0)
    return sp.csr_matrix((values.astype(np.float32), features.indices, features.indptr), shape=features.shape)
