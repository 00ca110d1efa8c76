"""Graph neural network compression by attention-based knowledge distillation (ABKD, arXiv 2310.15938) in JAX.

Names are imported when they are first used: `import abkd_jax` alone loads neither jax nor a device.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time `__getattr__` finds the same names
    from abkd_jax import aggregate, configs, datasets, distill, graph, inference, layers, models, run, training, types
    from abkd_jax.inference import evaluation
    from abkd_jax.inference.student import Student, load
    from abkd_jax.run import pipeline
    from abkd_jax.run.compress import compress
    from abkd_jax.training import checkpoint, tasks
    from abkd_jax.training.step import TrainState
    from abkd_jax.types import Batch, Dataset, GNNOutput, InputError, NodeMasks, Objective, PairMap

    __version__: str

__all__ = [
    "Batch",
    "Dataset",
    "GNNOutput",
    "InputError",
    "NodeMasks",
    "Objective",
    "PairMap",
    "Student",
    "TrainState",
    "aggregate",
    "checkpoint",
    "compress",
    "configs",
    "datasets",
    "distill",
    "evaluation",
    "graph",
    "inference",
    "layers",
    "load",
    "models",
    "pipeline",
    "run",
    "tasks",
    "training",
    "types",
]

_NAMES = {
    "Batch": "types",
    "Dataset": "types",
    "GNNOutput": "types",
    "InputError": "types",
    "NodeMasks": "types",
    "Objective": "types",
    "PairMap": "types",
    "Student": "inference.student",
    "TrainState": "training.step",
    "compress": "run.compress",
    "load": "inference.student",
}
_MODULES = {  # the others are found under their own names
    "checkpoint": "training.checkpoint",
    "evaluation": "inference.evaluation",
    "pipeline": "run.pipeline",
    "tasks": "training.tasks",
}


def _version() -> str:
    """Returns the version in pyproject.toml, as it was installed; "unknown" for a checkout that is not."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("abkd_jax")
    except PackageNotFoundError:
        return "unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


if not TYPE_CHECKING:  # with it, type checkers would take any name

    def __getattr__(name: str) -> Any:
        if name in _NAMES:
            return getattr(import_module(f"abkd_jax.{_NAMES[name]}"), name)
        if name in __all__:
            return import_module(f"abkd_jax.{_MODULES.get(name, name)}")
        if name == "__version__":
            return _version()
        raise AttributeError(f"module 'abkd_jax' has no attribute {name!r}")
