"""What is measured: every case with its sizes, what is compared with what, and the ratio aimed at."""

from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["CASES", "Case", "Comparison"]

ARXIV = {"nodes": 169_343, "pairs": 1_157_799}  # ogbn-arxiv, undirected: 2,315,598 directed edges
PUBMED = {"nodes": 19_717, "pairs": 44_324}  # 88,648 directed edges
CORA = {"nodes": 2_708, "pairs": 5_278}  # 10,556 directed edges


class Comparison(NamedTuple):
    """A row of the table: the time of one of our variants over that of another.

    Attributes:
        ours: variant of the `jax` side.
        side: side of the peer.
        peer: its variant.
        target: the ratio aimed at, or None.
    """

    ours: str
    side: str
    peer: str
    target: float | None = None


@dataclass(frozen=True)
class Case:
    """One piece of work, the same on all sides.

    Attributes:
        kind: names the function that builds it on each side.
        nodes: number of nodes.
        pairs: number of undirected edges, or of directed ones where `directed`.
        comparisons: rows of the table.
        about: one line for the reader.
        directed: whether edges have one direction.
        huge_pages: whether buffers are large enough for huge pages to matter: then it is measured with and without.
        comparable: whether all variants give the same numbers; dropout does not.
        options: sizes of this kind.
    """

    kind: str
    nodes: int
    pairs: int
    comparisons: tuple[Comparison, ...]
    about: str
    options: dict[str, Any]
    directed: bool = False
    huge_pages: bool = False
    comparable: bool = True
    seed: int = 0

    @property
    def edges(self) -> int:
        """Number of directed edges."""
        return self.pairs if self.directed else 2 * self.pairs


def _both(ours: str, pyg: float | None, best: float | None) -> tuple[Comparison, ...]:
    return Comparison(ours, "pyg", "edge_index", pyg), Comparison(ours, "torch", "csr", best)


def _weighted_sum(graph: dict[str, int], width: int, targets: tuple[float, float]) -> Case:
    about = f"weighted sum over neighbours, F = {width}: forward, and the gradient to x"
    large = graph is ARXIV
    return Case(
        "weighted_sum",
        **graph,
        comparisons=_both("csr", *targets),
        about=about,
        options={"width": width},
        huge_pages=large,
    )


def _gcnii(dropout: float, targets: tuple[float, float]) -> Case:
    return Case(
        "gcnii",
        **CORA,
        comparisons=(
            Comparison("sparse words", "pyg", "edge_index", targets[0]),
            Comparison("sparse words", "torch", "csr", targets[1]),
            Comparison("sparse words", "torch", "csr, dense words"),
        ),
        about=f"GCNII 64 x 64, dropout {dropout}: training step with Adam and L2",
        options={"layers": 64, "hidden": 64, "dropout": dropout, "words": 1433, "words_a_node": 18, "classes": 7},
        huge_pages=True,
        comparable=dropout == 0,
    )


CASES = {
    "weighted_sum_169k_128": _weighted_sum(ARXIV, 128, (0.20, 0.60)),
    "weighted_sum_169k_64": _weighted_sum(ARXIV, 64, (0.25, 0.85)),
    "weighted_sum_20k_128": _weighted_sum(PUBMED, 128, (0.25, 0.85)),
    "weighted_sum_20k_64": _weighted_sum(PUBMED, 64, (0.25, 0.85)),
    "gcnii_cora_dropout": _gcnii(0.6, (0.45, 0.65)),
    "gcnii_cora": _gcnii(0.0, (0.60, 0.95)),
}
