"""The model of PyTorch Geometric that exported weights load into, as a line of Python, and what it must be given."""

from abkd_jax.configs.options import ModelConfig
from abkd_jax.inference.bundle import Inputs

__all__ = ["graph_for", "stack_of"]

CLASSES = {"gcn": "GCN", "graphsage": "GraphSAGE", "gat": "GAT", "gatv2": "GAT", "gin": "GIN", "mlp": "MLP"}


def stack_of(config: ModelConfig, inputs: Inputs, outputs: int) -> str:
    """Returns the expression that makes the model; in words where no class of the library is that model.

    Args:
        config: architecture and sizes.
        inputs: of the model.
        outputs: width of the logits.

    Examples:
        >>> stack_of(ModelConfig("graphsage", layers=2, hidden=16), Inputs(1433), 7)
        'torch_geometric.nn.models.GraphSAGE(1433, 16, 2, 7)'
    """
    own = "" if _is_theirs(config) else "a model of your own with the names of "
    if config.name == "gcnii":
        return (
            f"{own}the model of PyTorch Geometric's example gcn2_cora.py: {config.layers} x GCN2Conv({config.hidden}, "
            f"alpha={config.alpha}, theta={config.lam}, layer=1.., shared_weights={not config.variant}) as `convs`, "
            "between two Linear as `lins`"
        )
    if config.name == "rgcn":
        return f"{own}a list `convs` of {config.layers} RGCNConv with num_relations={_relations(inputs)}"
    if own:
        return f"a model of your own whose layers have the names of torch_geometric.nn.models.{CLASSES[config.name]}"
    sizes = f"{inputs.features}, {config.hidden}, {config.layers}, {outputs}"
    if config.name == "mlp":
        sizes = str([inputs.features, *[config.hidden] * (config.layers - 1), outputs])
    return f"torch_geometric.nn.models.{CLASSES[config.name]}({', '.join([sizes, *_options(config)])})"


def _is_theirs(config: ModelConfig) -> bool:
    """Tells whether a class of the library, its example or a list of its layers with ReLU computes the same."""
    attends, is_gin = config.name in ("gat", "gatv2"), config.name == "gin"
    alone = config.name in ("gcnii", "rgcn", "mlp")  # they know no jumping knowledge
    plain = config.norm == "none" and config.activation in (None, "relu")  # as in the inner MLP of their GIN
    return (
        config.readout is None
        and config.residual in (("none", "linear") if attends else ("none",))
        and not (attends and config.heads != config.output_heads)
        and not (alone and config.jumping is not None)
        and (plain or not (is_gin or config.name in ("gcnii", "rgcn")))
    )


def graph_for(inputs: Inputs) -> str:
    """Returns what the graph must have been brought to: PyTorch weights hold no preprocessing."""
    parts = ["the edges of the list alone" if inputs.directed else "both directions of every edge"]
    if not inputs.graph_level:
        parts.append("no duplicates and no self loops")
    if inputs.edge_weights:
        parts.append("weights of edges as `edge_weight`")
    if inputs.row_normalised:
        parts.append("features divided by the sum of their row")
    if inputs.schema is not None:
        parts.append(f"{_relations(inputs)} relations, those of reverse edges included")
    return ", ".join(parts)


def _options(config: ModelConfig) -> list[str]:
    options = []
    if config.name in ("gat", "gatv2"):
        options += [f"heads={config.heads}", f"v2={config.name == 'gatv2'}"]
        options += ["residual=True"] if config.residual == "linear" else []
    activation = config.activation or ("elu" if config.name in ("gat", "gatv2") else "relu")
    options += [f"act={activation!r}"] if activation != "relu" else []
    options += [f"norm='{config.norm}_norm'"] if config.norm != "none" else []
    options += ["norm=None"] if config.norm == "none" and config.name == "mlp" else []  # it has one unless told
    options += ["norm_kwargs={'mode': 'node'}"] if config.norm == "layer" else []
    return options + ([f"jk={config.jumping!r}"] if config.jumping is not None else [])


def _relations(inputs: Inputs) -> int:
    return 1 if inputs.schema is None else inputs.schema.num_relations
