"""The mesh of devices: its sizes, and what it refuses."""

import jax
import pytest

from abkd_jax.training.sharding import axis_size, make_mesh, mesh_sizes
from abkd_jax.types import InputError

FOUR = pytest.mark.skipif(jax.device_count() < 4, reason="needs 4 devices, tests/conftest.py fakes them")


@FOUR
def test_axes_come_in_any_order_and_the_others_have_one_device():
    mesh = make_mesh(["seeds=2", "data=2"])
    assert mesh is not None
    assert dict(mesh.shape) == {"data": 2, "seeds": 2, "nodes": 1}
    assert len({device.id for device in mesh.devices.flat}) == 4
    assert axis_size(mesh, "seeds") == 2
    assert make_mesh(["data=2"]).size == 2
    assert make_mesh([]) is None
    assert axis_size(None, "data") == 1


@pytest.mark.parametrize(
    "word", ["data", "data=", "data=0", "data=-2", "data=x", "rows=2", "data=2=2", "data=\u00b2", "=2", ""]
)
def test_a_word_that_names_no_axis_and_size_is_refused(word):
    with pytest.raises(InputError, match=r"--mesh .*, expected data=N, seeds=N, nodes=N, each at most once"):
        mesh_sizes([word])


def test_an_axis_is_named_once():
    with pytest.raises(InputError, match="each at most once"):
        mesh_sizes(["data=2", "data=2"])


def test_more_devices_than_there_are_are_refused_with_their_number():
    with pytest.raises(InputError, match=f"has 8,000 devices, expected at most {jax.device_count()}, the number found"):
        make_mesh(["data=1000", "seeds=8"])
