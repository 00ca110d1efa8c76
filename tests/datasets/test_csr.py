import numpy as np
import pytest
import scipy.sparse as sp

from abkd_jax.datasets.files.csr import csr_from_entries, csr_from_parts, row_normalize


def test_rows_sum_to_one_and_zero_rows_stay():
    features = sp.csr_matrix(np.array([[1, 0, 3], [0, 0, 0], [0, 5, 0]], np.float32))
    normalized = row_normalize(features)
    assert normalized.dtype == np.float32
    np.testing.assert_array_equal(normalized.toarray(), np.array([[0.25, 0, 0.75], [0, 0, 0], [0, 1, 0]], np.float32))


def test_a_sum_that_overflows_becomes_nan_and_not_zero():
    features = sp.csr_matrix(np.array([[1e308, 1e308], [1.0, 3.0]]))
    normalized = row_normalize(features).toarray()
    assert np.isnan(normalized[0]).all()
    assert normalized[1].tolist() == [0.25, 0.75]


def test_a_row_that_cancels_stays():
    features = sp.csr_matrix(np.array([[1.0, -1.0]], np.float32))
    np.testing.assert_array_equal(row_normalize(features).toarray(), [[1.0, -1.0]])


def test_infinite_entries_become_nan_without_a_warning():
    features = sp.csr_matrix(np.array([[np.inf, 1.0]], np.float32))
    assert np.isnan(row_normalize(features).toarray()[0, 0])


def test_duplicates_are_summed():
    parts = np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0], np.int32), np.array([0, 2, 3], np.int32)
    matrix = csr_from_parts(*parts, (2, 3))
    np.testing.assert_array_equal(matrix.toarray(), [[0.0, 3.0, 0.0], [4.0, 0.0, 0.0]])
    assert matrix.nnz == 2
    assert [part.tolist() for part in parts] == [[1, 2, 4], [1, 1, 0], [0, 2, 3]]  # those of a caller


@pytest.mark.parametrize(
    ("indices", "indptr"), [([0, 3], [0, 1, 2]), ([0, -1], [0, 1, 2]), ([0, 1], [0, 2, 1]), ([0, 1], [0, 1, 9])]
)
def test_indices_that_leave_the_matrix_are_refused(indices, indptr):
    with pytest.raises(ValueError, match="ind"):
        csr_from_parts(np.ones(2), np.array(indices), np.array(indptr), (2, 3))


def test_entries_in_any_order_make_a_matrix():
    matrix = csr_from_entries(np.array([1.0, 2.0, 4.0]), np.array([1, 0, 1]), np.array([2, 0, 2]), (2, 3))
    np.testing.assert_array_equal(matrix.toarray(), [[2.0, 0.0, 0.0], [0.0, 0.0, 5.0]])


@pytest.mark.parametrize(("rows", "columns"), [([0, 2], [0, 1]), ([0, -1], [0, 1]), ([0, 1], [0, 3]), ([0], [0, 1])])
def test_entries_outside_are_refused(rows, columns):
    with pytest.raises(ValueError, match="ind"):
        csr_from_entries(np.ones(2), np.array(rows), np.array(columns), (2, 3))
