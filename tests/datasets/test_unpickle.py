import os
import pickle

import pytest
import scipy.sparse as sp

from abkd_jax.datasets.files import unpickle
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


def test_a_global_of_strange_letters_is_named_in_one_line(tmp_path):
    file = tmp_path / "pickle"
    file.write_bytes(b"\x80\x02cos\r\x1b[2J\n" + b"x" * 9999 + b"\n.")
    with pytest.raises(InputError, match=r"names the global os\\r\\x1b\[2J\.xxx") as refusal:
        unpickle.load(file)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


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


def _pickle(path, operations):
    path.write_bytes(b"\x80\x02" + operations + b".")
    return path


@pytest.mark.parametrize("state", [b"}X\x01\x00\x00\x00xK\x01s", b"N}X\x01\x00\x00\x00xK\x01s\x86"])
@pytest.mark.parametrize("name", unpickle.ALLOWED)
def test_no_attribute_of_an_admitted_global_can_be_set(tmp_path, name, state):
    module, attribute = name
    path = _pickle(tmp_path / "graph", f"c{module}\n{attribute}\n".encode() + state + b"b")
    with pytest.raises(InputError, match=f"{path}: damaged"):
        unpickle.load(path)
    assert not hasattr(unpickle.ALLOWED[name], "x")


def test_scipy_is_out_of_reach(tmp_path):
    """The attack: `csr_matrix.check_format` is replaced by a class that takes any argument and checks nothing."""
    before = sp.csr_matrix.check_format
    state = b"N}X\x0c\x00\x00\x00check_formatccollections\ndefaultdict\ns\x86b"
    path = _pickle(tmp_path / "ind.cora.allx", b"cscipy.sparse.csr\ncsr_matrix\n" + state)
    with pytest.raises(InputError, match="damaged"):
        unpickle.load(path)
    assert sp.csr_matrix.check_format is before


SHAPED = (
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01%s"
    b"cnumpy\ndtype\n%sK\x00K\x01\x87R(K\x03U\x01<NNNK\xffK\xffK\x00tb\x89%stb"
)


@pytest.mark.parametrize(
    ("shape", "code", "content"),
    [
        (b"K\x02\x85", b"U\x02i4", b"U\x08\x01\x00\x00\x00\x02\x00\x00\x00"),  # is read
        (b"J\xff\xff\xff\x7f\x85", b"U\x02i4", b"U\x00"),
        (b"J\xfe\xff\xff\xff\x85", b"U\x02i4", b"U\x08\x01\x00\x00\x00\x02\x00\x00\x00"),
        (b"K\x01\x85", b"U\x02O8", b"]K\x01a"),
        (b"K\x01\x85", b"U\x02O8", b"U\x08\x00\x00\x00\x00\x00\x00\x00\x00"),
        (b"K\x02\x85", b"U\x02S4", b"U\x08\x00\x00\x00\x00\x00\x00\x00\x00"),
        (b"]K\x02a", b"U\x05i4,i4", b"U\x08\x00\x00\x00\x00\x00\x00\x00\x00"),
        (b"N", b"U\x02i4", b"U\x00"),
    ],
)
def test_arrays_are_made_of_exactly_their_bytes(tmp_path, shape, code, content):
    path = _pickle(tmp_path / "ind.cora.ally", SHAPED % (shape, code, content))
    if shape == b"K\x02\x85" and code == b"U\x02i4":
        assert unpickle.load(path).tolist() == [1, 2]
        return
    with pytest.raises(InputError, match=f"{path}: damaged"):
        unpickle.load(path)


BOMBS = {
    "a memo of 17 GB": b"]r\xff\xff\xff\x7f",
    "a memo of 2 GB": b"]r\x00\x00\x00\x10",
    "many lists": b"]" * unpickle.MAX_OPCODES,
    "a key that overflows the stack": b"}K\x01" + b"\x85" * 500_000 + b"K\x01s",
    "keys that collide": b"}\x8a\x09" + ((2**61 - 1) * 1000).to_bytes(9, "little") + b"K\x01s",
    "a text of 2 GB": b"T\xff\xff\xff\x7fabc",
    "a number of 2 GB": b"\x8b\xff\xff\xff\x7f",
    "a copied object": b"]2\x86",
    "an extension": b"\x82\x01",
    "a persistent object": b"Pname\n",
    "an instance": b"(icollections\ndefaultdict\n",
    "a frame": b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_pickles_that_take_memory_or_time_are_refused(tmp_path, bomb):
    path = _pickle(tmp_path / "ind.cora.graph", BOMBS[bomb])
    with pytest.raises(InputError, match=f"{path}: damaged") as refusal:
        unpickle.load(path)
    assert "\n" not in str(refusal.value)


def test_an_endless_file_is_not_read_whole(tmp_path):
    path = tmp_path / "ind.cora.allx"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match=r"damaged \(more than \d+ bytes\)"):
        unpickle.load(path)
