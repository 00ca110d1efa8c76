"""Modules of PyTorch that tests give as teachers."""

import numpy as np
from numpy.testing import assert_array_equal
from parity.parity_samples import Late, pyg, torch

library, graphs = Late("torch_geometric.nn.models"), Late("torch_geometric.data")


def module(run, **parts):
    """A module with these parts, called through a function, in training mode."""

    class Net(torch.nn.Module):
        forward = run

        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

    return Net()


def gcn():
    def run(self, data):
        h = torch.nn.functional.dropout(torch.relu(self.one(data.x, data.edge_index)), 0.5, self.training)
        return self.two(h, data.edge_index).log_softmax(dim=1)

    return module(run, one=pyg.GCNConv(32, 6), two=pyg.GCNConv(6, 3))


def evaluated(run):
    with torch.no_grad():
        return run()


def assert_outputs(found, logits, hiddens):
    assert_array_equal(found.logits, logits)
    assert len(found.hiddens) == len(hiddens)
    for one, other in zip(found.hiddens, hiddens, strict=True):
        assert one.dtype == np.float32
        assert_array_equal(one, other)
