"""Names of the tensors in a PyTorch `state_dict` beside the parameters here: the table that weights are moved by.

| model | layers in PyTorch Geometric | names |
|---|---|---|
| gcn | `GCNConv` | `convs.0.lin.weight`, `convs.0.bias` |
| graphsage | `SAGEConv` | `convs.0.lin_l.weight`, `convs.0.lin_l.bias`, `convs.0.lin_r.weight` |
| gat | `GATConv` | `convs.0.lin.weight`, `convs.0.att_src`, `convs.0.att_dst`, `convs.0.bias`, `convs.0.res.weight` |
| gatv2 | `GATv2Conv` | `convs.0.lin_l.*`, `convs.0.lin_r.*`, `convs.0.att`, `convs.0.bias`, `convs.0.res.weight` |
| gin | `GINConv` of Linear, ReLU, Linear | `convs.0.nn.lins.0.*` and `.1.*` (or `nn.0`, `nn.2`), `convs.0.eps` = 0 |
| gcnii | Linear, `GCN2Conv`, Linear | `lins.0.*`, `convs.0.weight1` (and `weight2`), `lins.1.*` |
| rgcn | `RGCNConv` | `convs.0.weight`, `convs.0.comp`, `convs.0.root`, `convs.0.bias` |
| mlp | Linear | `lins.0.weight`, `lins.0.bias` |

Beside them `norms.0.module.*` or `norms.0.*` (batch and layer normalisation), `lin.*` (the classifier behind jumping
knowledge or a readout) and `residuals.0.weight` (linear residuals of other models than GAT). These are the names of
`torch_geometric.nn.models` and of its example `gcn2_cora.py`; modules that are called `conv1`, `conv2`, `bn1`, ... are
read too, in the order of their numbers.
"""

import re
from typing import Literal, NamedTuple

__all__ = ["Entry", "Place", "entries_of", "place_of", "their_name"]

Kind = Literal["same", "transposed", "heads", "first", "second", "zero", "count"]


class Entry(NamedTuple):
    """One tensor of a layer.

    Attributes:
        theirs: its name behind that of the module.
        ours: path of the parameter behind that of the layer.
        kind: how the numbers differ: not at all; a kernel that is transposed; attention vectors with a first axis of 1;
            the two kernels of GCNII*, which are one here; a tensor that must be zero; a counter that is not read.
    """

    theirs: str
    ours: str
    kind: Kind


class Place(NamedTuple):
    """Where a tensor belongs.

    Attributes:
        collection: `"params"` or `"batch_stats"`.
        module: name of the layer here, without its number.
        number: of the layer as the file has it; None for modules that are there once.
        entry: the tensor.
    """

    collection: str
    module: str
    number: int | None
    entry: Entry


_WEIGHT, _BIAS = Entry("weight", "kernel", "transposed"), Entry("bias", "bias", "same")

# The first name of a parameter is the one that is written.
_CONVOLUTIONS: dict[str, tuple[Entry, ...]] = {
    "gcn": (Entry("lin.weight", "kernel", "transposed"), _BIAS),
    "graphsage": (
        Entry("lin_l.weight", "neighbour/kernel", "transposed"),
        Entry("lin_l.bias", "neighbour/bias", "same"),
        Entry("lin_r.weight", "root/kernel", "transposed"),
    ),
    "gat": (
        Entry("lin.weight", "linear/kernel", "transposed"),
        Entry("lin_src.weight", "linear/kernel", "transposed"),  # before torch_geometric 2.5
        Entry("att_src", "attention_sender", "heads"),
        Entry("att_dst", "attention_receiver", "heads"),
        _BIAS,
    ),
    "gatv2": (
        Entry("lin_l.weight", "sender/kernel", "transposed"),
        Entry("lin_l.bias", "sender/bias", "same"),
        Entry("lin_r.weight", "receiver/kernel", "transposed"),
        Entry("lin_r.bias", "receiver/bias", "same"),
        Entry("att", "attention", "heads"),
        _BIAS,
    ),
    "gin": (
        Entry("nn.lins.0.weight", "mlp/dense_0/kernel", "transposed"),
        Entry("nn.lins.0.bias", "mlp/dense_0/bias", "same"),
        Entry("nn.lins.1.weight", "mlp/dense_1/kernel", "transposed"),
        Entry("nn.lins.1.bias", "mlp/dense_1/bias", "same"),
        Entry("nn.0.weight", "mlp/dense_0/kernel", "transposed"),
        Entry("nn.0.bias", "mlp/dense_0/bias", "same"),
        Entry("nn.2.weight", "mlp/dense_1/kernel", "transposed"),
        Entry("nn.2.bias", "mlp/dense_1/bias", "same"),
        Entry("eps", "eps", "zero"),
    ),
    "gcnii": (Entry("weight1", "kernel", "same"), Entry("weight", "kernel", "same")),
    "gcnii*": (Entry("weight1", "kernel", "first"), Entry("weight2", "kernel", "second")),
    "rgcn": (
        Entry("weight", "kernel", "same"),
        Entry("comp", "coefficients", "same"),
        Entry("root", "root/kernel", "same"),
        _BIAS,
    ),
    "mlp": (_WEIGHT, _BIAS),
}
_NORM = (Entry("weight", "scale", "same"), _BIAS, Entry("num_batches_tracked", "count", "count"))
_STATISTICS = (Entry("running_mean", "mean", "same"), Entry("running_var", "var", "same"))
_LINEAR = (_WEIGHT, _BIAS)

