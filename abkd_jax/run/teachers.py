"""Teachers: trained here, one program per seed, kept on disk for all runs; or from outside."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from abkd_jax.configs.options import DistillConfig, ModelConfig, RunConfig, TeacherConfig
from abkd_jax.datasets.files.locations import cache_root, writable
from abkd_jax.layers.output import variables_of
from abkd_jax.models.external import Ensemble, joined
from abkd_jax.run.data import PreparedData, build_model
from abkd_jax.run.given_teachers import ensemble_of, given_teacher, repeated
from abkd_jax.run.identity import DataIdentity, config_dict, digest, source_of, teacher_identity
from abkd_jax.run.job_checks import shapes_of_given
from abkd_jax.run.program import Program, Start, Teacher, Trained, select_seed, stack, steps_per_epoch, train
from abkd_jax.run.resolve import Job, jobs
from abkd_jax.run.slices import in_slices
from abkd_jax.run.trimming import trimmed
from abkd_jax.training.accumulate import make_parts_step
from abkd_jax.training.divergence import diverged_epochs
from abkd_jax.training.resume import Origin
from abkd_jax.training.step import (
    TrainState,
    init_state,
    make_distill_step,
    make_gradients,
    make_optimizer,
    make_validate,
)
from abkd_jax.training.tables import on_shards
from abkd_jax.types import Batch, InputError, PRNGKey

__all__ = [
    "as_teacher",
    "check_hiddens",
    "read_teacher",
    "teacher_folder",
    "teacher_of",
    "teachers_root",
    "train_teacher",
    "train_teachers",
]


def teachers_root(config: RunConfig) -> Path:
    """Returns the folder where the teachers of all runs are kept."""
    return config.teachers if config.teachers is not None else writable(cache_root() / "teachers")


def teacher_folder(root: Path, data: DataIdentity, config: TeacherConfig, seed: int) -> Path:
    """Returns the checkpoint folder of the teacher of this data, config and seed."""
    return root / data.name / digest(teacher_identity(data, config, seed))[:12] / f"seed_{seed}"


def read_teacher(data: PreparedData, config: RunConfig) -> Teacher | None:
    """Reads the teacher of settings that name files; None where teachers are trained here.

    Args:
        data: the data.
        config: the settings, resolved.

    Raises:
        InputError: see `given_teachers.given_teacher`; or a method compares hidden layers and the file has none.
    """
    if config.teacher_weights is not None:
        same = config.teacher_outputs[0] if config.teacher_outputs else None
        teacher = given_teacher(data, config.teacher_weights, config.seeds, config.teacher.model, same)
    elif config.teacher_outputs:
        teacher = given_teacher(data, list(config.teacher_outputs), config.seeds)
    else:
        return None
    if isinstance(config, DistillConfig):
        check_hiddens(data, teacher, jobs(config))
    return teacher._replace(source=source_of(config))


def check_hiddens(data: PreparedData, teacher: Teacher, of: Iterable[Job]) -> None:
    """Checks that a teacher returns hidden layers where a method compares them.

    Raises:
        InputError: it returns logits alone.
    """
    hiddens = shapes_of_given(data, teacher).hiddens
    readers = [job.name for job in of if job.reads_hiddens]
    if readers and not hiddens:
        raise InputError(
            f"teacher: logits alone, but {', '.join(readers)} compare hidden layers: expected hidden_0, hidden_1, ... "
            "beside the logits, or methods such as supervised, soft_label, glnn"
        )


def teacher_of(
    data: PreparedData, config: RunConfig, given: Teacher | None = None, *, may_train: bool = True
) -> Teacher:
    """Returns the teacher of a run: the given one for all its seeds, or those that are trained here.

    Args:
        data: the data.
        config: the settings, resolved.
        given: from `read_teacher`.
        may_train: False refuses a teacher that is not kept instead of training it.

    Raises:
        InputError: see `as_teacher`.
    """
    if given is not None:
        return ensemble_of(data, [given], config.seeds)
    seeds, root = config.seeds, teachers_root(config)
    return as_teacher(data, config.teacher, seeds, root, ensemble=config.teacher_ensemble, may_train=may_train)


def as_teacher(
    data: PreparedData,
    source: Any,
    seeds: int,
    root: Path,
    *,
    model: ModelConfig | None = None,
    outputs: Any = None,
    ensemble: int = 1,
    may_train: bool = True,
) -> Teacher:
    """Makes a teacher of anything: settings, which are trained, or what `given_teachers.given_teacher` takes.

    Args:
        data: of `run.data.prepare_data`.
        source: a `TeacherConfig`, or what was trained elsewhere.
        seeds: number of seeds of the students.
        root: folder where trained teachers are kept.
        model: architecture of weights in a file.
        outputs: with which those of weights in a file are compared.
        ensemble: number of seeds whose trained teachers are joined to one for all students; 1 gives each its own.
        may_train: False refuses a teacher that is not kept instead of training it.

    Raises:
        InputError: see `train_teachers` and `given_teachers.given_teacher`; or a member of the ensemble has diverged.
    """
    if not isinstance(source, TeacherConfig):
        return given_teacher(data, source, seeds, model, outputs)
    trained = train_teachers(data, source, seeds if ensemble == 1 else ensemble, root, may_train=may_train)
    described = config_dict(source.model)
    if ensemble == 1:
        return Teacher(trained, source.model, described)
    return Teacher(_ensemble(data, trained, seeds), None, {"ensemble": ensemble, **described})


def _ensemble(data: PreparedData, members: Trained, seeds: int) -> Trained:
    """Joins the teachers of all seeds to one model."""
    count = len(members.origins)
    for seed, epoch in enumerate(diverged_epochs(members.history)):
        if epoch is not None:
            raise InputError(
                f"teacher seed {seed} diverged at epoch {epoch}, expected an ensemble of finished teachers"
            )
    variables = joined([select_seed(members.variables, seed) for seed in range(count)])
    origin = Origin(any(each.trained for each in members.origins), members.origins[-1].made_by)
    one = repeated(Ensemble((members.module,) * count, data.dataset.task), variables, seeds, origin)
    seconds = np.sum(np.broadcast_to(members.history["seconds"], count))
    return one._replace(history=one.history | {"seconds": seconds})


def train_teachers(
    data: PreparedData, config: TeacherConfig, seeds: int, root: Path, *, may_train: bool = True
) -> Trained:
    """Trains the teachers of seeds `0 .. seeds - 1`, where `root` does not hold them yet.

    Each runs as its own program: a deep teacher keeps all cores busy by itself, and one that stops early should not
    wait for the others. They train one after the other, or side by side on the axis `seeds` of a mesh
    (`slices.in_slices`).

    Args:
        data: the data.
        config: the teacher.
        seeds: number of seeds, of initialisation and dropout.
        root: folder where teachers are kept.
        may_train: False refuses a teacher that is not kept instead of training it.

    Returns:
        The teachers at their best validation epochs, as in the GCNII recipe (Chen et al., arXiv 2007.02133).

    Raises:
        InputError: the config makes no model, or a kept teacher is damaged, missing or of another config.
    """
    return stack(in_slices(data, range(seeds), lambda data: _trainer(data, config, root, may_train)))


def train_teacher(
    data: PreparedData, config: TeacherConfig, seed: int, root: Path, *, may_train: bool = True
) -> Trained:
    """Trains the teacher of one seed, or reads it; see `train_teachers`."""
    return _trainer(data, config, root, may_train)(seed)


def _trainer(data: PreparedData, config: TeacherConfig, root: Path, may_train: bool) -> Callable[[int], Trained]:
    """Returns the function that trains the teacher of a seed, or reads it; what seeds share is made once."""
    model = build_model(data, config.model)
    data = trimmed(data, [model])
    optimizer = make_optimizer(config.optim, steps_per_epoch(data, config.optim))
    validate = make_validate(model, data.task, data.val_mask)
    example = data.example
    if data.per_step == 1:
        step = make_distill_step(model, None, optimizer, data.task)
    else:
        step = make_parts_step(make_gradients(on_shards(model, data.mesh), None, data.task), optimizer, data.mesh)

    @jax.jit
    def states(key: PRNGKey, example: Batch) -> TrainState:
        init = lambda key: init_state(key, model, optimizer, example, fixed=variables_of(data.units))  # noqa: E731
        return jax.vmap(init)(key[None]) if data.sampler is None else init(key)

    shapes = jax.eval_shape(states, jax.random.key(0), example)

    def train_seed(seed: int) -> Trained:
        program = Program(
            label=f"teacher {data.dataset.name} seed {seed}",
            directory=teacher_folder(root, data.identity, config, seed),
            identity=teacher_identity(data.identity, config, seed),
            seeds=[seed],
            optim=config.optim,
            validate=validate,
            shapes=shapes,
            start=lambda: Start(step, states(jax.random.key(seed), example), data.batch),
        )
        trained = train(data, model, program, may_train=may_train)
        return trained._replace(variables=trained.best_variables, epochs=trained.best_epochs)

    return train_seed
