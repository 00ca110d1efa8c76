"""RGCN 3 x 512 to RGCN 2 x 32 on ogbn-mag with GraphSAINT walks: the headline of the paper, 32.9x (32.3x as rounded).

Shows: what soft labels and attention-weighted layer alignment add to a small relational network. Both parameter counts
are reported: with the 154,029,312 numbers of the learned embeddings of authors, institutions and fields, which
teacher and student both have, the student is 1.035 times smaller.
Command:  python -m experiments.run mag --seeds 10     (the files are downloaded where a network exists: 413 MB)
Hardware and time: one GPU of 16 GB and 32 GB of memory; the cost model is in experiments/README.md. On 2 CPU cores a
distillation step takes seconds (experiments/results/bench_mag_size.json).
Expected: teacher 49.48 +- .35, student 46.22 +- .31, with soft labels 46.65 +- .20, the best of the earlier methods
46.78 +- .32 (arXiv 2111.04964, table 4, github.com/chaitjo/efficient-gnns); ABKD claims +1.79 over such figures. Not
run here, for lack of the real features.
"""

from abkd_jax.configs.options import DistillConfig
from abkd_jax.configs.presets import distill_config


def study(dataset: str = "ogbn-mag") -> DistillConfig:
    """Returns the run of the paper's sizes."""
    return distill_config(dataset)
