"""Settings for graphs that nobody has tuned, by rules on their size and task. No jax, so that `--help` prints at once.

1. *Graph-level, classes*: the settings of PROTEINS. *Graph-level, several labels or real targets*: those of OGB's
   molecules.
2. *Heterogeneous*: RGCN 2 x 64 to 2 x 8; 30 and 4 bases where there are more than `MANY_EDGE_TYPES` edge types, as for
   AIFB; without features and with fewer edge types more dropout, as for Freebase. Above `MANY_NODES` nodes a step reads
   random walks.
3. *Homogeneous, one class per node, at most `FEW_LABELS` training nodes*, and GCNII's 64 layers within `MEMORY`: the
   semi-supervised recipe, GCNII 64 x 64 to 4 x 4; above `DEEP_NODES` nodes GraphSAGE 2 x 128 to 2 x 8 instead, unless
   edges have weights. Memory is that of one number per edge, direction, layer and unit.
4. *All other homogeneous graphs*: GraphSAGE 3 x 256 to 2 x 32; of these sizes GIN where edges have features, and GCN
   where they have weights, which GraphSAGE does not read. Above `MANY_NODES` nodes, or where one layer is beyond
   `MEMORY`, a step reads sampled neighbours.

Graphs that pass 3 take exactly what the listed sets of that kind have which were not tuned, such as `cora_ml`.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

from abkd_jax.configs.large_presets import Preset, graph_level, heterogeneous, plain_methods
from abkd_jax.configs.options import BatchConfig, MethodConfig, ModelConfig, OptimConfig, TeacherConfig

__all__ = [
    "DEEP_NODES",
    "FEW_LABELS",
    "MANY_EDGE_TYPES",
    "MANY_NODES",
    "MEMORY",
    "Facts",
    "preset",
    "reason",
    "semi_supervised",
    "shallow",
]

FEW_LABELS = 2_000  # training nodes; the recipe of GCNII has 60 to 300
# Between acm and amazon_photo, where GraphSAGE trains in a fifth of the time and is better on validation nodes.
DEEP_NODES = 5_000
MANY_EDGE_TYPES = 30
MANY_NODES = 200_000  # ogbn-arxiv, 169,343 nodes, is trained as a whole
MEMORY = 8 * 2**30  # bytes
NAMES = {"graphsage": "GraphSAGE", "gin": "GIN", "gcn": "GCN"}


class Facts(NamedTuple):
    """What the rules read of a data set; `datasets.facts` returns it for a name or a path.

    Attributes:
        level: nodes of one type, nodes of several types, or graphs.
        task: see `types.Dataset`.
        nodes: number of nodes, of all graphs together.
        edges: length of the edge list.
        features: features per node; 0 where no node has any.
        outputs: classes, labels or targets.
        train: training nodes, or graphs.
        graphs: number of graphs.
        edge_types: of a heterogeneous graph, those of reverse edges included.
        edge_features: numbers or categories per edge.
    """

    level: Literal["node", "typed", "graph"]
    task: Literal["classification", "multilabel", "regression"]
    nodes: int
    edges: int
    features: int
    outputs: int
    train: int
    graphs: int = 1
    edge_types: int = 1
    weighted: bool = False
    edge_features: int = 0


def preset(facts: Facts) -> Preset:
    """Returns the settings of a graph by the rules of this module.

    Examples:
        >>> small = Facts("node", "classification", nodes=2995, edges=8416, features=2879, outputs=7, train=140)
        >>> preset(small).teacher.model.name, preset(small._replace(train=30_000)).teacher.model.name
        ('gcnii', 'graphsage')
    """
    return _choose(facts)[0]


def reason(facts: Facts) -> str:
    """Returns one line: the facts, and which settings they lead to.

    Examples:
        >>> reason(Facts("node", "regression", nodes=500, edges=900, features=3, outputs=1, train=300))
        'regression on 500 nodes, 900 edges, 300 for training: GraphSAGE 3 x 256 to 2 x 32, whole graph per step'
    """
    chosen, why = _choose(facts)
    what = {"node": "nodes", "typed": f"nodes with {facts.edge_types} edge types", "graph": "nodes"}[facts.level]
    graphs = f"{facts.graphs:,} graphs with " if facts.level == "graph" else ""
    steps = {"full": "whole graph", "graphs": "32 graphs", "neighbours": "sampled neighbours", "walks": "random walks"}
    return (
        f"{facts.task} on {graphs}{facts.nodes:,} {what}, {facts.edges:,} edges, {facts.train:,} for training: {why}, "
        f"{steps[chosen.batches.kind]} per step"
    )


def _choose(facts: Facts) -> tuple[Preset, str]:
    if facts.level == "graph":
        classes = facts.task == "classification"
        sizes = "5 x 64 to 2 x 8, as PROTEINS" if classes else "5 x 128 to 2 x 24, as OGB's molecules"
        return graph_level(small=classes), f"GIN {sizes}"
    if facts.level == "typed":
        return _typed(facts), "RGCN 2 x 64 to 2 x 8"
    fits = 2 * facts.edges * 64 * 64 * 4 <= MEMORY
    if facts.task == "classification" and facts.train <= FEW_LABELS and fits and not facts.edge_features:
        if facts.nodes <= DEEP_NODES or facts.weighted:
            return semi_supervised(), "GCNII 64 x 64 to 4 x 4"
        return shallow(), "GraphSAGE 2 x 128 to 2 x 8"
    name = "gin" if facts.edge_features else "gcn" if facts.weighted else "graphsage"
    return _supervised(facts, name), f"{NAMES[name]} 3 x 256 to 2 x 32"


def semi_supervised() -> Preset:
    """Returns GCNII's semi-supervised recipe (arXiv 2007.02133, appendix) as for Cora, to the 4 x 4 of the paper.

    Students learn from soft labels alone at temperature 0.25. `experiments/tune.py` chose weights and decay, on Cora at
    commit 03abe2a.
    """
    labels = OptimConfig(
        epochs=1500, eval_every=10, monitor="val_accuracy", learning_rate=0.03, conv_decay=0.01, dense_decay=5e-4
    )
    return Preset(
        teacher=TeacherConfig(),
        student=ModelConfig(layers=4, hidden=4, dropout=0.0),
        supervised=MethodConfig(optim=labels),
        soft_label=MethodConfig(task_weight=0.0, soft_label_weight=1.0, temperature=0.25),
    )


def shallow() -> Preset:
    """Returns the recipe for few labels on larger graphs: GraphSAGE 2 x 128 to 2 x 8.

    Sizes and learning rate of the teacher are those of github.com/snap-research/graphless-neural-networks.
    Architecture, dropout and decay are the best of ten tried on validation nodes of amazon_photo, one to three seeds
    each: GCNIIs of 16 layers reach 88, GCNs 91, this one 92. Students learn as those of `semi_supervised` do.
    """
    base = semi_supervised()
    model = ModelConfig(name="graphsage", layers=2, hidden=128, dropout=0.5)
    optim = OptimConfig(epochs=300, eval_every=5, patience=100, learning_rate=0.01, conv_decay=1e-4, dense_decay=1e-4)
    return replace(base, teacher=TeacherConfig(model, optim), student=replace(model, hidden=8, dropout=0.0))


def _supervised(facts: Facts, name: Literal["graphsage", "gin", "gcn"]) -> Preset:
    """Returns OGB's GraphSAGE or GCN baseline for ogbn-arxiv (arXiv 2005.00687), and a student of this project."""
    width = 256
    sampled = facts.nodes > MANY_NODES or 2 * facts.edges * width * 4 > MEMORY
    model = ModelConfig(name=name, layers=3, hidden=width, dropout=0.5, input_dropout=0.0, norm="batch")
    optim = OptimConfig(epochs=50 if sampled else 500, eval_every=5, monitor="val_accuracy", learning_rate=0.01)
    teacher = TeacherConfig(model, optim if sampled else replace(optim, patience=100))
    student = replace(model, layers=2, hidden=32, dropout=0.0)
    batches = BatchConfig(kind="neighbours", size=1024, fan_outs=(15, 10, 5)) if sampled else BatchConfig()
    return Preset(teacher, student, *plain_methods(replace(optim, schedule="cosine")), batches=batches)


def _typed(facts: Facts) -> Preset:
    bases = facts.edge_types > MANY_EDGE_TYPES
    chosen = heterogeneous(no_features=facts.features == 0 and not bases, bases=bases)
    if facts.nodes <= MANY_NODES:
        return chosen
    optim = replace(chosen.teacher.optim, epochs=30, patience=0, learning_rate=0.005)
    supervised, soft_label = plain_methods(optim)
    return replace(
        chosen,
        teacher=replace(chosen.teacher, optim=optim),
        supervised=supervised,
        soft_label=soft_label,
        batches=BatchConfig(kind="walks", size=5_000, length=2, steps=30),
    )