_NUMBER = r"[._]?(\d+)\."
_CONVOLUTION_NAMES = rf"(?:convs?|layers?|gcs?|gcns?|gats?|sages?|gins?|rgcns?){_NUMBER}"
_LINEAR_NAMES = rf"(?:lins?|linears?|layers?|fcs?){_NUMBER}"
_NORM_NAMES = rf"(?:norms?|bns?|batch_norms?|lns?){_NUMBER}(?:module\.)?"
_OUTPUT_NAMES = r"(?:lin|output|out|classifier|head|lin_out|fc)\."
_INPUT_OF_GCNII = r"(?:lins?[._]?0|fcs[._]?0|lin1|lin_in|input)\."
_OUTPUT_OF_GCNII = r"(?:lins?[._]?1|fcs[._]?1|lin2|lin_out|output)\."


def entries_of(model: str) -> tuple[Entry, ...]:
    """Returns the tensors of a message-passing layer of a model; `"gcnii*"` is the variant.

    Examples:
        >>> [entry.theirs for entry in entries_of("gcn")]
        ['lin.weight', 'bias']
    """
    return _CONVOLUTIONS[model]


def _modules(model: str) -> list[tuple[str, str, str, tuple[Entry, ...]]]:
    """Returns pattern, collection, name here and tensors of the modules of a model; the first that fits counts."""
    gcnii, mlp = model.startswith("gcnii"), model == "mlp"
    found: list[tuple[str, str, str, tuple[Entry, ...]]] = [
        (_INPUT_OF_GCNII, "params", "input", _LINEAR),
        (_OUTPUT_OF_GCNII, "params", "output", _LINEAR),
    ] * gcnii
    layers = _LINEAR_NAMES if mlp else _CONVOLUTION_NAMES
    found.append((layers, "params", "dense" if mlp else "conv", _CONVOLUTIONS[model]))
    found += [(_NORM_NAMES, "params", "norm", _NORM), (_NORM_NAMES, "batch_stats", "norm", _STATISTICS)]
    if model in ("gat", "gatv2"):
        found.append((_CONVOLUTION_NAMES, "params", "residual", (Entry("res.weight", "kernel", "transposed"),)))
    else:
        found.append((rf"(?:residuals?|skips?){_NUMBER}", "params", "residual", (_WEIGHT,)))
    return found if gcnii else [*found, (_OUTPUT_NAMES, "params", "output", _LINEAR)]


def place_of(model: str, name: str) -> Place | None:
    """Finds where a tensor of a `state_dict` belongs; None where a model has no counterpart.

    Args:
        model: name of the model; `"gcnii*"` is the variant.
        name: of the tensor.

    Examples:
        >>> place = place_of("gcn", "conv2.lin.weight")
        >>> place.module, place.number, place.entry.ours
        ('conv', 2, 'kernel')
    """
    for pattern, collection, module, entries in _modules(model):
        match = re.match(pattern, name)
        entry = match and next((entry for entry in entries if entry.theirs == name[match.end() :]), None)
        if match and entry:
            return Place(collection, module, int(match[1]) if match.groups() else None, entry)
    return None


def their_name(model: str, module: str, number: int | None, theirs: str, *, batch_norm: bool = False) -> str:
    """Returns the name under which a tensor is written.

    Args:
        model: name of the model; `"gcnii*"` is the variant.
        module: name of the layer here, without its number.
        number: of the layer.
        theirs: name of the tensor behind that of the module.
        batch_norm: whether normalisations are PyTorch Geometric's batch normalisation, which holds PyTorch's.

    Examples:
        >>> their_name("gcnii", "output", None, "bias"), their_name("gcn", "norm", 1, "weight", batch_norm=True)
        ('lins.1.bias', 'norms.1.module.weight')
    """
    if module == "residual" and model in ("gat", "gatv2"):
        return f"convs.{number}.res.{theirs}"
    if number is not None:
        stem = {"conv": "convs", "dense": "lins", "norm": "norms", "residual": "residuals"}[module]
        return f"{stem}.{number}{'.module' if module == 'norm' and batch_norm else ''}.{theirs}"
    once = {"input": "lins.0", "output": "lins.1"} if model.startswith("gcnii") else {"output": "lin"}
    return f"{once[module]}.{theirs}"
