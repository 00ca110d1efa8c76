"""Folders of exported models: what is damaged, or does not fit the model, is refused in one line."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_samples import bundle_of, exported, graphs_of, student_logits

from abkd_jax import InputError
from abkd_jax.inference.export import stablehlo
from abkd_jax.inference.export.arguments import arrays_of
from abkd_jax.inference.export.artefact import Artefact, write_artefacts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefact")
    content = exported(bundle_of("gcn"))
    write_artefacts(folder, bundle_of("gcn"), {"model.stablehlo": (content, {"precision": "float32"})})
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Artefact:
    return stablehlo.load(folder / "model.stablehlo")


def test_it_is_read_as_it_was_written(model: Artefact):
    bundle, data = bundle_of("gcn"), graphs_of("gcn")[0]
    assert (model.inputs, model.outputs, model.task) == (bundle.inputs, bundle.outputs, bundle.task)
    assert (model.card["name"], model.card["export"]["precision"]) == ("gcn", "float32")
    found = model.predict(arrays_of(data, model.inputs))
    np.testing.assert_allclose(found["logits"], student_logits("gcn", data), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.predict(data)["logits"], found["logits"])
    assert len(repr(model)) < 1000  # of the program nothing


def test_a_graph_without_edges_is_one(model: Artefact):
    data = graphs_of("gcn")[0]
    data = data._replace(**{name: getattr(data, name)[:0] for name in ("senders", "receivers", "edge_weights")})
    found = model.predict(arrays_of(data, model.inputs))
    np.testing.assert_allclose(found["logits"], student_logits("gcn", data), rtol=1e-5, atol=1e-6)
    without = data._replace(edge_weights=None)  # as converters make it
    np.testing.assert_array_equal(model.predict(without)["logits"], found["logits"])
    np.testing.assert_array_equal(student_logits("gcn", without), student_logits("gcn", data))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _other_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def _card(**entries: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        card = path.with_name("card.json")
        card.write_text(json.dumps(json.loads(card.read_text()) | entries))

    return change


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (_cut, "other content than card.json says"),
    "other bytes": (_other_bytes, "other content than card.json says"),
    "empty": (lambda path: path.write_bytes(b""), "other content than card.json says"),
    "missing": (Path.unlink, "no model.stablehlo, expected a folder that export has written"),
    "no card": (lambda path: path.with_name("card.json").unlink(), "no card.json, expected a folder"),
    "half a card": (lambda path: path.with_name("card.json").write_text('{"format": 1,'), "damaged"),
    "a later format": (_card(format=2), "format 1"),
    "a card of another file": (_card(files={}), "expected a description of model.stablehlo"),
    "inputs of another kind": (_card(inputs={"features": 3}), "is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artefact_is_refused(damage: str, folder: Path, tmp_path: Path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    break_it, message = DAMAGES[damage]
    break_it(tmp_path / "model.stablehlo")
    with pytest.raises(InputError, match=message) as caught:
        stablehlo.load(tmp_path / "model.stablehlo")
    assert "\n" not in str(caught.value)


Arrays = Mapping[str, np.ndarray]
MISFITS: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "another width": (lambda a: {**a, "features": a["features"][:, :4]}, r"features have shape \(12, 4\), expected 5"),
    "a vector of features": (lambda a: {**a, "features": a["features"][:, 0]}, r"shape \(12,\), expected \(n, 5\)"),
    "an edge too far": (lambda a: {**a, "senders": a["senders"] + 2}, "senders: entry .* is 1., expected 0 to 11"),
    "a negative end": (lambda a: {**a, "receivers": a["receivers"] - 1}, "is -1, expected 0 to 11"),
    "ends of two lengths": (lambda a: {**a, "receivers": a["receivers"][1:]}, "expected 30 along axis 0"),
    "real ends": (lambda a: {**a, "senders": a["senders"] + 0.5}, "senders hold float64, expected int32"),
    "text": (lambda a: {**a, "features": a["features"].astype(str)}, "features hold <U.*, expected float32"),
    "large ends": (lambda a: {**a, "senders": a["senders"].astype(np.int64) + 2**40}, "numbers outside of int32"),
    "no numbers": (lambda a: {**a, "features": a["features"] * np.nan}, "features hold NaN or infinite values"),
    "no receivers": (lambda a: {k: v for k, v in a.items() if k != "receivers"}, "takes features, senders, receivers"),
    "relations": (lambda a: {**a, "relations": a["senders"]}, "takes features, senders, receivers, edge_weights, got"),
    "no names": (lambda a: list(a.values()), "^predict: a list, expected a data set or arrays by name$"),
    "no nodes": (lambda a: {k: v[:0] for k, v in a.items()}, "features have no rows, expected at least one"),
}  # fmt: skip


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_graph_that_does_not_fit_is_refused(misfit: str, model: Artefact):
    change, message = MISFITS[misfit]
    with pytest.raises(InputError, match=message) as caught:
        model.predict(change(arrays_of(graphs_of("gcn")[0], model.inputs)))
    assert "\n" not in str(caught.value)


def test_types_and_categories_out_of_range_are_refused():
    for name, array, message in (
        ("rgcn", "relations", "relations: entry 0 is 9, expected 0 to 1"),
        ("rgcn", "node_types", "node_types: entry 0 is 9, expected 0 to 1"),
        ("gin_graphs", "edge_features", "edge_features, column 0: entry 0 is 9, expected 0 to 2"),
        ("gin_graphs", "n_node", "n_node adds up to 18, expected 12"),
    ):
        bundle = bundle_of(name)
        artefact = Artefact(Path("x"), bundle.inputs, bundle.outputs, bundle.task, (), lambda *_: {})
        arrays = {key: value.copy() for key, value in arrays_of(graphs_of(name)[0], bundle.inputs).items()}
        artefact.predict(arrays)
        arrays[array][:1] = 9
        with pytest.raises(InputError, match=message):
            artefact.predict(arrays)


def test_a_second_program_joins_those_of_the_same_model_alone(folder: Path, tmp_path: Path):
    bundle = bundle_of("gcn")
    for name in ("model.stablehlo", "model.int8.stablehlo"):
        write_artefacts(tmp_path, bundle, {name: (name.encode(), {})})
    assert set(json.loads((tmp_path / "card.json").read_text())["files"]) == {"model.stablehlo", "model.int8.stablehlo"}
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(InputError, match="it holds another model"):
        write_artefacts(tmp_path, dataclasses.replace(bundle, card={"name": "other"}), {"x.onnx": (b"", {})})
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_artefacts(tmp_path / "file" / "folder", bundle_of("gcn"), {"model.onnx": (b"", {})})
