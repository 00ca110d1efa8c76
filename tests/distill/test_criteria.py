"""Every published criterion by name: the NumPy formulas against the reference file, the objectives against them."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from criteria import KERNELS, NAMES, criterion, features_of, inputs
from distill_samples import EDGELESS
from numpy.testing import assert_allclose
from relation_samples import edge_graph

from abkd_jax.distill import (
    attention_transfer,
    fitnet,
    gcrd,
    geometric,
    geometric_parametric,
    gsp,
    lsp,
    mustad,
    soft_label,
    soft_label_multilabel,
)
from abkd_jax.training.tasks import Task, classification, multilabel
from abkd_jax.types import GNNOutput, Objective, Pytree

ARRAYS = inputs()
Inputs = dict[str, jax.Array]
MUSTAD_PREDICTION = soft_label(2.0, scale="none", student_temperature=1.0)
HEADS = {"raw": "none", "relu": "none", "linear": "linear", "bnrelu": "bnrelu"}


def test_the_formulas_are_those_of_the_reference_file(golden_root: Path):
    with np.load(golden_root / "golden_losses.npz") as file:
        arrays = dict(file)
    scalars = {n: v for n, v in arrays.items() if v.ndim == 0 and not re.fullmatch(r"kd_.*_cls", n)}
    assert len(scalars) >= 28
    assert not scalars.keys() - set(NAMES)
    for name, expected in scalars.items():
        assert_allclose(criterion(name, arrays), expected, rtol=1e-10, err_msg=name)


def test_random_inputs_have_the_shapes_of_the_reference_file(golden_root: Path):
    with np.load(golden_root / "golden_losses.npz") as file:
        found = {name: (value.shape, value.dtype) for name, value in file.items() if name.startswith("in_")}
    assert {name: (value.shape, value.dtype) for name, value in ARRAYS.items()} == found


def objective_of(name: str) -> Objective:
    """The library's objective of an auxiliary criterion; that of the total for `kd`."""
    loss, *words = name.split("_")
    head = HEADS[mode_of(name).split("_")[0]]
    number = lambda word: float(re.sub("[A-Za-z]", "", word))  # noqa: E731
    if loss == "gkd":
        options = {"d": "delta", "t": "scale"}
        return geometric(words[0], **{options[w[0]]: number(w) for w in words[1:]})
    return {
        "kd": lambda: soft_label(number(words[0]), "all"),
        "kdbce": soft_label_multilabel,
        "fitnet": lambda: fitnet(head),
        "at": attention_transfer,
        "lsp": lambda: lsp(words[0]),
        "lspmse": lambda: lsp(words[0], "mse"),
        "gsp": lambda: gsp(words[0], head=head),
        "nce": lambda: gcrd(number(words[0]), head=head),
        "mustad": lambda: MUSTAD_PREDICTION if words[0] == "pred" else mustad(words[1].lower()),
        "pgkd": geometric_parametric,
    }[loss.removesuffix("sub24")]()


def mode_of(name: str) -> str:
    found = re.search(r"(raw|relu|linear|bnrelu)_\d+", name)
    return found[0] if found else "raw_16"


def heads_of(name: str, x: Inputs) -> Pytree:
    """Parameters of the objective; the reference file's matrices are transposed."""
    mode = mode_of(name)
    if name.startswith("pgkd"):
        return {"phi": x["in_gkd_phi"]}
    if mode.startswith(("raw", "relu")):
        return {} if name.startswith("mustad") else {"student": {}, "teacher": {}}
    norm = {"scale": jnp.ones(8), "shift": jnp.zeros(8)} if mode.startswith("bnrelu") else {}
    norm = jax.tree.map(lambda v: v.astype(x["in_gkd_phi"].dtype), norm)
    return {
        side: {"kernel": x[f"in_proj_{head}_W"].T, "bias": x[f"in_proj_{head}_b"]} | norm
        for side, head in (("student", "s"), ("teacher", f"t{mode[-2:]}"))
    }


