"""Runs a study: `python -m experiments.run [citation | initialisation | arxiv | ...] --dataset cora --seeds 10`.

Without a name it is the study of the citation graphs. A study and its teachers are kept in `runs/studies`; the same
command resumes a study or prints a finished one. Where this repository stores the same study, both are then printed
side by side; stored results change only if `--out` names their folder.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tabulate
import tyro

from abkd_jax.cli import commands
from abkd_jax.cli.arguments import dataset_in
from abkd_jax.configs.options import DistillConfig
from abkd_jax.datasets.files.atomic import read_json_lines
from abkd_jax.run.folder import read_results
from abkd_jax.run.report.markdown import format_score
from abkd_jax.run.report.statistics import metric_of
from abkd_jax.run.report.trends import is_finite
from experiments.configs import arxiv, citation, graphs, initialisation, mag, typed
from experiments.program import run_program
from experiments.stored import comparison

RESULTS, RUNS = Path("experiments/results"), Path("runs/studies")
# Each study, and its data set where none is named.
STUDIES: dict[str, tuple[Callable[[str], DistillConfig], str]] = {
    "citation": (citation.study, "cora"),
    "initialisation": (initialisation.study, "cora"),
    "typed": (typed.study, "aifb"),
    "graphs": (graphs.study, "ogbg-molbace"),
    "arxiv": (arxiv.study, "ogbn-arxiv"),
    "arxiv_small": (arxiv.small, "ogbn-arxiv"),
    "mag": (mag.study, "ogbn-mag"),
}


def main() -> None:
    """Reads the options, runs or resumes the study, and compares it with the stored one."""
    arguments = sys.argv[1:]
    name = arguments.pop(0) if arguments and arguments[0] in STUDIES else "citation"
    make, usual = STUDIES[name]
    dataset = dataset_in(arguments, default=usual)
    study = make(dataset)
    table = {"citation": dataset}.get(name, name if name == "arxiv_small" else f"{name}_{dataset}")
    default = dataclasses.replace(study, seeds=10, out=RUNS / table, teachers=RUNS / "teachers")
    options = (tyro.conf.AvoidSubcommands,)
    config = tyro.cli(type(study), default=default, description=__doc__, args=arguments, config=options)
    sys.exit(run_program("experiments.run", lambda: _run(config, table), resumes=True))


def _run(config: DistillConfig, table: str) -> int:
    folder, stored = config.out or RUNS / table, read_results(RESULTS / table)["records"]
    status = commands.distill(config)
    print(f"\nbefore and after training:\n{_before_and_after(folder)}")
    if stored:
        print(f"\nstored in {RESULTS / table}, and new:\n{comparison(stored, read_results(folder)['records'])}")
    return status


def _before_and_after(folder: Path) -> str:
    """Returns a table of the students' validation scores at epoch 0 and at their last epochs, means over seeds."""
    metric = metric_of(read_results(folder)["records"])
    scores: dict[str, dict[int, dict[int, Any]]] = {}
    for line in read_json_lines(folder / "metrics.jsonl"):
        score = None if line.get("diverged") else line["val_accuracy"]
        scores.setdefault(line["method"], {}).setdefault(line["seed"], {})[line["epoch"]] = score
    rows = []
    for name, by_seed in scores.items():
        of_seeds = [(by_epoch[0], by_epoch[max(by_epoch)]) for by_epoch in by_seed.values() if 0 in by_epoch]
        ends = [[score for score in end if is_finite(score)] for end in zip(*of_seeds, strict=True)]
        if ends and all(ends):
            rows.append((name, *(format_score(sum(end) / len(end), metric) for end in ends)))
    headers = ("method", *(f"{when}: validation {metric.heading}" for when in ("no training", "trained")))
    return tabulate.tabulate(rows, headers, disable_numparse=True)


if __name__ == "__main__":
    main()
