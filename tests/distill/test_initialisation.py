import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abkd_jax.distill import attention_map, fitted, initialise, positive, teacher_directions
from abkd_jax.distill.initialisation import STARTS
from abkd_jax.graph.build import from_edges, prepare
from abkd_jax.models import GAT, GCNII, GIN, MLP, SIGN, GraphSAGE
from abkd_jax.types import GNNOutput, InputError

NODES, FEATURES, CLASSES = 90, 12, 3
EVERY = jnp.ones(NODES, bool)


@pytest.fixture(scope="module")
def problem():
    """Three classes whose features differ along three directions, on a graph that links neighbours of one class."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), NODES // CLASSES)
    x = 0.3 * rng.normal(size=(NODES, FEATURES)) + 2.0 * np.eye(CLASSES, FEATURES)[labels]
    chain = np.flatnonzero(labels[:-1] == labels[1:])
    graph = jax.device_put(prepare(from_edges(chain, chain + 1, NODES, nodes=x.astype(np.float32), undirected=True)))
    teacher = jax.jit(GCNII(hidden=8, layers=2, classes=CLASSES).init)(jax.random.key(0), graph)["params"]
    student = jax.jit(GCNII(hidden=2, layers=2, classes=CLASSES).init)(jax.random.key(1), graph)["params"]
    return graph, jnp.asarray(labels), teacher, student


def test_positive_scales_the_input_layer_alone(problem):
    _, _, _, student = problem
    started = positive(student)
    np.testing.assert_allclose(started["input"]["kernel"], 10.0 * np.asarray(student["input"]["kernel"]), rtol=1e-6)
    np.testing.assert_allclose(started["input"]["bias"], 0.5 + np.asarray(student["input"]["bias"]), rtol=1e-6)
    assert started["blocks"] is student["blocks"]
    assert started["output"] is student["output"]


def test_directions_give_units_of_mean_and_deviation_one_half(problem):
    graph, labels, teacher, student = problem
    started = teacher_directions(jax.random.key(2), student, teacher, graph, labels, CLASSES, EVERY)
    units = np.asarray(graph.nodes @ started["input"]["kernel"] + started["input"]["bias"][None])
    np.testing.assert_allclose(units.mean(axis=0), 0.5, atol=1e-5)
    np.testing.assert_allclose(units.std(axis=0), 0.5, atol=1e-5)
    assert started["blocks"] is student["blocks"]


def test_directions_lie_in_the_teachers_input_space_and_separate_the_classes(problem):
    graph, labels, teacher, student = problem
    started = teacher_directions(jax.random.key(2), student, teacher, graph, labels, CLASSES, EVERY)
    kernel, basis = np.asarray(started["input"]["kernel"]), np.asarray(teacher["input"]["kernel"])
    residual = kernel - basis @ np.linalg.lstsq(basis, kernel, rcond=None)[0]
    assert np.abs(residual).max() < 1e-4 * np.abs(kernel).max()

    def between_share(units: np.ndarray) -> float:
        """Share of the variance that lies between the classes, of the best direction of all."""
        centred = units - units.mean(axis=0)
        means = np.stack([centred[np.asarray(labels) == c].mean(axis=0) for c in range(CLASSES)])
        total = centred.T @ centred / NODES
        return float(np.linalg.eigvals(np.linalg.solve(total, means.T @ means / CLASSES)).real.max())

    x = np.asarray(graph.nodes)
    plain = between_share(x @ np.asarray(positive(student)["input"]["kernel"]))
    assert between_share(x @ kernel) > max(0.9, plain)


def test_the_rotation_comes_from_the_key(problem):
    graph, labels, teacher, student = problem
    one, same, other = (
        teacher_directions(jax.random.key(k), student, teacher, graph, labels, CLASSES, EVERY)["input"]["kernel"]
        for k in (2, 2, 3)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(np.asarray(one - other)).max() > 1e-3


def test_constant_features_and_a_single_predicted_class_stay_finite(problem):
    graph, labels, teacher, student = problem
    for nodes, predictions in ((jnp.ones_like(graph.nodes), labels), (graph.nodes, jnp.zeros_like(labels))):
        flat = graph._replace(nodes=nodes)
        started = teacher_directions(jax.random.key(2), student, teacher, flat, predictions, CLASSES, EVERY)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(started))


def test_a_student_wider_than_its_teacher_is_refused(problem):
    graph, labels, teacher, _ = problem
    wide = jax.jit(GCNII(hidden=9, layers=1, classes=CLASSES).init)(jax.random.key(1), graph)["params"]
    with pytest.raises(InputError, match="9 units, the teacher's only 8"):
        teacher_directions(jax.random.key(2), wide, teacher, graph, labels, CLASSES, EVERY)


def test_the_input_layer_of_other_models_is_found_and_its_absence_is_an_error(problem):
    graph, *_ = problem
    mlp = jax.jit(MLP(hidden=2, layers=2, classes=CLASSES).init)(jax.random.key(1), graph)["params"]
    np.testing.assert_allclose(positive(mlp)["dense_0"]["bias"], 0.5 + np.asarray(mlp["dense_0"]["bias"]), rtol=1e-6)
    with pytest.raises(InputError, match="no input layer"):
        positive({"embedding": {}})
    assert positive({"input": {"embedding": 1.0}}) == {"input": {"embedding": 1.0}}


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_starts_of_16_bit_parameters_are_those_of_the_same_numbers_in_float32(problem, dtype):
    graph, labels, *models = problem
    short = jax.tree.map(lambda x: x.astype(dtype), models)
    exact = jax.tree.map(lambda x: x.astype(jnp.float32), short)

    @jax.jit
    def both(teacher, student):
        directions = teacher_directions(jax.random.key(2), student, teacher, graph, labels, CLASSES, EVERY)
        outputs = GNNOutput(graph.nodes[:, :3], (graph.nodes[:, :8], graph.nodes[:, 4:]))
        return directions, attention_map(student, teacher, outputs, jnp.eye(2), jnp.ones(NODES, bool))

    found, expected = both(*short), both(*exact)
    for value, right in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert value.dtype == dtype
        np.testing.assert_array_equal(value, right.astype(dtype))


# A student cut out of its teacher ------------------------------------------------------------------------------------


def seen(graph, params, layers, width):
    return jax.jit(GCNII(hidden=width, layers=layers, classes=CLASSES).apply)({"params": params}, graph)


def cut_out(*arguments):
    return jax.jit(attention_map)(*arguments)


def test_attention_map_copies_a_teacher_of_the_same_size_up_to_the_order_of_units(problem):
    graph, _, teacher, _ = problem
    whole = seen(graph, teacher, 2, 8)
    started = cut_out(teacher, teacher, whole, jnp.eye(2), jnp.ones(NODES, bool))
    np.testing.assert_allclose(seen(graph, started, 2, 8).logits, whole.logits, atol=2e-3)
    order = [
        int(np.abs(np.asarray(teacher["input"]["kernel"]).T - c).sum(axis=1).argmin())
        for c in np.asarray(started["input"]["kernel"]).T
    ]
    assert sorted(order) == list(range(8))
    expected = np.asarray(teacher["blocks"]["conv"]["kernel"])[:, order][:, :, order]
    np.testing.assert_allclose(started["blocks"]["conv"]["kernel"], expected, atol=2e-3)


def random_gcnii(seed, width, layers):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return {
        "input": {"kernel": draw(FEATURES, width), "bias": draw(width)},
        "blocks": {"conv": {"kernel": draw(layers, width, width)}},
        "output": {"kernel": draw(width, CLASSES), "bias": draw(CLASSES)},
    }


def test_attention_map_equals_the_rule_in_numpy():
    """Three teacher layers, two student layers of two units; no teacher layer attends to the second."""
    theirs, ours, mask = random_gcnii(3, 6, 3), random_gcnii(4, 2, 2), np.arange(NODES) % 5 > 0
    rng = np.random.default_rng(0)
    hiddens = [np.maximum(rng.normal(0.3, 1.0, (NODES, 6)), 0.0).astype(np.float32) for _ in range(3)]
    attention = np.array([[0.5, 0.0], [0.0, 0.0], [1.5, 0.0]], np.float32)
    spoilt = tuple(jnp.asarray(np.where(mask[:, None], h, np.nan)) for h in hiddens)
    started = cut_out(ours, theirs, GNNOutput(jnp.zeros((NODES, CLASSES)), spoilt), attention, mask)

    shares = np.array([[0.25, 1 / 3], [0.0, 1 / 3], [0.75, 1 / 3]])
    spread = [np.cov(h[mask].T.astype(np.float64), bias=True) for h in hiddens]
    pooled = sum(w * c / np.trace(c) for w, c in zip(shares.mean(axis=1), spread, strict=True))
    first = int(np.diag(pooled).argmax())
    left = pooled - np.outer(pooled[first], pooled[first]) / pooled[first, first]
    kept = [first, int(np.diag(left).argmax())]
    regression, last = (np.linalg.solve(c[np.ix_(kept, kept)], c[kept]) for c in (pooled, spread[2]))
    kernels = np.einsum("ts,tde->sde", shares, np.asarray(theirs["blocks"]["conv"]["kernel"]))
    weight, mean = np.asarray(theirs["output"]["kernel"]), hiddens[2][mask].mean(axis=0)
    expected = {
        "input": {
            "kernel": np.asarray(theirs["input"]["kernel"])[:, kept],
            "bias": np.asarray(theirs["input"]["bias"])[kept],
        },
        "blocks": {"conv": {"kernel": regression @ kernels[:, :, kept]}},
        "output": {
            "kernel": last @ weight,
            "bias": np.asarray(theirs["output"]["bias"]) + (mean - mean[kept] @ last) @ weight,
        },
    }
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), started, expected)


def test_attention_map_of_silent_layers_stays_finite_and_takes_different_units(problem):
    _, _, teacher, student = problem
    silent = GNNOutput(jnp.zeros((NODES, CLASSES)), (jnp.zeros((NODES, 8)),) * 2)
    started = cut_out(student, teacher, silent, jnp.zeros((2, 2)), jnp.ones(NODES, bool))
    assert jax.tree.map(jnp.shape, started) == jax.tree.map(jnp.shape, student)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(started))
    columns = np.asarray(started["input"]["kernel"]).T
    assert np.abs(columns[0] - columns[1]).max() > 0.0


def test_attention_map_refuses_what_it_cannot_cut(problem):
    graph, _, teacher, student = problem
    out, mask = seen(graph, teacher, 2, 8), jnp.ones(NODES, bool)
    mlp = jax.jit(MLP(hidden=2, layers=2, classes=CLASSES).init)(jax.random.key(1), graph)["params"]
    with pytest.raises(InputError, match=r"student has parameters .*dense_0.*, expected those of a GCNII"):
        attention_map(mlp, teacher, out, jnp.eye(2), mask)
    with pytest.raises(InputError, match=r"map has shape \(2, 3\), expected .* = \(2, 2\)"):
        attention_map(student, teacher, out, jnp.ones((2, 3)), mask)
    repeated = {**student, "blocks": {"conv": {"kernel": student["blocks"]["conv"]["kernel"][0]}}}
    with pytest.raises(InputError, match="student repeats one convolution, expected one for every layer"):
        attention_map(repeated, teacher, out, jnp.eye(2), mask)
    normalised = {**teacher, "blocks": {**teacher["blocks"], "norm": {"scale": jnp.ones((2, 8))}}}
    with pytest.raises(InputError, match=r"^attention_map: the teacher's blocks have \['conv', 'norm'\], expected"):
        attention_map(student, normalised, out, jnp.eye(2), mask)
    variant = {**teacher, "blocks": {"conv": {"kernel": jnp.ones((2, 16, 8))}}}
    with pytest.raises(InputError, match=r"^attention_map: the teacher's convolutions have shape \(16, 8\), expected"):
        attention_map(student, variant, out, jnp.eye(2), mask)
    with pytest.raises(InputError, match="student has width 8, the teacher only 2"):
        attention_map(teacher, student, seen(graph, student, 2, 2), jnp.eye(2), mask)


@pytest.mark.parametrize(
    ("model", "scaled", "shifted"),
    [
        (GraphSAGE(2, 2, CLASSES), {"conv_0/neighbour/kernel", "conv_0/root/kernel"}, {"conv_0/neighbour/bias"}),
        (GAT(2, 2, CLASSES), {"conv_0/linear/kernel"}, {"conv_0/bias"}),
        (GIN(2, 2, CLASSES), {"conv_0/mlp/dense_0/kernel"}, {"conv_0/mlp/dense_0/bias"}),
        (SIGN(2, 2, CLASSES), {"hops/dense_0/kernel"}, {"hops/dense_0/bias"}),
    ],
    ids=["graphsage", "gat", "gin", "sign"],
)
def test_positive_start_of_input_layers_with_several_parts(problem, model, scaled, shifted):
    graph, labels, teacher, _ = problem
    shapes = jax.eval_shape(model.init, jax.random.key(1), graph)["params"]
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.25), shapes)
    changes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(positive(params)):
        changes.setdefault(float(leaf.ravel()[0]), set()).add(jax.tree_util.keystr(path, simple=True, separator="/"))
    assert changes[2.5] == scaled
    assert changes[0.75] == shifted
    with pytest.raises(InputError, match=r"the student's input layer has .*, expected one kernel and one bias"):
        teacher_directions(jax.random.key(2), params, teacher, graph, labels, CLASSES, EVERY)


def test_initialise_is_the_function_of_that_name(problem):
    """Of four teacher layers the first two stand for the first student layer, and the others for the second."""
    graph, _, _, student = problem
    model, small = (GCNII(hidden=hidden, layers=layers, classes=CLASSES) for hidden, layers in ((8, 4), (2, 2)))
    teacher = jax.jit(model.init)(jax.random.key(0), graph)["params"]
    out, shapes = jax.jit(model.apply)({"params": teacher}, graph), jax.eval_shape(lambda: seen(graph, student, 2, 2))
    key, mask = jax.random.key(2), jnp.arange(NODES) < 80

    def start(name):
        others = {
            "module": small,
            "teacher_params": teacher,
            "teacher": out,
            "student": shapes,
            "graph": graph,
            "mask": mask,
        }
        return initialise(name, key, student, **others)

    by_depth = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    expected = {
        "default": student,
        "positive": positive(student),
        "teacher_directions": teacher_directions(
            key, student, teacher, graph, jnp.argmax(out.logits, axis=1), CLASSES, mask
        ),
        "attention_map": attention_map(student, teacher, out, by_depth, mask),
        "fitted": fitted(student, small, out, graph, mask),
    }
    for name, params in expected.items():
        jax.tree.map(np.testing.assert_array_equal, start(name), params)


@pytest.mark.parametrize("name", STARTS)
def test_no_start_reads_what_the_teacher_returns_outside_the_mask(problem, name):
    """Students who are taught labelled nodes alone are not to start from the teacher's predictions of the others."""
    graph, labels, _, student = problem
    model, small = (GCNII(hidden=hidden, layers=layers, classes=CLASSES) for hidden, layers in ((8, 4), (2, 2)))
    teacher = jax.jit(model.init)(jax.random.key(0), graph)["params"]
    out, mask = jax.jit(model.apply)({"params": teacher}, graph), jnp.arange(NODES) % 3 > 0
    out = out._replace(logits=jax.nn.one_hot(labels, CLASSES))
    shapes = jax.eval_shape(lambda: seen(graph, student, 2, 2))

    @jax.jit
    def start(out):
        return initialise(
            name,
            jax.random.key(2),
            student,
            module=small,
            teacher_params=teacher,
            teacher=out,
            student=shapes,
            graph=graph,
            mask=mask,
        )

    def changed(where):
        return jax.tree.map(lambda x: jnp.where(where[:, None], -x, x), out)

    outside, inside = changed(~mask), changed(mask)
    jax.tree.map(np.testing.assert_array_equal, start(outside), start(out))
    same = [np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (start(inside), start(out))), strict=True)]
    assert all(same) == (name in ("default", "positive"))


def test_an_unknown_start_is_refused(unchecked):
    with pytest.raises(InputError, match=r"^initialise: start is 'zeros', expected one of default, positive, "):
        initialise("zeros", None, {}, module=None, teacher_params={}, teacher=None, student=None, graph=None, mask=None)
