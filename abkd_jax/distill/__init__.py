"""Distillation losses: factories of `Objective` and of the `PairMap`s that ABKD is made of."""

from abkd_jax.distill.abkd import abkd, best, paper
from abkd_jax.distill.attention import last_layer, layer_attention, learned, uniform
from abkd_jax.distill.combinators import Term, freeze, weighted_sum
from abkd_jax.distill.dissimilarity import closed_form, fixed_axes, trained_heads
from abkd_jax.distill.logits import soft_label
from abkd_jax.distill.starts import positive, teacher_directions

__all__ = [
    "Term",
    "abkd",
    "best",
    "closed_form",
    "fixed_axes",
    "freeze",
    "last_layer",
    "layer_attention",
    "learned",
    "paper",
    "positive",
    "soft_label",
    "teacher_directions",
    "trained_heads",
    "uniform",
    "weighted_sum",
]
