"""Bundles: the weights of a trained model with everything that predicting needs, in a folder without a run."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from abkd_jax.configs.options import ModelConfig
from abkd_jax.datasets.files.atomic import as_json, read_json, write_atomic
from abkd_jax.datasets.files.locations import expanded
from abkd_jax.graph.host import target_mask
from abkd_jax.models import build
from abkd_jax.models.build import READ_EDGE_FEATURES, READ_WEIGHTS
from abkd_jax.outside import is_outside
from abkd_jax.types import Dataset, GraphDataset, InputError, Pytree, Schema, TaskName, shape_of

__all__ = [
    "FILES",
    "Bundle",
    "Inputs",
    "contents",
    "described_inputs",
    "inputs_of",
    "load",
    "model_of",
    "parsed_inputs",
    "save",
]

FILES = WEIGHTS, CARD = "weights.safetensors", "card.json"
FORMAT = 1
NAMES = ("labelled", "columns", "edge_columns")  # entries of the inputs that are there where there are such names
DESCRIBED = (
    "format",
    "config",
    "inputs",
    "outputs",
    "task",
    "classes",
    "weights_sha256",
)  # entries of a card that are fields


@dataclass(frozen=True)
class Inputs:
    """What a model expects of a graph.

    Attributes:
        features: width of the node features.
        row_normalised: whether the model was trained on features whose rows were divided by their sums.
        directed: whether edges have the direction of the list; else the reverse edges are added. In both cases
            repeated edges are merged and loops removed.
        edge_weights: whether edges had weights.
        edge_features: width of the edge features; 0 without.
        schema: types of a heterogeneous graph, or None.
        embeddings: number of nodes without features, whose vectors are learned: such a model knows its own graph alone.
        vocabulary: number of categories per column of the node features; `()` where they are real numbers.
        edge_vocabulary: likewise of the edge features.
        graph_level: whether the logits are those of graphs.
        labelled: name of the one node type of `schema` that had labels; None where several had, or it is not known.
        columns: names of the columns of the node features; `()` where they had none: they are told by position.
        edge_columns: likewise of the edge features.
    """

    features: int
    row_normalised: bool = False
    directed: bool = False
    edge_weights: bool = False
    edge_features: int = 0
    schema: Schema | None = None
    embeddings: int = 0
    vocabulary: tuple[int, ...] = ()
    edge_vocabulary: tuple[int, ...] = ()
    graph_level: bool = False
    labelled: str | None = None
    columns: tuple[str, ...] = ()
    edge_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """A trained model that predicts.

    Attributes:
        config: its architecture and sizes.
        inputs: what it expects of a graph.
        outputs: width of the logits.
        task: decides how logits become probabilities.
        classes: names of the classes or targets; `()` where they have none.
        variables: `{"params": ..., "batch_stats": ...}` as flax has them.
        card: everything that is known of its training, JSON-like: data set, split, scores, teacher, versions.
    """

    config: ModelConfig
    inputs: Inputs
    outputs: int
    task: TaskName
    variables: Pytree
    classes: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)


def inputs_of(dataset: Dataset | GraphDataset, model: str | None = None) -> Inputs:
    """Returns what a model that was trained on a data set expects of a graph.

    Args:
        dataset: the data set.
        model: name of the architecture: weights and features of edges that it does not read are not expected; None
            and models of one's own expect all.
    """
    width, edges = shape_of(dataset.features)[1], dataset.edge_features
    unknown = model is None or is_outside(model)
    edge_width = edges.shape[1] if edges is not None and (unknown or model in READ_EDGE_FEATURES) else 0
    if model == "gat" and isinstance(dataset, GraphDataset) and dataset.edge_vocabulary:
        edge_width = 0  # of categories GIN alone has embeddings
    names = {"columns": dataset.columns, "edge_columns": dataset.edge_columns if edge_width else ()}
    if isinstance(dataset, GraphDataset):
        return Inputs(
            width,
            directed=True,  # both directions are in the files
            edge_features=edge_width,
            vocabulary=dataset.vocabulary,
            edge_vocabulary=dataset.edge_vocabulary if edge_width else (),
            graph_level=True,
            **names,
        )
    weighted = dataset.edge_weights is not None and (unknown or model in READ_WEIGHTS)
    return Inputs(
        width,
        row_normalised=dataset.row_normalised,
        directed=dataset.directed,
        edge_weights=weighted,
        edge_features=edge_width,
        schema=dataset.schema,
        embeddings=dataset.num_embeddings,
        labelled=_labelled_type(dataset),
        **names,
    )


def _labelled_type(dataset: Dataset) -> str | None:
    if dataset.schema is None or dataset.node_types is None:
        return None
    kinds = np.unique(dataset.node_types[target_mask(dataset)])
    return dataset.schema.node_types[kinds[0]] if kinds.size == 1 else None


def described_inputs(inputs: Inputs) -> dict[str, Any]:
    """Returns the entry `inputs` of a card, JSON-like."""
    described = dataclasses.asdict(inputs) | {"schema": inputs.schema and inputs.schema._asdict()}
    unsaid = [name for name in NAMES if not described[name]]  # as in cards of before there were names
    return {name: entry for name, entry in described.items() if name not in unsaid}


def parsed_inputs(entry: dict[str, Any]) -> Inputs:
    """Reads the entry `inputs` of a card; a damaged one raises `KeyError`, `TypeError` or `ValueError`."""
    schema = entry["schema"] and Schema(*(tuple(entry["schema"][name]) for name in Schema._fields))
    listed = ("vocabulary", "edge_vocabulary", *(name for name in ("columns", "edge_columns") if name in entry))
    tuples = {name: tuple(entry[name]) for name in listed}
    return Inputs(**entry | {"schema": schema, **tuples})


def model_of(bundle: Bundle) -> nn.Module:
    """Builds the module whose variables a bundle holds.

    Raises:
        InputError: see `models.build`.
    """
    schema = bundle.inputs.schema
    return build(
        bundle.config,
        bundle.outputs,
        relations=1 if schema is None else schema.num_relations,
        node_types=1 if schema is None else len(schema.node_types),
        embeddings=bundle.inputs.embeddings,
        vocabulary=bundle.inputs.vocabulary,
        edge_vocabulary=bundle.inputs.edge_vocabulary,
        edge_features=0 if bundle.inputs.edge_vocabulary else bundle.inputs.edge_features,
    )


def contents(bundle: Bundle) -> dict[str, str | bytes]:
    """Returns what the files of a bundle hold, by name: `weights.safetensors` and `card.json`."""
    weights = safetensors.numpy.save(
        {key: np.asarray(value) for key, value in flatten_dict(bundle.variables, sep="/").items()}
    )
    described = {
        "format": FORMAT,
        "config": dataclasses.asdict(bundle.config),
        "inputs": described_inputs(bundle.inputs),
        "outputs": bundle.outputs,
        "task": bundle.task,
        "classes": bundle.classes,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        **bundle.card,
    }
    return {WEIGHTS: weights, CARD: as_json(described, indent=1)}


def save(bundle: Bundle, folder: str | Path) -> Path:
    """Writes `weights.safetensors` and `card.json` into a folder, which is made; returns the folder.

    Raises:
        InputError: the folder cannot be written.
    """
    folder, files = expanded(folder), contents(bundle)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomic(folder / name, content)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error
    return folder


def load(folder: str | Path) -> Bundle:
    """Reads a bundle back.

    Raises:
        InputError: the folder holds no bundle, or one that is damaged or of a later format.
    """
    card_path, weights_path = Path(folder) / CARD, Path(folder) / WEIGHTS
    missing = [path.name for path in (card_path, weights_path) if not path.is_file()]
    if missing:
        raise InputError(f"{folder}: no {', '.join(missing)}, expected a folder of a model, as students/abkd/seed_0")
    card, content = read_json(card_path), weights_path.read_bytes()
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError(f"{card_path}: expected the description of a model, format {FORMAT}")
    if hashlib.sha256(content).hexdigest() != card.get("weights_sha256"):
        raise InputError(f"{weights_path}: other content than {CARD} says, expected the file that was written with it")
    try:
        return Bundle(
            ModelConfig(**card["config"]),
            parsed_inputs(card["inputs"]),
            card["outputs"],
            card["task"],
            unflatten_dict(safetensors.numpy.load(content), sep="/"),
            tuple(card["classes"]),
            {key: value for key, value in card.items() if key not in DESCRIBED},
        )
    except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{card_path}: expected the description of a model, but it is damaged: {error}") from error
