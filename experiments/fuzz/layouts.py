"""Layouts of all files that the package reads from disk: functions that write a small clean one and read it."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from abkd_jax import datasets
from abkd_jax.configs.presets import distill_config
from abkd_jax.datasets import heco, kgbench, npz, ogb, ogb_graphs, planetoid, tu
from abkd_jax.datasets.checks import published
from abkd_jax.datasets.files import manifest
from abkd_jax.datasets.files.atomic import read_arrays, read_json_lines
from abkd_jax.run import folder as runfolder
from abkd_jax.run.plan import make_plan
from abkd_jax.run.report import canvas, markdown
from abkd_jax.training import checkpoint
from experiments.fuzz import samples

__all__ = ["LAYOUTS", "Layout", "real"]


class Layout(NamedTuple):
    """One kind of files.

    Attributes:
        write: writes clean files below a folder.
        read: reads them back by a public function of the package; the value is compared with that of the clean files.
        damaged: the folder in it whose files are damaged; the others stay as they are.
        sealed: whether a changed content must be noticed. The files of data sets carry no digests: one number may be
            another there, as long as all counts are the same.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], Any]
    damaged: str = "."
    sealed: bool = False


@contextmanager
def _small() -> Iterator[None]:
    """Lets the small data sets pass under the names of published ones: their counts are the published ones here."""
    sizes = heco.LAYOUTS["acm"]._replace(types=samples.SIZES)
    with ExitStack() as stack:
        for patch in (
            mock.patch.dict(heco.LAYOUTS, acm=sizes),
            mock.patch.object(planetoid, "NUM_VALIDATION", 6),
            mock.patch.object(published, "TOTALS", samples.TOTALS),
            mock.patch.object(published, "CHECKSUMS", {}),
            mock.patch.object(ogb, "PUBLISHED", samples.OGB_COUNTS),
            mock.patch.object(ogb, "NUM_CLASSES", {"ogbn-arxiv": 3, "ogbn-mag": 3}),
            mock.patch.dict(ogb.SHA256, {"ogbn-arxiv": None}),
            mock.patch.object(ogb_graphs, "PUBLISHED", samples.OGB_COUNTS),
        ):
            stack.enter_context(patch)
        yield


def _load(*names: str) -> Callable[[Path], Any]:
    """Makes a function that reads small data sets."""

    def read(folder: Path) -> Any:
        with _small():
            return [datasets.load(name, folder) for name in names]

    return read


def _write_cache(folder: Path) -> None:
    samples.write_arxiv(folder)
    _load("ogbn-arxiv")(folder)  # leaves the graph in folder/cache, see worker


def _write_archive(folder: Path) -> None:
    samples.write_arxiv(folder)
    samples.write_zip(folder / "published" / "arxiv.zip", folder / "ogb" / "ogbn_arxiv")
    shutil.rmtree(folder / "ogb")


def _read_archive(folder: Path) -> Any:
    with mock.patch.object(ogb, "URL", (folder / "published" / "arxiv.zip").as_uri()):
        return _load("ogbn-arxiv")(folder)


CHECKPOINT_CONFIG = {"model": {"layers": 2, "hidden": 3}, "seed": 0, "rate": 0.01}


def _state(scale: float) -> dict[str, Any]:
    weights = {"kernel": scale * jnp.arange(3072, dtype=jnp.float32).reshape(64, 48), "bias": jnp.full(48, scale)}
    return {"params": weights, "key": jax.random.key(7), "step": jnp.int32(scale), "active": jnp.array([True, False])}


