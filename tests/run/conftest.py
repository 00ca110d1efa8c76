"""Fixtures of the tests of runs."""

import dataclasses
import shutil

import pytest
from parity.parity_samples import pyg, torch
from pipeline_samples import tiny

from abkd_jax.run import pipeline
from abkd_jax.run.report import figures


@pytest.fixture(scope="module")
def without_figures():
    """Leaves figures, a second per report, to the tests of reports and of the pipeline."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "run_figures", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The config of a finished run of one method, to be copied."""
    config = tiny(tmp_path_factory.mktemp("finished"), methods=("soft_label",))
    pipeline.distill(config)
    return config


@pytest.fixture
def copied(finished, tmp_path):
    """The config of a copy of the run."""
    shutil.copytree(finished.out, tmp_path / "run")
    return dataclasses.replace(finished, out=tmp_path / "run")


@pytest.fixture
def seeded_torch():
    """Seeds the weights, and imports the library where its deprecations are no errors: the package imports it too."""
    assert pyg.MessagePassing
    torch.manual_seed(0)
