import os
import pickle

import pytest

from abkd_jax.datasets import unpickle
from abkd_jax.types import InputError


class _MakesAFolder:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_does_not_run(tmp_path):
    file, folder = tmp_path / "ind.cora.graph", tmp_path / "made"
    file.write_bytes(pickle.dumps({0: _MakesAFolder(folder)}, protocol=2))
    with pytest.raises(
        InputError, match=rf"{file}: the pickle names the global {os.mkdir.__module__}\.mkdir"
    ) as refusal:
        unpickle.load(file)
    assert "\n" not in str(refusal.value)
    assert not folder.exists()
    pickle.loads(file.read_bytes())  # the attack is real: the ordinary reader runs it
    assert folder.exists()


@pytest.mark.parametrize(
    "name",
    ["builtins eval", "__builtin__ getattr", "numpy load", "numpy ndarray.tofile", "collections OrderedDict"],
)
def test_every_other_global_is_refused(tmp_path, name):
    module, attribute = name.split()
    file = tmp_path / "pickle"
    file.write_bytes(f"\x80\x02c{module}\n{attribute}\n.".encode("latin1"))
    with pytest.raises(InputError, match=f"names the global {module}.{attribute}"):
        unpickle.load(file)


def test_exactly_the_documented_globals_are_admitted():
    assert {".".join(name) for name in unpickle.ALLOWED} == {
        "__builtin__.list",
        "collections.defaultdict",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy.core.multiarray._reconstruct",
        "scipy.sparse.csr.csr_matrix",
    }


def test_a_python_2_defaultdict_is_read(tmp_path):
    file = tmp_path / "graph"
    # defaultdict(list), then {1: [2, 3]}, as Python 2 writes it with protocol 2
    file.write_bytes(b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85RK\x01]K\x02aK\x03as.")
    graph = unpickle.load(file)
    assert graph == {1: [2, 3]}


@pytest.mark.parametrize("content", [b"", b"\x80\x02]K\x01", b"not a pickle", b"\x80\x02K\x01K\x02R."])
def test_a_damaged_file_is_named(tmp_path, content):
    file = tmp_path / "ind.cora.allx"
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"{file}: damaged"):
        unpickle.load(file)
