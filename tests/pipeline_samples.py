"""A run that trains in seconds: the embedded graph, a teacher of four narrow layers, a student of two."""

import dataclasses
from pathlib import Path
from typing import Any

from abkd_jax.configs.options import DistillConfig, ModelConfig, OptimConfig, TeacherConfig
from abkd_jax.configs.presets import distill_config

EPOCHS = 12
TEACHER = TeacherConfig(
    ModelConfig(layers=4, hidden=8, dropout=0.3), OptimConfig(epochs=300, patience=50, conv_decay=5e-4)
)
STUDENT = ModelConfig(layers=2, hidden=4, dropout=0.0)
TEACHER_PARAMETERS = (32 * 8 + 8) + 4 * 8 * 8 + (8 * 3 + 3)
STUDENT_PARAMETERS = (32 * 4 + 4) + 2 * 4 * 4 + (4 * 3 + 3)
TEACHER_OPTIONS = [  # of the command line, for the same run
    *("--dataset", "synthetic", "--seeds", "2", "--max-epochs", "12"),
    *("--teacher.model.layers", "4", "--teacher.model.hidden", "8", "--teacher.model.dropout", "0.3"),
]
OPTIONS = [*TEACHER_OPTIONS, "--student.layers", "2"]


def tiny(root: Path, **changes: Any) -> DistillConfig:
    """A comparison in `root/run` with its teachers in `root/teachers`."""
    settings = {
        "teacher": TEACHER,
        "student": STUDENT,
        "seeds": 2,
        "max_epochs": EPOCHS,
        "out": root / "run",
        "teachers": root / "teachers",
        "methods": ("supervised", "soft_label", "abkd", "abkd_paper"),
    }
    return dataclasses.replace(distill_config("synthetic"), **(settings | changes))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
