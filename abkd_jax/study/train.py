"""Training of the students of a cell: many lanes, in as few programs as fit into memory."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from abkd_jax.distill.build import build_objective
from abkd_jax.run.data import PreparedData
from abkd_jax.run.identity import student_identity
from abkd_jax.run.lanes import Lane, build_student, lanes_program
from abkd_jax.run.program import Trained, stack, train
from abkd_jax.run.resolve import Job
from abkd_jax.study.minibatches import train_one_by_one

__all__ = ["train_lanes"]

MAX_BYTES = 1 << 30  # of the targets of one program
MAX_LANES = 16  # of one program: those of all trials and of the finalists are the same one


def train_lanes(
    splits: Sequence[PreparedData],
    job: Job,
    teacher: Any,
    source: dict[str, Any],
    lanes: Sequence[Lane],
    folder: Path,
    *,
    curves: bool = True,
) -> Trained:
    """Trains the lanes of a job, or reads them back; programs of equal shape one after the other.

    Lanes train side by side where all splits are of one graph, and split after split where their edges differ. On
    minibatches they train one by one.

    Args:
        splits: the data with each split that lanes have.
        job: method and student.
        teacher: module of the teachers.
        source: what identities say of them.
        lanes: the students.
        folder: of the checkpoints, one below it for each program.
        curves: whether histories start with the untrained students, where a step reads the whole graph.

    Raises:
        InputError: see `lanes_program` and `program.train`.
    """
    if splits[0].sampler is not None:
        return train_one_by_one(splits[0], job, teacher, source, lanes, folder)
    if all(data.batch.graph is splits[0].batch.graph for data in splits):
        return _side_by_side(splits, job, teacher, source, lanes, folder, curves=curves)
    parts, order = [], []
    for number, data in enumerate(splits):
        at = [position for position, lane in enumerate(lanes) if lane.split == number]
        if at:
            own = [lanes[position]._replace(split=0) for position in at]
            of_split = folder / f"split_{number}"
            parts.append(_side_by_side((data,), job, teacher, source, own, of_split, curves=curves))
            order += at
    return _in_order(stack(parts), np.argsort(order))


def _in_order(trained: Trained, order: np.ndarray) -> Trained:
    """Returns models in another order."""
    last, best = _ordered((trained.variables, trained.best_variables), order)
    history = {name: values[:, order] if values.ndim > 1 else values for name, values in trained.history.items()}
    history["seconds"] = np.broadcast_to(trained.history["seconds"], len(order))[order]
    origins = tuple(trained.origins[at] for at in order)
    return Trained(last, best, trained.epochs[order], trained.best_epochs[order], history, origins, trained.module)


_ordered = jax.jit(lambda tree, order: jax.tree.map(lambda leaf: leaf[order], tree))


def _side_by_side(
    splits: Sequence[PreparedData],
    job: Job,
    teacher: Any,
    source: dict[str, Any],
    lanes: Sequence[Lane],
    folder: Path,
    *,
    curves: bool,
) -> Trained:
    """Trains lanes on one graph."""
    data = splits[0]
    size = _lanes_at_once(data, job, teacher, lanes)
    done = []
    for first in range(0, len(lanes), size):
        part = lanes[first : first + size]
        seeds = [lane.seed for lane in part]
        identity = student_identity(data.identity, seeds, source, job.name, job.method, job.model)
        identity["lanes"] = [{**lane.numbers, "start": lane.start, **_split_identity(splits, lane)} for lane in part]
        program = lanes_program(splits, job, teacher, part, folder / f"lanes_{first}_to_{first + size}", identity)
        if not curves:
            program = program._replace(untrained=None)
        done.append(train(data, build_student(data, job), program))
    return stack(done)


def _lanes_at_once(data: PreparedData, job: Job, teacher: Any, lanes: Sequence[Lane]) -> int:
    """Returns the largest divisor of the number of lanes whose targets fit: equal shapes are compiled once."""
    sizes = [size for size in range(1, min(len(lanes), MAX_LANES) + 1) if len(lanes) % size == 0]
    objective = build_objective(job.method, data.loss_context)
    if objective is None:
        return sizes[-1]

    def targets(variables: Any) -> Any:
        out = teacher.apply(variables, data.batch.graph)
        return objective.targets(out, graph=data.batch.graph, mask=data.batch.masks)

    leaves = jax.tree.leaves(jax.eval_shape(targets, lanes[0].teacher))
    most = max(1, MAX_BYTES // max(1, sum(int(np.prod(leaf.shape)) * 4 for leaf in leaves)))
    return max(size for size in sizes if size <= most)


def _split_identity(splits: Sequence[PreparedData], lane: Lane) -> dict[str, str]:
    if len(splits) == 1:
        return {}
    masks = splits[lane.split].batch.masks
    nodes = (masks.all, masks.train, splits[lane.split].val_mask)
    return {"split": hashlib.sha256(b"".join(np.asarray(mask).tobytes() for mask in nodes)).hexdigest()[:16]}
