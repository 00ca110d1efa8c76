"""Identities on the disks of users: whole-graph models of 68f2c12 and ff69216 are found again, by the same digests."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import scipy.sparse as sp

from abkd_jax import datasets
from abkd_jax.configs.methods import FURTHER, with_methods, with_named
from abkd_jax.configs.options import BatchConfig, ModelConfig
from abkd_jax.configs.presets import distill_config
from abkd_jax.datasets import validate
from abkd_jax.datasets.neutral.graph_level import graph_dataset
from abkd_jax.graph import from_dataset
from abkd_jax.run.identity import (
    DataIdentity,
    config_dict,
    digest,
    fingerprint,
    read_method,
    run_digest,
    settings,
    source_of,
    student_identity,
    teacher_identity,
    training_version,
)
from abkd_jax.run.plan import run_path
from abkd_jax.run.resolve import resolve
from abkd_jax.types import GraphDataset, Schema
from experiments.configs.citation import plainly_started

CONFIG = plainly_started("cora")  # as all runs were that are stored
WHOLE = DataIdentity("cora", "0123456789abcdef", {})
WALKS = WHOLE._replace(batches={"kind": "walks", "size": 8})


def test_a_stored_teacher_keeps_its_folder():
    """`cora/2f92620b2d7b/seed_3` is also what 68f2c12 called it."""
    assert digest(teacher_identity(WHOLE, CONFIG.teacher, 3)).startswith("2f92620b2d7b3a891e53a44169006a20")


def student(data, seeds, name):
    method = getattr(CONFIG, name)
    return student_identity(data, seeds, source_of(CONFIG), name, method, method.student or CONFIG.student)


def test_stored_students_keep_their_identity():
    expected = "680986f1e8bee82c500b11746a8dd0c6d75f88f5710b78666c14691e19ef876b"
    assert digest(student(WHOLE, [0, 1], "abkd")) == expected


def test_models_on_minibatches_of_before_are_not_found():
    """The same settings draw other batches now; but for the version their identity is what it was."""
    for identity, before in (
        (teacher_identity(WALKS, CONFIG.teacher, 0), "80ed31c46a57bdb7e4c785755ba53110"),
        (student(WALKS, [2], "glnn"), "221e968957b00ea91b4158891a129506"),
    ):
        assert not digest(identity).startswith(before)
        assert identity.pop("training") == 2
        assert digest(identity).startswith(before)


def test_batches_of_other_kinds_keep_their_version():
    versions = [training_version(WHOLE._replace(batches={"kind": kind})) for kind in ("neighbours", "graphs", "walks")]
    assert [training_version(WHOLE), *versions] == [1, 4, 2, 2]


def test_a_stored_run_keeps_its_folder_and_its_settings():
    assert run_digest(CONFIG) == "08b8f0e5"
    written = json.dumps(settings(CONFIG)).encode()  # in this order, as config.json holds them
    assert hashlib.sha256(written).hexdigest() == "41b00e59a1134ed12770a07b5530d3a47deadf89e8498e8660779173ee1d8305"


def test_options_of_models_are_described_where_they_are_used():
    """Models that were trained before an option existed are found again: its default is left out."""
    plain = {"name": "gcnii", "layers": 64, "hidden": 64, "dropout": 0.6, "alpha": 0.1, "lam": 0.5}
    assert config_dict(ModelConfig()) == plain
    assert config_dict(ModelConfig(norm="batch")) == plain | {"norm": "batch"}
    run = CONFIG
    written = config_dict(run)
    assert written["student"] == plain | {"layers": 4, "hidden": 4, "dropout": 0.0}
    assert written["teacher"] == {"model": plain, "optim": dataclasses.asdict(run.teacher.optim)}
    outside = {"teacher_outputs", "teacher_weights", "teacher_ensemble"}
    assert written.keys() == dataclasses.asdict(run).keys() - {"batches"} - outside
    sampled = dataclasses.replace(run, batches=BatchConfig(kind="walks"))
    assert config_dict(sampled)["batches"]["kind"] == "walks"
    assert "per_step" not in config_dict(sampled)["batches"]
    assert config_dict(BatchConfig(kind="walks", per_step=8))["per_step"] == 8


def test_losses_of_the_package_that_are_named_leave_a_run_its_folder():
    """So that they extend a run; at other settings, or from outside the package, they make another one."""
    plain = resolve(distill_config("cora"))
    named = resolve(dataclasses.replace(distill_config("cora"), methods=("soft_label", *FURTHER)))
    assert run_digest(named) == run_digest(plain)
    assert settings(named).keys() - settings(plain).keys() == set(FURTHER)
    changed = dataclasses.replace(named, krd=dataclasses.replace(named.krd, auxiliary_weight=0.5))
    own = resolve(dataclasses.replace(distill_config("cora"), methods=("abkd_jax.distill:output_error",)))
    assert len({run_digest(plain), run_digest(changed), run_digest(own)}) == 3


@pytest.mark.parametrize("name", ["abkd", "glnn", "krd", "own"])
def test_methods_are_read_back_as_they_were_written_down(name):
    own = dataclasses.replace(distill_config("cora").abkd, auxiliary="abkd_jax.distill:krd", auxiliary_weight=2.0)
    run = with_methods(with_named(distill_config("cora"), ["krd"]), {"own": own})
    written = json.loads(json.dumps(config_dict(getattr(run, name))))
    assert ("auxiliary_source" in written) == (name == "own")
    assert read_method({**written, "option_of_later": 3}) == getattr(run, name)


def test_devices_change_no_number():
    sharded = dataclasses.replace(CONFIG, mesh=("seeds=2",))
    assert run_digest(sharded) == run_digest(CONFIG)
    assert settings(sharded) == settings(CONFIG)


def test_sets_of_one_short_name_have_run_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    sets = ("a/mine.npz", "b/mine.npz", "tu:mine", "gnn_benchmark:mine")
    paths = [run_path(dataclasses.replace(distill_config("synthetic"), dataset=name)) for name in sets]
    assert len(set(paths)) == 4
    assert {path.parent.as_posix() for path in paths} == {"runs/mine"}
    same = dataclasses.replace(distill_config("synthetic"), dataset=f"{tmp_path}/b/../a/mine.npz")
    assert run_path(same) == paths[0]
    assert settings(same)["dataset"] == "mine"


def variants():
    """Pairs of data sets whose arrays have the same bytes; the first of each is what these suggest."""
    plain = datasets.load("synthetic")
    values = np.linspace(0.5, 2.0, plain.senders.size, dtype=np.float32)
    weighted = plain._replace(edge_weights=values)
    kinds = {"node_types": np.repeat(np.arange(2, dtype=np.int32), 150)}
    crosses = kinds["node_types"][plain.senders] != kinds["node_types"][plain.receivers]
    names = {"schema": Schema(("a", "b"), ("within", "between"), (0, 2)), "relations": crosses.astype(np.int32)}
    typed = plain._replace(**kinds, **names)
    several = typed._replace(schema=typed.schema._replace(reverses=(2, 3)))
    numbers = np.arange(6)
    graphs = graph_dataset(
        {"features": np.ones((6, 2)), "edges": np.zeros((1, 2), int), "graph_ids": numbers, "labels": numbers % 2}
        | {"split": numbers % 3},
        "graphs",
        "made up",
        seed=0,
    )
    sparse = plain._replace(features=sp.csr_matrix(np.maximum(plain.features, 0)))
    wider = sparse._replace(features=sp.hstack([sparse.features, sp.csr_matrix((300, 1), dtype=np.float32)], "csr"))
    return {
        "features of edges": (weighted, plain._replace(edge_features=values[:, None])),
        "reverses": (typed, several),
        "classes": (plain, plain._replace(num_classes=4)),
        "columns": (sparse, wider),
        "outputs": (graphs, graphs._replace(num_outputs=3)),
    }


@pytest.mark.parametrize("name", ["features of edges", "reverses", "classes", "columns", "outputs"])
def test_data_of_the_same_bytes_has_other_fingerprints_and_the_usual_one_that_of_before(name):
    usual, other = (dataset if isinstance(dataset, GraphDataset) else validate(dataset) for dataset in variants()[name])
    parts = [part for key, part in usual._asdict().items() if key != "node_ids"]
    sparse = [(p.indptr, p.indices, p.data) if sp.issparse(p) else (p,) for p in parts if not np.isscalar(p)]
    arrays = [array.tobytes() for of_part in sparse for array in of_part if isinstance(array, np.ndarray)]
    assert fingerprint(usual) == hashlib.sha256(b"".join(arrays)).hexdigest()[:16]
    assert fingerprint(other) != fingerprint(usual)


def test_reverses_that_no_model_reads_and_those_of_one_node_type_keep_their_fingerprint():
    usual, other = variants()["reverses"]
    directed = [fingerprint(dataset._replace(directed=True)) for dataset in (usual, other)]
    assert directed[0] == directed[1] != fingerprint(usual)
    one = usual._replace(node_types=np.zeros(300, np.int32))
    new, own = (one._replace(schema=Schema(("a",), ("r", "s"), reverses)) for reverses in ((2, 3), (0, 1)))
    unnamed = new._replace(schema=None)  # of the same arrays
    assert fingerprint(new) == fingerprint(unnamed) != fingerprint(own)


def test_a_fingerprint_does_not_depend_on_the_order_of_sparse_entries():
    dense = np.array([[0.0, 2.0, 3.0], [1.0, 0.0, 0.0]] * 150, np.float32)
    ordered = sp.csr_matrix(dense)
    entries = np.array([1, 0, 2] * 150)  # of a row of two entries the second comes first
    mixed = sp.csr_matrix((ordered.data[_swapped(entries)], ordered.indices[_swapped(entries)], ordered.indptr))
    data = datasets.load("synthetic")
    assert not mixed.has_sorted_indices
    assert fingerprint(data._replace(features=mixed)) == fingerprint(data._replace(features=ordered))
    from_dataset(data._replace(features=mixed))
    assert not mixed.has_sorted_indices  # nothing of the data set has changed


def _swapped(entries: np.ndarray) -> np.ndarray:
    return np.arange(entries.size) // 3 * 3 + entries
