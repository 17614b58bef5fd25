"""Folders and checkouts on this machine."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from magicoder.corpora.local_files import LocalFiles
from magicoder.errors import CorpusError
from magicoder.records import RawDocument

MIT = """MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]
    allow = ["-c", "protocol.file.allow=always"]
    done = subprocess.run(
        ["git", *identity, *allow, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def checkout(folder: Path, files: dict[str, str], remote: str = "") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init")
    write(folder, files)
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "-m", "first")
    if remote:
        git(folder, "remote", "add", "origin", remote)
    return git(folder, "rev-parse", "HEAD")


def read(corpus: LocalFiles, max_bytes: int = 1000) -> dict[str, RawDocument]:
    found = list(corpus.documents(max_bytes))
    assert len({d.id for d in found}) == len(found)
    return {d.path: d for d in found}


def test_a_plain_folder_is_read_in_byte_order_of_its_paths(tmp_path: Path) -> None:
    write(tmp_path / "code", {"a/b.py": "1", "a.c": "2", "a/a/z.py": "3", "a0.c": "4", "Z.py": "5"})
    found = list(LocalFiles(path=str(tmp_path / "code")).documents(10))
    assert [d.path for d in found] == ["Z.py", "a.c", "a/a/z.py", "a/b.py", "a0.c"]
    assert found[1].id == "code:a.c"
    assert found[1].content == b"2"


def test_no_more_than_the_limit_and_one_byte_is_read_and_the_true_size_is_told(tmp_path: Path) -> None:
    with (tmp_path / "big.py").open("wb") as f:
        f.truncate(1 << 30)
    (found,) = LocalFiles(path=str(tmp_path)).documents(100)
    assert (len(found.content), found.size) == (101, 1 << 30)


def test_ignore_files_of_a_plain_folder_apply_below_where_they_stand(tmp_path: Path) -> None:
    files = {
        ".gitignore": "*.log\nbuild/\n",
        "a.log": "",
        "a.py": "x",
        "build/x.py": "x",
        "sub/b.log": "",
        "sub/c.py": "",
    }
    write(tmp_path, files | {"sub/.gitignore": "!b.log\n/c.py\n", "sub/deep/c.py": "x"})
    assert set(read(LocalFiles(path=str(tmp_path)))) == {"a.py", "sub/b.log", "sub/deep/c.py"}


def test_a_checkout_gives_remote_and_commit_and_marks_what_differs(tmp_path: Path) -> None:
    repo = tmp_path / "work"
    sha = checkout(
        repo, {"a.py": "1", "b.py": "2", "gone.py": "3"}, "https://user:secret@git.example.org/owner/name.git"
    )
    write(repo, {"b.py": "changed", "new.py": "4", ".gitignore": "*.tmp\n", "x.tmp": ""})
    (repo / "gone.py").unlink()
    found = read(LocalFiles(path=str(repo)))
    assert {p: d.commit for p, d in found.items()} == {
        "a.py": sha,
        "b.py": f"{sha}+modified",
        "new.py": f"{sha}+modified",
    }
    assert found["a.py"].id == f"git.example.org/owner/name@{sha}:a.py"


def test_a_touched_but_equal_file_is_not_marked_as_modified(tmp_path: Path) -> None:
    sha = checkout(tmp_path / "r", {"a.py": "1"})
    os.utime(tmp_path / "r" / "a.py", (1, 1))
    assert read(LocalFiles(path=str(tmp_path / "r")))["a.py"].commit == sha


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("git@git.example.org:owner/name.git", "git.example.org/owner/name"),
        ("ssh://git@git.example.org:2222/owner/name", "git.example.org/owner/name"),
        ("https://token@git.example.org/a/b/c.git/", "git.example.org/a/b/c"),
        ("/srv/git/name.git", "name"),
        ("file:///srv/git/name.git", "name"),
        ("http://[broken/x", "r"),
    ],
)
def test_a_remote_gives_a_name_without_credentials_or_machine_paths(tmp_path: Path, url: str, name: str) -> None:
    checkout(tmp_path / "r", {"a.py": "1"}, url)
    assert read(LocalFiles(path=str(tmp_path / "r")))["a.py"].repository == name


def test_a_folder_in_a_checkout_keeps_paths_from_the_top(tmp_path: Path) -> None:
    checkout(tmp_path / "r", {"LICENSE": MIT, "src/lib/a.py": "1", "other.py": "2"})
    found = read(LocalFiles(path=str(tmp_path / "r" / "src")))
    assert set(found) == {"src/lib/a.py"}
    assert found["src/lib/a.py"].license == "MIT"


