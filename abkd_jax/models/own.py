"""Architectures of one's own, by name: `module:function`, wherever a `ModelConfig` stands.

The contract: `function(config, classes)` returns a `flax.linen.Module` that maps `(graph, train=False)` to
`GNNOutput(logits, hiddens)`: logits `[n, classes]`, of graph-level tasks `[graphs, classes]`, and a tuple of hidden
layers `[n, width]`, input side first. Of the further arguments of `models.build` (`relations`, `node_types`,
`embeddings`, `vocabulary`, `edge_vocabulary`, `edge_features`) the function is given those that it names. `train` turns
dropout on, from the stream `dropout`; what the module keeps in other collections, such as `batch_stats`, is kept.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jraph
from flax import nnx

from abkd_jax.configs.options import ModelConfig
from abkd_jax.layers.output import finished
from abkd_jax.outside import Kind, first_line, function_of
from abkd_jax.types import GNNOutput, InputError

__all__ = ["MODEL", "Own", "own_model", "takes_argument"]

MODEL = Kind("model", "my_models:tiny", "a flax.linen.Module")


class Own(nn.Module):
    """Module of one's own with the end that all models here have: see `layers.output`.

    Its variables are those of the module, under the same names. Nothing is known of its layers: it is no `Stack`.

    Attributes:
        module: the module.
    """

    module: nn.Module

    def setup(self) -> None:
        """Gives the variables of the module the paths that they have without this one."""
        nn.share_scope(self, self.module)

    @nn.nowrap
    def init_with_output(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """Initialises as every module, with the stream `dropout` too: layers of NNX ask for it where they are made."""
        streams: Any = rngs if isinstance(rngs, Mapping) else {"params": rngs, "dropout": rngs}
        return super().init_with_output(streams, *args, **kwargs)

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, train: bool = False) -> GNNOutput:
        """Computes logits and hidden layers; see `abkd_jax.models`."""
        module: Any = self.module
        found = module(graph, train=train)
        if not isinstance(found, GNNOutput):
            raise InputError(f"its module returns {type(found).__name__}, expected an abkd_jax.GNNOutput")
        return GNNOutput(finished(found.logits), tuple(found.hiddens))


def own_model(config: ModelConfig, classes: int, facts: Mapping[str, Any]) -> nn.Module:
    """Builds a model that is defined outside the package; one that consists of a model of the package is that one.

    Args:
        config: its settings; the name is that of the function.
        classes: width of the logits.
        facts: further arguments of `models.build`.

    Raises:
        InputError: the function is missing or fails, or returns something else.
    """
    function = function_of(config.name, MODEL)
    try:
        module = function(config, classes, **{name: facts[name] for name in facts if takes_argument(config.name, name)})
        hash(module)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{config.name}: the call for {classes} classes failed with {first_line(error)}") from error
    if isinstance(module, nn.Module):
        return module if type(module).__module__.startswith("abkd_jax.") else Own(module)
    hint = "; flax.nnx.bridge.to_linen makes one of an NNX class" if isinstance(module, nnx.Module) else ""
    raise InputError(f"{config.name}: it returns {type(module).__name__}, expected {MODEL.returns}{hint}")


def takes_argument(name: str, argument: str) -> bool:
    """Tells whether the function of a model has an argument of this name beside the first two.

    Raises:
        InputError: the function is missing.
    """
    try:
        return argument in list(inspect.signature(function_of(name, MODEL)).parameters)[2:]
    except (TypeError, ValueError):  # of a function in C
        return False
