"""Strict JAX for every test: no silent dtype promotion, no silent rank broadcasting, four fake CPU devices."""

import ctypes
import gc
import os
import sys
import tempfile

# A test runs its programs for microseconds and compiles them for seconds: unoptimised code, built as one piece instead
# of up to 32, takes less than half the time.
# Equal bits are of programs that are built alike; a killed run is compared as users run it (run/test_pipeline.py).
DEVICES = "--xla_force_host_platform_device_count=4"
UNOPTIMISED = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
ONE_PIECE = "--xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", f"{DEVICES} {UNOPTIMISED} {ONE_PIECE}")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("NPROC", "16")  # threads of XLA: each of the devices may hold some while it waits for the others

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_traceback_in_locations_limit", 0)  # lines of Python in programs: 7 % of the time

# Tests build the same small programs again and again: the second time they are read from a folder of this session,
# which its workers share.
if "ABKD_JAX_TESTS_COMPILED" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="abkd_jax_tests_")
    os.environ["ABKD_JAX_TESTS_COMPILED"] = COMPILED.name
jax.config.update("jax_compilation_cache_dir", os.environ["ABKD_JAX_TESTS_COMPILED"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
from jax.experimental.compilation_cache import compilation_cache

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _first_existing(*candidates: str | Path | None) -> Path | None:
    return next((Path(c).expanduser() for c in candidates if c and Path(c).expanduser().is_dir()), None)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the third-party graphs: $ABKD_JAX_DATA, the user's cache, or a folder beside the checkout."""
    root = _first_existing(os.environ.get("ABKD_JAX_DATA"), SHARED / "data", "~/.cache/abkd_jax")
    if root is None or not (root / "planetoid").is_dir():  # the user's cache also holds trained teachers
        pytest.skip("no data root: set ABKD_JAX_DATA to the folder that holds planetoid/ and gnn_benchmark/")
    return root


@pytest.fixture(scope="session")
def golden_root() -> Path:
    """The folder with the reference values of the criteria: $ABKD_JAX_GOLDEN, or a folder beside the checkout."""
    root = _first_existing(os.environ.get("ABKD_JAX_GOLDEN"), SHARED / "golden")
    if root is None:
        pytest.skip("no golden values: set ABKD_JAX_GOLDEN to the folder that holds derived_abkd.npz")
    return root


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls without the tests' type checks, as users make them: the library's own messages must catch mistakes."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Writes a module of a user into the current folder, from its name and source; it is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    names: list[str] = []

    def write(name: str, source: str) -> Path:
        names.append(name)
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        return path

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def program_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder in which commands keep compiled programs, with JAX as a user's process has it at first."""
    from abkd_jax.run import compiled

    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    monkeypatch.setattr(compiled, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(compiled, "LEAST_SECONDS", 0.0)
    yield tmp_path / "xla"
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


def pytest_collection_finish() -> None:
    """Takes what is imported and collected out of the garbage collection: half of its time went there.

    What is left collects seldom: tracing makes many objects and few cycles, and 7 % of the time went there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


MOST_MEMORY = 1.3 * 2**30  # bytes; torch, JAX and the package take 0.7, one test up to 1.0 more


def _resident_bytes() -> int:
    """Memory of this process, or 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish() -> None:
    """Drops compiled programs, 1.5 MB each, before they fill the memory; they come back from the folder on disk."""
    if _resident_bytes() > MOST_MEMORY:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # glibc keeps freed memory otherwise


SLOW = frozenset((Path(__file__).parent / "slow.txt").read_text().split())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `quick` the first case of every function of tests, but for those that `slow.txt` names.

    There stand the functions whose first case takes more than a second of one processor, measured one file at a time.
    """
    seen = set()
    for item in items:
        function = item.nodeid.partition("[")[0].removeprefix("tests/")
        if function not in SLOW and function not in seen:
            item.add_marker("quick")
        seen.add(function)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Iterator[None]:
    """Leaves examples in docstrings to the package: no file of tests has any."""
    return [found for found in (yield) if type(found).__name__ != "DoctestModule"]


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names bytes by their argument: they may hold a time, as gzip's do, and ids must be the same in every process."""
    return argname if isinstance(val, bytes) else None
