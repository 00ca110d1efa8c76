"""The published criteria in NumPy float64, by the names that the reference file gives them, and inputs of its kind.

A name is `<loss>_<kernel or temperature>_<head>_<teacher's width>[_<edge list>]`; an `X_sub24` criterion looks at 24
nodes alone. Nothing here knows the library.
"""

import re
from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]

KERNELS = ("cosine", "poly", "l2", "rbf")
MIXTURES = ((1, 0.9), (4, 0.9), (4, 0.5), (5, 0.8), (1, 0.5), (4, 1), (4, 0))
NAMES = (
    *(f"kd_T{t}_a{a}_{part}" for t, a in MIXTURES for part in ("kl", "total")),
    *(f"kdbce_a{a}_{part}" for a in (0.5, 0.9) for part in ("kl", "cls", "total")),
    *(f"fitnet_{mode}" for mode in ("raw_16", "relu_16", "linear_16", "linear_32", "bnrelu_16", "bnrelu_32")),
    *(f"at_{mode}" for mode in ("raw_16", "raw_32", "relu_16")),
    *(f"lsp_{k}_{m}_{e}" for k in KERNELS for m in ("raw_16", "raw_32", "relu_16") for e in ("sym", "self", "dir")),
    *(f"lspmse_{k}_raw_16_sym" for k in KERNELS),
    *(f"gsp_{k}_{m}" for k in KERNELS for m in ("raw_16", "raw_32", "relu_16", "bnrelu_32")),
    *(f"gspsub24_{k}_raw_32" for k in ("cosine", "rbf")),
    *(
        f"nce_T{t}_{m}"
        for t in (0.05, 0.075, 0.1, 1.0)
        for m in ("raw_16", "relu_16", "linear_32", "bnrelu_16", "bnrelu_32")
    ),
    "ncesub24_T0.075_raw_16",
    *(f"total_cls_plus_{x}" for x in ("1000fitnet_raw_16", "100lsp_cosine_raw_32_sym", "0.1nce_T0.075_raw_16")),
    *(f"total_kd0.9T4_plus_{x}" for x in ("0.01nce_T0.05_raw_16", "100fitnet_raw_16")),
    *(f"mustad_hidden_{k}" for k in ("kl", "lin", "poly", "dist", "RBF")),
    "mustad_pred_T2",
    "gkd_sigmoid",
    "gkd_sigmoid_delta0.1",
    "gkd_gaussian_t1",
    "gkd_gaussian_t2",
    "pgkd_dist",
    "pgkd_rec_teacher",
)


