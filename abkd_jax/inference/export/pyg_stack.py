"""The model of PyTorch Geometric that exported weights load into, as a line of Python, and what it must be given."""

from abkd_jax.configs.options import ModelConfig
from abkd_jax.inference.bundle import Inputs

__all__ = ["graph_for", "stack_of"]

CLASSES = {"gcn": "GCN", "graphsage": "GraphSAGE", "gat": "GAT", "gatv2": "GAT", "gin": "GIN"}


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
    if config.name == "gcnii":
        return (
            f"the model of PyTorch Geometric's example gcn2_cora.py: {config.layers} x GCN2Conv({config.hidden}, "
            f"alpha={config.alpha}, theta={config.lam}, layer=1.., shared_weights={not config.variant}) as `convs`, "
            "between two Linear as `lins`"
        )
    if config.name == "rgcn":
        return f"a list `convs` of {config.layers} RGCNConv with num_relations={_relations(inputs)}"
    if config.name == "mlp":
        widths = [inputs.features, *[config.hidden] * (config.layers - 1), outputs]
        norm = "None" if config.norm == "none" else repr(_norm(config.norm))
        return f"torch_geometric.nn.models.MLP({widths}, norm={norm})"
    heads_differ = config.name in ("gat", "gatv2") and config.heads != config.output_heads
    other_residual = config.residual != "none" and config.name not in ("gat", "gatv2")
    if heads_differ or other_residual or config.readout is not None:
        return f"a model of your own whose layers have the names of torch_geometric.nn.models.{CLASSES[config.name]}"
    sizes = f"{inputs.features}, {config.hidden}, {config.layers}, {outputs}"
    return f"torch_geometric.nn.models.{CLASSES[config.name]}({', '.join([sizes, *_options(config)])})"


def graph_for(inputs: Inputs) -> str:
    """Returns what the graph must have been brought to: PyTorch weights hold no preprocessing."""
    parts = ["the edges of the list alone" if inputs.directed else "both directions of every edge"]
    if not inputs.graph_level:
        parts.append("no duplicates and no self loops")
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
    options += [f"norm={_norm(config.norm)!r}"] if config.norm != "none" else []
    options += ["norm_kwargs={'mode': 'node'}"] if config.norm == "layer" else []
    return options + ([f"jk={config.jumping!r}"] if config.jumping is not None else [])


def _norm(norm: str) -> str:
    return f"{norm}_norm"


def _relations(inputs: Inputs) -> int:
    return 1 if inputs.schema is None else inputs.schema.num_relations
