"""Hidden layers of a module of PyTorch that returns logits alone, recorded while it is called."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["array_of", "recorded_layers"]

# Functions that make of a layer what the next one reads: sums with it, normalisations, activations, dropout, types.
FOLLOWED = re.compile(
    r"_*(r?(add|sub|mul|div)|addc(mul|div)|lerp|neg|abs|square|pow|sqrt|exp|expm1|log1p|sin|cos|erf|where|masked_fill|"
    r"maximum|minimum|nan_to_num|clamp|clip|clone|contiguous|detach|float|double|half|bfloat16|to|type|normalize|\w+_norm|"
    r"\w*dropout|\w*[eg]lu6?|silu|mish|hard(swish|sigmoid|tanh)|\w*shrink|threshold|soft(plus|sign|max|min)|tanh|"
    r"(log_)?sigmoid|log_softmax)_*"
)
MOVED = re.compile(r"_*(t|get|transpose|permute|view|reshape|flatten|unsqueeze|squeeze)_*")  # and back again
MARK = "_abkd_layer"  # attribute of tensors that belong to a layer: an object that stands for it, and the node type


@contextlib.contextmanager
def recorded_layers(module: Any) -> Iterator[list[dict[str, np.ndarray]]]:
    """Records the hidden layers of a module while it is called, input side first; its hooks are removed afterwards.

    A layer is what a `MessagePassing` or a `HeteroConv` returns (of those inside another one the outer one), after the
    sums, normalisations and activations that follow it: what the next convolution or linear map reads. It counts every
    time that it is called.

    Args:
        module: a `torch.nn.Module`, in evaluation mode.

    Yields:
        A list, complete when the context ends: of each layer its output by node type, or as the entry `""` where it
        returns one tensor.
    """
    from torch.overrides import TorchFunctionMode
    from torch_geometric.nn import HeteroConv, MessagePassing

    recorder = _Recorder()

    class Follow(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(func, "__name__", "")
            if name == "linear":
                recorder.read((args, kwargs or {}))
            out = func(*args, **(kwargs or {}))
            if FOLLOWED.fullmatch(name) or MOVED.fullmatch(name):
                recorder.follow((*args, *(kwargs or {}).values()), out)
            return out

    hooks = []
    try:
        for part in module.modules():
            if isinstance(part, MessagePassing | HeteroConv):
                hooks += [
                    part.register_forward_pre_hook(recorder.enter, with_kwargs=True),
                    part.register_forward_hook(recorder.leave),
                ]
        with Follow():
            yield recorder.layers
        recorder.close()
    finally:
        for hook in hooks:
            hook.remove()


def array_of(tensor: Any) -> np.ndarray:
    """Returns a copy of a tensor as an array of the host; floats of any width as float32."""
    tensor = tensor.detach()
    return np.array((tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy())


class _Recorder:
    """The layers so far, and the one that is followed until the next begins."""

    def __init__(self) -> None:
        self.layers: list[dict[str, np.ndarray]] = []
        self.depth = 0  # of convolutions inside one another
        self.open: dict[str, Any] = {}  # the last layer, as it is now
        self.token = object()  # stands for it

    def enter(self, module: Any, inputs: Any, named: Any) -> None:
        self.read((inputs, named))
        self.close()
        self.depth += 1

    def read(self, arguments: Any) -> None:
        """Takes the parts of the open layer that are read, and not what was computed of them beside."""
        found: dict[str, Any] = {}
        for value in _tensors(arguments):
            kind = self._kind(value)
            if kind is not None and value.shape == self.open[kind].shape:
                found.setdefault(kind, value)
        self.open |= found

    def leave(self, module: Any, inputs: Any, output: Any) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.token = object()
            first = output[0] if isinstance(output, tuple) and output else output  # attention weights may follow
            parts = first if isinstance(first, dict) else {"": first}
            for kind, tensor in parts.items():
                if hasattr(tensor, "is_floating_point"):
                    self.open[kind] = tensor
                    setattr(tensor, MARK, (self.token, kind))

    def follow(self, inputs: Iterable[Any], output: Any) -> None:
        """Takes the output of a function in the place of a part of the open layer that it was computed from."""
        for value in inputs:
            kind = self._kind(value)
            if kind is not None and hasattr(output, "detach") and output.numel() == value.numel():
                if output.shape == self.open[kind].shape:
                    self.open[kind] = output
                setattr(output, MARK, (self.token, kind))
                return

    def close(self) -> None:
        """Ends the open layer: copies, since later functions may work in place."""
        if self.open:
            self.layers.append({kind: array_of(tensor) for kind, tensor in self.open.items()})
        self.open = {}

    def _kind(self, value: Any) -> str | None:
        """Returns the node type of a tensor of the open layer; None of others."""
        token, kind = getattr(value, MARK, (None, ""))
        return kind if token is self.token and kind in self.open else None


def _tensors(value: Any) -> Iterator[Any]:
    """Yields what is inside of tuples, lists and mappings."""
    if isinstance(value, Mapping | tuple | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)
    else:
        yield value
