"""Reads students back; what the source of a model of one's own makes is compared with what is stored."""

import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from abkd_jax.inference import bundle as bundles
from abkd_jax.inference.bundle import Bundle, model_of
from abkd_jax.inference.export.arguments import arguments_of, random_arrays
from abkd_jax.inference.export.raw_graph import raw_graph
from abkd_jax.layers.output import UNITS
from abkd_jax.models.own import MODEL
from abkd_jax.outside import first_line, is_outside, source_digest
from abkd_jax.types import InputError

__all__ = ["read"]

log = logging.getLogger(__name__)


def read(folder: str | Path) -> Bundle:
    """Reads a bundle; a warning says where the source of its model has changed since it was trained.

    Raises:
        InputError: see `bundle.load`; or its model is from outside the package, and is not found or has other
            parameters.
    """
    bundle = bundles.load(folder)
    if is_outside(bundle.config.name):
        try:
            _require_fit(bundle)
        except InputError as error:
            raise InputError(f"{folder}: the source of its model is needed: {error}") from error
        if bundle.card.get("source") not in (None, source_digest(bundle.config.name, MODEL)):
            log.warning("%s: the source of %s has changed since it was trained", folder, bundle.config.name)
    return bundle


def _require_fit(bundle: Bundle) -> None:
    """Checks that the parameters of a bundle are those that its module makes."""
    name, model = bundle.config.name, model_of(bundle)
    names = [argument.name for argument in arguments_of(bundle.inputs)]

    def init(key: Any, *arrays: Any) -> Any:
        return model.init(key, raw_graph(bundle.inputs, dict(zip(names, arrays, strict=True))))

    try:
        made = jax.eval_shape(init, jax.random.key(0), *random_arrays(bundle.inputs, np.random.default_rng(0)))
    except Exception as error:
        raise InputError(f"{name}: it fails on a graph as in training: {first_line(error)}") from error
    wanted, found = (_shapes(variables) for variables in (made, bundle.variables))
    for path in sorted(wanted.keys() | found.keys()):
        here, stored = (shapes.get(path, "missing") for shapes in (wanted, found))
        if here != stored:
            raise InputError(f"{name}: {path} is {here}, expected {stored}, as it was trained")


def _shapes(variables: Any) -> dict[str, Any]:
    kept = {collection: part for collection, part in variables.items() if collection != UNITS}
    flat: dict[str, Any] = flatten_dict(kept, sep="/")
    return {path: list(leaf.shape) for path, leaf in flat.items()}
