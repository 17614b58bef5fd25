"""Git repositories at a revision."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from magicoder.corpora.git import Git
from magicoder.errors import CorpusError

GPL_NOTICE = "This program is free software under the GNU General Public License version 3 or any later version."


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]
    allow = ["-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", *identity, *allow, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "-m", "a commit")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    git(tmp_path, "init", str(folder))
    return folder


def test_a_commit_is_read_whatever_lies_in_the_folder(repo: Path) -> None:
    first = commit(repo, {"a.py": "old", "b/c.py": "2"})
    git(repo, "tag", "v1")
    second = commit(repo, {"a.py": "new"})
    (repo / "a.py").write_text("not committed")
    for revision, sha, text in (("v1", first, b"old"), ("HEAD", second, b"new"), (first[:8], first, b"old")):
        found = list(Git(path=str(repo), revision=revision).documents(100))
        assert [(d.id, d.content) for d in found] == [(f"repo@{sha}:a.py", text), (f"repo@{sha}:b/c.py", b"2")]


def test_a_bare_repository_gives_the_same_documents_as_its_checkout(repo: Path, tmp_path: Path) -> None:
    commit(repo, {"a.py": "1", "b/c.py": "2", "b.py": ""})
    git(tmp_path, "clone", "--bare", str(repo), "bare.git")
    assert list(Git(path=str(tmp_path / "bare.git")).documents(9)) == list(Git(path=str(repo)).documents(9))
    assert Git(path=str(tmp_path / "bare.git")).state() == Git(path=str(repo)).state()


def test_of_a_large_file_the_first_bytes_and_the_true_size_are_given(repo: Path) -> None:
    commit(repo, {"a.py": "x" * 300_000, "b.py": "y" * 101, "c.py": "z" * 100, "d.py": ""})
    found = {d.path: (len(d.content), d.size) for d in Git(path=str(repo)).documents(100)}
    assert found == {"a.py": (101, 300_000), "b.py": (101, 101), "c.py": (100, 100), "d.py": (0, 0)}


def test_links_and_pointers_come_with_a_problem_and_submodules_not_at_all(repo: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "library")
    commit(tmp_path / "library", {"l.py": "1"})
    (repo / "link.py").symlink_to("/etc/passwd")
    git(repo, "submodule", "add", str(tmp_path / "library"), "vendored")
    commit(repo, {"p.py": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"})
    found = {d.path: d.problem for d in Git(path=str(repo)).documents(1000)}
    assert found == {"link.py": "link", "p.py": "lfs_pointer"}


def test_hidden_files_are_asked_for_and_patterns_choose(repo: Path) -> None:
    commit(repo, {".ci/a.py": "", "b.py": "", "c.js": ""})
    assert [d.path for d in Git(path=str(repo)).documents(9)] == ["b.py", "c.js"]
    assert [d.path for d in Git(path=str(repo), hidden=True, include=("*.py",)).documents(9)] == [".ci/a.py", "b.py"]
    with pytest.raises(CorpusError, match="none of the 2 files"):
        list(Git(path=str(repo), exclude=("*",)).documents(9))


def test_a_folder_of_a_repository_gives_what_is_below_it(repo: Path) -> None:
    commit(repo, {"a.py": "", "src/b.py": "", "src/c/d.py": ""})
    assert [d.path for d in Git(path=str(repo / "src")).documents(9)] == ["src/b.py", "src/c/d.py"]


def test_odd_names_survive(repo: Path) -> None:
    odd = [b"\xff.py", b"new\nline.py", b"tab\t.py", "ü.py".encode(), b"--help.py", b'"q".py']
    for name in odd:
        Path(os.fsdecode(os.fsencode(repo) + b"/" + name)).write_bytes(name)
    commit(repo, {})
    found = list(Git(path=str(repo)).documents(100))
    assert sorted(d.content for d in found) == sorted(odd)
    assert len({d.id.encode() for d in found}) == len(odd)


def test_the_licence_is_that_of_the_commit(repo: Path) -> None:
    (repo / "LICENSE").write_text("SPDX-License-Identifier: MIT\n")
    commit(repo, {"a.py": "", "z/COPYING": GPL_NOTICE, "z/b/c.c": "", "package.json": '{"license": "ISC"}'})
    (repo / "LICENSE").write_text("SPDX-License-Identifier: BSL-1.0\n")
    found = {d.path: d.license for d in Git(path=str(repo)).documents(100)}
    assert found["a.py"] == "MIT"
    assert found["z/b/c.c"] == "GPL-3.0-or-later"
    assert {d.license for d in Git(path=str(repo), license="0BSD").documents(100)} == {"0BSD"}


def test_an_unknown_revision_names_what_is_near(repo: Path) -> None:
    commit(repo, {"a.py": ""})
    git(repo, "tag", "v1.2.0")
    git(repo, "branch", "develop")
    with pytest.raises(CorpusError, match=r"no revision 'v1\.20'; did you mean v1\.2\.0"):
        list(Git(path=str(repo), revision="v1.20").documents(1))
    with pytest.raises(CorpusError, match=r"there are: develop, main, v1\.2\.0"):
        Git(path=str(repo), revision="zzzzzzzz").state()
    with pytest.raises(CorpusError, match="no revision '--help'"):
        Git(path=str(repo), revision="--help").state()


def test_sources_that_are_no_repository_are_explained(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CorpusError, match="has no commits yet"):
        list(Git(path=str(repo)).documents(1))
    (tmp_path / "plain").mkdir()
    with pytest.raises(CorpusError, match="not a Git repository; for plain folders use local_files"):
        list(Git(path=str(tmp_path / "plain")).documents(1))
    with pytest.raises(CorpusError, match=r"did you mean .*repo"):
        list(Git(path=str(tmp_path / "rep")).documents(1))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="git is not installed; install it"):
        Git(path=str(repo)).state()


def test_a_missing_object_is_told_and_a_damaged_one_is_an_error(repo: Path) -> None:
    commit(repo, {"a.py": "some text", "b.py": "other text", "c.py": "x"})
    blob = git(repo, "rev-parse", "HEAD:b.py")
    stored = repo / ".git" / "objects" / blob[:2] / blob[2:]
    whole = stored.read_bytes()
    stored.unlink()
    assert {d.path: d.problem for d in Git(path=str(repo)).documents(100)} == {
        "a.py": "",
        "b.py": "unreadable",
        "c.py": "",
    }
    stored.write_bytes(whole[:-6])
    with pytest.raises(CorpusError, match=r"git cannot read .*git fsck"):
        list(Git(path=str(repo)).documents(100))


def test_a_partial_clone_is_an_error_and_nothing_is_fetched(repo: Path, tmp_path: Path) -> None:
    commit(repo, {"a.py": "some text"})
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--bare", "--filter=blob:none", repo.as_uri(), "partial.git")
    git(tmp_path / "partial.git", "config", "protocol.file.allow", "always")
    before = sorted(p.name for p in (tmp_path / "partial.git" / "objects" / "pack").iterdir())
    with pytest.raises(CorpusError, match="a partial clone must be cloned again in full"):
        list(Git(path=str(tmp_path / "partial.git")).documents(100))
    assert sorted(p.name for p in (tmp_path / "partial.git" / "objects" / "pack").iterdir()) == before


def test_leaving_early_ends_the_child_processes(repo: Path) -> None:
    commit(repo, {f"{i:04}.py": "x" * 2000 for i in range(200)})
    before = children()
    documents = Git(path=str(repo)).documents(5000)
    next(documents)
    assert children() - before, "git is at work"
    documents.close()
    assert not children() - before


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()}


def test_sha256_repositories_are_read(tmp_path: Path) -> None:
    try:
        git(tmp_path, "init", "--object-format=sha256", "r")
    except subprocess.CalledProcessError:
        pytest.skip("this git has no sha256 repositories")
    sha = commit(tmp_path / "r", {"a.py": "1"})
    assert [d.id for d in Git(path=str(tmp_path / "r")).documents(9)] == [f"r@{sha}:a.py"]
    from magicoder.corpora.local_files import LocalFiles

    assert [d.id for d in LocalFiles(path=str(tmp_path / "r")).documents(9)] == [f"r@{sha}:a.py"]


def test_the_state_is_that_of_the_commit(repo: Path) -> None:
    commit(repo, {"a.py": "1"})
    first = Git(path=str(repo)).state()
    (repo / "a.py").write_text("changed")
    assert Git(path=str(repo)).state() == first
    commit(repo, {"a.py": "2"})
    assert Git(path=str(repo)).state() != first
    shutil.rmtree(repo / ".git")
    with pytest.raises(CorpusError):
        Git(path=str(repo)).state()
