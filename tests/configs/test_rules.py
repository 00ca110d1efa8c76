"""Settings by rule: the recipe of each kind of graph, at its limits too, and what the untuned listed sets have."""

import dataclasses

import pytest

from abkd_jax import datasets
from abkd_jax.configs import names, presets, ranges, rules
from abkd_jax.configs.rules import Facts
from abkd_jax.run import resolve
from abkd_jax.run.identity import DataIdentity, fingerprint, run_digest, settings

SMALL = Facts("node", "classification", nodes=2995, edges=8416, features=2879, outputs=7, train=140)
TYPED = SMALL._replace(level="typed", edge_types=4)
MOLECULES = Facts("graph", "multilabel", 50_000, 110_000, features=9, outputs=2, train=1200, graphs=1500)

# Facts; architecture, layers and width of the teacher, and kind of batches.
CASES = {
    "few labels": (SMALL, ("gcnii", 64, 64, "full")),
    "the last of few labels": (SMALL._replace(train=2_000), ("gcnii", 64, 64, "full")),
    "many labels": (SMALL._replace(train=2_001), ("graphsage", 3, 256, "full")),
    "the most edges of a deep teacher": (SMALL._replace(edges=2**18), ("gcnii", 64, 64, "full")),
    "more edges": (SMALL._replace(edges=2**18 + 1), ("graphsage", 3, 256, "full")),
    "the most nodes of a deep teacher": (SMALL._replace(nodes=5_000), ("gcnii", 64, 64, "full")),
    "few labels on more nodes": (SMALL._replace(nodes=5_001), ("graphsage", 2, 128, "full")),
    "weights, and few labels on more nodes": (SMALL._replace(nodes=5_001, weighted=True), ("gcnii", 64, 64, "full")),
    "several labels": (SMALL._replace(task="multilabel"), ("graphsage", 3, 256, "full")),
    "real targets": (SMALL._replace(task="regression", outputs=1), ("graphsage", 3, 256, "full")),
    "weights and many labels": (SMALL._replace(train=2_001, weighted=True), ("gcn", 3, 256, "full")),
    "weights and few labels": (SMALL._replace(weighted=True), ("gcnii", 64, 64, "full")),
    "edge features": (SMALL._replace(edge_features=3), ("gin", 3, 256, "full")),
    "the most nodes of a whole graph": (SMALL._replace(nodes=200_000, train=9_999), ("graphsage", 3, 256, "full")),
    "more nodes": (SMALL._replace(nodes=200_001, train=9_999), ("graphsage", 3, 256, "neighbours")),
    "edges beyond memory": (SMALL._replace(edges=2**22 + 1), ("graphsage", 3, 256, "neighbours")),
    "typed": (TYPED, ("rgcn", 2, 64, "full")),
    "typed, large": (TYPED._replace(nodes=200_001), ("rgcn", 2, 64, "walks")),
    "graphs of classes": (MOLECULES._replace(task="classification"), ("gin", 5, 64, "graphs")),
    "graphs of labels": (MOLECULES, ("gin", 5, 128, "graphs")),
    "graphs of targets": (MOLECULES._replace(task="regression"), ("gin", 5, 128, "graphs")),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule_of_each_kind_of_graph(case):
    facts, expected = CASES[case]
    chosen = rules.preset(facts)
    model = chosen.teacher.model
    assert (model.name, model.layers, model.hidden, chosen.batches.kind) == expected
    assert (chosen.student.layers, chosen.student.hidden) < (model.layers, model.hidden)
    assert f"{model.layers} x {model.hidden} to {chosen.student.layers} x {chosen.student.hidden}" in rules.reason(
        facts
    )
    assert f"{facts.train:,} for training" in rules.reason(facts)
    if chosen.batches.kind == "neighbours":
        assert len(chosen.batches.fan_outs) == model.layers


@pytest.mark.parametrize("name", ["mine.npz", "heco_mine.npz", "ogbg-mine.npz", "tu:heco_mine"])
def test_a_set_outside_the_list_has_the_rules_whatever_its_name(name):
    assert presets.preset(name, SMALL) == rules.preset(SMALL)
    assert presets.preset(name).teacher.model.name == "gcnii"


@pytest.mark.parametrize("case", CASES)
def test_every_rule_makes_a_run(case):
    run = presets.distill_config("my/own.npz", CASES[case][0])
    resolve.resolve(run)
    numbers = dataclasses.asdict(run.teacher.optim) | dataclasses.asdict(run.student)
    assert all(ranges.RANGES[name].holds(value) for name, value in numbers.items() if isinstance(value, float))


@pytest.mark.parametrize("name", ["cora_ml", "amazon_photo", "coauthor_cs", "acm", "proteins", "aifb", "heco_freebase"])
def test_rules_give_untuned_listed_sets_the_settings_that_they_have(data_root, name):
    if not datasets.paths(name, data_root)[0].is_file():
        pytest.skip(f"no {name} below {data_root}")
    facts = datasets.facts(name, data_root)
    assert dataclasses.replace(presets.distill_config("my/own.npz", facts), dataset=name) == presets.distill_config(
        name
    )


@pytest.mark.parametrize("name", ["cora_ml", "amazon_photo", "coauthor_cs"])
def test_a_listed_set_by_path_is_the_same_data_under_the_same_settings(data_root, tmp_path, name):
    if not datasets.paths(name, data_root)[0].is_file():
        pytest.skip(f"no {name} below {data_root}")
    listed = datasets.load(name, data_root, 1)
    path = str(datasets.save_npz(listed, tmp_path / f"{name}.npz"))
    config = presets.distill_config(path, datasets.facts(path))
    own = datasets.load(path)
    assert dataclasses.replace(config, dataset=name) == presets.distill_config(name)
    identities = [DataIdentity(data.name, fingerprint(data), {}) for data in (listed, own)]
    assert identities[0] == identities[1]
    assert settings(config) == settings(presets.distill_config(name))
    assert run_digest(config) != run_digest(presets.distill_config(name))


def test_listed_sets_do_not_follow_rules():
    many = SMALL._replace(train=50_000)
    for name in names.DATASETS:
        assert presets.distill_config(name, many) == presets.distill_config(name)
    assert presets.teacher("planetoid:citeseer") == presets.teacher("citeseer")


def test_facts_are_loaded_once(monkeypatch, tmp_path):
    reads = []
    read = datasets.READERS["synthetic"].load
    monkeypatch.setattr(datasets.READERS["synthetic"], "load", lambda *given: reads.append(given) or read(*given))
    facts = datasets.facts("synthetic", tmp_path, 1)
    assert facts._replace(edges=0) == Facts("node", "classification", 300, 0, features=32, outputs=3, train=60)
    first, second = datasets.load("synthetic", tmp_path, 1), datasets.load("synthetic", tmp_path, 1)
    assert len(reads) == 2  # what was kept was given away
    assert facts.edges == first.senders.size == second.senders.size
    datasets.facts("synthetic", tmp_path, 1)
    assert datasets.load("synthetic", tmp_path, 2).source == first.source
    assert len(reads) == 4  # another split is another set
