"""What all corpora share about files: bounded reading, names as valid text, identifiers, finding inputs, digests."""

import difflib
import errno
import glob
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import pathspec

from magicoder.errors import CorpusError
from magicoder.records import RawDocument

CHUNK: Final = 1 << 16
"""How much is read at once, in bytes."""

VERSION_CONTROL: Final = frozenset({".git", ".hg", ".svn", ".bzr", "_darcs", "CVS", ".jj"})
"""Folders that hold a version-control system's own files; their content is never a document."""

# The first bytes of a Git LFS pointer, the stand-in for a file that is stored elsewhere.
LFS: Final = b"version https://git-lfs.github.com/spec/"
LFS_SIZE: Final = 1024
"""A pointer is smaller, in bytes."""
LFS_PROBLEM: Final = "lfs_pointer"
LFS_DETAIL: Final = "the file itself is in Git LFS; `git lfs pull` fetches it"
_MARK: Final = "\N{REPLACEMENT CHARACTER}"
_GLOB: Final = re.compile(r"[*?\[]")


def readable(name: str) -> str:
    """Return a file name as valid Unicode, different for different names.

    A byte that is not UTF-8 becomes U+FFFD and two hex digits, a real U+FFFD becomes two of them.
    """
    if name.isascii():
        return name
    doubled = name.replace(_MARK, _MARK * 2)
    return "".join(f"{_MARK}{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in doubled)


def decode_name(raw: bytes) -> str:
    """Return the bytes of a path (from Git or an archive) as Python's file functions write them."""
    return raw.decode("utf-8", "surrogateescape")


def is_hidden(path: str) -> bool:
    """Return whether a part of a path starts with a dot."""
    return path.startswith(".") or "/." in path


def document(
    *,
    repository: str,
    commit: str,
    path: str,
    content: bytes = b"",
    size: int = 0,
    language: str = "",
    license: str = "",  # noqa: A002 - the field's name
    problem: str = "",
    detail: str = "",
) -> RawDocument:
    """Return a document with its identifier made from its provenance; a Git LFS pointer is marked as a problem."""
    repository, shown = readable(repository), readable(path)
    if not problem and content.startswith(LFS) and size < LFS_SIZE:
        problem, detail = LFS_PROBLEM, LFS_DETAIL
    return RawDocument(
        id=f"{repository}@{commit}:{shown}" if commit else f"{repository}:{shown}",
        content=content,
        size=size,
        repository=repository,
        commit=commit,
        path=shown,
        language=language,
        license=license,
        problem=problem,
        detail=readable(detail),
    )


@dataclass(frozen=True, slots=True)
class Content:
    """The first bytes of a file and its true size, or why there are none."""

    data: bytes = b""
    size: int = 0
    problem: str = ""
    detail: str = ""


def read_file(path: Path, max_bytes: int) -> Content:
    """Read at most `max_bytes + 1` bytes of a regular file; pipes, devices and sockets are never waited for."""
    try:
        # O_NONBLOCK: a pipe put in the place of a file after it was listed must not stop the walk.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as e:
        if e.errno == errno.ELOOP:
            return Content(problem="link", detail="a symbolic link, not followed")
        if e.errno in (errno.ENXIO, errno.ENODEV):
            return Content(problem="not_a_file", detail="a socket or a device")
        return Content(problem="unreadable", detail=e.strerror or str(e))
    try:
        with os.fdopen(descriptor, "rb", buffering=0) as f:
            status = os.fstat(f.fileno())
            if not stat.S_ISREG(status.st_mode):
                return Content(problem="not_a_file", detail="a pipe, socket, device or folder")
            data = read_at_most(f, max_bytes + 1)
            return Content(data, max(status.st_size, len(data)))
    except OSError as e:
        return Content(problem="unreadable", detail=e.strerror or str(e))


def read_at_most(f: IO[bytes], count: int) -> bytes:
    """Return up to `count` bytes of `f`, fewer only at its end, however large `count` is."""
    pieces, left = [], count
    while left > 0 and (piece := f.read(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


class Selection:
    """Which paths a user wants: gitignore-style patterns, `exclude` after `include`; empty `include` is everything."""

    def __init__(self, include: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        self._include = self._compile("include", include)
        self._exclude = self._compile("exclude", exclude)
        self.described = "; ".join(
            f"{name} is {', '.join(patterns)}"
            for name, patterns in (("include", include), ("exclude", exclude))
            if patterns
        )

    @staticmethod
    def _compile(name: str, patterns: tuple[str, ...]) -> pathspec.GitIgnoreSpec | None:
        try:
            return pathspec.GitIgnoreSpec.from_lines(patterns) if patterns else None
        except ValueError as e:
            raise CorpusError(f"{name}: {e}; patterns are written as in .gitignore, such as *.py or src/**") from e

    def __call__(self, path: str) -> bool:
        if self._include is not None and not self._include.match_file(path):
            return False
        return self._exclude is None or not self._exclude.match_file(path)


def nothing_in(source: str, seen: int, selection: Selection) -> CorpusError:
    """Return the error for a source that gave no document; `seen` files were there before `include`/`exclude`."""
    if seen:
        return CorpusError(
            f"none of the {seen} files in {source} is selected ({selection.described}); widen the patterns"
        )
    return CorpusError(f"no files in {source} (ignored and hidden ones are not counted); give another path")


def require(path: str) -> Path:
    """Return an existing path, `~` expanded.

    Raises:
        CorpusError: it does not exist; suggests a name nearby.
    """
    found = Path(path).expanduser()
    if not path or not os.path.lexists(found):
        raise CorpusError(f"no such file or folder: {path or '(empty path)'}{_nearby(found)}")
    if not found.exists():
        raise CorpusError(f"{path} is a symbolic link to something that does not exist: {found.readlink()}")
    return found


def _nearby(missing: Path) -> str:
    """Return `; did you mean …?` from the deepest folder that exists, else an empty string."""
    parent, wanted = missing.parent, missing.name
    while not parent.is_dir() and parent != parent.parent:
        parent, wanted = parent.parent, parent.name
    try:
        near = difflib.get_close_matches(wanted, sorted(p.name for p in parent.iterdir()), n=1)
    except OSError:
        return ""
    return f"; did you mean {readable(str(parent / near[0]))}?" if near else ""


def find_inputs(path: str, wanted: Callable[[str], bool], what: str) -> list[Path]:
    """Return the files that `path` names: itself, the matches of a pattern, or those in a folder and below.

    `wanted` tells by its name whether a file in a folder is one; a file named directly is taken as it is. Only the
    list of names is held. Symbolic links to folders are not entered.

    Raises:
        CorpusError: nothing is there, or nothing that is wanted.
    """
    expanded = Path(path).expanduser()
    if _GLOB.search(path) and not os.path.lexists(expanded):
        files = [p for p in map(Path, glob.glob(str(expanded), recursive=True)) if p.is_file()]  # noqa: PTH207 - one string
        if not files:
            raise CorpusError(f"no file matches {path}")
        return sorted(files, key=os.fsencode)
    root = require(path)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise CorpusError(f"{path} is neither a file nor a folder; give {what}, or a folder of them")
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".")]
        candidates = (Path(folder, n) for n in names if not n.startswith(".") and wanted(n))
        found += (p for p in candidates if p.is_file())
    if not found:
        raise CorpusError(f"no files in {path} are {what}; give the path of one, or of the folder that holds them")
    return sorted(found, key=os.fsencode)


def digest_files(paths: Iterable[Path]) -> str:
    """Return a digest of names, sizes and modification times (nanoseconds)."""
    state = hashlib.blake2b(digest_size=16)
    for path in paths:
        status = path.stat()
        state.update(os.fsencode(path.name) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return state.hexdigest()


@contextmanager
def explained(source: str) -> Iterator[None]:
    """Turn operating-system errors about a source as a whole into a CorpusError."""
    try:
        yield
    except OSError as e:
        raise CorpusError(f"cannot read {e.filename or source}: {e.strerror or e}; check its permissions") from e
