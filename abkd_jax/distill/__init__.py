"""Distillation losses: factories of `Objective` and of the `PairMap`s that ABKD is made of."""

from abkd_jax.distill.abkd import abkd, best, paper, stride
from abkd_jax.distill.attention import (
    all_to_last,
    depth_proportional,
    fixed,
    greedy,
    last_layer,
    last_to_all,
    layer_attention,
    learned,
    uniform,
)
from abkd_jax.distill.battery import check_objective
from abkd_jax.distill.combinators import Part, Term, combined, term_losses, weighted_sum, with_logits
from abkd_jax.distill.contrastive import gcrd
from abkd_jax.distill.diagnostics import gradient_shares
from abkd_jax.distill.dissimilarity import closed_form, fixed_axes, trained_heads
from abkd_jax.distill.features import attention_transfer, fitnet, mustad
from abkd_jax.distill.logits import output_error, soft_label, soft_label_multilabel
from abkd_jax.distill.numerics import masked_rows
from abkd_jax.distill.outputs import freeze
from abkd_jax.distill.parametric import geometric_parametric
from abkd_jax.distill.relations import geometric, gsp, lsp
from abkd_jax.distill.similarity import cka, layer_cka
from abkd_jax.distill.starts import attention_map, positive, teacher_directions
from abkd_jax.distill.structure import structure

__all__ = [
    "Part",
    "Term",
    "abkd",
    "all_to_last",
    "attention_map",
    "attention_transfer",
    "best",
    "check_objective",
    "cka",
    "closed_form",
    "combined",
    "depth_proportional",
    "fitnet",
    "fixed",
    "fixed_axes",
    "freeze",
    "gcrd",
    "geometric",
    "geometric_parametric",
    "gradient_shares",
    "greedy",
    "gsp",
    "last_layer",
    "last_to_all",
    "layer_attention",
    "layer_cka",
    "learned",
    "lsp",
    "masked_rows",
    "mustad",
    "output_error",
    "paper",
    "positive",
    "soft_label",
    "soft_label_multilabel",
    "stride",
    "structure",
    "teacher_directions",
    "term_losses",
    "trained_heads",
    "uniform",
    "weighted_sum",
    "with_logits",
]
