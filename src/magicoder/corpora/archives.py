"""Archives, read without unpacking: .tar (gz, bz2, xz, zst), .zip, wheels, eggs, source distributions, crates."""

import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

import orjson

from magicoder.corpora import _licenses
from magicoder.corpora._files import (
    VERSION_CONTROL,
    Selection,
    decode_name,
    digest_files,
    document,
    explained,
    find_inputs,
    is_hidden,
    nothing_in,
    read_at_most,
)
from magicoder.corpora._streams import DAMAGE, open_stream
from magicoder.errors import CorpusError
from magicoder.records import RawDocument

_TARS: Final = {
    ".tar": "",
    ".tar.gz": ".gz",
    ".tgz": ".gz",
    ".crate": ".gz",
    ".tar.bz2": ".bz2",
    ".tbz2": ".bz2",
    ".tar.xz": ".xz",
    ".txz": ".xz",
    ".tar.zst": ".zst",
    ".tzst": ".zst",
}
_ZIPS: Final = (".zip", ".whl", ".egg", ".jar")
_MAX_HEADER: Final = 1 << 20
"""The largest extended header (long names, attributes) of a tar member that is read, in bytes."""

_VERSIONED: Final = re.compile(r"(?P<name>.+?)[-_]v?(?P<version>\d+(?:\.\d+)*[\w.+~]*?)(?:\.orig)?")
_EXTENDED: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME)


class _DamagedError(Exception):
    """An archive cannot be read further."""


