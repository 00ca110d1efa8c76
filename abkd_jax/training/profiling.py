"""Traces a part of a training for TensorBoard (`tensorboard --logdir`) or Perfetto."""

from pathlib import Path
from typing import Any

import jax

from abkd_jax.training.sharding import Fit

__all__ = ["profiled"]


def profiled(fit: Fit, directory: Path) -> Fit:
    """Returns a fit that writes a trace of what it does between its first two updates of the progress.

    The first update comes after compilation. On minibatches that is one evaluation with the steps before it, each
    called `step`; on the whole graph one dispatch of many epochs, called `epochs`. A training that is over by then
    leaves an empty trace.

    Args:
        fit: a loop of `training.loops` that is given everything but `resume` and `on_chunk`.
        directory: of the trace; created where missing.
    """

    def run(*, resume: Any = None, on_chunk: Any = None) -> tuple[Any, Any]:
        updates = 0
        directory.mkdir(parents=True, exist_ok=True)

        def traced(*of: Any) -> None:
            nonlocal updates
            updates += 1
            if updates == 2:
                jax.profiler.stop_trace()
            if on_chunk is not None:
                on_chunk(*of)
            if updates == 1:
                jax.profiler.start_trace(directory)

        try:
            return fit(resume=resume, on_chunk=traced)
        finally:
            if updates == 1:
                jax.profiler.stop_trace()

    return run
