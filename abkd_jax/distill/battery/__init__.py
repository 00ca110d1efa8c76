"""The test that every distillation loss must pass, as one call."""

from abkd_jax.distill.battery.check import check_objective
from abkd_jax.distill.battery.rules import RULES

__all__ = ["RULES", "check_objective"]
