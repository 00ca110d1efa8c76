import errno
import hashlib
import http.server
import io
import os
import threading
import zipfile
from collections import namedtuple

import pytest

from abkd_jax.datasets import archive
from abkd_jax.types import InputError

FILES = {"arxiv/raw/edge.csv.gz": b"edges" * 999, "arxiv/split/time/train.csv.gz": b"train", "__MACOSX/arxiv/x": b""}


def zipped(files) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return content.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; `ranges`: whether a part may be asked for; `stops_after`: bytes until it hangs up."""

    content, ranges, stops_after = zipped(FILES), True, None
    asked: list


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        content, wanted = self.server.content, self.headers.get("Range")
        self.server.asked.append(wanted)
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
        self.send_header("Content-Length", str(len(content) - start))
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
    assert [path.name for path in folder.parent.iterdir()] == ["ogbn_arxiv"]


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


DAMAGE = {
    "text": (b"not found", "is damaged .*File is not a zip file"),
    "flipped byte": (Server.content.replace(b"edgesedges", b"edgeSedges", 1), "is damaged .*wrong CRC of arxiv/raw/e"),
    "above": (zipped(FILES | {"../outside": b"x"}), "is damaged .*'../outside' reaches outside its folder"),
    "deep": (zipped(FILES | {"arxiv/raw/../../../x": b"x"}), "reaches outside its folder"),
    "absolute": (zipped(FILES | {"/outside": b"x"}), "'/outside' reaches outside its folder"),
    "drive": (zipped(FILES | {"C:/outside": b"x"}), "reaches outside its folder"),
    "empty": (zipped({"readme": b""}), r"0 folders with raw/ in it, expected one"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_archive_is_refused_and_nothing_is_left(server, url, folder, case):
    server.content, message = DAMAGE[case]
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
