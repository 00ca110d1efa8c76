"""Compares the program of a model from outside the package with its predictions: how it treats padding is not known."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from abkd_jax.inference.bundle import Bundle, Inputs
from abkd_jax.inference.export.arguments import arguments_of, random_arrays
from abkd_jax.inference.predict import logits
from abkd_jax.types import Dataset, InputError

__all__ = ["check_own"]

TOLERANCE = 1e-2  # relative to the largest logit: products of 16 bits are below, rows of padding in a mean above


def check_own(bundle: Bundle, run: Callable[..., Mapping[str, Any]]) -> None:
    """Compares the program of a node-level model with its predictions on a random graph.

    Args:
        bundle: the model.
        run: the program, `(*arguments.arguments_of) -> {"logits": ...}`.

    Raises:
        InputError: they differ.
    """
    arrays = random_arrays(bundle.inputs, np.random.default_rng(0))
    names = [argument.name for argument in arguments_of(bundle.inputs)]
    wanted = logits(bundle, _dataset_of(bundle.inputs, dict(zip(names, arrays, strict=True))))
    error = np.max(np.abs(np.asarray(run(*arrays)["logits"]) - wanted)) / max(float(np.max(np.abs(wanted))), 1.0)
    if not error <= TOLERANCE:
        raise InputError(
            f"{bundle.config.name}: its program predicts otherwise than the model, by {error:.1g}, expected "
            f"{TOLERANCE}: a program adds a node of padding, which sums over nodes must leave out by graph.node_mask"
        )


def _dataset_of(inputs: Inputs, arrays: dict[str, Any]) -> Dataset:
    """Returns a data set of some arrays of a raw graph, as `arguments.arrays_of` reads them; without labels."""
    features = arrays.pop("features", np.zeros((0, 0), np.float32))
    labels = np.full(features.shape[0] + inputs.embeddings, -1, np.int32)
    nowhere = np.zeros(labels.size, bool)
    return Dataset(
        "random",
        features,
        labels=labels,
        num_classes=0,
        train_mask=nowhere,
        val_mask=nowhere,
        test_mask=nowhere,
        source="random",
        schema=inputs.schema,
        directed=inputs.directed,
        **arrays,
    )
