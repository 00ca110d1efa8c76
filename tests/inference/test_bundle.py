"""Bundles: what is read back is what was written, and what is damaged is refused in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from export_samples import graph_level
from problem_samples import typed_dataset

from abkd_jax import InputError, datasets, graph, models
from abkd_jax.configs.options import ModelConfig
from abkd_jax.inference import bundle


@pytest.fixture(scope="module")
def trained() -> bundle.Bundle:
    data, config = datasets.load("synthetic"), ModelConfig("gcn", layers=2, hidden=4, norm="batch")
    model = models.build(config, data.num_classes)
    variables = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0), graph.from_dataset(data)))
    inputs = bundle.inputs_of(data)
    return bundle.Bundle(config, inputs, 3, "classification", variables, ("a", "b", "c"), {"seed": 4})


def test_a_bundle_is_read_as_it_was_written(trained: bundle.Bundle, tmp_path: Path):
    found = bundle.load(bundle.save(trained, tmp_path / "student"))
    chex.assert_trees_all_equal(found.variables, trained.variables)
    assert (found.config, found.inputs, found.classes, found.card) == (
        trained.config,
        trained.inputs,
        trained.classes,
        trained.card,
    )


def _cut(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def _other_weights(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")


def _change(**entries: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return change


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut weights": (_cut, "other content than card.json says"),
    "other weights": (_other_weights, "other content than card.json says"),
    "no weights": (lambda folder: (folder / "weights.safetensors").unlink(), "no weights.safetensors, expected"),
    "no card": (lambda folder: (folder / "card.json").unlink(), "no card.json, expected a folder of a model"),
    "half a card": (lambda folder: (folder / "card.json").write_text('{"format": 1,'), "card.json"),
    "a later format": (_change(format=2), "format 1"),
    "an unknown option": (_change(config={"name": "gcn", "width": 3}), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused(damage: str, trained: bundle.Bundle, tmp_path: Path):
    break_it, message = DAMAGES[damage]
    break_it(bundle.save(trained, tmp_path))
    with pytest.raises(InputError, match=message) as caught:
        bundle.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_features_of_edges_are_expected_by_the_models_that_read_them(trained: bundle.Bundle, tmp_path: Path):
    categories = graph_level(0, (3, 5))
    numbers = categories._replace(edge_features=categories.edge_features.astype(np.float32), edge_vocabulary=())
    every = bundle.inputs_of(categories)
    assert every == bundle.inputs_of(categories, "gin") == bundle.inputs_of(categories, "mine:model")
    assert bundle.load(bundle.save(replace(trained, inputs=every), tmp_path)).inputs == every  # as they were once saved
    without = replace(every, edge_features=0, edge_vocabulary=())
    for name, of_categories in (("gcn", without), ("mlp", without), ("gat", without), ("gin", every)):
        assert bundle.inputs_of(categories, name) == of_categories
        assert bundle.inputs_of(numbers, name).edge_features == (name in ("gat", "gin"))


def test_the_labelled_node_type_is_in_the_card_where_there_is_one(trained: bundle.Bundle, tmp_path: Path):
    data = typed_dataset()
    assert data.schema is not None
    assert data.node_types is not None
    names = np.asarray(data.schema.node_types)[data.node_types]
    for labels, name in (
        (np.where(names == "author", 1, -1), "author"),
        (np.where(names == "author", 1.0, np.nan)[:, None], "author"),
        (np.zeros(len(names), int), None),
        (np.full(len(names), -1), None),
    ):
        inputs = bundle.inputs_of(data._replace(labels=labels))
        assert inputs.labelled == name
        assert ("labelled" in bundle.described_inputs(inputs)) == (name is not None)
        folder = bundle.save(replace(trained, inputs=inputs), tmp_path)
        assert bundle.load(folder).inputs == inputs
