"""Training of the students of a cell: many lanes, in as few programs as fit into memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from abkd_jax.distill.build import build_objective
from abkd_jax.run.data import PreparedData
from abkd_jax.run.identity import student_identity
from abkd_jax.run.lanes import Lane, build_student, lanes_program, with_untrained
from abkd_jax.run.program import Trained, stack, train
from abkd_jax.run.resolve import Job

__all__ = ["train_lanes"]

MAX_BYTES = 1 << 30  # of the targets of one program


def train_lanes(
    data: PreparedData, job: Job, teacher: Any, source: dict[str, Any], lanes: Sequence[Lane], folder: Path
) -> Trained:
    """Trains the lanes of a job, or reads them back; programs of equal shape one after the other.

    Args:
        data: the data.
        job: method and student.
        teacher: module of the teachers.
        source: what identities say of them.
        lanes: the students.
        folder: of the checkpoints, one below it for each program.

    Raises:
        InputError: see `lanes_program` and `program.train`.
    """
    size = _lanes_at_once(data, job, teacher, lanes)
    done = []
    for first in range(0, len(lanes), size):
        part = lanes[first : first + size]
        seeds = [lane.seed for lane in part]
        identity = student_identity(data.identity, seeds, source, job.name, job.method, job.model)
        identity["lanes"] = [{**lane.numbers, "start": lane.start} for lane in part]
        program, untrained = lanes_program(data, job, teacher, part, folder / str(first // size), identity)
        trained = train(data, build_student(data, job), program)
        done.append(trained._replace(history=with_untrained(trained.history, untrained)))
    return stack(done)


def _lanes_at_once(data: PreparedData, job: Job, teacher: Any, lanes: Sequence[Lane]) -> int:
    """Returns the largest divisor of the number of lanes whose targets fit: equal shapes are compiled once."""
    objective = build_objective(job.method, data.loss_context)
    if objective is None:
        return len(lanes)

    def targets(variables: Any) -> Any:
        out = teacher.apply(variables, data.batch.graph)
        return objective.targets(out, graph=data.batch.graph, mask=data.batch.masks)

    leaves = jax.tree.leaves(jax.eval_shape(targets, lanes[0].teacher))
    most = max(1, MAX_BYTES // max(1, sum(int(np.prod(leaf.shape)) * 4 for leaf in leaves)))
    return max(size for size in range(1, len(lanes) + 1) if len(lanes) % size == 0 and size <= most)
