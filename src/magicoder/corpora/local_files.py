"""A folder or a file on this machine; Git checkouts in it keep their repository and commit."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from magicoder.corpora import _git
from magicoder.corpora._files import Content, Selection, document, explained, nothing_in, read_file, require
from magicoder.corpora._licenses import MAX_BYTES, is_relevant, nearest, stated
from magicoder.corpora._walk import Entry, Origin, find_origin, is_blob, walk, walk_checkout
from magicoder.errors import CorpusError
from magicoder.records import RawDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFiles:
    """The files under `path`, in byte order of their paths.

    In a Git checkout Git's own rules say what is ignored, `repository` is the remote (`host/owner/name`), paths are
    relative to the repository's top, and a file that differs from HEAD has a commit ending in `+modified` (one larger
    than the reader's limit is not compared). Elsewhere `.gitignore` files apply, `repository` is the folder's name.
    Checkouts and submodules inside are repositories of their own.

    include, exclude            gitignore-style patterns over the path inside the repository; empty takes everything
    repository, commit, license stand for what would be found
    follow_links                read symbolic links to files that lie inside `path`; those to folders never
    hidden                      take names that start with a dot
    """

    path: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    repository: str = ""
    commit: str = ""
    license: str = ""
    follow_links: bool = False
    hidden: bool = False

    def documents(self, max_bytes: int) -> Iterator[RawDocument]:
        """Yield every file; links, pipes and what cannot be read come with their `problem`.

        Raises:
            CorpusError: nothing is at `path`, no file is in it or selected, or Git refuses to read it.
        """
        selection, seen, given = Selection(self.include, self.exclude), 0, 0
        root = require(self.path).resolve()
        licenses: dict[Origin, _LicenseOf] = {}
        for entry in self._entries():
            seen += 1
            if not selection(entry.path):
                continue
            given += 1
            if entry.origin not in licenses:
                licenses = {entry.origin: _LicenseOf(entry.origin)}  # one repository at a time: they follow each other
            yield self._document(entry, root, licenses[entry.origin], max_bytes)
        if not given:
            raise nothing_in(self.path, seen, selection)

    def state(self) -> str:
        """Return a digest of every file's provenance, size and modification time; nothing is read."""
        digest = hashlib.blake2b(digest_size=16)
        for entry in self._entries():
            try:
                status = entry.location.stat(follow_symlinks=self.follow_links)
                facts = f"{status.st_size} {status.st_mtime_ns}"
            except OSError as e:
                facts = str(e.errno)
            origin = f"{entry.origin.repository}@{entry.origin.commit}"
            digest.update(os.fsencode(f"{origin}\0{entry.path}\0{facts}\0"))
        return digest.hexdigest()

    def _entries(self) -> Iterator[Entry]:
        with explained(self.path):
            root = require(self.path)
            if root.is_file():
                folder, only = root.resolve().parent, root.resolve().name
            elif root.is_dir():
                folder, only = root.resolve(), ""
                os.scandir(folder).close()  # unreadable as a whole: an error, not a document
                if _git.is_bare(folder):
                    raise CorpusError(
                        f"{self.path} is a bare Git repository; read it with git, or name a revision: {self.path}#main"
                    )
            else:
                raise CorpusError(f"{self.path} is neither a file nor a folder; give the path of one")
            found = find_origin(folder, folder.name or "root") if _git.installed() else None
        if only:
            yield from _single(folder, only, found)
        elif found:
            yield from walk_checkout(*found, hidden=self.hidden)
        else:
            yield from walk(Origin(str(folder), folder.name or "root"), "", hidden=self.hidden)

    def _document(self, entry: Entry, root: Path, license_of: "_LicenseOf", max_bytes: int) -> RawDocument:
        content = Content(problem=entry.problem, detail=entry.detail)
        if entry.problem == "link" and self.follow_links:
            content = _read_link(entry.location, root, max_bytes)
        elif not entry.problem:
            content = read_file(entry.location, max_bytes)
        commit = self.commit or entry.origin.commit
        whole = not content.problem and content.size <= max_bytes
        if commit and not self.commit and (not entry.blob or (whole and not is_blob(content.data, entry.blob))):
            commit += "+modified"
        return document(
            repository=self.repository or entry.origin.repository,
            commit=commit,
            path=entry.path,
            content=content.data,
            size=content.size,
            license=self.license or license_of(entry.path),
            problem=content.problem,
            detail=content.detail,
        )


def _single(folder: Path, name: str, found: tuple[Origin, str] | None) -> Iterator[Entry]:
    """Yield the one file that `path` names, whether or not it is ignored."""
    origin, start = found or (Origin(str(folder), folder.name or "root"), "")
    path = f"{start}/{name}" if start else name
    blob = _git.ask(folder, "rev-parse", "--verify", "--quiet", f"{origin.commit}:{path}") if origin.commit else ""
    yield Entry(origin, path, blob or "")


def _read_link(location: Path, root: Path, max_bytes: int) -> Content:
    """Read the file that a link leads to, if it lies inside the folder `root`."""
    try:
        target = location.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return Content(problem="broken_link", detail="a symbolic link to nothing")
    if not target.is_relative_to(root):
        return Content(problem="link", detail="a symbolic link that leads out of the source")
    if target.is_dir():
        return Content(problem="link", detail="a symbolic link to a folder, which is read where it lies")
    return read_file(target, max_bytes)


class _LicenseOf:
    """The licence of a path of one repository: that of the nearest folder that states one."""

    def __init__(self, origin: Origin) -> None:
        self._top = origin.top
        self._nearest = nearest(self._lookup)

    def __call__(self, path: str) -> str:
        return self._nearest(path.rstrip("/").rpartition("/")[0])

    def _lookup(self, folder: str) -> str | None:
        where = Path(self._top, folder)
        try:
            names = [p.name for p in where.iterdir() if is_relevant(p.name)]
        except OSError:
            return None
        # Contents are cut, not refused, at the limit: the first quarter megabyte of a licence file tells.
        read = {n: read_file(where / n, MAX_BYTES) for n in names}
        return stated({n: c.data for n, c in read.items() if not c.problem})


PLUGIN = LocalFiles
