"""Stacks of PyTorch Geometric as people write them, each with the settings of the same model here."""

import itertools

from parity_samples import WIDTH, Late, pyg, torch

from abkd_jax.configs.options import ModelConfig

CLASSES, RELATIONS = 3, 3
library = Late("torch_geometric.nn.models")


def numbered(make, widths, activation="relu"):
    """`conv1`, `conv2`, ... with an activation between, as in tutorials."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for i, (a, b) in enumerate(itertools.pairwise(widths), start=1):
                self.add_module(f"conv{i}", make(a, b))

        def forward(self, x, *edges):
            convs = list(self.children())
            for conv in convs[:-1]:
                x = getattr(torch.nn.functional, activation)(conv(x, *edges))
            return convs[-1](x, *edges)

    return Net()


def gcnii(layers=6, shared_weights=True, hidden=4):
    """The model of the example `gcn2_cora.py`, without its last log-softmax."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lins = torch.nn.ModuleList([torch.nn.Linear(WIDTH, hidden), torch.nn.Linear(hidden, CLASSES)])
            self.convs = torch.nn.ModuleList(
                pyg.GCN2Conv(hidden, 0.2, 0.5, layer, shared_weights) for layer in range(1, layers + 1)
            )

        def forward(self, x, *edges):
            x = x_0 = self.lins[0](x).relu()
            for conv in self.convs:
                x = conv(x, x_0, *edges).relu()
            return self.lins[1](x)

    return Net()


def relational(**options):
    return numbered(lambda a, b: pyg.RGCNConv(a, b, RELATIONS, **options), (WIDTH, 4, CLASSES))


def isomorphic():
    def make(a, b):
        return pyg.GINConv(torch.nn.Sequential(torch.nn.Linear(a, b), torch.nn.ReLU(), torch.nn.Linear(b, b)))

    return numbered(make, (WIDTH, 4, 4, CLASSES))


# Settings, model, and whether its weights load into it again under the names that are written.
MODELS = {
    "gcn": (ModelConfig("gcn", 3, 4), lambda: library.GCN(WIDTH, 4, 3, CLASSES), True),
    "gcn, numbered": (ModelConfig("gcn", 2, 4), lambda: numbered(pyg.GCNConv, (WIDTH, 4, CLASSES)), False),
    "gcn, deep, norm": (
        ModelConfig("gcn", 8, 4, norm="batch"),
        lambda: library.GCN(WIDTH, 4, 8, CLASSES, norm="batch_norm"),
        True,
    ),
    "sage, jumping": (
        ModelConfig("graphsage", 3, 4, norm="layer", jumping="cat"),
        lambda: library.GraphSAGE(WIDTH, 4, 3, CLASSES, norm="layer_norm", norm_kwargs={"mode": "node"}, jk="cat"),
        True,
    ),
    "gat": (
        ModelConfig("gat", 2, 4, heads=2, output_heads=2, activation="relu", residual="linear"),
        lambda: library.GAT(WIDTH, 4, 2, CLASSES, heads=2, residual=True),
        True,
    ),
    "gat, numbered": (
        ModelConfig("gat", 2, 4),
        lambda: numbered(lambda a, b: pyg.GATConv(a, b), (WIDTH, 4, CLASSES), "elu"),
        False,
    ),
    "gat, norm": (
        ModelConfig("gat", 3, 4, heads=2, output_heads=2, norm="batch"),
        lambda: library.GAT(WIDTH, 4, 3, CLASSES, heads=2, norm="batch_norm", act="elu"),
        True,
    ),
    "gatv2": (
        ModelConfig("gatv2", 2, 4, heads=2, output_heads=2, activation="relu"),
        lambda: library.GAT(WIDTH, 4, 2, CLASSES, heads=2, v2=True),
        True,
    ),
    "gin": (ModelConfig("gin", 3, 4), lambda: library.GIN(WIDTH, 4, 3, CLASSES), True),
    "gin, sequential": (ModelConfig("gin", 3, 4), isomorphic, False),
    "gcnii": (ModelConfig("gcnii", 6, 4, alpha=0.2), gcnii, True),
    "gcnii*": (ModelConfig("gcnii", 3, 4, alpha=0.2, variant=True), lambda: gcnii(3, shared_weights=False), True),
    "rgcn": (ModelConfig("rgcn", 2, 4), relational, False),
    "rgcn, bases": (ModelConfig("rgcn", 2, 4, bases=2), lambda: relational(num_bases=2), False),
    "mlp": (ModelConfig("mlp", 3, 4, norm="batch"), lambda: library.MLP([WIDTH, 4, 4, CLASSES]), True),
}


def randomised(model, seed=0):
    """In evaluation mode, with random statistics too; epsilons stay."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not name.endswith("eps"):
            drawn = 0.5 * torch.randn(value.shape, generator=generator)
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return model.eval()


def state_of(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}
