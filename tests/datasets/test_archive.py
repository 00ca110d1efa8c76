import contextlib
import errno
import hashlib
import http.server
import io
import os
import shutil
import threading
import warnings
import zipfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import pytest

from abkd_jax.datasets.files import archive
from abkd_jax.types import InputError

RECORD = ".ogbn_arxiv.zip.sha256"
FILES = {"arxiv/raw/edge.csv.gz": b"edges" * 999, "arxiv/split/time/train.csv.gz": b"train", "__MACOSX/arxiv/x": b""}


def zipped(files) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return content.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; `ranges`: whether a part may be asked for; `stops_after`: bytes until it hangs up.

    `redirects`: where an address leads; `endless`: chunks without end instead of the content; `announced`: the length
    that it claims.
    """

    content, ranges, stops_after = zipped(FILES), True, None
    redirects, endless, announced = MappingProxyType({}), False, None
    asked: list


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        content, wanted = self.server.content, self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            self.end_headers()
            return
        if self.server.endless:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Content-Length", "7")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                for _ in range(2**16):  # of 64 KiB
                    self.wfile.write(b"10000\r\n" + bytes(2**16) + b"\r\n")
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", self.server.announced or str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.stops_after])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.server_port}/arxiv.zip"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ogb" / "ogbn_arxiv"


def assert_arrived(folder, content=Server.content):
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found.pop("archive.sha256").decode() == f"{hashlib.sha256(content).hexdigest()}  arxiv.zip\n"
    assert found == {name.removeprefix("arxiv/"): data for name, data in FILES.items() if name.startswith("arxiv/")}
    assert {path.name for path in folder.parent.iterdir()} == {"ogbn_arxiv", RECORD}


def test_an_archive_is_unpacked_into_its_folder(server, url, folder):
    archive.fetch_zip(url, folder)
    assert_arrived(folder)
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False], ids=["a server that can", "a server that cannot"])
def test_an_interrupted_download_goes_on(server, url, folder, ranges):
    server.stops_after = 1000
    with pytest.raises(InputError, match=r"ogbn_arxiv: cannot be downloaded \(it stopped after 1,000 of") as refusal:
        archive.fetch_zip(url, folder)
    assert "\n" not in str(refusal.value)
    assert not folder.exists()
    server.stops_after, server.ranges = None, ranges
    archive.fetch_zip(url, folder)
    assert server.asked == [None, "bytes=1000-"]
    assert_arrived(folder)


@pytest.mark.parametrize("extra", [0, 7], ids=["whole", "too long"])
def test_a_part_that_needs_nothing_more(server, url, folder, extra):
    folder.parent.mkdir()
    folder.with_name(".ogbn_arxiv.zip.part").write_bytes(server.content + bytes(extra))
    archive.fetch_zip(url, folder)
    assert server.asked == [f"bytes={len(server.content) + extra}-", None][: 2 if extra else 1]
    assert_arrived(folder)


def one_member(name="arxiv/raw/edge", compression=zipfile.ZIP_STORED, **attributes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as file:
        member = zipfile.ZipInfo(name)
        member.compress_type = compression
        for key, value in attributes.items():
            setattr(member, key, value)
        file.writestr(member, b"x" * 99)
    return content.getvalue()


def overlapping() -> bytes:
    """Both entries of the list point at the first file."""
    content = zipped({"arxiv/raw/a": b"x" * 999, "arxiv/raw/b": b"x"})
    second = content.rindex(b"PK\x01\x02")
    first = content.index(b"PK\x01\x02")
    entry = bytearray(content[first : first + 46 + len("arxiv/raw/a")])
    entry[-1:] = b"b"
    return content[:second] + bytes(entry) + content[second + len(entry) :]


def twice() -> bytes:
    with warnings.catch_warnings(action="ignore"):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as file:
            for data in (b"one", b"two"):
                file.writestr("arxiv/raw/edge", data)
    return content.getvalue()


def bomb() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("arxiv/raw/edge", bytes(20 * 2**20))
    return content.getvalue()


ENTRY, END = b"PK\x01\x02\x14\x03\x14\0", b"PK\x05\x06\0\0\0\0"  # of the list of files, up to what is changed
DAMAGE = {
    "zero byte": (one_member().replace(b"raw/edge", b"raw/\0dge"), "'arxiv/raw/.x00dge' is not the name of a file"),
    "line break": (zipped(FILES | {"arxiv/raw/a\nb": b"x"}), r"'arxiv/raw/a\\nb' is not the name of a file of OGB"),
    "long name": (zipped(FILES | {"arxiv/" + "x" * 300: b"x"}), "is not the name of a file of OGB"),
    "encrypted": (one_member().replace(ENTRY + b"\0", ENTRY + b"\1"), "encrypted or compressed in another way"),
    "lzma": (one_member(compression=zipfile.ZIP_LZMA), "compressed in another way than deflate"),
    "bzip2": (one_member(compression=zipfile.ZIP_BZIP2), "compressed in another way than deflate"),
    "unknown method": (one_member().replace(ENTRY + bytes(4), ENTRY + b"\0\0\0\x63"), "compressed in another way"),
    "overlapping": (overlapping(), "its files overlap"),
    "twice": (twice(), "two of its files have the same name"),
    "file and folder": (zipped(FILES | {"arxiv/raw": b"x"}), "two of its files have the same name"),
    "bomb": (bomb(), r"its [\d,]+ bytes unpack to 20,971,520; expected 4 times as many at most"),
    "list of files": (zipped({f"arxiv/raw/{'x' * 200}{n}": b"" for n in range(9)}), "a list of files of .* bytes"),
    "count of files": (Server.content.replace(END + b"\3\0\3\0", END + b"\3\0\3\0\xff"), "is damaged"),
    "text": (b"not found", "is damaged .*File is not a zip file"),
    "flipped byte": (Server.content.replace(b"edgesedges", b"edgeSedges", 1), "is damaged .*wrong CRC of arxiv/raw/e"),
    "above": (zipped(FILES | {"../outside": b"x"}), "is damaged .*'../outside' reaches outside its folder"),
    "deep": (zipped(FILES | {"arxiv/raw/../../../x": b"x"}), "reaches outside its folder"),
    "absolute": (zipped(FILES | {"/outside": b"x"}), "'/outside' reaches outside its folder"),
    "drive": (zipped(FILES | {"C:/outside": b"x"}), "reaches outside its folder"),
    "empty": (zipped({"readme": b""}), r"0 folders with raw/ in it, expected one"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_archive_is_refused_and_nothing_is_left(server, url, folder, case, monkeypatch):
    server.content, message = DAMAGE[case]
    if case == "list of files":
        monkeypatch.setattr(archive, "DIRECTORY", 2000)
    with pytest.raises(InputError, match=message) as refusal:
        archive.fetch_zip(url, folder)
    assert str(refusal.value).endswith(f"expected {url}, or its content put in {folder} by hand")
    assert "\n" not in str(refusal.value)
    assert list(folder.parent.iterdir()) == []
    assert [path.name for path in folder.parents[1].iterdir()] == ["ogb"]


def test_a_link_is_refused(server, url, folder):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        link = zipfile.ZipInfo("arxiv/raw/link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    server.content = content.getvalue()
    with pytest.raises(InputError, match="'arxiv/raw/link' is a link"):
        archive.fetch_zip(url, folder)


def test_a_known_archive_must_be_it(server, url, folder):
    expected = "0" * 64
    with pytest.raises(InputError, match=f"another one: its SHA-256 is .*, not {expected} as published") as refusal:
        archive.fetch_zip(url, folder, expected)
    assert "\n" not in str(refusal.value)
    assert list(folder.parent.iterdir()) == []
    archive.fetch_zip(url, folder, hashlib.sha256(server.content).hexdigest())
    assert_arrived(folder)


def test_a_second_download_must_bring_the_same(server, url, folder):
    archive.fetch_zip(url, folder)
    shutil.rmtree(folder)
    archive.fetch_zip(url, folder)
    shutil.rmtree(folder)
    server.content = zipped(FILES | {"arxiv/raw/edge.csv.gz": b"others"})
    record = folder.with_name(RECORD)
    with pytest.raises(InputError, match=f"another one: its SHA-256 is .* as the one before it, which {record} is of"):
        archive.fetch_zip(url, folder)
    assert [path.name for path in folder.parent.iterdir()] == [RECORD]
    record.unlink()
    archive.fetch_zip(url, folder)
    assert (folder / "raw" / "edge.csv.gz").read_bytes() == b"others"


@pytest.mark.parametrize("lie", ["endless", "announced"])
def test_more_than_an_archive_can_have_is_left_unread(server, url, folder, lie, monkeypatch):
    monkeypatch.setattr(archive, "LIMIT", 2**17)
    if lie == "endless":
        server.endless, message = True, "more than the 131,072 bytes that are expected at most"
    else:
        server.announced, message = str(2**40), "1,099,511,627,776 bytes are announced, more than"
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: usage(2**50, 0, 2**50))
    with pytest.raises(InputError, match=rf"cannot be downloaded \({message}"):
        archive.fetch_zip(url, folder)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("length", ["many", "-1", "1" * 30])
def test_a_length_that_is_none_is_not_believed(server, url, folder, length):
    server.announced = length
    archive.fetch_zip(url, folder)
    assert_arrived(folder)


def test_redirects_are_followed(server, url, folder):
    server.redirects = {"/arxiv.zip": "/two", "/two": "three.zip"}
    archive.fetch_zip(url, folder)
    assert_arrived(folder)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/arxiv.zip", "more than 5 redirects"),
        ("file:///etc/passwd", "redirected to 'file:///etc/passwd'; expected http or https"),
        ("ftp://127.0.0.1/x", "redirected to 'ftp://127.0.0.1/x'; expected http or https"),
        ("http://[x", r"redirected to 'http://\[x'; expected http or https"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_one_line(server, url, folder, target, message):
    server.redirects = {"/arxiv.zip": target}
    with pytest.raises(InputError, match=message) as refusal:
        archive.fetch_zip(url, folder)
    assert "\n" not in str(refusal.value)
    assert len(server.asked) <= 6
    assert list(folder.parent.iterdir()) == []


def test_two_downloads_at_once_are_one(server, url, folder):
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(archive.fetch_zip, url, folder) for _ in range(2)]:
            future.result(60)
    assert server.asked == [None]
    assert_arrived(folder)


def test_no_network_is_one_line(folder):
    url = "http://127.0.0.1:9/arxiv.zip"  # the discard port: nobody answers
    with pytest.raises(InputError, match=r"ogbn_arxiv: cannot be downloaded \(.*refused.*\); expected") as refusal:
        archive.fetch_zip(url, folder)
    assert str(refusal.value).endswith(f"expected {url}, or its content put in {folder} by hand")
    assert not folder.exists()


def test_an_absent_file_is_a_failed_transfer(tmp_path, folder):
    with pytest.raises(InputError, match="cannot be downloaded"):
        archive.fetch_zip((tmp_path / "nowhere").as_uri(), folder)


@pytest.mark.parametrize("step", ["room", "unpack"])
def test_a_full_disk_is_one_line_and_keeps_the_download(server, url, folder, monkeypatch, step):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "room":
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: usage(100, 0, 100))
    else:
        monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    message = {"room": "more than the disk has room for", "unpack": "No space left on device"}[step]
    with pytest.raises(InputError, match=rf"ogbn_arxiv: cannot be written \(.*{message}\); expected") as refusal:
        archive.fetch_zip(url, folder)
    assert "\n" not in str(refusal.value)
    assert not folder.exists()
    left = [path.name for path in folder.parent.iterdir()]
    assert left == ([] if step == "room" else [".ogbn_arxiv.zip.part"])
