"""A Git repository, bare or checked out, at a revision: what was committed, not what lies in the folder."""

import difflib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from magicoder.corpora import _git
from magicoder.corpora._files import (
    Content,
    Selection,
    decode_name,
    document,
    explained,
    is_hidden,
    nothing_in,
    read_at_most,
    require,
)
from magicoder.corpora._licenses import MAX_BYTES, is_relevant, nearest, stated
from magicoder.errors import CorpusError
from magicoder.fingerprint import digest
from magicoder.records import RawDocument

_LINK: Final = "120000"
_SUBMODULE: Final = "160000"
_NO_SIZE: Final = {"-": 0, "BAD": -1}
"""What Git lists instead of a size: for a submodule, for an object that is not there."""


@dataclass(frozen=True, slots=True)
class _File:
    """One line of a commit's listing; `size` is in bytes, 0 for a submodule, -1 if the object is missing."""

    mode: str
    blob: str
    size: int
    path: str


@dataclass(frozen=True, slots=True)
class _Commit:
    """A commit in a repository, and the part of it below the folder that was named."""

    folder: Path
    sha: str

    def files(self) -> Iterator[_File]:
        """Yield the files in Git's order, which is that of the bytes of their paths."""
        for record in _git.records(self.folder, "ls-tree", "-r", "-z", "-l", "--full-name", self.sha):
            about, _, path = record.partition(b"\t")
            mode, _, blob, size = about.decode().split()
            yield _File(mode, blob, _NO_SIZE[size] if size in _NO_SIZE else int(size), decode_name(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """The files of one commit.

    `path` is a bare repository, a checkout, or a folder in one (then only what is below it). Submodules are left out;
    symbolic links and Git LFS pointers come with a `problem`. Nothing is fetched: a partial clone is an error.

    revision            anything Git understands: a branch, a tag, a commit
    include, exclude    gitignore-style patterns over the path inside the repository; empty takes everything
    repository, license stand for what would be found (the remote; licence files and package metadata)
    hidden              take names that start with a dot
    """

    path: str
    revision: str = "HEAD"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    repository: str = ""
    license: str = ""
    hidden: bool = False

    def documents(self, max_bytes: int) -> Iterator[RawDocument]:
        """Yield every file; of one larger than `max_bytes` the first bytes and the true size.

        Raises:
            CorpusError: no repository, no such revision, no Git, or the repository is damaged or incomplete.
        """
        selection, seen, given = Selection(self.include, self.exclude), 0, 0
        commit = self._commit()
        repository = self.repository or _git.repository_name(commit.folder) or _folder_name(commit.folder)
        with _git.running(commit.folder, "cat-file", "--batch") as pipes:
            license_of = (lambda _: self.license) if self.license else _licenses(commit, pipes)
            for file in commit.files():
                if file.mode == _SUBMODULE or (not self.hidden and is_hidden(file.path)):
                    continue
                seen += 1
                if not selection(file.path):
                    continue
                given += 1
                content = _read(commit, file, pipes, max_bytes)
                yield document(
                    repository=repository,
                    commit=commit.sha,
                    path=file.path,
                    content=content.data,
                    size=max(file.size, 0),
                    license=license_of(file.path.rpartition("/")[0]),
                    problem=content.problem,
                    detail=content.detail,
                )
        if not given:
            raise nothing_in(f"{self.path} at {self.revision}", seen, selection)

    def state(self) -> str:
        """Return a digest of the commit that `revision` names now."""
        return digest(self._commit().sha)

    def _commit(self) -> _Commit:
        if not _git.installed():
            raise CorpusError("git is not installed; install it (apt-get install git, brew install git) and try again")
        with explained(self.path):
            folder = require(self.path).resolve()
            if not folder.is_dir():
                raise CorpusError(f"{self.path} is a file; give the folder of a Git repository")
            os.scandir(folder).close()
        if _git.ask(folder, "rev-parse", "--git-dir") is None:
            raise CorpusError(f"{self.path} is not a Git repository; for plain folders use local_files")
        sha = _git.ask(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{self.revision}^{{commit}}")
        if not sha:
            raise CorpusError(self._unknown_revision(folder))
        return _Commit(folder, sha)

    def _unknown_revision(self, folder: Path) -> str:
        listed = _git.ask(folder, "for-each-ref", "--count=10000", "--format=%(refname:short)") or ""
        names = listed.splitlines()
        if not names:
            return f"{self.path} has no commits yet; commit something, or use local_files"
        near = difflib.get_close_matches(self.revision, names, n=3, cutoff=0.5)
        some = f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(names[:8])}"
        shallow = _git.ask(folder, "rev-parse", "--is-shallow-repository") == "true"
        hint = "; the clone is shallow, `git fetch --unshallow` brings its history" if shallow else ""
        return f"{self.path} has no revision {self.revision!r}; {some}{hint}"


def _folder_name(folder: Path) -> str:
    """Return the name of a repository without a remote: that of its folder, without `.git`."""
    top = _git.ask(folder, "rev-parse", "--show-toplevel") or _git.ask(folder, "rev-parse", "--absolute-git-dir")
    return Path(top or folder).name.removesuffix(".git") or folder.name or "repository"


def _read(commit: _Commit, file: _File, pipes: tuple[IO[bytes], IO[bytes]], max_bytes: int) -> Content:
    if file.mode == _LINK:
        return Content(problem="link", detail="a symbolic link, not followed")
    if file.size < 0:
        return Content(problem="unreadable", detail="the repository lacks this object; `git fsck` shows the damage")
    if file.size > max_bytes:
        # Its own process, stopped early: the shared one would have to send the whole file.
        with _git.running(commit.folder, "cat-file", "blob", file.blob) as (_, output):
            return Content(read_at_most(output, max_bytes + 1))
    return Content(_blob(file.blob, *pipes))


def _blob(name: str, requests: IO[bytes], answers: IO[bytes]) -> bytes:
    """Return a blob's content from a `git cat-file --batch` process.

    Raises:
        EOFError: the process ended; whoever runs it explains why.
    """
    requests.write(name.encode() + b"\n")
    requests.flush()
    header = answers.readline(4096).split()
    if len(header) != 3:
        raise EOFError(name)
    content = read_at_most(answers, int(header[2]))
    if answers.read(1) != b"\n":
        raise EOFError(name)
    return content


def _licenses(commit: _Commit, pipes: tuple[IO[bytes], IO[bytes]]) -> Callable[[str], str]:
    """Find the commit's licence files and package metadata first: a folder's files come after it is first needed.

    Names and hashes of these files are held, their contents are read when a folder is reached.
    """
    listed: dict[str, dict[str, str]] = {}
    for file in commit.files():
        folder, _, name = file.path.rpartition("/")
        if is_relevant(name) and 0 <= file.size <= MAX_BYTES and file.mode not in (_LINK, _SUBMODULE):
            listed.setdefault(folder, {})[name] = file.blob

    def lookup(folder: str) -> str | None:
        found = listed.get(folder)
        return stated({name: _blob(blob, *pipes) for name, blob in found.items()}) if found else None

    return nearest(lookup)


PLUGIN = Git
