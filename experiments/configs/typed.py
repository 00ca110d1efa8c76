"""RGCN teachers and 2-layer, 8-hidden students on small heterogeneous graphs: aifb, heco_acm, heco_freebase.

Shows: ABKD where nodes and edges have types and nodes without features have learned embeddings.
Command:  python -m experiments.run typed --dataset aifb --seeds 5     (and heco_acm, heco_freebase)
Hardware: 2 CPU cores. Time: 3 to 10 minutes per data set.
Expected: experiments/results/typed_<data set>/report.md. Published: RGCN 95.83 +- .62 on aifb with its 140 / 36 split
(arXiv 1703.06103, table 2; here 36 of the 140 are kept for validation); supervised HAN 85.11 +- 2.2 on acm
and 57.24 +- 3.2 on freebase with 20 labels per class, micro-F1 (HeCo, arXiv 2105.09111, table 2).
"""

from dataclasses import replace

from abkd_jax.configs.options import DistillConfig
from abkd_jax.configs.presets import distill_config


def study(dataset: str = "aifb") -> DistillConfig:
    """Returns three methods on one data set."""
    return replace(distill_config(dataset), methods=("supervised", "soft_label", "abkd"))
