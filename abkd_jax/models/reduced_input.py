"""Students that read the node features through a fixed linear map, their teacher's first layer, while they train.

The input kernel of a student has one row per feature, thousands for bags of words, and few labelled nodes to fit it on.
Written as `B A`, with `B` `[f, k]` the teacher's input kernel and `A` `[k, d]` trained, it has only directions that the
teacher found useful. After the training `B A` is one kernel: the same student, with the same number of parameters.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float

from abkd_jax.aggregate import feature_matmul
from abkd_jax.graph import node_features
from abkd_jax.types import GNNOutput, InputError, Pytree

__all__ = ["ReducedInput", "input_kernel", "reduced", "with_identity"]

COLLECTION = "input_map"  # of the variables, beside `params`


class ReducedInput(nn.Module):
    """Model whose node features `x` are replaced by `x B`.

    Its variables are those of the module for features `[n, k]`, and `B` in the collection `input_map`. Dropout of the
    features acts on `x B`.

    Attributes:
        module: the model.
        kernel: `B` `[f, k]`, for `init`; `apply` takes that of the variables.
    """

    module: nn.Module
    kernel: Float[Array, "f k"] | None = None

    def setup(self) -> None:
        """Gives the parameters of the module the paths that they have without this one."""
        nn.share_scope(self, self.module)
        self.read_through = self.variable(COLLECTION, "kernel", lambda: self.kernel)

    def __call__(self, graph: jraph.GraphsTuple, train: bool = False) -> GNNOutput:
        """Computes logits and hidden layers; see `abkd_jax.models`."""
        model: Any = self.module
        return model(reduced(graph, self.read_through.value), train=train)

    @nn.nowrap
    def plain(self, variables: Pytree, graph: jraph.GraphsTuple) -> Pytree:
        """Returns the variables of the module for the features as they are: `B A` for every input kernel `A`.

        Args:
            variables: as `init` and training made them.
            graph: any graph with such features.
        """
        kernel = variables[COLLECTION]["kernel"]
        axes = _input_axes(self.module, graph, kernel.shape[1])

        def whole(leaf: Array, axis: int) -> Array:
            return leaf if axis < 0 else jnp.moveaxis(jnp.tensordot(kernel, leaf, axes=(1, axis)), 0, axis)

        params = jax.tree.map(whole, variables["params"], axes)
        return {name: part for name, part in variables.items() if name != COLLECTION} | {"params": params}


def reduced(graph: jraph.GraphsTuple, kernel: Any) -> jraph.GraphsTuple:
    """Replaces the features `[n, f]` of a graph by `x B`, `[n, k]`."""
    return _with_features(graph, feature_matmul(node_features(graph), kernel))


def input_kernel(module: Any, params: Pytree, graph: jraph.GraphsTuple) -> Float[Array, "f k"]:
    """Returns the input kernels of a model, side by side: `[f, k]`.

    Args:
        module: a Flax module.
        params: its parameters.
        graph: a graph that it reads.

    Raises:
        InputError: the model multiplies no kernel with the node features.
    """
    axes = _input_axes(module, graph, _width(graph)) if isinstance(module, nn.Module) else {}
    kernels = [
        jnp.moveaxis(leaf, axis, 0)
        for axis, leaf in zip(jax.tree.leaves(axes), jax.tree.leaves(params), strict=False)
        if axis >= 0
    ]
    if not kernels:
        raise InputError(
            "input teacher: the teacher multiplies no kernel with the node features, expected one of the models here"
        )
    return jnp.concatenate([kernel.reshape(kernel.shape[0], -1) for kernel in kernels], axis=1)


def with_identity(module: Any, params: Pytree, graph: jraph.GraphsTuple) -> Pytree:
    """Returns the parameters of a model with one input kernel, for features that were multiplied with it.

    Raises:
        InputError: it has no input kernel, or several.
    """
    axes, width = _input_axes(module, graph, _width(graph)), input_kernel(module, params, graph).shape[1]
    if sum(axis >= 0 for axis in jax.tree.leaves(axes)) > 1:
        raise InputError("input teacher: the teacher has several input kernels, expected --start default or positive")
    return jax.tree.map(lambda leaf, axis: leaf if axis < 0 else jnp.eye(width, dtype=leaf.dtype), params, axes)


def _width(graph: jraph.GraphsTuple) -> int:
    return node_features(graph).shape[1]


def _input_axes(module: nn.Module, graph: jraph.GraphsTuple, width: int) -> Pytree:
    """Returns for every parameter the axis that is as long as features of such a width are wide, -1 for none."""
    rows = node_features(graph).shape[0]

    def shapes(width: int) -> Pytree:
        def init(x: Array) -> Pytree:
            return module.init(jax.random.key(0), _with_features(graph, x))["params"]

        return jax.eval_shape(init, jax.ShapeDtypeStruct((rows, width), jnp.float32))

    def differs(leaf: Any, wider: Any) -> int:
        found = [axis for axis, (a, b) in enumerate(zip(leaf.shape, wider.shape, strict=True)) if a != b]
        return found[0] if found else -1

    return jax.tree.map(differs, shapes(width), shapes(width + 1))


def _with_features(graph: jraph.GraphsTuple, x: Any) -> jraph.GraphsTuple:
    nodes: Any = graph.nodes
    return graph._replace(nodes={**nodes, "features": x} if isinstance(nodes, dict) else x)
