"""Finished runs: what their records stand on, whether that is unchanged, and which models other code has trained."""

import logging
from pathlib import Path
from typing import Any

from abkd_jax import datasets
from abkd_jax.configs.names import full_name, short_name
from abkd_jax.configs.options import DistillConfig
from abkd_jax.run.folder import RunFolder, conflicts, read_made_from, read_results
from abkd_jax.run.given_teachers import ELSEWHERE
from abkd_jax.run.identity import DataIdentity, config_dict, source_of, student_identity, teacher_identity
from abkd_jax.run.keep import are_kept
from abkd_jax.run.plan import Plan, make_plan
from abkd_jax.run.teachers import teacher_folder, teachers_root
from abkd_jax.training import checkpoint
from abkd_jax.training.provenance import of_other_code

__all__ = ["is_finished", "made_from", "name_other_origins"]

log = logging.getLogger(__name__)


def is_finished(config: DistillConfig, run: RunFolder) -> bool:
    """Tells whether a folder holds all that a config names, made from the checkpoints and data files of now.

    Args:
        config: resolved.
        run: its folder, as it was opened.
    """
    stored = read_made_from(run)
    if stored is None or not are_kept(run):
        return False
    plan = make_plan(config, run)
    if conflicts(run, plan.description(run.description.get("data", "")), plan.config.methods):
        return False
    seeds = {name: [record["seed"] for record in records] for name, records in run.records.items()}
    if any(seeds.get(name) != list(range(plan.config.seeds)) for name in ("teacher", *plan.config.methods)):
        return False
    batches = {} if config.batches.kind == "full" else config_dict(config.batches)
    here = made_from(plan, DataIdentity(short_name(config.dataset), stored["fingerprint"], batches))
    return None not in here["checkpoints"].values() and here == stored


def made_from(plan: Plan, data: DataIdentity) -> dict[str, Any]:
    """Returns what the records of a run stand on: the last whole step of every checkpoint, split, and files.

    While size and time of change of a file of the data, or of a teacher from outside, stay as they are, so does what is
    in it. Of data that other data of the same short name can stand for, the full name is there too, see
    `folder.read_full_name`.
    """
    config, root, source = plan.config, teachers_root(plan.config), source_of(plan.config)
    steps = {}
    given = [*config.teacher_outputs, *filter(None, [config.teacher_weights])]
    members = config.seeds if config.teacher_ensemble == 1 else config.teacher_ensemble
    for seed in range(0 if given else members):
        identity = teacher_identity(data, config.teacher, seed)
        steps[f"teacher {seed}"] = checkpoint.verify(teacher_folder(root, data, config.teacher, seed), identity)
    for name, model, method in plan.jobs:
        for path, seeds in plan.programs(name):
            identity = student_identity(data, seeds, source, name, method, model)
            steps[f"{name} {', '.join(map(str, seeds))}"] = checkpoint.verify(path, identity)
    paths = [path for path in [*datasets.paths(config.dataset, config.data_root), *given] if path.exists()]
    files = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}
    full = full_name(config.dataset)
    named = {} if full == short_name(config.dataset) else {"dataset": full}
    return {"fingerprint": data.fingerprint, "split": config.split, "checkpoints": steps, "files": files, **named}


def name_other_origins(path: Path) -> None:
    """Logs how many models of a run folder other code has trained, and which students had other teachers."""
    found = read_results(path)["records"]
    sources = [record.get("provenance", {}) for record in found]
    others = [source for source in of_other_code(sources) if source.get("commit") != ELSEWHERE]
    if others:
        log.warning(
            "%s: %d of %d models were trained by other code (commit %s); "
            "--overwrite with an empty --teachers trains them anew",
            path,
            len(others),
            len(sources),
            ", ".join(sorted({source.get("commit", "unknown") for source in others})),
        )
    weights = {record["seed"]: record.get("weights") for record in found if record["method"] == "teacher"}
    orphans = [r for r in found if r.get("teacher_weights") not in (None, weights.get(r["seed"]))]
    if orphans:
        named = ", ".join(f"{record['method']} {record['seed']}" for record in orphans)
        log.warning("%s: %s learned from teachers that are gone; --overwrite trains them anew", path, named)
