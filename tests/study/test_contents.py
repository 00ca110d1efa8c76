"""What cells say of training: lengths, epochs, ends, of shares and of errors in any units."""

import numpy as np
import pytest

from abkd_jax.study import contents


def history_of(validation, recorded=None, diverged=(), **logged):
    """Evaluations every 10 epochs; students that diverged stopped at their last recorded one."""
    validation = np.array(validation)
    recorded = np.ones(validation.shape, bool) if recorded is None else np.array(recorded)
    epochs = np.where(recorded, 10 * np.arange(len(validation))[:, None], 0)
    found = {"epoch": epochs, "recorded": recorded, "val_accuracy": validation, **logged}
    found["diverged"] = np.zeros(validation.shape, bool)
    for seed in diverged:
        found["diverged"][recorded[:, seed].sum() - 1, seed] = True
    return found


@pytest.mark.parametrize(
    ("metric", "validation", "expected"),
    [
        ("accuracy", [[0.1, 0.5], [0.796, 0.5], [0.7, 0.5], [0.8, 0.5]], [30, 0]),
        ("-RMSE", [[-4e3, -4e-9], [-1001.0, -2e-9], [-1000.5, -1e-9], [-1000.4, -5e-11]], [10, 30]),
    ],
)
def test_epochs_until_a_seed_stays_within_half_a_point(metric, validation, expected):
    found = contents._over_epochs(history_of(validation), metric)
    assert found["cost"]["epochs_to_half_point"] == expected
    np.testing.assert_allclose(found["curve"]["validation"], validation, rtol=1e-3)


def test_a_student_that_stopped_keeps_its_last_values_and_one_that_diverged_has_none():
    """On minibatches the history holds zeros where a student was not trained."""
    recorded = [[True, True, True], [True, True, True], [True, False, False]]
    validation = [[0.5, 0.5, 0.5], [0.8, 0.8, 0.8], [0.8, 0.0, 0.0]]
    loss = np.array([[4.0, 4.0, 1.0], [2.0, 3.0, np.nan], [1.0, 0.0, 0.0]])
    attention = np.stack([np.full((3, 1, 1), value) for value in (0.2, 0.4, 0.0)])
    logged = {"soft_label/loss": loss, "abkd/attention": attention}
    found = contents._over_epochs(history_of(validation, recorded, diverged=[2], **logged), "accuracy")
    assert found["curve"]["epoch"] == [0, 10, 20]
    np.testing.assert_array_equal(found["curve"]["validation"][-1], [0.8, 0.8, np.nan])
    assert found["cost"]["epochs_to_half_point"] == [10, 10, None]
    assert found["terms"] == {"soft_label": [4.0, 2.0]}  # of 1 and 3
    np.testing.assert_array_equal(np.ravel(found["attention"]), [0.0, 0.4, np.nan])


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        ({300: [-2.0, -2.1], 900: [None, None]}, 300),
        ({300: [None, -1.0], 900: [-2.0, -2.1]}, 900),
        ({300: [0.853, 0.851, 0.847, 0.861, 0.842], 900: [0.853, 0.851, 0.847, 0.842, 0.861]}, 300),  # one mean
        ({300: [-3.1e-20, -3.3e-20], 900: [-3.1e-20, -3.2e-20]}, 900),
    ],
    ids=["errors", "one diverged", "rounding", "small units"],
)
def test_the_length_of_the_best_mean(validation, expected):
    assert contents.length_chosen(validation) == expected


def test_errors_are_stored_with_digits_and_shares_with_decimals():
    assert contents._score(-3.1234567e-7, "-RMSE") == -3.12346e-7
    assert contents._score(0.12345678, "ROC-AUC") == 0.123457
    assert contents._score(np.nan, "-RMSE") is None