def test_a_folder_that_its_repository_ignores_is_read_as_a_plain_one(tmp_path: Path) -> None:
    checkout(tmp_path / "r", {".gitignore": "env/\n", "a.py": "1"})
    write(tmp_path / "r", {"env/lib/b.py": "2"})
    (found,) = LocalFiles(path=str(tmp_path / "r" / "env")).documents(10)
    assert (found.id, found.commit) == ("env:lib/b.py", "")


def test_checkouts_inside_a_plain_folder_are_repositories_of_their_own(tmp_path: Path) -> None:
    one = checkout(tmp_path / "all/one", {"a.py": "1"}, "https://git.example.org/o/one")
    two = checkout(tmp_path / "all/x/two", {"a.py": "2"})
    write(tmp_path / "all", {"loose.py": "3"})
    ids = [d.id for d in LocalFiles(path=str(tmp_path / "all")).documents(10)]
    assert ids == ["all:loose.py", f"git.example.org/o/one@{one}:a.py", f"all/x/two@{two}:a.py"]


def test_submodules_and_untracked_nested_repositories_keep_their_own_commit(tmp_path: Path) -> None:
    library = checkout(tmp_path / "library", {"l.py": "1"})
    outer = checkout(tmp_path / "outer", {"o.py": "2"}, "https://git.example.org/o/outer")
    git(tmp_path / "outer", "submodule", "add", str(tmp_path / "library"), "vendored")
    nested = checkout(tmp_path / "outer" / "nested", {"n.py": "3"})
    ids = {d.id for d in LocalFiles(path=str(tmp_path / "outer")).documents(10)}
    assert ids == {
        f"git.example.org/o/outer@{outer}:o.py",
        f"library@{library}:l.py",
        f"outer/nested@{nested}:n.py",
    }


def test_a_repository_without_commits_has_no_commit_in_its_ids(tmp_path: Path) -> None:
    git(tmp_path, "init", "fresh")
    write(tmp_path / "fresh", {"a.py": "1"})
    assert [d.id for d in LocalFiles(path=str(tmp_path / "fresh")).documents(10)] == ["fresh:a.py"]


def test_a_repository_cannot_point_its_files_at_another_folder(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", {"key.py": "hidden"})
    checkout(tmp_path / "r", {"a.py": "1"})
    git(tmp_path / "r", "config", "core.worktree", str(secret))
    assert set(read(LocalFiles(path=str(tmp_path / "r")))) == {"a.py"}


def test_nothing_that_a_repository_configures_is_executed(tmp_path: Path) -> None:
    checkout(tmp_path / "r", {"a.py": "1", ".gitattributes": "*.py filter=evil\n"})
    script = f"touch {tmp_path / 'executed'}; cat"
    git(tmp_path / "r", "config", "filter.evil.clean", script)
    git(tmp_path / "r", "config", "core.fsmonitor", script)
    os.utime(tmp_path / "r" / "a.py", (1, 1))
    corpus = LocalFiles(path=str(tmp_path / "r"))
    assert set(read(corpus)) == {"a.py"}
    corpus.state()
    assert not (tmp_path / "executed").exists()


def test_git_variables_of_the_environment_do_not_redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout(tmp_path / "other", {"wrong.py": "1"})
    sha = checkout(tmp_path / "r", {"a.py": "1"})
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert [d.id for d in LocalFiles(path=str(tmp_path / "r")).documents(10)] == [f"r@{sha}:a.py"]


def test_without_git_a_checkout_is_read_as_a_plain_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout(tmp_path / "r", {"a.py": "1"})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [d.id for d in LocalFiles(path=str(tmp_path / "r")).documents(10)] == ["r:a.py"]


def test_a_damaged_git_folder_is_read_as_a_plain_one(tmp_path: Path) -> None:
    write(tmp_path / "r", {"a.py": "1", ".git": "gitdir: /nonexistent\n"})
    assert [d.id for d in LocalFiles(path=str(tmp_path / "r")).documents(10)] == ["r:a.py"]


def test_links_are_told_and_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"secret.py": "s"})
    code = write(tmp_path / "code", {"a.py": "1", "sub/b.py": "2"})
    (code / "loop").symlink_to(code)
    (code / "out.py").symlink_to(outside / "secret.py")
    (code / "in.py").symlink_to(code / "a.py")
    (code / "dangling.py").symlink_to(code / "nothing")
    found = read(LocalFiles(path=str(code)))
    assert {p for p, d in found.items() if d.problem == "link"} == {"loop", "out.py", "in.py", "dangling.py"}
    assert {p for p, d in found.items() if not d.problem} == {"a.py", "sub/b.py"}
    followed = read(LocalFiles(path=str(code), follow_links=True))
    assert followed["in.py"].content == b"1"
    assert {p: d.problem for p, d in followed.items() if d.problem} == {
        "dangling.py": "broken_link",
        "loop": "link",
        "out.py": "link",
    }


