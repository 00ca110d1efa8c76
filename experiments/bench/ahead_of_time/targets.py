"""Devices that programs are compiled for without being there.

`environment` must be set before jax is imported, hence in a process of its own: see `worker`. What libtpu and the CUDA
plugin need is described in their own documentation; neither uses a device or the network here.
"""

import importlib.util
import os
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from abkd_jax.types import InputError

__all__ = ["TARGETS", "Target", "describe_devices", "environment", "require", "traced_for"]


class Target(NamedTuple):
    """A device, with its data sheet.

    Attributes:
        platform: `"tpu"` or `"cuda"`.
        topology: name of the smallest set of such devices; one of them is used where nothing is sharded.
        memory: bytes of HBM per device.
        flops: of dense products in bfloat16, per second.
        bandwidth: of the HBM, bytes per second.
        clock: cycles per second; 0 where no cycles are counted.
        options: further arguments of `get_topology_desc`.
    """

    platform: str
    topology: str
    memory: int
    flops: float
    bandwidth: float
    clock: float = 0.0
    options: tuple[tuple[str, Any], ...] = ()


TARGETS = {
    "v4": Target("tpu", "v4:2x2x1", 32 * 10**9, 275e12, 1.228e12, 1.05e9, (("chip_config_name", "megacore"),)),
    "v5e": Target("tpu", "v5e:2x2", 16 * 10**9, 197e12, 0.819e12, 1.5e9),
    "v5p": Target("tpu", "v5p:2x2x1", 95 * 10**9, 459e12, 2.765e12, 1.75e9),
    "v6e": Target("tpu", "v6e:2x2", 32 * 10**9, 918e12, 1.64e12, 1.75e9),
    "h100": Target("cuda", "1x1x1", 80 * 10**9, 989e12, 3.35e12),
}
MODULES = {"tpu": "libtpu", "cuda": "jax_plugins.xla_cuda12"}
PACKAGES = {"tpu": "'abkd_jax[tpu]'", "cuda": "--no-deps jax-cuda12-plugin jax-cuda12-pjrt"}
TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several processes at once; none holds a device
    "XLA_FLAGS": "",  # libtpu refuses flags that are for CPUs alone
}
# Gemms of cuBLAS, and no autotuning, which would run kernels.
CUDA = {"XLA_FLAGS": "--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0"}
DUMP = (
    "--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true --xla_jf_emit_annotations=true "
    "--xla_jf_dump_llo_pass_label_regex=(final_bundles|deduplication-map)"
)
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84978434048 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 } runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def require(name: str) -> Target:
    """Returns a target whose compiler is installed.

    Raises:
        InputError: the name is unknown, or the compiler is missing.

    Examples:
        >>> require("v9")
        Traceback (most recent call last):
        abkd_jax.types.InputError: target is 'v9', expected one of v4, v5e, v5p, v6e, h100
    """
    if name not in TARGETS:
        raise InputError(f"target is {name!r}, expected one of {', '.join(TARGETS)}")
    platform = TARGETS[name].platform
    parent = MODULES[platform].split(".")[0]
    if importlib.util.find_spec(parent) is None or importlib.util.find_spec(MODULES[platform]) is None:
        raise InputError(f"{name}: no compiler for {platform}, expected pip install {PACKAGES[platform]}")
    return TARGETS[name]


def environment(target: Target, dump: str = "") -> dict[str, str]:
    """Returns the environment of a process that compiles for a target.

    Args:
        target: the device.
        dump: folder for the final instruction bundles of TPU programs; none are written without it.
    """
    own = TPU if target.platform == "tpu" else CUDA
    bundles = {"LIBTPU_INIT_ARGS": DUMP.format(folder=dump)} if dump and target.platform == "tpu" else {}
    return {**os.environ, **own, **bundles, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}


def describe_devices(target: Target, topology: str = "") -> list[Any]:
    """Returns devices that programs can be compiled for, and that run nothing.

    Args:
        target: the kind of device.
        topology: a larger set of them, such as `"v5e:2x4"`; the smallest one by default.
    """
    from jax.experimental import topologies

    options = dict(target.options)
    if target.platform == "cuda":
        # An alias such as "gpu" is refused where no such device is seen, the name of the plugin is not.
        options |= {"topology": topology or target.topology, "target_config": H100}
        return topologies.get_topology_desc("", "cuda", **options).devices
    return topologies.get_topology_desc(topology or target.topology, "tpu", **options).devices


def traced_for(device: Any) -> AbstractContextManager[Any]:
    """Returns the scope in which programs are traced for a device: by its kind Pallas kernels are chosen.

    Args:
        device: a described one, alone.
    """
    import jax

    cores = device.num_cores if device.platform == "tpu" else None
    kind = jax.sharding.AbstractDevice(device_kind=device.device_kind, num_cores=cores, platform=device.platform)
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("device",), abstract_device=kind))
