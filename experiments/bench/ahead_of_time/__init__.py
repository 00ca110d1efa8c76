"""What compilers say about the programs of this library on TPUs and GPUs that are not there.

`python -m experiments.bench.ahead_of_time` compiles programs of the presets for described devices and counts what is in
them: nothing here was run on such a device. Every cell, a program on a target, is compiled in a process of its own.
"""
