"""Candidates of one tuning: those that diverged come last and are stored as unknown."""

from types import SimpleNamespace

import numpy as np

from abkd_jax.configs.options import MethodConfig
from abkd_jax.datasets.files.atomic import read_json
from experiments import tune


def test_a_candidate_that_diverged_comes_last_and_its_file_is_read_again(tmp_path, monkeypatch, capsys):
    scores = {"a": 0.8, "b": np.nan, "c": 0.9, "d": 0.85, "e": 0.95}

    def train(data, job, teacher, programs):
        diverged = np.array([[False, job.name in "be"]])  # a student that stopped has a score of before
        return SimpleNamespace(
            history={"val_accuracy": np.array([[0.5, 0.5], [scores[job.name]] * 2]), "diverged": diverged}
        )

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tune, "grid", lambda dataset: {name: MethodConfig() for name in scores})
    monkeypatch.setattr(tune, "prepare_data", lambda *_: SimpleNamespace(summary={}))
    monkeypatch.setattr(tune, "as_teacher", lambda *_: None)
    monkeypatch.setattr(tune, "train_students", train)
    tune.main(tune.Args("cora", seeds=2))
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert names == ["c", "d", "a", "b", "e"]
    stored = read_json(tmp_path / "experiments/results/tuning_cora.json")["candidates"]
    assert [stored[name]["validation"] for name in names] == [90.0, 85.0, 80.0, None, None]
