"""Graph neural network compression by attention-based knowledge distillation (ABKD, arXiv 2310.15938) in JAX.

Names are imported when they are first used: `import abkd_jax` alone loads neither jax nor a device.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    **{
        name: name
        for name in (
            "aggregate",
            "configs",
            "datasets",
            "distill",
            "graph",
            "inference",
            "layers",
            "models",
            "run",
            "training",
            "types",
        )
    },
    "checkpoint": "training.checkpoint",
    "evaluation": "inference.evaluation",
    "pipeline": "run.pipeline",
    "tasks": "training.tasks",
}
_NOUNS = {
    "Batch": "types",
    "Dataset": "types",
    "GNNOutput": "types",
    "InputError": "types",
    "NodeMasks": "types",
    "Objective": "types",
    "PairMap": "types",
    "TrainState": "training.step",
}

__all__ = [*_MODULES, *_NOUNS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _NOUNS:
        return getattr(import_module(f"abkd_jax.{_NOUNS[name]}"), name)
    if name in _MODULES:
        return import_module(f"abkd_jax.{_MODULES[name]}")
    raise AttributeError(f"module 'abkd_jax' has no attribute {name!r}")
