"""What every distillation loss must satisfy, whatever it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery_samples import OBJECTIVES, N, compiled, example, mask_of, objective, widths_of
from numpy.testing import assert_allclose

from abkd_jax.distill import check_objective
from abkd_jax.distill.battery.rules import RULES

IN_FLOAT16 = (
    *("uniform-per_node", "depth-fixed", "uniform-closed", "uniform-cka", "soft_label", "soft_label_multilabel"),
    *("output_error", "fitnet", "attention_transfer", "mustad-poly", "lsp-l2", "gsp-poly", "gcrd", "sigmoid"),
    "parametric-equal",
)
UNCOMPILED = (  # each function once; a run operation by operation takes longer than all other rules
    *("pairs-per_node", "uniform-pooled", "depth-fixed", "greedy-closed", "given-cka", "last_to_all-gsp", "stride"),
    *("logits-closed", "soft_label", "soft_label_multilabel", "output_error", "krd", "ff_g2m", "propagate", "fitnet"),
    *("attention_transfer", "mustad-kl", "lsp-cosine", "gcrd-drawn-equal", "gaussian-drawn", "parametric-equal"),
    "weighted_sum",
)
IN_BFLOAT16 = "uniform-closed", "soft_label", "fitnet", "mustad-poly", "gcrd"  # nothing depends on which of the two
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


@every_objective
def test_every_rule_holds_and_different_models_have_a_loss(name):
    rules = RULES if name in UNCOMPILED else [rule for rule in RULES if rule != "compilation"]
    check_objective(objective(name), name, **widths_of(name), node_masks=name == "weighted_sum", rules=tuple(rules))
    (loss, _), _ = compiled(name)(*example(name), mask_of(name))
    assert loss > 0


@pytest.mark.parametrize(
    ("name", "dtype"), [*((x, jnp.float16) for x in IN_FLOAT16), *((x, jnp.bfloat16) for x in IN_BFLOAT16)]
)
def test_loss_of_16_bit_outputs_is_that_of_the_same_numbers_in_float32(name, dtype):
    params, *outputs = example(name)
    for scale in (200.0, 1e-4):  # squares overflow, and vanish, in float16
        short = jax.tree.map(lambda x: x.astype(dtype), (params, *jax.tree.map(lambda x: scale * x, outputs)))  # noqa: B023
        spoiled = short[0], *jax.tree.map(lambda x: x.at[9:].set(jnp.nan), short[1:])
        exact = jax.tree.map(lambda x: x.astype(jnp.float32), short)
        (expected, _), slopes = compiled(name)(*exact, mask_of(name))
        for inputs in (short, spoiled):
            (loss, _), found = compiled(name)(*inputs, mask_of(name))
            assert loss.dtype == jnp.float32
            assert_allclose(loss, expected, rtol=1e-5)
            for gradient, slope in zip(*map(jax.tree.leaves, (found, slopes)), strict=True):
                assert gradient.dtype == dtype
                limit = float(jnp.finfo(dtype).max)  # what does not fit becomes the largest number
                slope = np.clip(slope, -limit, limit)
                assert np.isfinite(gradient).all()
                assert_allclose(gradient.astype(jnp.float32), slope, rtol=0.02, atol=0.01 * np.abs(slope).max() + 1e-7)


@pytest.mark.parametrize("name", ["soft_label", "fitnet", "uniform-closed", "attention_transfer"])
def test_3000_nodes_are_counted_and_summed_in_float32(name):
    """Node by node the mean is that of 12 nodes repeated, though float16 counts to 2,048 and sums to 65,504."""
    params, student, teacher = example(name)
    many = jax.tree.map(lambda x: jnp.tile(x.astype(jnp.float16), (250, 1)), (student, teacher))
    few = jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), (student, teacher))
    mask = jnp.ones(N, bool)
    (expected, _), _ = compiled(name)(params, *few, mask)
    (loss, _), _ = compiled(name)(params, *many, jnp.tile(mask, 250))
    assert_allclose(loss, expected / (250 if name == "attention_transfer" else 1), rtol=1e-4)  # of order 1 / n there
