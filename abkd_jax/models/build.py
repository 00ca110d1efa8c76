"""Construction of a model from its config: the one place where a name becomes an architecture."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from abkd_jax.configs.options import MODELS, ModelConfig
from abkd_jax.models.gat import GAT, GATv2
from abkd_jax.models.gcn import GCN, MLP
from abkd_jax.models.gcnii import GCNII
from abkd_jax.models.gin import GIN
from abkd_jax.models.own import own_model, takes_argument
from abkd_jax.models.rgcn import RGCN
from abkd_jax.models.sage import GraphSAGE
from abkd_jax.models.sign import SIGN
from abkd_jax.outside import is_outside, require_known
from abkd_jax.types import InputError

__all__ = ["READ_EDGE_FEATURES", "READ_WEIGHTS", "build", "require_embeddings"]

STACKS = {"gcn": GCN, "graphsage": GraphSAGE, "gat": GAT, "gatv2": GATv2, "gin": GIN, "rgcn": RGCN, "mlp": MLP}
READ_EDGE_FEATURES = ("gin", "gat")
READ_WEIGHTS = ("gcnii", "gcn", "sign")  # through the normalised adjacency
# Options that only some models have; the others accept their default alone.
_ONLY_OF = {
    "variant": ("gcnii",),
    "repeated": ("gcnii",),
    "heads": ("gat", "gatv2"),
    "output_heads": ("gat", "gatv2"),
    "attention_dropout": ("gat", "gatv2"),
    "edge_dropout": ("gat", "gatv2"),
    "destination_term": ("gat",),
    "symmetric_norm": ("gat",),
    "bases": ("rgcn",),
    "embedding_width": ("rgcn",),
    "hops": ("sign",),
    "activation": tuple(STACKS),
    "jumping": tuple(STACKS),
    "norm": ("gcnii", *STACKS),
    "residual": ("gcnii", *STACKS),
    "readout": ("gcnii", *STACKS),
    "remat": ("gcnii", *STACKS),
}


def build(
    config: ModelConfig,
    classes: int,
    *,
    relations: int = 1,
    node_types: int = 1,
    embeddings: int = 0,
    vocabulary: tuple[int, ...] = (),
    edge_vocabulary: tuple[int, ...] = (),
    edge_features: int = 0,
) -> nn.Module:
    """Builds the model that a config names.

    Args:
        config: architecture and sizes; a model of one's own, `models.own`, is given those of the arguments below that
            its function takes.
        classes: width of the logits.
        relations: number of edge types of the graph, for rgcn.
        node_types: number of its node types, for rgcn.
        embeddings: number of its nodes without features, for rgcn.
        vocabulary: number of categories per column of the node features, for gin; () where they are real numbers.
        edge_vocabulary: likewise of the edge features.
        edge_features: number of real-valued features of an edge, for the models in `READ_EDGE_FEATURES`.

    Raises:
        InputError: the name is unknown, a size or rate is out of range, or the model has no such option.

    Examples:
        >>> from abkd_jax.configs.options import ModelConfig
        >>> model = build(ModelConfig("gcnii", hidden=4, layers=4), classes=7)
        >>> type(model).__name__, model.hidden, model.classes
        ('GCNII', 4, 7)
    """
    if is_outside(config.name):
        facts = {"relations": relations, "node_types": node_types, "embeddings": embeddings}
        facts |= {"vocabulary": vocabulary, "edge_vocabulary": edge_vocabulary, "edge_features": edge_features}
        return own_model(config, classes, facts)
    _check(config, classes)
    shared: dict[str, Any] = {
        "hidden": config.hidden,
        "layers": config.layers,
        "classes": classes,
        "dropout": config.dropout,
        "dtype": jnp.bfloat16 if config.dtype == "bfloat16" else None,
    }
    if config.name == "sign":
        return SIGN(**shared, hops=config.hops, input_dropout=config.input_dropout or 0.0)
    shared |= {"norm": config.norm, "residual": config.residual, "readout": config.readout, "remat": config.remat}
    if config.input_dropout is not None:
        shared["input_dropout"] = config.input_dropout
    if config.name == "gcnii":
        return GCNII(**shared, alpha=config.alpha, lam=config.lam, variant=config.variant, repeated=config.repeated)
    shared["jumping"] = config.jumping
    if config.activation is not None:
        shared["activation"] = {"relu": nn.relu, "elu": nn.elu}[config.activation]
    if config.name in ("gat", "gatv2"):
        options = ("heads", "output_heads", "attention_dropout", "edge_dropout")
        shared |= {option: getattr(config, option) for option in options}
    if config.name == "gat":
        shared |= {"destination_term": config.destination_term, "symmetric_norm": config.symmetric_norm}
    if config.name == "rgcn":
        shared |= {"relations": relations, "node_types": node_types, "bases": config.bases}
        shared |= {"embeddings": embeddings, "embedding_width": config.embedding_width}
    if config.name == "gin":
        shared |= {"vocabulary": vocabulary, "edge_vocabulary": edge_vocabulary}
    if config.name in READ_EDGE_FEATURES:
        shared["edge_features"] = edge_features
    return STACKS[config.name](**shared)


def require_embeddings(data: str, model: str) -> None:
    """Checks that a model learns vectors of nodes without features.

    Args:
        data: name of the data, for the message.
        model: name of the model.

    Raises:
        InputError: it does not.
    """
    if is_outside(model) and not takes_argument(model, "embeddings"):
        raise InputError(f"{data} has no features, and {model} takes no embeddings; expected rgcn, or one that does")
    if not is_outside(model) and model != "rgcn":
        raise InputError(f"{data} has no features, which {model} reads; expected rgcn")


def _check(config: ModelConfig, classes: int) -> None:
    name = config.name
    require_known("model", name, MODELS)
    defaults = ModelConfig()
    for option, models in _ONLY_OF.items():
        value = getattr(config, option)
        if name not in models and value != getattr(defaults, option):
            raise InputError(f"{name}: it has no option {option} ({value!r}), only {', '.join(models)} do")
    _check_sizes(config, classes)
    for option in ("dropout", "input_dropout", "attention_dropout", "edge_dropout"):
        rate = getattr(config, option)
        if rate is not None and not 0.0 <= rate < 1.0:
            raise InputError(f"{name}: {option.replace('_', ' ')} is {rate}, expected 0 <= rate < 1")
    if not 0.0 <= config.alpha <= 1.0:
        raise InputError(f"{name}: alpha is {config.alpha}, expected 0 to 1")
    if not config.lam > 0.0:
        raise InputError(f"{name}: lambda is {config.lam}, expected a positive number")
    if name == "gcnii" and config.residual == "linear":
        raise InputError("gcnii: residual is linear, expected none or identity")


def _check_sizes(config: ModelConfig, classes: int) -> None:
    name = config.name
    classifier = name in ("gcnii", "sign") or config.jumping is not None or config.readout is not None
    least = 1 if classifier else 2  # without a classifier the last layer gives the logits and one more the hiddens
    if config.hidden < 1:
        raise InputError(f"{name}: hidden width is {config.hidden}, expected at least 1")
    if config.layers < least:
        raise InputError(f"{name}: number of layers is {config.layers}, expected at least {least}")
    if config.heads < 1 or config.hidden % config.heads:
        raise InputError(f"{name}: heads is {config.heads}, expected a divisor of the hidden width {config.hidden}")
    for option in ("bases", "embedding_width"):
        size = getattr(config, option)
        if size is not None and size < 1:
            raise InputError(f"{name}: {option.replace('_', ' ')} is {size}, expected at least 1")
    if config.hops < 0:
        raise InputError(f"{name}: hops is {config.hops}, expected at least 0")
    if classes < 1:
        raise InputError(f"{name}: number of classes is {classes}, expected at least 1")