def inputs(seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs of the shapes and types of the reference file's: zero rows, an isolated node, a directed list."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(60, 8))
    draw = lambda width: common @ rng.normal(size=(8, width)) / 3 + 0.5 * rng.normal(size=(60, width))  # noqa: E731
    found = {"student_feat": draw(16), "teacher_feat16": draw(16), "teacher_feat32": draw(32)}
    for side, silent in (("student", [3, 17, 41]), ("teacher", [5, 17])):
        found[f"{side}_relu"] = np.maximum(draw(16), 0.0)
        found[f"{side}_relu"][silent] = 0.0
        found[f"{side}_logits"] = rng.normal(size=(60, 7)) * 2.0
    for side, width in (("s", 16), ("t16", 16), ("t32", 32)):
        found[f"proj_{side}_W"] = rng.uniform(-1.0, 1.0, (8, width)) / np.sqrt(width)
        found[f"proj_{side}_b"] = rng.uniform(-1.0, 1.0, 8) / np.sqrt(width)
    found["gkd_phi"] = rng.normal(size=(16, 32))
    found["labels_multi"] = (rng.uniform(size=(60, 7)) < 0.3) * 1.0
    found = {name: value.astype(np.float32) for name, value in found.items()}
    pairs = np.array([(u, v) for u in range(59) for v in range(u)])
    pairs = pairs[rng.choice(len(pairs), 100, replace=False)].T  # node 59 is isolated
    sym = np.concatenate([pairs, pairs[::-1]], axis=1)
    sym = sym[:, np.lexsort((sym[0], sym[1]))]
    dense = np.eye(60, dtype=np.float32)
    dense[sym[0], sym[1]] = 1.0
    found |= {
        "labels": rng.integers(0, 7, 60),
        "edge_sym": sym,
        "edge_self": np.concatenate([sym, np.tile(np.arange(60), (2, 1))], axis=1),
        "edge_dir": sym[:, np.sort(rng.choice(200, 130, replace=False))],
        "sample_idx24": rng.permutation(60)[:24],
        "adj_self_dense": dense,
    }
    return {f"in_{name}": value for name, value in found.items()}


def criterion(name: str, arrays: Arrays) -> float:
    """The value that the name stands for, on these inputs."""
    x = {key: value.astype(np.float64) if value.dtype.kind == "f" else value for key, value in arrays.items()}
    loss, _, rest = name.partition("_")
    return float(_FAMILIES[loss](rest, x))


def features_of(mode: str) -> tuple[str, str]:
    """Names of the student's and the teacher's features, as `raw_32` or `relu_16` choose them."""
    if mode.startswith("relu"):
        return "in_student_relu", "in_teacher_relu"
    return "in_student_feat", f"in_teacher_feat{mode[-2:]}"


def _sides(mode: str, x: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The two sides behind the heads of a mode."""
    student, teacher = (x[name] for name in features_of(mode))
    if mode.startswith(("raw", "relu")):
        return student, teacher
    ys, yt = (
        y @ x[f"in_proj_{head}_W"].T + x[f"in_proj_{head}_b"]
        for y, head in ((student, "s"), (teacher, f"t{mode[-2:]}"))
    )
    if mode.startswith("linear"):
        return ys, yt
    return tuple(np.maximum((y - y.mean(axis=0)) / np.sqrt(y.var(axis=0) + 1e-5), 0.0) for y in (ys, yt))


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def _unit(v: np.ndarray, floor: float = 1e-12) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), floor)


def _gram(kernel: str, v: np.ndarray, floor: float = 1e-12) -> np.ndarray:
    if kernel in ("cosine", "poly"):
        cosine = _unit(v, floor) @ _unit(v, floor).T
        return cosine if kernel == "cosine" else cosine**2
    distance = np.linalg.norm(v[:, None] - v[None], axis=-1)
    return distance if kernel == "l2" else np.exp(-(distance**2) / 2.0)


def _cross_entropy(x: Arrays) -> float:
    return -_log_softmax(x["in_student_logits"])[np.arange(60), x["in_labels"]].mean()


def _kl(z_t: np.ndarray, z_s: np.ndarray) -> np.ndarray:
    log_p = _log_softmax(z_t)
    return np.exp(log_p) * (log_p - _log_softmax(z_s))


def _soft_label(x: Arrays, temperature: float) -> float:
    return _kl(x["in_teacher_logits"] / temperature, x["in_student_logits"] / temperature).mean()  # over n and classes


def _kd(rest: str, x: Arrays) -> float:
    temperature, alpha, part = re.fullmatch(r"T([\d.]+)_a([\d.]+)_(kl|total)", rest).groups()
    kl, alpha = _soft_label(x, float(temperature)), float(alpha)
    return kl if part == "kl" else alpha * float(temperature) ** 2 * kl + (1.0 - alpha) * _cross_entropy(x)


def _kdbce(rest: str, x: Arrays) -> float:
    alpha, part = re.fullmatch(r"a([\d.]+)_(kl|cls|total)", rest).groups()
    z, soft = x["in_student_logits"], 1.0 / (1.0 + np.exp(-x["in_teacher_logits"]))
    kl, cls = ((np.logaddexp(z, 0.0) - y * z).mean() for y in (soft, x["in_labels_multi"]))
    return {"kl": kl, "cls": cls, "total": float(alpha) * kl + (1.0 - float(alpha)) * cls}[part]


def _fitnet(rest: str, x: Arrays) -> float:
    student, teacher = _sides(rest, x)
    return ((_unit(student) - _unit(teacher)) ** 2).mean()


def _at(rest: str, x: Arrays) -> float:
    student, teacher = (_unit((side**2).sum(axis=1)) for side in _sides(rest, x))
    return ((student - teacher) ** 2).mean()


def _lsp(rest: str, x: Arrays, mse: bool = False) -> float:
    kernel, mode, edges = re.fullmatch(r"([a-z0-9]+)_([a-z]+_\d+)_([a-z]+)", rest).groups()
    u, v = x[f"in_edge_{edges}"]

    def shares(side: np.ndarray) -> np.ndarray:
        weights = np.exp(_gram(kernel, side, 1e-8)[u, v])
        return weights / np.bincount(v, weights, 60)[v]

    q, p = (shares(side) for side in _sides(mode, x))
    return ((q - p) ** 2).mean() if mse else (p * np.log(p / q)).mean()


def _gsp(rest: str, x: Arrays, rows: slice | np.ndarray = slice(None)) -> float:
    kernel, _, mode = rest.partition("_")
    student, teacher = (_gram(kernel, side[rows]) for side in _sides(mode, x))
    return ((student - teacher) ** 2).mean()


def _nce(rest: str, x: Arrays, rows: slice | np.ndarray = slice(None)) -> float:
    temperature, _, mode = rest[1:].partition("_")
    student, teacher = (_unit(side[rows]) for side in _sides(mode, x))
    return -np.diag(_log_softmax(student @ teacher.T / float(temperature))).mean()


def _total(rest: str, x: Arrays) -> float:
    base, _, auxiliary = rest.partition("_plus_")
    weight, name = re.fullmatch(r"([\d.]+)([a-z].*)", auxiliary).groups()
    hard = _cross_entropy(x)
    return (hard if base == "cls" else 0.9 * 16.0 * _soft_label(x, 4.0) + 0.1 * hard) + float(weight) * criterion(
        name, x
    )


def _mustad(rest: str, x: Arrays) -> float:
    if rest == "pred_T2":
        return _kl(x["in_teacher_logits"] / 2.0, x["in_student_logits"]).sum(axis=1).mean()
    t, s = x["in_teacher_feat16"], x["in_student_feat"]
    dot, distance = (t * s).sum(axis=1), np.linalg.norm(t - s, axis=1)
    kernels = {"lin": dot, "poly": dot**2, "dist": distance, "RBF": np.exp(-distance / 2)}
    return (kernels | {"kl": _kl(t, s).sum(axis=1)})[rest.removeprefix("hidden_")].mean()


def _gkd(rest: str, x: Arrays) -> float:
    t, s = x["in_teacher_feat16"], x["in_student_feat"]
    if rest.startswith("gaussian"):
        scale = float(rest.removeprefix("gaussian_t"))
        return ((np.exp(-_gram("l2", t) / scale) - np.exp(-_gram("l2", s) / scale)) ** 2).sum()
    delta = float(rest.partition("_delta")[2] or 1.0)
    weights = x["in_adj_self_dense"] + delta * (1.0 - x["in_adj_self_dense"])
    return (weights * (np.tanh(t @ t.T) - np.tanh(s @ s.T)) ** 2).sum()


def _pgkd(rest: str, x: Arrays) -> float:
    t, s = x["in_teacher_feat16"], x["in_student_feat"]
    k_t, k_s = (np.tanh(side @ x["in_gkd_phi"]) @ np.tanh(side @ x["in_gkd_phi"]).T for side in (t, s))
    standard = lambda y: (y - y.mean(axis=0)) / np.sqrt(y.var(axis=0) + 1e-10)  # noqa: E731
    return {"dist": ((k_t - k_s) ** 2).sum(), "rec_teacher": ((standard(k_t @ t) - standard(t)) ** 2).sum()}[rest]


_FAMILIES = {
    "kd": _kd,
    "kdbce": _kdbce,
    "fitnet": _fitnet,
    "at": _at,
    "lsp": _lsp,
    "lspmse": lambda rest, x: _lsp(rest, x, mse=True),
    "gsp": _gsp,
    "gspsub24": lambda rest, x: _gsp(rest, x, x["in_sample_idx24"]),
    "nce": _nce,
    "ncesub24": lambda rest, x: _nce(rest, x, x["in_sample_idx24"]),
    "total": _total,
    "mustad": _mustad,
    "gkd": _gkd,
    "pgkd": _pgkd,
}
