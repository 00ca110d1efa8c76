"""Parts of losses and alignments: numerics, moments, kernels of node pairs, projections."""
