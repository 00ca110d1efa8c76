from pathlib import Path

import numpy as np
import pytest

from abkd_jax import datasets
from abkd_jax.types import InputError

ONE_TYPE = ("digits", "synthetic", "cora", "citeseer", "pubmed", "cora_ml", "amazon_photo", "coauthor_cs", "acm")
HECO = tuple(f"heco_{name}{labels}" for name in ("acm", "freebase") for labels in ("", "_40", "_60"))
MOLECULES = ("bace", "bbbp", "clintox", "sider", "tox21", "toxcast", "hiv", "chembl", "esol", "freesolv", "lipo")
OGB = ("ogbn-arxiv", "ogbn-mag", *(f"ogbg-mol{name}" for name in MOLECULES))
NAMES = (*ONE_TYPE, *HECO, "aifb", "mutag", "proteins", *OGB)


def test_names():
    assert datasets.names() == NAMES


@pytest.mark.parametrize(
    ("typo", "nearest"), [("coar", "cora"), ("Citeseer", "citeseer"), ("amazon-photos", "amazon_photo")]
)
def test_an_unknown_name_gets_the_nearest_and_the_list(typo, nearest):
    with pytest.raises(InputError, match=f"no data set '{typo}'; did you mean '{nearest}'") as refusal:
        datasets.load(typo)
    assert all(name in str(refusal.value) for name in NAMES)


def test_a_name_like_no_other_gets_the_list_alone():
    with pytest.raises(InputError, match="no data set 'reddit'; Known: digits"):
        datasets.load("reddit")


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [("tu:MUTAGG", "tu:MUTAG"), ("gnn_benchmark:acmm", "gnn_benchmark:acm"), ("tu:parrs", "tu:Pairs")],
)
def test_a_layout_without_such_files_gets_the_nearest_name_that_it_has(tmp_path, typo, nearest):
    (tmp_path / "tu" / "Pairs").mkdir(parents=True)
    (tmp_path / "tu" / "Pairs" / "Pairs_A.txt").touch()
    with pytest.raises(InputError, match=rf"missing; put the .*; did you mean '{nearest}'\?$"):
        datasets.load(typo, tmp_path)


def test_files_that_are_there_in_part_and_names_like_no_other_get_no_other_name(tmp_path):
    (tmp_path / "tu" / "MUTAGG").mkdir(parents=True)
    (tmp_path / "tu" / "MUTAGG" / "MUTAGG_A.txt").touch()
    for name in ("tu:MUTAGG", "heterophilous:mines"):
        with pytest.raises(InputError, match="missing; put the") as refusal:
            datasets.load(name, tmp_path)
        assert "did you mean" not in str(refusal.value)


def test_a_path_object_is_a_path(tmp_path, tiny):
    path = datasets.save_npz(tiny, tmp_path / "mine.npz")
    assert datasets.paths(path) == (path,)
    assert datasets.short_name(path) == "mine"
    assert datasets.facts(path) == datasets.facts(str(path))
    np.testing.assert_array_equal(datasets.load(path).labels, tiny.labels)


@pytest.mark.parametrize("seed", [-1, 1.5, 2.0, "1", None])
@pytest.mark.usefixtures("unchecked")
def test_a_seed_is_a_whole_number_that_is_not_negative(seed):
    with pytest.raises(InputError) as refusal:
        datasets.load("synthetic", seed=seed)
    assert str(refusal.value) == f"synthetic: seed is {seed!r}; expected a whole number that is not negative"


@pytest.mark.usefixtures("unchecked")
def test_a_seed_of_numpy_is_a_seed():
    np.testing.assert_array_equal(
        datasets.load("synthetic", seed=np.int64(3)).features, datasets.load("synthetic", seed=3).features
    )


@pytest.mark.parametrize("name", ["digits", "synthetic", "cora", "acm", "heco_acm", "aifb", "mutag", "ogbg-molbace"])
def test_a_reader_gets_name_root_and_seed_and_what_it_reads_is_compared(monkeypatch, tmp_path, tiny, name):
    loaded, verified, reader = [], [], datasets.READERS[name]
    monkeypatch.setattr(reader, "load", lambda *arguments: loaded.append(arguments) or tiny)
    monkeypatch.setattr(datasets, "verify", lambda dataset, *arguments: verified.append(arguments) or dataset)
    assert datasets.load(name, tmp_path, 7) is tiny
    assert loaded == [(name, tmp_path, 7)]
    assert verified == [(tmp_path, datasets.paths(name, tmp_path))]


def test_every_result_is_checked(monkeypatch, tiny):
    broken = tiny._replace(num_classes=1)
    monkeypatch.setattr(datasets.digits, "load", lambda name, root, seed: broken)
    with pytest.raises(InputError, match="tiny: num_classes is 1"):
        datasets.load("digits")


def test_data_root_is_the_argument_then_the_environment_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ABKD_JAX_DATA", str(tmp_path / "environment"))
    assert datasets.data_root(tmp_path) == tmp_path
    assert datasets.data_root(str(tmp_path)) == tmp_path
    assert datasets.data_root() == tmp_path / "environment"
    monkeypatch.delenv("ABKD_JAX_DATA")
    assert datasets.data_root() == Path.home() / ".cache" / "abkd_jax"


def test_describe_says_what_is_there(tmp_path):
    (tmp_path / "gnn_benchmark").mkdir()
    (tmp_path / "gnn_benchmark" / "acm.npz").touch()
    (tmp_path / "planetoid").mkdir()
    (tmp_path / "planetoid" / "ind.cora.graph").touch()
    listing = {row["name"]: row for row in datasets.describe(tmp_path)}
    assert tuple(listing) == NAMES
    assert all(row["description"] and "\n" not in row["description"] for row in listing.values())
    assert (listing["digits"]["folder"], listing["digits"]["missing"]) == (None, [])
    assert (listing["acm"]["folder"], listing["acm"]["missing"]) == (tmp_path / "gnn_benchmark", [])
    assert listing["cora_ml"]["missing"] == ["cora_ml.npz"]
    assert len(listing["cora"]["missing"]) == 6
    assert "ind.cora.graph" not in listing["cora"]["missing"]