def test_a_tracked_folder_that_became_a_link_is_not_read_through(tmp_path: Path) -> None:
    checkout(tmp_path / "r", {"a/x.py": "1", "b.py": "2"})
    write(tmp_path / "outside", {"x.py": "secret"})
    (tmp_path / "r/a/x.py").unlink()
    (tmp_path / "r/a").rmdir()
    (tmp_path / "r/a").symlink_to(tmp_path / "outside")
    found = read(LocalFiles(path=str(tmp_path / "r")))
    assert found["a/x.py"].problem == "link"
    assert found["a/x.py"].content == b""


def test_pipes_and_sockets_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "s.py"))
        found = read(LocalFiles(path=str(tmp_path)))
    assert {p: (d.problem, d.detail) for p, d in found.items()} == {
        "pipe.py": ("not_a_file", "a pipe"),
        "s.py": ("not_a_file", "a socket"),
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_told_and_the_walk_goes_on(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "1", "closed/b.py": "2", "z.py": "3"})
    (tmp_path / "a.py").chmod(0)
    (tmp_path / "closed").chmod(0)
    try:
        found = read(LocalFiles(path=str(tmp_path)))
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert {p: d.problem for p, d in found.items()} == {"a.py": "unreadable", "closed/": "unreadable", "z.py": ""}


def test_undecodable_names_give_valid_and_different_ids(tmp_path: Path) -> None:
    names = [b"\xff.py", b"\xfe.py", "\N{REPLACEMENT CHARACTER}ff.py".encode(), "ü\n.py".encode()]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    found = list(LocalFiles(path=str(tmp_path)).documents(100))
    assert len({d.id.encode() for d in found}) == 4
    assert {d.content for d in found} == set(names)
    LocalFiles(path=str(tmp_path)).state()


def test_a_folder_with_an_undecodable_name_gives_valid_ids(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/code\xff"))
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    (found,) = LocalFiles(path=str(folder)).documents(1000)
    assert found.id.encode() == "code\N{REPLACEMENT CHARACTER}ff:a.py".encode()
    assert found.repository == "code\N{REPLACEMENT CHARACTER}ff"


def test_undecodable_names_in_a_checkout_are_read(tmp_path: Path) -> None:
    repo = tmp_path / "r"
    checkout(repo, {"a.py": "1"})
    Path(os.fsdecode(os.fsencode(repo) + b"/\xff.py")).write_bytes(b"x")
    git(repo, "add", "--all")
    git(repo, "commit", "-m", "second")
    found = list(LocalFiles(path=str(repo)).documents(100))
    assert [d.content for d in found] == [b"1", b"x"]
    assert not any(d.commit.endswith("modified") for d in found)


def test_very_deep_folders_are_walked(tmp_path: Path) -> None:
    deepest = tmp_path / "/".join(["d"] * 1200)
    subprocess.run(["mkdir", "-p", str(deepest)], check=True)
    (deepest / "x.py").write_text("deep")
    (found,) = LocalFiles(path=str(tmp_path)).documents(100)
    subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # shutil recurses
    assert found.content == b"deep"


def test_patterns_choose_files_and_hidden_ones_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path, {"src/a.py": "", "src/a.js": "", "test/b.py": "", ".ci/c.py": "", ".d.py": ""})
    path = str(tmp_path)
    assert set(read(LocalFiles(path=path, include=("*.py",), exclude=("test/",)))) == {"src/a.py"}
    assert set(read(LocalFiles(path=path, include=("*.py",), hidden=True))) == {
        "src/a.py",
        "test/b.py",
        ".ci/c.py",
        ".d.py",
    }
    with pytest.raises(CorpusError, match=r"none of the 3 files .*include is \*\.rs"):
        list(LocalFiles(path=path, include=("*.rs",)).documents(10))


