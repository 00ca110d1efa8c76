import logging
import shutil

import numpy as np
import pytest

from abkd_jax import datasets
from abkd_jax.datasets.checks import published
from abkd_jax.types import InputError

NOT_FROM_HERE = {"digits", "synthetic"}


def test_every_file_of_every_set_has_a_checksum(tmp_path):
    names = [name for name in datasets.names() if name not in NOT_FROM_HERE and not name.startswith("ogb")]
    assert set(published.TOTALS) == set(names)
    for name in names:
        for path in datasets.paths(name, tmp_path):
            assert len(published.CHECKSUMS[path.relative_to(tmp_path).as_posix()]) == 64


@pytest.mark.parametrize("name", ["citeseer", "acm", "heco_acm_40", "heco_freebase_60", "aifb", "mutag"])
def test_published_files_are_taken_without_a_word(data_root, caplog, name):
    assert "differ" not in datasets.load(name, data_root, seed=4).source
    assert not caplog.records


@pytest.fixture
def copied(data_root, tmp_path):
    shutil.copytree(data_root / "tu" / "MUTAG", tmp_path / "tu" / "MUTAG")
    return tmp_path


def test_other_content_with_the_same_totals_is_said(copied, caplog):
    path = copied / "tu" / "MUTAG" / "MUTAG_node_labels.txt"
    path.chmod(0o600)
    path.write_text("6" + path.read_text()[1:])
    with caplog.at_level(logging.WARNING):
        dataset = datasets.load("mutag", copied)
    assert dataset.source.endswith("drawn with seed 0; files differ from the published ones: MUTAG_node_labels.txt")
    assert [record.getMessage() for record in caplog.records] == [
        f"mutag: the content of MUTAG_node_labels.txt in {path.parent} is not the published one"
    ]


def test_other_totals_are_refused_with_both_numbers(copied):
    path = copied / "tu" / "MUTAG" / "MUTAG_graph_labels.txt"
    path.chmod(0o600)
    path.write_text("7" + path.read_text()[1:])
    with pytest.raises(InputError, match=r"^mutag: 3 classes \(published: 2\); expected the files as published") as no:
        datasets.load("mutag", copied)
    assert "\n" not in str(no.value)


def test_every_published_total_is_one_that_is_counted(tiny, typed, graphs):
    counted = set().union(*map(published.totals_of, (tiny, typed, graphs)))
    assert {what for totals in published.TOTALS.values() for what in totals} <= counted


def test_all_totals_that_differ_are_named_in_one_line():
    found = {"nodes": 1234, "edges": 5, "bonds": 6, "classes": 7}
    with pytest.raises(InputError) as refusal:
        published.check_totals("here", found, {"nodes": 4321, "edges": 5, "bonds": 8}, "others")
    assert str(refusal.value) == "here: 1,234 nodes (published: 4,321), 6 bonds (published: 8); expected others"
    published.check_totals("here", found, {"nodes": 1234, "relations": 2}, "others")


def test_totals_of_one_graph(tiny):
    both_ways = tiny._replace(
        senders=np.array([0, 1, 0, 3, 4], np.int32), receivers=np.array([1, 0, 1, 3, 2], np.int32)
    )
    found = published.totals_of(both_ways)  # 0-1 three times, a loop, 2-4
    assert (found["nodes"], found["edges"], found["features"], found["classes"]) == (6, 2, 3, 2)
    assert (found["training"], found["validation"], found["test"]) == (2, 1, 2)


def test_totals_of_typed_graphs_and_of_many(typed, graphs):
    found = published.totals_of(typed)
    assert (found["nodes"], found["edges"], found["relations"]) == (6, 5, 2)
    found = published.totals_of(graphs)
    assert (found["graphs"], found["nodes"], found["edges"], found["classes"]) == (4, 8, 8, 3)
