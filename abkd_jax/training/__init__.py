"""Training: one jitted step, two loops around it, and checkpoints that resume to the same bits."""

from abkd_jax.training.fit_state import FitState
from abkd_jax.training.loops import fit, fit_minibatches
from abkd_jax.training.seeds import put_batch, put_seeds
from abkd_jax.training.sharding import make_mesh
from abkd_jax.training.step import (
    TrainState,
    init_state,
    make_distill_step,
    make_optimizer,
    make_validate,
    with_teacher_targets,
)
from abkd_jax.training.teacher_sample import make_sample_outputs
from abkd_jax.training.term_shares import make_gradient_shares

__all__ = [
    "FitState",
    "TrainState",
    "fit",
    "fit_minibatches",
    "init_state",
    "make_distill_step",
    "make_gradient_shares",
    "make_mesh",
    "make_optimizer",
    "make_sample_outputs",
    "make_validate",
    "put_batch",
    "put_seeds",
    "with_teacher_targets",
]
