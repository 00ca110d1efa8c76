"""Graph neural network compression by attention-based knowledge distillation (ABKD, arXiv 2310.15938) in JAX."""
