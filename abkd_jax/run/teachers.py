"""Teachers: one program per seed, kept on disk for all runs, verified before they are used again."""

from pathlib import Path

import jax

from abkd_jax.configs.options import RunConfig, TeacherConfig
from abkd_jax.datasets.files.locations import cache_root, writable
from abkd_jax.run.data import PreparedData, build_model
from abkd_jax.run.identity import DataIdentity, digest, teacher_identity
from abkd_jax.run.program import Program, Trained, stack, steps_per_epoch, train
from abkd_jax.training.step import init_state, make_distill_step, make_optimizer, make_validate

__all__ = ["teacher_folder", "teachers_root", "train_teachers"]


def teachers_root(config: RunConfig) -> Path:
    """Returns the folder where the teachers of all runs are kept."""
    return config.teachers if config.teachers is not None else writable(cache_root() / "teachers")


def teacher_folder(root: Path, data: DataIdentity, config: TeacherConfig, seed: int) -> Path:
    """Returns the checkpoint folder of the teacher of this data, config and seed."""
    return root / data.name / digest(teacher_identity(data, config, seed))[:12] / f"seed_{seed}"


def train_teachers(
    data: PreparedData, config: TeacherConfig, seeds: int, root: Path, *, may_train: bool = True
) -> Trained:
    """Trains the teachers of seeds `0 .. seeds - 1` one after the other, where `root` does not hold them yet.

    Each runs as its own program: a deep teacher keeps all cores busy by itself, and one that stops early should not
    wait for the others.

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
    return stack([_train_or_load(data, config, seed, root, may_train=may_train) for seed in range(seeds)])


def _train_or_load(data: PreparedData, config: TeacherConfig, seed: int, root: Path, *, may_train: bool) -> Trained:
    model, key = build_model(data, config.model), jax.random.key(seed)
    optimizer = make_optimizer(config.optim, steps_per_epoch(data, config.optim))
    if data.sampler is None:
        states = jax.vmap(lambda key: init_state(key, model, optimizer, data.batch))(key[None])
    else:
        states = init_state(key, model, optimizer, data.batch)
    program = Program(
        label=f"teacher {data.dataset.name} seed {seed}",
        directory=teacher_folder(root, data.identity, config, seed),
        identity=teacher_identity(data.identity, config, seed),
        seeds=[seed],
        optim=config.optim,
        step=make_distill_step(model, None, optimizer, data.task),
        states=states,
        validate=make_validate(model, data.task, data.val_mask),
        batch=data.batch,
    )
    trained = train(data, model, program, may_train=may_train)
    return trained._replace(variables=trained.best_variables, epochs=trained.best_epochs)
