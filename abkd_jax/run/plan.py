"""The plan of a run: its settings together with the methods and seeds that its folder holds already."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any, NamedTuple

from abkd_jax.configs.methods import methods_of, with_methods
from abkd_jax.configs.names import short_name
from abkd_jax.configs.options import DistillConfig, RunConfig
from abkd_jax.run.folder import RunFolder, is_method
from abkd_jax.run.identity import read_method, run_digest, settings
from abkd_jax.run.resolve import Job, jobs

__all__ = ["Plan", "make_plan", "run_path"]


class Plan(NamedTuple):
    """The jobs of a run, and where their checkpoints are.

    Attributes:
        config: resolved, with the methods and the seeds of the folder beside its own.
        path: of the run folder.
        seed_ranges: `[first, last)` seeds that are trained together, in the order in which they were asked for.
    """

    config: DistillConfig
    path: Path
    seed_ranges: tuple[tuple[int, int], ...]

    @property
    def jobs(self) -> list[Job]:
        """Returns the jobs of all methods, those of the folder before the new ones."""
        return jobs(self.config)

    def programs(self, name: str) -> list[tuple[Path, list[int]]]:
        """Returns the checkpoint folder of every program of a method's students, and its seeds."""
        own = self.path / "checkpoints" / name
        if self.config.batches.kind != "full":  # one program per seed
            return [(own / f"seed_{seed}", [seed]) for seed in range(self.config.seeds)]
        return [
            (own if first == 0 else own.with_name(f"{name}.seeds_{first}-{last - 1}"), list(range(first, last)))
            for first, last in self.seed_ranges
        ]

    def description(self, fingerprint: str) -> dict[str, Any]:
        """Returns what `config.json` says of this run on data of this fingerprint, JSON-like."""
        bounds = [last for _, last in self.seed_ranges]
        extended = {"extended_at": bounds[:-1]} if len(bounds) > 1 else {}
        return {"data": fingerprint, **settings(self.config), "seeds": bounds[-1], **extended}


def run_path(config: RunConfig) -> Path:
    """Returns where a run is kept: `config.out`, or `runs/<data set>/<digest of its settings>`.

    Args:
        config: resolved.

    Examples:
        >>> from abkd_jax.configs.presets import distill_config
        >>> from abkd_jax.run.resolve import resolve
        >>> run_path(resolve(distill_config("cora"))).as_posix()
        'runs/cora/7c8eb11f'
    """
    if config.out is not None:
        return config.out
    own = Path("runs") / short_name(config.dataset)
    return own / run_digest(config) if isinstance(config, DistillConfig) else own


def make_plan(config: DistillConfig, run: RunFolder) -> Plan:
    """Returns the plan of a config for its run folder.

    Args:
        config: resolved.
        run: as it was opened.
    """
    stored = {name: run.description[name] for name in run.records if is_method(run.description.get(name))}
    config = with_methods(config, {n: read_method(part) for n, part in stored.items() if not hasattr(config, n)})
    known = [name for name in run.records if name in methods_of(config)]
    methods = tuple(dict.fromkeys([*known, *config.methods]))
    there = run.description.get("seeds", config.seeds)
    bounds = [0, *run.description.get("extended_at", []), there]
    if config.seeds > there:
        bounds.append(config.seeds)
    extended = dataclasses.replace(config, methods=methods, seeds=bounds[-1])
    return Plan(extended, run.path, tuple(itertools.pairwise(bounds)))
