import hashlib
import http.client
import os

import pytest

from abkd_jax.datasets import download
from abkd_jax.types import InputError

CONTENT = b"five words in a file\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def published(tmp_path):
    file = tmp_path / "published" / "words"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    return file.as_uri()


def test_a_verified_file_arrives_in_a_new_folder(published, tmp_path):
    path = tmp_path / "new" / "folder" / "words"
    download.fetch(published, path, SHA256)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["words"]


def test_another_content_is_refused_and_nothing_is_written(published, tmp_path):
    path = tmp_path / "words"
    with pytest.raises(InputError, match=f"words: the download has SHA-256 {SHA256}, expected 0000") as refusal:
        download.fetch(published, path, "0" * 64)
    assert "\n" not in str(refusal.value)
    assert not path.exists()


@pytest.mark.parametrize("failure", [TimeoutError("timed out"), http.client.IncompleteRead(b"")])
def test_a_failed_transfer_says_what_to_do(failure, tmp_path, monkeypatch):
    def urlopen(url, timeout):
        raise failure

    monkeypatch.setattr(download.urllib.request, "urlopen", urlopen)
    with pytest.raises(InputError, match="words: cannot be downloaded") as refusal:
        download.fetch("https://example.org/words", tmp_path / "words", SHA256)
    assert f"put the file in {tmp_path} by hand, from https://example.org/words" in str(refusal.value)


def test_an_absent_file_is_a_failed_transfer(tmp_path):
    with pytest.raises(InputError, match="words: cannot be downloaded"):
        download.fetch((tmp_path / "nowhere").as_uri(), tmp_path / "words", SHA256)


def test_a_broken_write_leaves_the_old_file_and_no_rest(published, tmp_path, monkeypatch):
    path = tmp_path / "cache" / "words"
    path.parent.mkdir()
    path.write_bytes(b"old")

    def replace(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(InputError, match=r"words: cannot be written \(disk full\)"):
        download.fetch(published, path, SHA256)
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b"old"]
