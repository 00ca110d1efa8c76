import email.message
import hashlib
import http.client
import io
import os
import urllib.error

import pytest

from abkd_jax.datasets.files import download
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


@pytest.mark.parametrize("failure", [TimeoutError("timed out"), http.client.IncompleteRead(b""), OSError("a\nb")])
def test_a_failed_transfer_says_what_to_do(failure, tmp_path, monkeypatch):
    def open_address(request, timeout):
        raise failure

    monkeypatch.setattr(download._OPENER, "open", open_address)
    with pytest.raises(InputError, match="words: cannot be downloaded") as refusal:
        download.fetch("https://example.org/words", tmp_path / "words", SHA256)
    assert f"put the file in {tmp_path} by hand, from https://example.org/words" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_safe_address_does_not_lead_to_an_unsafe_one(tmp_path, monkeypatch):
    def open_address(request, timeout):
        headers = email.message.Message()
        headers["Location"] = "http://example.org/words"
        raise urllib.error.HTTPError(request.full_url, 301, "Moved", headers, io.BytesIO())

    monkeypatch.setattr(download._OPENER, "open", open_address)
    with pytest.raises(InputError, match=r"redirected to 'http://example.org/words'; expected https"):
        download.fetch("https://example.org/words", tmp_path / "words", SHA256)


def test_more_than_a_file_can_have_is_not_read(published, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LIMIT", len(CONTENT) - 1)
    with pytest.raises(InputError, match="21 bytes are announced, more than the 20 that are expected at most"):
        download.fetch(published, tmp_path / "words", SHA256)
    assert not (tmp_path / "words").exists()


def test_a_transfer_that_crawls_is_given_up(published, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", -1.0)
    monkeypatch.setattr(download, "SLOW", 1e12)
    with pytest.raises(InputError, match=r"words: cannot be downloaded \(21 bytes in 0 seconds\)"):
        download.fetch(published, tmp_path / "words", SHA256)


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
