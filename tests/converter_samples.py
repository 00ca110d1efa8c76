"""A small heterogeneous graph of PyTorch Geometric."""

import pytest

torch = pytest.importorskip("torch")
pyg = pytest.importorskip("torch_geometric.data")


def hetero():
    """Three papers with two words, two authors with one, a venue without; each reverse type beside its relation."""
    data = pyg.HeteroData()
    data["venue"].num_nodes = 1
    data["author"].x, data["paper"].x = torch.tensor([[5.0], [6.0]]), torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    data["paper"].y = torch.tensor([0, 1, 1])
    for place, part in enumerate(("train", "val", "test")):
        data["paper"][f"{part}_mask"] = torch.arange(3) == place
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 1, 1], [0, 0, 2]])
    data["paper", "rev_writes", "author"].edge_index = torch.tensor([[2, 0, 0], [1, 1, 0]])
    data["paper", "in", "venue"].edge_index = torch.tensor([[1], [0]])
    return data
