"""Units of real targets inside of the last layer: a `state_dict` has no other place for them."""

from collections.abc import Iterator, Mapping

import numpy as np

from abkd_jax.layers.output import Units
from abkd_jax.models.pyg_layers import parts_of

__all__ = ["with_units_inside"]

UNSCALED = ("mlp/dense_0/", "coefficients")  # inside of the last layer, before its last linear map


def with_units_inside(layers: Mapping[str, np.ndarray], units: Units) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the parameters of a model whose outputs are those of the given ones, times the scale, plus the shift.

    Columns of the last linear map are multiplied; vectors of an attention that reads these columns are divided, so that
    its logits stay (LeakyReLU lets positive factors through).

    Args:
        layers: parameters by path, as `pyg_layers.layers_of`.
        units: of the outputs.
    """
    last = {path for path in layers if _ends(path, layers)}
    biases = [path for path in last if path.endswith("bias") and not _unscaled(path)]
    shifted = min(biases, key=lambda path: path.count("/"))  # GATv2 has others below
    for path, value in layers.items():
        if path not in last or _unscaled(path):
            yield path, value
            continue
        scale = np.tile(units.scale, value.shape[-1] // len(units.scale))  # once a head
        found = value / scale if parts_of(path)[3].startswith("attention") else value * scale
        yield path, found + units.shift if path == shifted else found


def _ends(path: str, layers: Mapping[str, np.ndarray]) -> bool:
    """Tells whether a parameter belongs to the classifier, or to the last layer where there is none."""
    _, module, number, _ = parts_of(path)
    if "params/output/kernel" in layers:
        return module == "output"
    deepest = max(n for _, name, n, _ in map(parts_of, layers) if n is not None and name in ("conv", "dense"))
    return module in ("conv", "dense", "residual") and number == deepest


def _unscaled(path: str) -> bool:
    return parts_of(path)[3].startswith(UNSCALED)
