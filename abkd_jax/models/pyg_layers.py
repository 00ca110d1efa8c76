"""Parameters of a model layer by layer, as PyTorch holds them: here equal layers are stacked under a scan."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from abkd_jax.configs.options import ModelConfig
from abkd_jax.graph import graphs_tuple
from abkd_jax.models.build import build
from abkd_jax.types import Pytree

__all__ = ["Template", "layers_of", "parts_of", "shapes_of", "stacked", "template_of"]

Template = dict[str, Any]  # shapes by path, "params/blocks/conv/kernel"


def parts_of(path: str) -> tuple[str, str, int | None, str]:
    """Splits the path of a parameter into collection, module, number of the layer and the rest.

    Examples:
        >>> parts_of("params/conv_2/root/kernel")
        ('params', 'conv', 2, 'root/kernel')
    """
    collection, module, rest = path.split("/", 2)
    name, _, number = module.rpartition("_")
    return (collection, name, int(number), rest) if number.isdigit() else (collection, module, None, rest)


def layers_of(config: ModelConfig, variables: Pytree) -> Iterator[tuple[str, Any]]:
    """Yields the path and the array of every parameter of every layer, `"params/conv_2/kernel"`."""
    flat: dict[str, Any] = flatten_dict(variables, sep="/")
    for path, value in flat.items():
        if "/blocks/" in path:
            yield from zip(_unrolled(config, path), value, strict=False)
        else:
            yield path, value


def stacked(config: ModelConfig, layers: Mapping[str, np.ndarray], template: Template) -> Pytree:
    """Returns single layers as the variables of the model, those under the scan along a first axis."""

    def stack(path: str, count: int) -> np.ndarray:
        return np.stack([layers[layer] for layer in itertools.islice(_unrolled(config, path), count)])

    flat = {path: stack(path, leaf.shape[0]) if "/blocks/" in path else layers[path] for path, leaf in template.items()}
    return unflatten_dict(flat, sep="/")


def template_of(config: ModelConfig, features: int, classes: int, relations: int, node_types: int) -> Template:
    """Returns the shapes of the variables of a model; nothing is compiled."""
    model = build(config, classes, relations=relations, node_types=node_types)
    x, ends = np.zeros((2, features), np.float32), np.zeros(1, np.int32)
    graph = graphs_tuple(
        nodes=x if node_types == 1 else {"features": x, "type": np.zeros(2, np.int32)},
        edges={"relation": ends} if relations > 1 else None,
        senders=ends,
        receivers=ends + 1,
        n_node=np.array([2], np.int32),
        n_edge=np.array([1], np.int32),
    )
    return flatten_dict(jax.eval_shape(lambda key: model.init(key, graph), jax.random.key(0)), sep="/")


def shapes_of(config: ModelConfig, template: Template) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a template layer by layer."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path, leaf in template.items():
        if "/blocks/" in path:
            for layer in itertools.islice(_unrolled(config, path), leaf.shape[0]):
                shapes[layer] = leaf.shape[1:]
        else:
            shapes[path] = leaf.shape
    return shapes


def _unrolled(config: ModelConfig, path: str) -> Iterator[str]:
    """Yields the paths of the layers under the scan: from the second on, of GCNII from the first."""
    collection, _, module, rest = path.split("/", 3)
    return (f"{collection}/{module}_{number}/{rest}" for number in itertools.count(0 if config.name == "gcnii" else 1))
