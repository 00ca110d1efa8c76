"""The studies: every method they name exists and makes a loss, and rows differ in what the study is about alone."""

import dataclasses

import pytest

from abkd_jax.configs.options import MethodConfig
from abkd_jax.configs.presets import AUXILIARY_WEIGHTS
from abkd_jax.distill.build import build_objective
from abkd_jax.run.resolve import jobs, resolve
from experiments.configs import arxiv, citation, graphs, initialisation, mag, typed


@pytest.mark.parametrize("study", [citation.study, initialisation.study])
@pytest.mark.parametrize("dataset", ["cora", "citeseer"])
def test_every_row_is_a_method_that_can_be_trained(study, dataset):
    config = study(dataset)
    assert config.dataset == dataset
    resolve(config)
    assert all(isinstance(getattr(config, name), MethodConfig) for name in config.methods)


@pytest.mark.parametrize(
    ("study", "datasets"),
    [
        (typed.study, ("aifb", "heco_acm", "heco_freebase")),
        (graphs.study, ("ogbg-molbace", "ogbg-molesol", "mutag", "proteins")),
        (arxiv.study, ("ogbn-arxiv",)),
        (arxiv.small, ("ogbn-arxiv",)),
        (mag.study, ("ogbn-mag",)),
    ],
)
def test_studies_of_other_graphs_can_be_trained(study, datasets):
    for dataset in datasets:
        config = study(dataset)
        assert config.dataset == dataset
        resolve(config)
        assert {"supervised", "soft_label", "abkd"} <= set(config.methods)
        assert config.abkd == dataclasses.replace(config.soft_label, alignment_weight=config.abkd.alignment_weight)


def test_the_sizes_on_ogbn_mag_are_those_of_the_paper():
    """The G-CRD study, arXiv 2111.04964: RGCN 3 x 512 and 2 x 32 on walks from 20,000 roots."""
    config = mag.study()
    assert (config.teacher.model.layers, config.teacher.model.hidden) == (3, 512)
    assert (config.student.layers, config.student.hidden) == (2, 32)
    assert (config.batches.kind, config.batches.size, config.batches.length) == ("walks", 20_000, 2)


def test_citation_holds_the_earlier_losses_and_glnn():
    config = citation.study("cora")
    assert {*AUXILIARY_WEIGHTS, "glnn"} <= set(config.methods)
    models = {job.name: job.model for job in jobs(config)}
    assert models["glnn"].name == "mlp"
    assert models["gcrd"] == config.student


@pytest.mark.parametrize("dataset", ["cora", "pubmed"])
def test_candidates_are_different_methods_that_make_a_loss(dataset):
    candidates = citation.grid(dataset)
    assert len(set(candidates.values())) > 0.8 * len(candidates)  # a grid may cross the default more than once
    for name in (*AUXILIARY_WEIGHTS, "glnn"):
        assert sum(candidate.startswith(f"{name} ") for candidate in candidates) >= 4
    for method in candidates.values():
        build_objective(method)


def test_starts_are_compared_with_all_else_equal():
    config = initialisation.study("cora")
    models = {job.name: job.model for job in jobs(config)}
    for plain, started, start in (
        ("soft_label", "mapped", "attention_map"),
        ("abkd", "mapped_abkd", "attention_map"),
        ("soft_label", "fitted", "fitted"),
        ("abkd", "fitted_abkd", "fitted"),
    ):
        for prefix, layers in (("", 4), ("one_layer_", 1)):
            one, other = (getattr(config, prefix + name) for name in (plain, started))
            assert dataclasses.replace(one, start=start) == other
            assert one.start == "positive"
            assert models[prefix + plain].layers == layers
