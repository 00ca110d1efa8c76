"""Students: trained models that predict on any graph, read from a folder or from a run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.configs.methods import method_name
from abkd_jax.datasets.files.atomic import read_json
from abkd_jax.datasets.files.locations import expanded
from abkd_jax.inference import bundle as bundles
from abkd_jax.inference.bundle import Bundle
from abkd_jax.inference.evaluation import parameter_count
from abkd_jax.inference.export import Format, export
from abkd_jax.inference.export.quantise import Precision
from abkd_jax.inference.own_students import read
from abkd_jax.inference.predict import logits, probabilities
from abkd_jax.outside import is_outside
from abkd_jax.types import InputError, Pytree

__all__ = ["Student", "find", "load"]


@dataclass(frozen=True)
class Student:
    """A trained model that predicts.

    Attributes:
        bundle: its weights, and all that is known of it.
    """

    bundle: Bundle

    def __repr__(self) -> str:
        """Names the architecture, the data set and the size."""
        config, numbers = self.bundle.config, parameter_count(self.parameters)
        on = f" on {self.card['dataset']}" if "dataset" in self.card else ""
        return f"Student({config.name} {config.layers} x {config.hidden}{on}, {numbers:,} parameters)"

    @property
    def parameters(self) -> Pytree:
        """Returns its weights, as flax has them."""
        return self.bundle.variables["params"]

    @property
    def card(self) -> dict[str, Any]:
        """Returns what is known of its training: data set, scores, teacher, settings, versions."""
        return self.bundle.card

    def logits(self, graph: Any, nodes: np.ndarray | None = None, *, data_root: str | Path | None = None) -> np.ndarray:
        """Computes the logits of all nodes, or of some; see `inference.predict.logits`.

        Args:
            graph: a data set, its name or path, a `HostGraph`, a `GraphsTuple`, or a graph of PyTorch Geometric.
            nodes: `[k]` indices of nodes, or of graphs for a graph-level model; None takes all.
            data_root: of a named data set, see `datasets.data_root`.

        Returns:
            `[k, outputs]` float32.

        Raises:
            InputError: the graph is none of these, or not what the model expects; or a node is outside of it.
        """
        return logits(self.bundle, graph, nodes, data_root=data_root)

    def predict(
        self, graph: Any, nodes: np.ndarray | None = None, *, data_root: str | Path | None = None
    ) -> np.ndarray:
        """Computes the probabilities of the classes or labels, real targets as they are; arguments as of `logits`."""
        return probabilities(self.bundle.task, self.logits(graph, nodes, data_root=data_root))

    def save(self, folder: str | Path) -> Path:
        """Writes the student into a folder, from which `load` reads it; returns the folder.

        Raises:
            InputError: the folder cannot be written.
        """
        return bundles.save(self.bundle, folder)

    def export(
        self, folder: str | Path, formats: Sequence[Format] = ("stablehlo",), precision: Precision = "float32"
    ) -> list[Path]:
        """Writes the student for other programs and libraries; returns the files. See `inference.export.export`.

        Raises:
            InputError: a format cannot hold the student or the precision, or the folder cannot be written.
        """
        return export(self.bundle, folder, formats, precision).paths


def load(folder: str | Path, method: str | None = None, seed: int | None = None) -> Student:
    """Reads a student from its folder, or from a run folder; see `find` for the choice there.

    Raises:
        InputError: there is none, or it is damaged, or the source of its model is not found.
    """
    return Student(read(find(folder, method, seed)))


def find(folder: str | Path, method: str | None = None, seed: int | None = None) -> Path:
    """Returns the folder of a student.

    Args:
        folder: of the student itself, or of a run.
        method: of the run, a loss of one's own also as `module:function`; may be left out where it has one.
        seed: of the run; None takes the one with the best validation score, the first of equal ones.

    Raises:
        InputError: the run has no such student, or that of another loss of this name, or several and none is named.
    """
    folder = expanded(folder)
    own = folder / "students"
    if not own.is_dir():
        if (folder / "config.json").is_file():
            raise InputError(f"{folder}: a run without a student yet, expected one: the same `distill` goes on there")
        if method is not None or seed is not None:
            raise InputError(f"{folder}: no students/, expected a run folder: the command that made it writes them")
        return folder
    methods = sorted(path.name for path in own.iterdir() if path.is_dir())
    if method is None and len(methods) == 1:
        method = methods[0]
    entry, method = method, method and method_name(method)
    if method not in methods:
        given = "no method is named" if method is None else f"method is {method}"
        raise InputError(f"{folder}: {given}, expected one of {', '.join(methods)}")
    found = {int(path.name.removeprefix("seed_")): path for path in (own / method).glob("seed_[0-9]*")}
    if not found or (seed is not None and seed not in found):
        seeds = ", ".join(map(str, sorted(found))) or "none: all have diverged"
        raise InputError(f"{folder}: seed {'of ' + method if seed is None else seed}, expected one of {seeds}")
    chosen = found[max(sorted(found), key=lambda k: _validation_score(found[k])) if seed is None else seed]
    loss = _card(chosen).get("settings", {}).get("auxiliary", entry)
    if entry != method and loss != entry:
        raise InputError(f"{folder}: method is {entry}, expected {loss if is_outside(loss) else method}")
    return chosen


def _validation_score(folder: Path) -> float:
    score = _card(folder).get("val_accuracy")
    return score if isinstance(score, float) else -math.inf


def _card(folder: Path) -> dict[str, Any]:
    card = read_json(folder / bundles.CARD)
    return card if isinstance(card, dict) else {}
