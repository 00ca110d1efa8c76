"""Distillation losses: factories of `Objective` and of the `PairMap`s that ABKD is made of."""

from abkd_jax.distill.alignment.abkd import abkd, abkd_closed_form, abkd_paper, stride
from abkd_jax.distill.alignment.cka import cka, cka_targets, layer_cka
from abkd_jax.distill.alignment.dissimilarity import closed_form, fixed_axes, trained_heads
from abkd_jax.distill.alignment.layer_attention import (
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
from abkd_jax.distill.alignment.structure import structure
from abkd_jax.distill.battery import check_objective
from abkd_jax.distill.combinators import Part, Term, combined, term_losses, weighted_sum, with_logits
from abkd_jax.distill.fitted_layers import fitted
from abkd_jax.distill.gradient_shares import gradient_shares
from abkd_jax.distill.initialisation import initialise, positive, teacher_directions
from abkd_jax.distill.losses.contrastive import gcrd
from abkd_jax.distill.losses.features import attention_transfer, fitnet, mustad
from abkd_jax.distill.losses.frequencies import ff_g2m
from abkd_jax.distill.losses.geometric import geometric
from abkd_jax.distill.losses.geometric_parametric import geometric_parametric
from abkd_jax.distill.losses.logits import output_error, soft_label, soft_label_multilabel
from abkd_jax.distill.losses.node_relations import gsp, lsp
from abkd_jax.distill.losses.propagated import propagate
from abkd_jax.distill.losses.reliability import krd
from abkd_jax.distill.ops.numerics import masked_rows
from abkd_jax.distill.ops.outputs import freeze
from abkd_jax.distill.ops.staged import batch_targets, needs_basis, teacher_basis
from abkd_jax.distill.teacher_units import attention_map

__all__ = [
    "Part",
    "Term",
    "abkd",
    "abkd_closed_form",
    "abkd_paper",
    "all_to_last",
    "attention_map",
    "attention_transfer",
    "batch_targets",
    "check_objective",
    "cka",
    "cka_targets",
    "closed_form",
    "combined",
    "depth_proportional",
    "ff_g2m",
    "fitnet",
    "fitted",
    "fixed",
    "fixed_axes",
    "freeze",
    "gcrd",
    "geometric",
    "geometric_parametric",
    "gradient_shares",
    "greedy",
    "gsp",
    "initialise",
    "krd",
    "last_layer",
    "last_to_all",
    "layer_attention",
    "layer_cka",
    "learned",
    "lsp",
    "masked_rows",
    "mustad",
    "needs_basis",
    "output_error",
    "positive",
    "propagate",
    "soft_label",
    "soft_label_multilabel",
    "stride",
    "structure",
    "teacher_basis",
    "teacher_directions",
    "term_losses",
    "trained_heads",
    "uniform",
    "weighted_sum",
    "with_logits",
]
