"""The students of a run as folders: what is read back is what was trained, and what is lost is made anew."""

import shutil

import chex
import jax
import numpy as np
import pytest
from pipeline_samples import STUDENT_PARAMETERS, TEACHER_PARAMETERS

import abkd_jax
from abkd_jax.datasets.files.atomic import read_json
from abkd_jax.models import build
from abkd_jax.run import pipeline
from abkd_jax.run.data import prepare_data
from abkd_jax.run.resolve import resolve
from abkd_jax.types import InputError

pytestmark = pytest.mark.usefixtures("without_figures")


def files(config):
    """Of the students, by their path below the run folder; the times of their records stay as they are."""
    return {
        str(path.relative_to(config.out)): path.read_bytes()
        for path in (config.out / "students").rglob("*")
        if path.is_file()
    }


def test_a_student_is_the_one_that_was_trained(finished):
    """Weights and logits are those of the checkpoint, bit for bit."""
    models = {name: trained for name, _, trained in pipeline.read_finished(resolve(finished)).models}
    data, model = prepare_data("synthetic"), build(finished.student, 3)
    predict = jax.jit(lambda variables, graph: model.apply(variables, graph).logits)
    for seed in (0, 1):
        student = abkd_jax.load(finished.out, "soft_label", seed)
        variables = jax.tree.map(lambda leaf, k=seed: np.asarray(leaf[k]), models["soft_label"].variables)
        chex.assert_trees_all_equal(student.bundle.variables, variables)
        expected = np.asarray(predict(variables, data.batch.graph))
        np.testing.assert_array_equal(student.logits(data.dataset), expected)
        np.testing.assert_allclose(student.predict("synthetic", np.array([3])).sum(axis=1), 1.0, rtol=1e-6)
        right = expected.argmax(axis=1) == data.dataset.labels
        assert right[data.dataset.test_mask].mean() == pytest.approx(student.card["test_accuracy"], abs=1e-6)


def test_a_card_says_where_the_student_comes_from(finished):
    records = read_json(finished.out / "results.json")["records"]
    teacher, student = records[1], records[3]
    card = read_json(finished.out / "students" / "soft_label" / "seed_1" / "card.json")
    assert {key: card[key] for key in student} == student  # scores, data, compression, provenance
    assert card["compression"] == pytest.approx(TEACHER_PARAMETERS / STUDENT_PARAMETERS)
    assert card["teacher"]["config"]["hidden"] == 8
    assert card["teacher"]["weights"] == teacher["weights"] == card["teacher_weights"]
    assert card["settings"]["optim"]["epochs"] == 12
    assert card["inputs"]["features"] == 32


def test_the_seed_is_chosen_by_its_validation_score(finished, copied):
    records = read_json(finished.out / "results.json")["records"]
    best = int(np.argmax([record["val_accuracy"] for record in records if record["method"] == "soft_label"]))
    assert abkd_jax.load(finished.out).card["seed"] == best
    shutil.rmtree(copied.out / "students" / "soft_label" / f"seed_{best}")
    assert abkd_jax.load(copied.out).card["seed"] == 1 - best


@pytest.mark.parametrize(
    ("method", "seed", "message"),
    [
        ("abkd", None, "method is abkd, expected one of soft_label"),
        ("my_losses:soft_label", None, "method is my_losses:soft_label, expected soft_label"),
        (None, 7, "seed 7, expected one of 0, 1"),
    ],
)
def test_a_student_that_is_not_there_is_one_line(finished, method, seed, message):
    with pytest.raises(InputError, match=message):
        abkd_jax.load(finished.out, method, seed)


def test_a_folder_without_students_says_who_writes_them(tmp_path):
    with pytest.raises(InputError, match=r"no weights\.safetensors, card\.json|no card\.json, weights\.safetensors"):
        abkd_jax.load(tmp_path)
    with pytest.raises(InputError, match="no students/, expected a run folder"):
        abkd_jax.load(tmp_path, "abkd")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="a run without a student yet, expected one: the same `distill` goes on there"):
        abkd_jax.load(tmp_path)


def test_a_student_is_saved_and_read_elsewhere(finished, tmp_path):
    student = abkd_jax.load(finished.out)
    again = abkd_jax.load(student.save(tmp_path / "mine"))
    assert again.card == student.card
    chex.assert_trees_all_equal(again.parameters, student.parameters)


def test_students_that_are_damaged_are_made_anew(copied, finished, caplog):
    (copied.out / "students" / "soft_label" / "seed_1" / "weights.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(InputError, match=r"weights\.safetensors: other content than card\.json says"):
        abkd_jax.load(copied.out, seed=1)
    pipeline.distill(copied)
    assert files(copied) == files(finished)
    assert "made anew from the checkpoints" in caplog.text


def test_a_run_that_was_finished_before_students_were_kept_gets_them(copied, finished):
    shutil.rmtree(copied.out / "students")
    (copied.out / "digests.json").unlink()
    pipeline.distill(copied)
    assert files(copied) == files(finished)


def test_diverged_students_have_no_folder(finished, copied):
    bundle = abkd_jax.load(finished.out, "soft_label", 0).bundle
    pipeline.keep.keep(copied.out, "soft_label", {0: bundle})  # seed 1 has diverged since
    assert {name.split("/")[2] for name in files(copied)} == {"seed_0"}
