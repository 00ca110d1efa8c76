"""Teachers of studies in files: read whole, refused where they are damaged or others, left out where they are large."""

import dataclasses

import jax
import numpy as np
import pytest
from pipeline_samples import TEACHER

from abkd_jax.study import teachers
from abkd_jax.study.splits import load_splits, prepare_splits
from abkd_jax.study.teachers import stored_path, teachers_of
from abkd_jax.types import InputError

CONFIG = dataclasses.replace(
    TEACHER, model=dataclasses.replace(TEACHER.model, layers=1), optim=dataclasses.replace(TEACHER.optim, epochs=2)
)


@pytest.fixture(scope="module")
def splits():
    return prepare_splits(load_splits("synthetic", None, 1))


@pytest.fixture(scope="module")
def trained(splits, tmp_path_factory):
    """The folder of a stored teacher, and the teacher."""
    folder = tmp_path_factory.mktemp("teachers")
    return folder, teachers_of(splits, CONFIG, 1, folder / "checkpoints", folder / "stored")


def test_a_stored_teacher_is_read_whole(trained, splits, tmp_path):
    folder, teacher = trained
    read = teachers_of(splits, CONFIG, 1, tmp_path / "checkpoints", folder / "stored")
    assert not (tmp_path / "checkpoints").exists()  # nothing was trained
    assert (read.config, read.source) == (teacher.config, teacher.source)
    assert [origin.trained for origin in (*teacher.models.origins, *read.models.origins)] == [True, False]
    assert read.models.origins[0].made_by == teacher.models.origins[0].made_by
    for name in ("variables", "best_variables", "epochs", "best_epochs", "history"):
        before, after = (jax.tree.map(np.asarray, getattr(of.models, name)) for of in (teacher, read))
        np.testing.assert_equal(after, before, err_msg=name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole, _: whole[:-100], "expected the teacher of a study, but it is damaged"),
        (lambda _, other: other, "a teacher of other settings: seed 0, expected 1$"),
    ],
    ids=["cut", "of another seed"],
)
def test_a_damaged_teacher_and_that_of_another_seed_are_refused(trained, splits, tmp_path, content, message):
    folder, _ = trained
    whole = stored_path(folder / "stored", splits[0].identity, CONFIG, 0).read_bytes()
    for seed in (0, 1):
        path = stored_path(tmp_path, splits[0].identity, CONFIG, seed)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(whole if seed == 0 else content(whole, whole))
    with pytest.raises(InputError, match=message):
        teachers_of(splits, CONFIG, 2, tmp_path / "checkpoints", tmp_path)


def test_a_large_teacher_is_kept_as_a_checkpoint_alone(trained, splits, tmp_path, monkeypatch):
    folder, _ = trained
    monkeypatch.setattr(teachers, "LARGEST", 1000)
    teachers_of(splits, CONFIG, 1, folder / "checkpoints", tmp_path / "stored")
    assert not (tmp_path / "stored").exists()


def test_a_folder_that_cannot_be_written_is_named(trained, splits, tmp_path):
    folder, _ = trained
    (tmp_path / "stored").write_text("a file")
    with pytest.raises(InputError, match=r"stored.*: cannot store this teacher"):
        teachers_of(splits, CONFIG, 1, folder / "checkpoints", tmp_path / "stored")
