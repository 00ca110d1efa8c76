"""Distillation losses: factories of `Objective` and of the `PairMap`s that ABKD is made of."""

from abkd_jax.distill.abkd import abkd, best, paper
from abkd_jax.distill.attention import (
    all_to_last,
    depth_proportional,
    fixed,
    last_layer,
    last_to_all,
    layer_attention,
    learned,
    uniform,
)
from abkd_jax.distill.combinators import Term, freeze, weighted_sum
from abkd_jax.distill.contrastive import gcrd
from abkd_jax.distill.dissimilarity import closed_form, fixed_axes, trained_heads
from abkd_jax.distill.features import attention_transfer, fitnet, mustad
from abkd_jax.distill.logits import soft_label, soft_label_multilabel
from abkd_jax.distill.parametric import geometric_parametric
from abkd_jax.distill.relations import geometric, gsp, lsp
from abkd_jax.distill.similarity import cka
from abkd_jax.distill.starts import attention_map, positive, teacher_directions

__all__ = [
    "Term",
    "abkd",
    "all_to_last",
    "attention_map",
    "attention_transfer",
    "best",
    "cka",
    "closed_form",
    "depth_proportional",
    "fitnet",
    "fixed",
    "fixed_axes",
    "freeze",
    "gcrd",
    "geometric",
    "geometric_parametric",
    "gsp",
    "last_layer",
    "last_to_all",
    "layer_attention",
    "learned",
    "lsp",
    "mustad",
    "paper",
    "positive",
    "soft_label",
    "soft_label_multilabel",
    "teacher_directions",
    "trained_heads",
    "uniform",
    "weighted_sum",
]