def _write_checkpoint(folder: Path) -> None:
    for step in (10, 20):
        history = {"epoch": np.arange(0, step, 5), "loss": np.linspace(2, 1, step // 5)}
        checkpoint.save(folder / "checkpoint", _state(float(step)), history, CHECKPOINT_CONFIG, step)


def _read_checkpoint(folder: Path) -> Any:
    template = jax.eval_shape(partial(_state, 1.0))
    found = checkpoint.restore(folder / "checkpoint", template, CHECKPOINT_CONFIG)
    if found is None:
        return None
    state, history = found
    return {**state, "key": jax.random.key_data(state["key"])}, history


SEEDS, EVALUATIONS = 2, 3
RUN = dataclasses.replace(distill_config("synthetic"), seeds=SEEDS, methods=("abkd",), out=Path("run"))
DATA = {"name": "synthetic", "source": "generated", "fingerprint": "0123abcd", "split": 0, "counts": {"nodes": 40}}


def _write_run(folder: Path) -> None:
    run = _open_run(folder)
    _write_results(run)
    runfolder.write_made_from(run.path, {"fingerprint": DATA["fingerprint"]})


def _open_run(folder: Path) -> runfolder.RunFolder:
    run = runfolder.open_run(folder / "run")
    runfolder.claim(run, _description(run), RUN.methods, latest=False)
    return run


def _description(run: runfolder.RunFolder) -> dict[str, Any]:
    return make_plan(RUN, run).description(DATA["fingerprint"])


def _write_results(run: runfolder.RunFolder) -> None:
    epochs = np.repeat(np.array([0, 5, 10])[:, None], SEEDS, axis=1)
    curves = np.linspace(0.4, 0.9, EVALUATIONS * SEEDS).reshape(EVALUATIONS, SEEDS)
    history = {"epoch": epochs, "recorded": np.ones_like(epochs, bool), "val_accuracy": curves, "loss": 2 - curves}
    maps = np.random.default_rng(0).random((EVALUATIONS, SEEDS, 4, 2))
    aligned = {f"abkd/{name}": maps for name in ("attention", "dissimilarity", "unexplained")}
    scalars = {f"abkd/{name}": curves for name in ("attended_variance", "attended_dissimilarity", "row_entropy")}
    records = {method: [_record(method, seed) for seed in range(SEEDS)] for method in ("teacher", "abkd")}
    histories = {"teacher": history, "abkd": history | aligned | scalars}
    with _coarse_figures():
        runfolder.write(run, _description(run), DATA, records, histories, complete=True)


def _record(method: str, seed: int) -> dict[str, Any]:
    score = 0.8 + 0.01 * seed + (0.05 if method == "teacher" else 0.0)
    scores = {"test_accuracy": score, "val_accuracy": score - 0.01, "test_accuracy_best_val": score - 0.002}
    sizes = {"parameters": 900 if method == "teacher" else 90, "compression": 1.0 if method == "teacher" else 10.0}
    times = {"epochs": 10, "seconds": 1.5, "latency_ms": 0.25}
    facts = {"data": DATA, "provenance": {"commit": "0123abc", "versions": {"jax": "0.10"}, "date": "2026-01-01"}}
    return {
        "dataset": "synthetic",
        "method": method,
        "metric": "accuracy",
        "seed": seed,
        **scores,
        **sizes,
        **times,
        **facts,
    }


def _read_run(folder: Path) -> Any:
    """Opens the folder of a finished run as `pipeline.distill` does; what is no longer whole is written anew."""
    run = _open_run(folder)
    if runfolder.read_made_from(run) is None:
        _write_results(run)
    records = runfolder.open_run(run.path).records
    return records, read_json_lines(run.path / "metrics.jsonl"), read_arrays(run.path / "maps.npz")


def _write_unsealed_run(folder: Path) -> None:
    _write_run(folder)
    (folder / "run" / manifest.DIGESTS).unlink()  # as older versions left it


def _read_report(folder: Path) -> str:
    with _coarse_figures():
        return markdown.write_report(folder / "run").read_text()


def _coarse_figures() -> Any:
    return mock.patch.object(canvas, "DOTS_PER_INCH", 15)  # large ones take a second


LAYOUTS = {
    "planetoid": Layout(samples.write_planetoid, _load("cora")),
    "gnn_benchmark": Layout(samples.write_gnn_benchmark, _load("acm")),
    "heco": Layout(samples.write_heco, _load("heco_acm")),
    "kgbench": Layout(samples.write_kgbench, _load("aifb")),
    "tu": Layout(samples.write_tu, _load("mutag", "proteins")),
    "arxiv": Layout(samples.write_arxiv, _load("ogbn-arxiv")),
    "mag": Layout(samples.write_mag, _load("ogbn-mag")),
    "molecules": Layout(samples.write_molecules, _load("ogbg-moltox21")),
    "archive": Layout(_write_archive, _read_archive),
    "cache": Layout(_write_cache, _load("ogbn-arxiv"), damaged="cache", sealed=True),
    "checkpoint": Layout(_write_checkpoint, _read_checkpoint, sealed=True),
    "run": Layout(_write_run, _read_run, sealed=True),
    "report": Layout(_write_unsealed_run, _read_report),
}
"""By the names of the command line."""


REAL = {
    "cora": planetoid.files,
    "citeseer": planetoid.files,
    "acm": npz.files,
    "cora_ml": npz.files,
    "heco_acm": heco.files,
    "heco_freebase": heco.files,
    "aifb": kgbench.files,
    "mutag": tu.files,
    "proteins": tu.files,
    "ogbg-molbace": ogb_graphs.files,
    "ogbg-molesol": ogb_graphs.files,
}


def real(root: Path) -> dict[str, Layout]:
    """Returns the published data sets below a data root that load fast enough to be damaged many times.

    Args:
        root: as `datasets.load` takes it.

    Returns:
        One layout for each data set that is there, by name.
    """
    paths = {name: files(name, root) for name, files in REAL.items()}
    return {
        name: Layout(partial(_copy, root, of_name), partial(_load_real, name))
        for name, of_name in paths.items()
        if all(path.exists() for path in of_name)
    }


def _load_real(name: str, folder: Path) -> Any:
    return datasets.load(name, folder)


def _copy(root: Path, paths: tuple[Path, ...], folder: Path) -> None:
    for path in paths:
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
