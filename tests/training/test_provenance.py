"""The commit that a record names is that of the package, not of whatever repository encloses it."""

import subprocess

from abkd_jax.training import provenance


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def make_package(folder):
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    return folder


def test_a_checkout_has_its_commit_and_tells_changes(tmp_path):
    package = make_package(tmp_path / "package")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = subprocess.run(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    found = provenance.commit(package)
    assert len(found) >= 7
    assert head.stdout.startswith(found)
    (package / "__init__.py").write_text("changed = 1\n")
    assert provenance.commit(package) == f"{found}+"


def test_an_enclosing_repository_is_not_named(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "of another project")
    assert provenance.commit(make_package(tmp_path / "venv" / "site-packages" / "package")) == "unknown"
    assert provenance.commit(make_package(tmp_path / "package")) == "unknown"  # at its top, but not of it


def test_a_folder_outside_any_repository_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert provenance.commit(make_package(tmp_path / "package")) == "unknown"


def test_provenance_differs_in_more_than_the_date_or_not():
    here = provenance.provenance()
    assert provenance.same_code(here, here | {"date": "another day"})
    assert not provenance.same_code(here, here | {"code": "other"})


def test_the_digest_of_the_code_is_of_its_kernels_too(tmp_path, monkeypatch):
    package, found = make_package(tmp_path / "package"), []
    monkeypatch.setattr(provenance, "PACKAGE", package)
    for name, content in (("kernels.cc", "sum += x;"), ("kernels.cc", "sum -= x;"), ("README.md", "text")):
        (package / name).write_text(content)
        found.append(provenance.code.__wrapped__())
    assert found[0] != found[1] == found[2]
