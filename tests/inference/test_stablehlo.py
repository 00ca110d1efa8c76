"""Exported programs: without this package and flax, on graphs of other sizes, they predict what the student does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from export_samples import BUNDLES, bundle_of, exported, graphs_of, student_logits

from abkd_jax import InputError
from abkd_jax.inference.export import stablehlo
from abkd_jax.inference.export.arguments import arrays_of, checked_arrays

# Of the README: what a user without this package runs. `sys.modules[name] = None` makes an import fail.
WITHOUT_THE_PACKAGE = """
import sys
for name in ("flax", "jraph", "optax", "abkd_jax"):
    sys.modules[name] = None
import jax, numpy as np
folder = sys.argv[1]
given = np.load(folder + "/given.npz")
found = {}
for name in sys.argv[2:]:
    program = jax.export.deserialize(bytearray(open(f"{folder}/{name}.stablehlo", "rb").read()))
    for graph in ("0", "1"):
        keys = sorted(key for key in given if key.startswith(f"{name}/{graph}/"))
        out = program.call(*(given[key] for key in keys))
        found |= {f"{name}/{graph}/{key}": value for key, value in out.items()}
np.savez(folder + "/found.npz", **found)
"""


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Outputs of all programs on two graphs each, by `model/graph/output`, of a process without the package."""
    folder, given = tmp_path_factory.mktemp("exported"), {}
    for name in BUNDLES:
        bundle = bundle_of(name)
        (folder / f"{name}.stablehlo").write_bytes(exported(bundle))
        for number, data in enumerate(graphs_of(name)):
            arrays = checked_arrays(bundle.inputs, arrays_of(data, bundle.inputs))
            given |= {f"{name}/{number}/{place:02}": array for place, array in enumerate(arrays)}
    np.savez(folder / "given.npz", **given)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", WITHOUT_THE_PACKAGE, folder, *BUNDLES], check=True, env=environment)
    return dict(np.load(folder / "found.npz"))


@pytest.mark.parametrize("name", BUNDLES)
def test_without_the_package_it_predicts_what_the_student_does(name: str, predicted: dict[str, np.ndarray]):
    for number, data in enumerate(graphs_of(name)):
        wanted = student_logits(name, data)
        logits, shares = (predicted[f"{name}/{number}/{key}"] for key in ("logits", "probabilities"))
        np.testing.assert_allclose(logits, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())
        np.testing.assert_allclose(shares, jax.nn.softmax(wanted, axis=1), rtol=0, atol=1e-6)


def test_a_program_holds_a_module_for_every_platform():
    program = jax.export.deserialize(bytearray(exported(bundle_of("gcn"))))
    assert program.platforms == stablehlo.PLATFORMS
    module = program.mlir_module()
    assert "_platform_index" in module  # the program chooses by it
    promised = {"shape_assertion", "stablehlo.dynamic_reduce_window"}  # to be read by later versions
    assert set(re.findall(r"custom_call @([\w.]+)", module)) <= promised
    sizes = [argument.shape[0] for argument in program.in_avals]
    assert not any(isinstance(size, int) for size in sizes)


def test_a_program_of_another_platform_is_refused():
    with pytest.raises(InputError, match="the program is for tpu, expected one for cpu"):
        stablehlo.deserialised(exported(bundle_of("mlp"), platforms=("tpu",)))


def test_edges_and_types_out_of_range_predict_nothing():
    bundle, data = bundle_of("rgcn"), graphs_of("rgcn")[0]
    run = stablehlo.deserialised(exported(bundle))
    arrays = arrays_of(data, bundle.inputs)
    for name, wrong in (("senders", data.num_nodes), ("receivers", -1), ("relations", 2), ("node_types", 2)):
        damaged = {key: value.copy() for key, value in arrays.items()}
        damaged[name][-1] = wrong
        assert np.isnan(run(*damaged.values())["logits"]).all(), name


def test_the_module_is_the_same_every_time():
    contents = {exported(bundle_of("gcn")) for _ in range(2)}
    assert len(contents) == 1, json.dumps([len(content) for content in contents])


def test_a_program_names_no_source_file():
    lines, before = "jax_traceback_in_locations_limit", jax.config.values["jax_traceback_in_locations_limit"]
    try:
        jax.config.update(lines, 10)  # as outside of tests
        assert b".py" not in exported(bundle_of("mlp"))
        assert jax.config.values[lines] == 10
    finally:
        jax.config.update(lines, before)


def test_bytes_that_are_no_program_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="expected a serialised StableHLO program") as caught:
        stablehlo.deserialised(b"")
    assert "\n" not in str(caught.value)
