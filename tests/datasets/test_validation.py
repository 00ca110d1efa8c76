import numpy as np
import pytest
import scipy.sparse as sp

from abkd_jax.datasets import validate
from abkd_jax.types import InputError


def _with(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


def _csr_with_column_9(features):
    matrix = sp.csr_matrix(features)
    matrix.indices[0] = 9
    return matrix


def test_a_sound_data_set_passes_unchanged(tiny):
    assert validate(tiny) is tiny
    sparse = tiny._replace(features=sp.csr_matrix(tiny.features))
    assert validate(sparse) is sparse


FAULTS = {
    "labels shape": (lambda d: {"labels": d.labels[:, None]}, r"labels has shape \(6, 1\)"),
    "labels dtype": (lambda d: {"labels": d.labels.astype(np.int64)}, "labels has dtype int64; expected int32"),
    "senders dtype": (lambda d: {"senders": d.senders.astype(float)}, "senders has dtype float64; expected int32"),
    "edge lengths": (lambda d: {"receivers": d.receivers[:3]}, r"receivers has shape \(3,\); expected \(5,\)"),
    "mask dtype": (lambda d: {"val_mask": d.val_mask.astype(np.int32)}, "val_mask has dtype int32; expected bool"),
    "mask length": (lambda d: {"test_mask": d.test_mask[:4]}, r"test_mask has shape \(4,\); expected \(6,\)"),
    "feature rows": (
        lambda d: {"features": d.features[:5]},
        r"features has shape \(5, 3\); expected \(6, at least 1\)",
    ),
    "feature columns": (lambda d: {"features": d.features[:, :0]}, r"features has shape \(6, 0\)"),
    "feature rank": (lambda d: {"features": d.features[:, 0]}, r"features has shape \(6,\)"),
    "feature dtype": (lambda d: {"features": d.features.astype(float)}, "features has dtype float64"),
    "feature format": (lambda d: {"features": sp.coo_matrix(d.features)}, "features is a coo_matrix"),
    "csr indices": (lambda d: {"features": _csr_with_column_9(d.features)}, "ind"),
    "nan": (
        lambda d: {"features": _with(d.features, (5, 1), np.nan)},
        r"features of 1 of 6 nodes are NaN or infinite \(first: node 5\)",
    ),
    "inf in csr": (
        lambda d: {"features": sp.csr_matrix(_with(d.features, ([2, 2, 4], [0, 1, 1]), np.inf))},
        r"features of 2 of 6 nodes are NaN or infinite \(first: node 2\)",
    ),
    "edge outside": (
        lambda d: {"receivers": _with(d.receivers, 3, 6)},
        r"1 of 5 edges point outside the 6 nodes \(first: edge 3, 3 -> 6\); expected node numbers in \[0, 6\)",
    ),
    "negative edge": (lambda d: {"senders": _with(d.senders, 1, -1)}, r"first: edge 1, -1 -> 2"),
    "one class": (lambda d: {"num_classes": 1}, "num_classes is 1; expected at least 2"),
    "label high": (
        lambda d: {"labels": _with(d.labels, 3, 2)},
        r"1 labels out of range \(first: node 3, label 2\); expected -1 or a class in \[0, 2\)",
    ),
    "label low": (lambda d: {"labels": _with(d.labels, 0, -2)}, r"first: node 0, label -2"),
    "empty train": (lambda d: {"train_mask": np.zeros(6, bool)}, "train_mask selects none of the 6 nodes"),
    "empty val": (lambda d: {"val_mask": np.zeros(6, bool)}, "val_mask selects none of the 6 nodes"),
    "empty test": (lambda d: {"test_mask": np.zeros(6, bool)}, "test_mask selects none of the 6 nodes"),
    "unlabelled": (
        lambda d: {"test_mask": _with(d.test_mask, 4, True)},
        r"test_mask holds 1 unlabelled nodes \(first: node 4\)",
    ),
    "train and test": (
        lambda d: {"train_mask": _with(d.train_mask, [3, 5], True)},
        r"2 nodes are in both train_mask and test_mask \(first: node 3\)",
    ),
    "train and val": (
        lambda d: {"val_mask": _with(d.val_mask, 1, True)},
        r"1 nodes are in both train_mask and val_mask \(first: node 1\)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_refused_in_one_line(tiny, fault):
    change, message = FAULTS[fault]
    with pytest.raises(InputError, match=message) as refusal:
        validate(tiny._replace(**change(tiny)))
    assert str(refusal.value).startswith("tiny: ")
    assert "\n" not in str(refusal.value)