_UNREADABLE: Final = (*DAMAGE, _DamagedError, tarfile.TarError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class _Member:
    """One file in an archive; `read` gives its first bytes and must be called before the next member is asked for."""

    path: str
    size: int
    read: Callable[[int], bytes]
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Identity:
    """What an archive is: `top` is the folder that holds everything and is not part of the paths, "" for none."""

    repository: str
    commit: str
    top: str
    license_of: Callable[[str], str]


def is_archive(name: str) -> bool:
    """Return whether a file of this name is read as an archive."""
    return name.lower().endswith((*_TARS, *_ZIPS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """The files in one archive, in a pattern's matches, or in all archives of a folder; in the archive's own order.

    Nothing is written to disk, and at most the reader's limit of a member is kept, whatever its header says. A
    package knows its name: `repository` is `pypi/<name>`, `npm/<name>` or `crates/<name>` and `commit` its version;
    of another archive they are the two halves of its file name. The folder `name-version/` around everything is not
    part of the paths. A damaged archive gives what can be read, then one document with the problem `corrupt_archive`.

    include, exclude            gitignore-style patterns over the paths; empty takes everything
    repository, commit, license stand for what would be found
    hidden                      take names that start with a dot
    """

    path: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    repository: str = ""
    commit: str = ""
    license: str = ""
    hidden: bool = False

    def documents(self, max_bytes: int) -> Iterator[RawDocument]:
        """Yield every member; links, devices, encrypted and damaged ones come with their `problem`.

        Raises:
            CorpusError: there is no archive, a single one cannot be read at all, or no file is in it or selected.
        """
        selection, seen, given = Selection(self.include, self.exclude), 0, 0
        files = self._files()
        for file in files:
            with explained(str(file)):
                file.open("rb").close()  # a file without permission is an error of the user's, not damage
            identity = self._identify(file)
            try:
                for member, path in self._wanted(file, identity.top):
                    seen += 1
                    if selection(path):
                        given += 1
                        yield self._document(identity, member, path, max_bytes)
            except _UNREADABLE as e:
                if len(files) == 1 and not seen:
                    raise CorpusError(f"{file} cannot be read as an archive: {e}; is it complete?") from e
                given += 1
                yield document(
                    repository=identity.repository,
                    commit=identity.commit,
                    path=file.name,
                    size=file.stat().st_size,
                    problem="corrupt_archive",
                    detail=str(e) or type(e).__name__,
                )
        if not given:
            raise nothing_in(self.path, seen, selection)

    def state(self) -> str:
        """Return a digest of the archives' names, sizes and times."""
        with explained(self.path):
            return digest_files(self._files())

    def _files(self) -> list[Path]:
        with explained(self.path):
            return find_inputs(self.path, is_archive, "archives (.tar.gz, .zip, .whl …)")

    def _wanted(self, file: Path, top: str) -> Iterator[tuple[_Member, str]]:
        for member in _members(file):
            path = member.path.removeprefix(f"{top}/") if top else member.path
            if self.hidden or not is_hidden(path):
                yield member, path

    def _document(self, identity: _Identity, member: _Member, path: str, max_bytes: int) -> RawDocument:
        content, problem, detail = b"", member.problem, member.detail
        if not problem:
            try:
                content = member.read(max_bytes + 1)
            except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as e:
                # A zip file's members stand alone: the next one may be whole.
                problem, detail = "unreadable", str(e)
        return document(
            repository=identity.repository,
            commit=identity.commit,
            path=path,
            content=content,
            size=max(member.size, len(content)),
            license=self.license or identity.license_of(path.rpartition("/")[0]),
            problem=problem,
            detail=detail,
        )

    def _identify(self, file: Path) -> _Identity:
        """Look through an archive once: what it is stands anywhere in it, and is needed for its first member."""
        survey = _Survey()
        try:
            for member in _members(file):
                survey.note(member)
        except _UNREADABLE:
            pass  # what was found so far; the second reading reports the damage
        ending = next(e for e in sorted((*_TARS, *_ZIPS, ""), key=len, reverse=True) if file.name.lower().endswith(e))
        stem = file.name.removesuffix(file.name[len(file.name) - len(ending) :]) if ending else file.name
        repository, commit, packaged = survey.name(stem, ending)
        base = Path(self.path).expanduser()
        if not packaged and base.is_dir() and file.parent != base:
            repository = f"{file.parent.relative_to(base)}/{repository}"
        top = survey.top if packaged or (survey.top or "").lower() == stem.lower() else ""
        return _Identity(self.repository or repository, self.commit or commit, top or "", survey.licenses(top or ""))


class _Survey:
    """What a first reading of an archive finds out. It holds one short text per licence file, no contents."""

    def __init__(self) -> None:
        self.top: str | None = None
        self._package: tuple[str, str, str] | None = None
        self._answers: dict[str, dict[str, str | None]] = {}

    def note(self, member: _Member) -> None:
        folder, _, name = member.path.rpartition("/")
        top = folder.partition("/")[0]
        self.top = top if self.top in (None, top) else ""
        if member.problem or not _licenses.is_relevant(name):
            return
        try:
            data = member.read(_licenses.MAX_BYTES)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
            return
        if folder == top and (name == "PKG-INFO" or member.path == "package/package.json"):
            self._package = _package(name, data) or self._package
        # A wheel's and an egg's own folder of metadata speaks for all of it.
        about, _, below = folder.partition("/")
        if about.endswith(".dist-info") or about == "EGG-INFO":
            self._answers.setdefault("", {})[f"{below}/{name}"] = _licenses.answer(name, data)
        else:
            self._answers.setdefault(folder, {})[name] = _licenses.answer(name, data)

    def name(self, stem: str, ending: str) -> tuple[str, str, bool]:
        """Return repository, version, and whether the archive is a package of a known kind."""
        if ending in (".whl", ".egg"):
            name, version, *_ = [*stem.split("-"), ""]
            return f"pypi/{_pypi(name)}", version, True
        if self._package is not None and ending in _TARS:
            kind, name, version = self._package
            return f"{kind}/{name}", version, True
        versioned = _VERSIONED.fullmatch(stem)
        name, version = (versioned["name"], versioned["version"]) if versioned else (stem, "")
        return (f"crates/{name}", version, True) if ending == ".crate" else (name, version, False)

    def licenses(self, top: str) -> Callable[[str], str]:
        """Return the licence of every folder, named as without `top`."""
        prefix = f"{top}/" if top else ""

        def lookup(folder: str) -> str | None:
            found = self._answers.get(prefix + folder if folder else top)
            return _licenses.settled(found) if found else None

        return _licenses.nearest(lookup)


def _package(name: str, data: bytes) -> tuple[str, str, str] | None:
    """Return (`pypi` or `npm`, name, version) from a package's metadata."""
    if name == "PKG-INFO":
        headers = HeaderParser().parsestr(data.decode("utf-8", "replace"))
        kind, package, version = "pypi", _pypi(str(headers.get("Name") or "")), headers.get("Version")
    else:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            return None
        stated = value if isinstance(value, dict) else {}
        kind, package, version = "npm", str(stated.get("name") or ""), stated.get("version")
    return (kind, package, str(version or "")) if package else None


def _pypi(name: str) -> str:
    """Return a Python package's name in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _members(file: Path) -> Iterator[_Member]:
    lower = file.name.lower()
    if lower.endswith(_ZIPS) or (not is_archive(lower) and zipfile.is_zipfile(file)):
        return _zip_members(file)
    return _tar_members(file, next((c for e, c in _TARS.items() if lower.endswith(e)), ""))


def _inside(name: str) -> str:
    """Return a member's name as a relative path that stays inside, "" for a version-control system's own file."""
    parts = [p for p in name.split("/") if p not in ("", ".", "..")]
    return "" if VERSION_CONTROL.intersection(parts) else "/".join(parts)


def _zip_members(file: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            path = _inside(info.filename.replace("\\", "/"))
            if info.is_dir() or not path:
                continue

            def read(count: int, info: zipfile.ZipInfo = info) -> bytes:
                with archive.open(info) as f:
                    return read_at_most(f, count)

            problem, detail = "", ""
            if stat.S_ISLNK(info.external_attr >> 16):
                problem, detail = "link", "a symbolic link, not followed"
            elif info.flag_bits & 1:
                problem, detail = "encrypted", "the member is protected by a password"
            yield _Member(path, info.file_size, read, problem, detail)


def _tar_members(file: Path, compression: str) -> Iterator[_Member]:
    class Checked(tarfile.TarInfo):
        """Says aloud what `tarfile` takes for the end: a damaged header behind the first one."""

        ended = False

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Checked":
            try:
                info = super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as e:
                if any(buf):
                    raise _DamagedError(str(e)) from e
                Checked.ended = True
                raise
            if info.size < 0 or (info.type in _EXTENDED and info.size > _MAX_HEADER):
                raise _DamagedError(f"a header claims {info.size} bytes")
            return info

    try:
        with (
            open_stream(file, compression) as stream,
            tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", tarinfo=Checked) as archive,
        ):
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or it would remember every member
                path = _inside(info.name)
                if not info.isdir() and path:
                    yield _tar_member(archive, info, path)
        if not Checked.ended:
            raise _DamagedError("a damaged header")
    except UnicodeError as e:
        raise _DamagedError(str(e)) from e


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo, path: str) -> _Member:
    def read(count: int) -> bytes:
        f = archive.extractfile(info)
        assert f is not None
        return read_at_most(f, count)

    if info.isreg():
        return _Member(path, info.size, read)
    if info.issym() or info.islnk():
        return _Member(
            path, 0, read, "link", f"a link to {decode_name(info.linkname.encode('utf-8', 'surrogateescape'))}"
        )
    return _Member(path, 0, read, "not_a_file", "a pipe or a device")


PLUGIN = Archives
