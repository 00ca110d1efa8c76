"""Cases of the benchmark: sizes, comparisons, and target ratios."""

from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["CASES", "Case", "Comparison"]

ARXIV = {"nodes": 169_343, "pairs": 1_157_799}  # ogbn-arxiv, undirected: 2,315,598 directed edges
PUBMED = {"nodes": 19_717, "pairs": 44_324}  # 88,648 directed edges
CORA = {"nodes": 2_708, "pairs": 5_278}  # 10,556 directed edges
PYG = 0.20  # target of the ratio to PyTorch Geometric in every case


class Comparison(NamedTuple):
    """Row of the table: the time of a variant of this library over that of a peer.

    Attributes:
        ours: variant of the `jax` side; the name is a key of stored records.
        side: side of the peer.
        peer: variant of the peer.
        target: target of the ratio, or None.
    """

    ours: str
    side: str
    peer: str
    target: float | None = None


@dataclass(frozen=True)
class Case:
    """Computation that all sides perform.

    Attributes:
        kind: name of the function that builds it on each side.
        nodes: number of nodes.
        pairs: number of undirected edges, or of directed ones where `directed`.
        comparisons: rows of the table.
        about: description in one line.
        directed: whether edges have one direction.
        tuned: whether it is measured a second time with the allocator tuned alike on all sides.
        comparable: whether all variants compute the same numbers, which dropout prevents.
        options: sizes of this kind.
        seed: seed of the inputs.
        tolerance: tolerance between sides, relative to the values and to their root mean square.
    """

    kind: str
    nodes: int
    pairs: int
    comparisons: tuple[Comparison, ...]
    about: str
    options: dict[str, Any]
    directed: bool = False
    tuned: bool = False
    comparable: bool = True
    seed: int = 0
    tolerance: float = 1e-4

    @property
    def edges(self) -> int:
        """Returns the number of directed edges."""
        return self.pairs if self.directed else 2 * self.pairs


def _both(variant: str, best: float) -> tuple[Comparison, ...]:
    """Returns comparisons with both PyTorch sides; `best` is the target ratio to the faster one."""
    return Comparison(variant, "pyg", "edge_index", PYG), Comparison(variant, "torch", "csr", best)


def _weighted_sum(graph: dict[str, int], width: int) -> Case:
    about = f"weighted sum over neighbours, F = {width}: forward, and the gradient to x"
    large = graph is ARXIV
    return Case(
        "weighted_sum",
        **graph,
        comparisons=_both("csr", 0.60),
        about=about,
        options={"width": width},
        tuned=large or width == 128,
    )


def _gcnii_options(layers: int, hidden: int, dropout: float) -> dict[str, Any]:
    cora = {"words": 1433, "words_a_node": 18, "classes": 7}
    return {"layers": layers, "hidden": hidden, "dropout": dropout, **cora}


def _gcnii(dropout: float, best: float) -> Case:
    return Case(
        "gcnii",
        **CORA,
        comparisons=(
            *_both("one step a dispatch", best),
            *_both("ten, as fit does", best),
            Comparison("ten, as fit does", "torch", "csr, dense words"),
        ),
        about=f"GCNII 64 x 64, dropout {dropout}: training step with Adam and L2",
        options=_gcnii_options(64, 64, dropout),
        comparable=dropout == 0,
    )


def _gat(graph: dict[str, int], heads: int, width: int) -> Case:
    return Case(
        "gat",
        **graph,
        comparisons=_both("attention", 0.60),
        about=f"GAT layer, 128 to {heads} heads x {width}, self loops: forward, gradients to input and parameters",
        options={"width": 128, "heads": heads, "head_width": width},
        tuned=graph is ARXIV,
    )


def _maximum(graph: dict[str, int]) -> Case:
    about = "maximum over neighbours, F = 64: forward, and the gradient to x"
    return Case("maximum", **graph, comparisons=_both("buckets", 0.60), about=about, options={"width": 64})


def _seeds(layers: int, hidden: int, dropout: float, steps: int, soft_labels: bool) -> Case:
    loss = "labels and soft labels" if soft_labels else "labels"
    return Case(
        "seeds",
        **CORA,
        comparisons=(Comparison("one program", "jax", "ten programs", 0.90),),
        about=f"GCNII {layers} x {hidden}, dropout {dropout}, {loss}: {steps} training steps of 10 seeds",
        options=_gcnii_options(layers, hidden, dropout) | {"seeds": 10, "steps": steps, "soft_labels": soft_labels},
    )


CASES = {
    "weighted_sum_169k_128": _weighted_sum(ARXIV, 128),
    "weighted_sum_169k_64": _weighted_sum(ARXIV, 64),
    "weighted_sum_20k_128": _weighted_sum(PUBMED, 128),
    "weighted_sum_20k_64": _weighted_sum(PUBMED, 64),
    "sage_169k": Case(
        "sage",
        **ARXIV,
        comparisons=(
            *_both("narrower side", 0.60),
            *_both("narrower side, first mean kept", 0.60),
            Comparison("narrower side, first mean kept", "torch", "csr, narrower side, first mean kept"),
        ),
        about="GraphSAGE (mean) 128-256-256-40: full-graph training step, cross-entropy on all nodes, Adam",
        options={"widths": (128, 256, 256, 40)},
        tuned=True,
        tolerance=3e-3,  # sums of 169,343 terms that nearly cancel, some of which pass relu on one side alone
    ),
    "gat_169k": _gat(ARXIV, 4, 64),
    "gat_20k": _gat(PUBMED, 8, 8),
    "rgcn_200k": Case(
        "rgcn",
        nodes=200_000,
        pairs=4_000_000,
        directed=True,
        comparisons=(*_both("product first", 0.65), *_both("means first", 0.65)),
        about="RGCN layer 128 to 128, 5 relations, mean: forward, gradients to input and parameters",
        options={"width": 128, "out": 128, "relations": 5},
    ),
    "gcnii_cora_dropout": _gcnii(0.6, 0.65),
    "gcnii_cora": _gcnii(0.0, 0.95),
    "maximum_cora": _maximum(CORA),
    "maximum_20k": _maximum(PUBMED),
    "seeds_gcnii": _seeds(16, 64, 0.6, 5, soft_labels=False),
    "seeds_student": _seeds(4, 4, 0.0, 50, soft_labels=True),
}
