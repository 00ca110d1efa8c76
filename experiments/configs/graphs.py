"""GIN teachers and small GIN students on graph-level tasks: ogbg-molbace, ogbg-molesol, mutag, proteins and others.

Shows: ABKD where soft labels are per graph and the alignment is on nodes; classes, multitask binary classification and
regression.
Command:  python -m experiments.run graphs --dataset ogbg-molbace --seeds 5     (mutag, proteins, ogbg-molesol, ...)
Hardware: 2 CPU cores. Time: 2 to 20 minutes per data set; the seeds of the TU sets share the first of their ten folds.
Expected: experiments/results/graphs_<data set>/report.md. Published: GIN on molbace 73.0 +- 4.0 test ROC-AUC, on
molesol 1.17 +- .06 RMSE (OGB, arXiv 2005.00687, appendix); MUTAG 89.4 +- 5.6, PROTEINS 76.2 +- 2.8, ten folds with the
best epoch chosen on the test folds (GIN, arXiv 1810.00826, table 1).
"""

from dataclasses import replace

from abkd_jax.configs.options import DistillConfig
from abkd_jax.configs.presets import distill_config


def study(dataset: str = "ogbg-molbace") -> DistillConfig:
    """Returns three methods on one data set."""
    return replace(distill_config(dataset), methods=("supervised", "soft_label", "abkd"))
