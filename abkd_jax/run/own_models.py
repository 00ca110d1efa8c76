"""What of a model of one's own only the data can tell: it is traced once, as training and evaluation call it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from abkd_jax.inference.layerwise import takes
from abkd_jax.layers.output import UNITS, variables_of
from abkd_jax.outside import first_line
from abkd_jax.run.data import PreparedData
from abkd_jax.types import GNNOutput, InputError

__all__ = ["check_own"]


def check_own(data: PreparedData, name: str, module: nn.Module) -> GNNOutput:
    """Checks that a model from outside the package can be trained on the data; nothing is computed.

    Args:
        data: of the run.
        name: of the model.
        module: as `build_model` makes it.

    Returns:
        The shapes of its outputs.

    Raises:
        InputError: it fails; it has no parameters; or its logits or hidden layers are of other shapes or types.
    """
    if data.eval_nodes is not None and not takes(module):
        raise InputError(f"{name}: {data.dataset.name} is evaluated layer by layer, expected a model of this package")

    def computed(key: Any, graph: Any) -> Any:
        own = dict(module.init(key, graph))
        variables = {"params": own.pop("params", {}), **own, **variables_of(data.units)}
        changed = [collection for collection in own if collection != UNITS]
        trained, _ = module.apply(variables, graph, train=True, rngs={"dropout": key}, mutable=changed)
        return variables["params"], trained, module.apply(variables, graph)

    try:
        params, *outputs = jax.eval_shape(computed, jax.random.key(0), data.batch.graph)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except Exception as error:
        raise InputError(f"{name}: it fails on the graph: {first_line(error)}") from error
    if not jax.tree.leaves(params):
        raise InputError(f"{name}: it has no parameters, expected some to train")
    for found in outputs:
        _check_shapes(data, name, found)
    return outputs[1]


def _check_shapes(data: PreparedData, name: str, found: Any) -> None:
    """Checks the shapes and types of the outputs in training or evaluation."""
    nodes = data.batch.masks.all.shape[0]
    rows = data.batch.labels.shape[0]
    _require(f"{name}: logits", found.logits, rows, data.outputs)
    for number, hidden in enumerate(found.hiddens):
        _require(f"{name}: hidden layer {number}", hidden, nodes, None)


def _require(what: str, found: Any, rows: int, width: int | None) -> None:
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", np.dtype(object))
    right = shape is not None and len(shape) == 2 and shape[0] == rows and (width is None or shape[1] == width)
    if not right or not jnp.issubdtype(dtype, jnp.floating):
        given = type(found).__name__ if shape is None else f"{dtype}{list(shape)}"
        raise InputError(f"{what} {'are' if width else 'is'} {given}, expected floats [{rows}, {width or 'width'}]")