def auxiliary(name: str, x: Inputs) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss and metrics of the objective; `sub24` looks at 24 of the nodes, in any order."""
    features = dict(zip(("student", "teacher"), features_of(mode_of(name)), strict=True))
    outputs = {side: GNNOutput(x[f"in_{side}_logits"], (x[key],)) for side, key in features.items()}
    edges = "self" if name.startswith("gkd") else name.rsplit("_", 1)[1]
    graph = edge_graph(ARRAYS[f"in_edge_{edges}"], 60) if f"in_edge_{edges}" in ARRAYS else EDGELESS
    mask = np.isin(np.arange(60), ARRAYS["in_sample_idx24"]) if "sub24" in name else np.ones(60, bool)
    objective, seen = objective_of(name), {"graph": graph, "mask": jnp.asarray(mask)}
    targets = objective.targets(outputs["teacher"], **seen)
    return objective.apply(heads_of(name, x), targets, outputs["student"], **seen, key=None)


def hard(x: Inputs, task: Task, labels: str) -> jax.Array:
    truth = ARRAYS[labels].astype("int32" if labels == "in_labels" else x["in_student_logits"].dtype)
    return task.loss(x["in_student_logits"], jnp.asarray(truth), jnp.ones(60, bool))


def ours(name: str, x: Inputs) -> jax.Array:
    """What the library makes of a name."""
    loss, _, rest = name.partition("_")
    found, metrics = auxiliary(name, x)
    if loss == "pgkd":
        return metrics[{"dist": "distance", "rec_teacher": "reconstruction"}[rest]]
    if loss not in ("kd", "kdbce"):
        return found
    kl = metrics.get("kl", found)
    task = (classification(), "in_labels") if loss == "kd" else (multilabel(), "in_labels_multi")
    alpha, part = float(re.search(r"_a([\d.]+)_", name)[1]), rest.rsplit("_", 1)[1]
    return {"kl": kl, "cls": hard(x, *task), "total": alpha * found + (1.0 - alpha) * hard(x, *task)}[part]


LSP_MODES = "raw_16", "raw_32", "relu_16"


def _repeats(name: str) -> bool:
    """Whether others run the same code of the library: sums with weights, as in `total`, are not made there.

    Temperatures of `nce` do not depend on its head. Each kernel of `lsp` keeps every width and every list of edges, and
    all kernels together keep every pair of these.
    """
    loss, _, rest = name.partition("_")
    if loss == "lsp":
        kernel, mode, edges = re.fullmatch(r"([a-z0-9]+)_([a-z]+_\d+)_([a-z]+)", rest).groups()
        first = KERNELS.index(kernel)
        return edges != ("sym", "self", "dir")[(first + LSP_MODES.index(mode)) % 3]
    if loss == "nce":
        return not (rest.startswith("T0.075_") or rest.endswith("_raw_16"))
    if loss == "kd":  # the share of soft labels is no argument of either part
        return name not in ("kd_T1_a0.9_kl", "kd_T4_a0.9_kl", "kd_T5_a0.8_kl", "kd_T4_a0.5_total")
    if loss == "kdbce":
        return not re.fullmatch(r"a0\.5_(kl|cls)", rest)
    return loss == "total" or (loss == "gsp" and rest.endswith("raw_32"))  # that width is in `gspsub24`


CASES = [name for name in NAMES if not _repeats(name)]


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_the_formula(name, x64):
    """The slope along a random direction of all that is trained; the teacher has none, and zero rows stay."""
    x = {key: jnp.asarray(value, "float64") for key, value in ARRAYS.items() if value.dtype == np.float32}
    run = jax.jit(jax.value_and_grad(functools.partial(ours, name)))
    value, gradient = run(x)
    assert_allclose(value, criterion(name, ARRAYS), rtol=1e-6)
    rng = np.random.default_rng(1)
    trained = [key for key in x if key.startswith(("in_student", "in_proj"))]
    trained += ["in_gkd_phi"] if name == "pgkd_rec_teacher" else []
    moves = {key: rng.normal(size=x[key].shape) for key in trained}
    moves["in_student_relu"] *= ARRAYS["in_student_relu"].any(axis=1, keepdims=True)

    def difference(step: float) -> float:
        ends = (ARRAYS | {key: np.asarray(x[key]) + h * move for key, move in moves.items()} for h in (step, -step))
        return np.subtract(*(criterion(name, end) for end in ends)) / (2 * step)

    slope = (4.0 * difference(1e-5) - difference(2e-5)) / 3.0
    assert abs(slope) > 1e-6
    assert_allclose(sum(np.vdot(gradient[key], move) for key, move in moves.items()), slope, rtol=1e-6)
    assert all(np.isfinite(g).all() for g in gradient.values())
    assert not any(np.any(gradient[key]) for key in gradient.keys() - set(trained))


@pytest.mark.parametrize("name", CASES)
def test_value_holds_in_float32(name):
    x = {key: jnp.asarray(value) for key, value in ARRAYS.items() if value.dtype == np.float32}
    value = jax.jit(functools.partial(ours, name))(x)
    assert_allclose(value, criterion(name, ARRAYS), rtol=2e-5, atol=1e-7)
