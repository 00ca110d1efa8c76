"""Cells of a study that was never made."""

import json

import numpy as np

METHODS = {"soft_label": 0.80, "abkd_x": 0.84, "gcrd": 0.76, "fitnet": 0.80}
BASE = {"cora": 0.0, "film & co": -0.3}


def cell(rng, dataset, method, mean, seeds=8, **more):
    shared = np.random.default_rng(len(dataset)).normal(0.0, 0.01, seeds)  # what the seeds of a data set have in common
    test = [float(round(mean + noise, 4)) for noise in shared + rng.normal(0.0, 0.003, seeds)]
    teacher = method == "teacher"
    found = {"table": "main", "dataset": dataset, "regime": "transductive", "student": "teacher" if teacher else "4x4"}
    found |= {"method": method, "metric": "accuracy", "seeds": list(range(seeds)), "splits": [0] * seeds}
    found |= {"scores": {"test": test, "validation": test, "test_at_best_validation": test}, "diverged": [None] * seeds}
    found |= {"parameters": 354375 if teacher else 5835, "compression": 1.0 if teacher else 60.7, "epochs": 300}
    found |= {"cost": {"epochs_to_half_point": [100] * seeds}}
    latency = 9.0 if teacher else 0.1 * len(method)
    found |= {"times": {"latency_ms": latency, "training_seconds": 1800.0, "tuning_seconds": 1800.0}}
    found |= {"data": {"name": dataset, "source": "made up", "fingerprint": "abc", "split": 0, "counts": {"nodes": 9}}}
    found |= {"provenance": {"commit": "0123", "hardware": "2 cores", "versions": {"jax": "1"}, "date": "2026-01-01"}}
    if not teacher:
        found |= {
            "settings": {"temperature": 1.0, "name": method},
            "lengths": {"300": {"validation": test, "test": test}},
        }
        found |= {"curve": {"epoch": [0, 150, 300], "validation": [[v / 3, v - 0.02, v] for v in test]}}
        found["curve"]["validation"] = np.array(found["curve"]["validation"]).T.tolist()
        trials = [{"numbers": {"temperature": t}, "validation": [mean - t / 100]} for t in (1.0, 0.25, 4.0)]
        found |= {"tuning": {"ranges": {"temperature": [0.125, 4.0]}, "seeds": [1000], "chosen": 1, "trials": trials}}
    if method == "abkd_x":
        found |= {"terms": {"dissimilarity": [2.0, 0.5], "gradient_share/abkd": [0.4, 0.1]}}
        found |= {
            "attention": [[[1.0, 0.0], [0.25, 0.75]]] * seeds,
            "cka": {"before": [0.2] * seeds, "after": [0.6] * seeds},
        }
    return found | more


def cells(seeds=8, datasets=tuple(BASE)):
    rng = np.random.default_rng(7)
    return [
        cell(rng, dataset, method, mean + BASE[dataset], seeds)
        for dataset in datasets
        for method, mean in {"teacher": 0.85, **METHODS}.items()
    ]


def write(folder, made):
    for one in made:
        path = folder / one["dataset"] / one["regime"] / one["student"] / f"{one['method']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(one))
    return folder
