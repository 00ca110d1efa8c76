"""How tests compile: running takes microseconds, compiling a second, unoptimised code is built six times as fast."""

QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 0}
