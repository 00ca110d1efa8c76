"""GIN teachers and small GIN students for whole graphs: ogbg-molbace, ogbg-molesol, mutag, proteins and other mol sets.

Shows: ABKD on graph-level tasks, where soft labels are of graphs and the alignment of their nodes; classes, yes-or-no
answers and regression.
Command:  python -m experiments.run graphs --dataset ogbg-molbace --seeds 5     (mutag, proteins, ogbg-molesol, ...)
Hardware: 2 CPU cores. Time: 2 to 20 minutes a data set; the seeds of the TU sets share the first of their ten folds.
Expected: experiments/results/graphs_<data set>/report.md. Published: GIN on molbace 73.0 +- 4.0 test ROC-AUC, on
molesol 1.17 +- .06 RMSE (OGB, arXiv 2005.00687, appendix); MUTAG 89.4 +- 5.6, PROTEINS 76.2 +- 2.8, ten folds with the
best epoch chosen on the test folds (GIN, arXiv 1810.00826, table 1).
"""

from dataclasses import replace

from abkd_jax.configs.options import DistillConfig
from abkd_jax.configs.presets import distill_config


def study(dataset: str = "ogbg-molbace") -> DistillConfig:
    """Three methods, teachers and students of one run."""
    return replace(distill_config(dataset), methods=("supervised", "soft_label", "abkd"))