def test_version_control_folders_are_never_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "", ".hg/store.py": "", "CVS/x.py": "", ".git/hooks/x.py": ""})
    assert set(read(LocalFiles(path=str(tmp_path), hidden=True))) == {"a.py"}


def test_the_nearest_licence_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "LICENSE": MIT,
            "a.py": "",
            "sub/package.json": '{"license": "Apache-2.0"}',
            "sub/deep/b.js": "",
            "crate/Cargo.toml": '[package]\nname = "x"\nlicense = "MIT OR Apache-2.0"\n',
            "crate/LICENSE": MIT,
            "crate/c.rs": "",
            "closed/LICENSE.txt": "All rights reserved, ask our lawyers.",
            "closed/d.c": "",
            "plain/package.json": '{"name": "no licence here"}',
            "plain/e.js": "",
            "broken/package.json": "{",
            "broken/f.js": "",
        },
    )
    found = {p: d.license for p, d in read(LocalFiles(path=str(tmp_path))).items()}
    assert found["a.py"] == "MIT"
    assert found["sub/deep/b.js"] == "Apache-2.0"
    assert found["crate/c.rs"] == "MIT OR Apache-2.0"
    assert found["closed/d.c"] == ""
    assert found["plain/e.js"] == found["broken/f.js"] == "MIT"


def test_given_provenance_stands_for_what_would_be_found(tmp_path: Path) -> None:
    checkout(tmp_path / "r", {"a.py": "1", "LICENSE": MIT})
    found = read(LocalFiles(path=str(tmp_path / "r"), repository="o/n", commit="v1", license="0BSD"))["a.py"]
    assert (found.id, found.license) == ("o/n@v1:a.py", "0BSD")


def test_a_single_file_is_a_source(tmp_path: Path) -> None:
    sha = checkout(tmp_path / "r", {"src/a.py": "1", "b.py": "2"})
    assert [d.id for d in LocalFiles(path=str(tmp_path / "r/src/a.py")).documents(10)] == [f"r@{sha}:src/a.py"]
    write(tmp_path / "plain", {"c.py": "3", "d.py": ""})
    assert [d.id for d in LocalFiles(path=str(tmp_path / "plain/c.py")).documents(10)] == ["plain:c.py"]


def test_large_file_storage_pointers_are_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"})
    (found,) = LocalFiles(path=str(tmp_path)).documents(1000)
    assert found.problem == "lfs_pointer"


def test_missing_and_empty_sources_are_explained(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    with pytest.raises(CorpusError, match=r"no such file or folder: .*projct; did you mean .*project"):
        list(LocalFiles(path=str(tmp_path / "projct")).documents(1))
    with pytest.raises(CorpusError, match=r"no files in .*project"):
        list(LocalFiles(path=str(tmp_path / "project")).documents(1))
    with pytest.raises(CorpusError, match="no such file or folder"):
        list(LocalFiles(path="").documents(1))
    with pytest.raises(CorpusError, match="neither a file nor a folder"):
        list(LocalFiles(path="/dev/null").documents(1))
    git(tmp_path, "init", "--bare", "bare.git")
    with pytest.raises(CorpusError, match="bare Git repository"):
        list(LocalFiles(path=str(tmp_path / "bare.git")).documents(1))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to someone else")
def test_a_repository_of_another_user_is_explained(tmp_path: Path) -> None:
    checkout(tmp_path / "r", {"a.py": "1"})
    for place in (tmp_path / "r", tmp_path / "r" / ".git"):
        os.chown(place, 12345, 12345)
    with pytest.raises(CorpusError, match=r"another user owns it.*git config --global --add safe.directory"):
        list(LocalFiles(path=str(tmp_path / "r")).documents(1))


@pytest.mark.parametrize("is_checkout", [False, True])
def test_the_state_changes_with_the_files_and_only_then(tmp_path: Path, *, is_checkout: bool) -> None:
    files = {"a.py": "1", "b/c.py": "2"}
    write(tmp_path, files)
    if is_checkout:
        checkout(tmp_path, files)
    corpus = LocalFiles(path=str(tmp_path))
    states = [corpus.state(), corpus.state()]
    os.utime(tmp_path / "a.py", (1, 1))
    states.append(corpus.state())
    write(tmp_path, {"d.py": ""})
    states.append(corpus.state())
    if is_checkout:
        git(tmp_path, "commit", "--allow-empty", "-m", "second")
        states.append(corpus.state())
    assert states[0] == states[1]
    assert len(set(states)) == len(states) - 1
