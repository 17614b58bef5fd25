"""Walking folders in byte order: plain ones by `.gitignore` files, Git checkouts by Git's own rules."""

import hashlib
import heapq
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pathspec

from magicoder.corpora import _git
from magicoder.corpora._files import VERSION_CONTROL, decode_name, is_hidden

_IGNORE_FILE: Final = ".gitignore"
_MAX_IGNORE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """What a file's provenance names: a repository or a plain folder on this machine.

    top          the repository's top folder; paths are relative to it
    commit       "" if the folder is no checkout, or has no commit yet
    """

    top: str
    repository: str
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was found. `blob` is its hash in the commit, "" if the commit does not have it."""

    origin: Origin
    path: str
    blob: str = ""
    problem: str = ""
    detail: str = ""

    @property
    def location(self) -> Path:
        """Where it lies on this machine."""
        return Path(self.origin.top, self.path)


@dataclass(frozen=True, slots=True)
class _Ignore:
    """The rules of one `.gitignore`, and where they are relative to."""

    base: str
    spec: pathspec.GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class _Folder:
    origin: Origin
    path: str
    ignores: tuple[_Ignore, ...]


def walk(origin: Origin, start: str, *, hidden: bool, nested: bool = True) -> Iterator[Entry]:
    """Yield what lies under the folder `start` of `origin` that is not ignored, in byte order of the paths.

    Symbolic links are yielded, never entered. With `nested`, a Git checkout found on the way is its own origin and is
    listed by Git. Memory holds the names of the folders that are open, not those of the whole tree.
    """
    # An explicit stack: a generator for every level would end at Python's recursion limit.
    open_folders = [_scan(_Folder(origin, start, ()), hidden=hidden, nested=nested)]
    while open_folders:
        item = next(open_folders[-1], None)
        if item is None:
            open_folders.pop()
        elif isinstance(item, _Folder):
            inside = _checkout(item) if nested else None
            if inside is None:
                open_folders.append(_scan(item, hidden=hidden, nested=nested))
            else:
                yield from walk_checkout(inside, "", hidden=hidden)
        else:
            yield item


def _scan(folder: _Folder, *, hidden: bool, nested: bool) -> Iterator[Entry | _Folder]:
    """Yield the entries and folders of one folder in byte order."""
    origin, where = folder.origin, Path(folder.origin.top, folder.path)
    try:
        with os.scandir(where) as listing:
            found = sorted(
                (os.fsencode(e.name) + (b"/" if e.is_dir(follow_symlinks=False) else b""), e) for e in listing
            )
    except OSError as e:
        yield Entry(origin, folder.path + "/", problem="unreadable", detail=f"folder: {e.strerror or e}")
        return
    ignores = folder.ignores
    if nested and any(name == b".gitignore" for name, _ in found):
        ignores += _read_ignore(where, folder.path)
    prefix = f"{folder.path}/" if folder.path else ""
    for key, entry in found:
        path, is_folder = prefix + entry.name, key.endswith(b"/")
        if entry.name in VERSION_CONTROL or (entry.name.startswith(".") and not hidden):
            continue
        if ignores and _is_ignored(path + ("/" if is_folder else ""), ignores):
            continue
        yield _Folder(origin, path, ignores) if is_folder else _classified(origin, path)


def _read_ignore(where: Path, base: str) -> tuple[_Ignore, ...]:
    try:
        with (where / _IGNORE_FILE).open("rb") as f:
            lines = f.read(_MAX_IGNORE_BYTES).decode("utf-8", "replace").splitlines()
        return (_Ignore(base, pathspec.GitIgnoreSpec.from_lines(lines)),)
    except (OSError, ValueError):  # a pattern that no Git would read either; the files are then seen, not lost
        return ()


def _is_ignored(path: str, ignores: tuple[_Ignore, ...]) -> bool:
    for rules in reversed(ignores):
        verdict = rules.spec.check_file(path[len(rules.base) :].lstrip("/")).include
        if verdict is not None:
            return verdict
    return False


def _classified(origin: Origin, path: str, blob: str = "") -> Entry:
    """Return an entry that says what kind of thing `path` is, by its own status: nothing is opened."""
    entry = Entry(origin, path, blob)
    try:
        mode = entry.location.lstat().st_mode
    except OSError as e:
        return Entry(origin, path, blob, "unreadable", e.strerror or str(e))
    if stat.S_ISLNK(mode):
        return Entry(origin, path, blob, "link", "a symbolic link, not followed")
    if not stat.S_ISREG(mode):
        kind = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(mode), "a device")
        return Entry(origin, path, blob, "not_a_file", kind)
    return entry


def _checkout(folder: _Folder) -> Origin | None:
    """Return the origin of a nested Git checkout, None if `folder` is none."""
    where = Path(folder.origin.top, folder.path)
    if not os.path.lexists(where / ".git") or not _git.installed():
        return None
    # Without a remote of its own it must not look like a part of the repository around it.
    found = find_origin(where, f"{Path(folder.origin.top).name}/{folder.path}")
    return found[0] if found and found[1] == "" else None


def find_origin(folder: Path, fallback_name: str) -> tuple[Origin, str] | None:
    """Return the Git checkout that `folder` is in and its path inside, None if there is none or Git ignores it.

    Raises:
        CorpusError: Git refuses the repository because of its owner.
    """
    top, prefix = _git.ask(folder, "rev-parse", "--show-toplevel"), _git.ask(folder, "rev-parse", "--show-prefix")
    # A repository's configuration can put its files anywhere on the machine: only those in the folder count.
    if top is None or prefix is None or not Path(top, prefix).exists() or not folder.samefile(Path(top, prefix)):
        return None
    start = prefix.rstrip("/")
    # A folder that its repository ignores (an environment, a data set) was named on purpose: take it as it is.
    if start and _git.ask(folder, "check-ignore", "--quiet", ".") is not None:
        return None
    name = _git.repository_name(folder) or (Path(top).name if start else fallback_name)
    commit = _git.ask(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") or ""
    return Origin(top, name, commit), start


def walk_checkout(origin: Origin, start: str, *, hidden: bool) -> Iterator[Entry]:
    """Yield the tracked and untracked, not ignored files under `start` of a Git checkout, in byte order."""
    folder = Path(origin.top, start)
    streams: list[Iterator[tuple[str, str]]] = [
        ((decode_name(r), "") for r in _git.records(folder, "ls-files", "-z", "--full-name", "--cached")),
        (
            (decode_name(r), "")
            for r in _git.records(folder, "ls-files", "-z", "--full-name", "--others", "--exclude-standard")
        ),
    ]
    if origin.commit:
        streams.append(_committed(folder, origin.commit))
    merged = heapq.merge(*streams, key=lambda item: os.fsencode(item[0]))
    for path, group in itertools.groupby(merged, key=lambda item: item[0]):
        seen = [blob for _, blob in group]
        # A path that only the commit has was deleted; names with a leading dot are hidden wherever they stand.
        if "" not in seen or (not hidden and is_hidden(path)):
            continue
        yield from _listed(origin, path, next((b for b in seen if b), ""), hidden=hidden)


def _listed(origin: Origin, path: str, blob: str, *, hidden: bool) -> Iterator[Entry]:
    """Yield the entry of a path that Git listed: a file, or a nested repository to walk."""
    where = Path(origin.top, path)
    if not os.path.lexists(where):
        return
    if _behind_link(origin.top, path.rpartition("/")[0]):
        yield Entry(origin, path, blob, "link", "lies in a folder that is a symbolic link")
    elif where.is_dir() and not where.is_symlink():
        # A submodule, or another repository that this one does not track; one without content is an empty folder.
        inside = _checkout(_Folder(origin, path.rstrip("/"), ()))
        if inside is not None:
            yield from walk_checkout(inside, "", hidden=hidden)
        elif path.endswith("/"):
            yield from walk(origin, path.rstrip("/"), hidden=hidden)
    else:
        yield _classified(origin, path, blob)


def _behind_link(top: str, folder: str) -> bool:
    """Return whether a part of `folder` became a symbolic link after Git took note of it."""
    while folder:
        if Path(top, folder).is_symlink():
            return True
        folder = folder.rpartition("/")[0]
    return False


def _committed(folder: Path, commit: str) -> Iterator[tuple[str, str]]:
    """Yield the path and blob hash of every file of the commit under `folder`."""
    for record in _git.records(folder, "ls-tree", "-r", "-z", "--full-name", commit):
        about, _, path = record.partition(b"\t")
        mode, _, blob = about.decode().split(" ")
        if mode != "160000":
            yield decode_name(path), blob


def is_blob(content: bytes, blob: str) -> bool:
    """Return whether `content` hashes to a Git blob's name; hashing runs none of the repository's filters."""
    algorithm = hashlib.sha1 if len(blob) == 40 else hashlib.sha256
    return algorithm(b"blob %d\0" % len(content) + content).hexdigest() == blob
