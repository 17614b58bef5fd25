"""The Python standard library of the interpreter that runs this: real code on every machine, no download."""

import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from magicoder.corpora._files import document, read_file
from magicoder.corpora._walk import Entry, Origin, walk
from magicoder.errors import CorpusError
from magicoder.fingerprint import digest
from magicoder.records import RawDocument

_REPOSITORY: Final = "python/cpython"
_TESTS: Final = frozenset({"test", "tests", "idle_test"})
_FOREIGN: Final = frozenset({"site-packages", "dist-packages", "__pycache__", "lib-dynload"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardLibrary:
    """Its `.py` files as `Lib/…` of python/cpython at the interpreter's version, under PSF-2.0.

    Files that are made when Python is built (`_sysconfigdata…`) are left out: no commit has them. A distribution may
    have patched a file. Tests are left out unless `include_tests`, as in installations that do not ship them.
    """

    include_tests: bool = False

    def documents(self, max_bytes: int) -> Iterator[RawDocument]:
        """Yield every module, in byte order of the paths.

        Raises:
            CorpusError: this Python has no standard library on disk (it may be zipped).
        """
        given = 0
        for entry in self._entries():
            given += 1
            content = read_file(entry.location, max_bytes)
            yield document(
                repository=_REPOSITORY,
                commit=_commit(),
                path=f"Lib/{entry.path}",
                content=content.data,
                size=content.size,
                language="python",
                license="PSF-2.0",
                problem=content.problem,
                detail=content.detail,
            )
        if not given:
            raise CorpusError(f"this Python ({platform.python_version()}) has no standard library in {_folder()}")

    def state(self) -> str:
        """Return a digest of the version and the number of files."""
        return digest([_commit(), sum(1 for _ in self._entries())])

    def _entries(self) -> Iterator[Entry]:
        for entry in walk(Origin(str(_folder()), _REPOSITORY), "", hidden=False, nested=False):
            *folders, name = entry.path.split("/")
            unwanted = _FOREIGN if self.include_tests else _FOREIGN | _TESTS
            if entry.problem or not name.endswith(".py") or unwanted.intersection(folders):
                continue
            if not (name.startswith("_sysconfigdata") or (folders and folders[0].startswith("config-"))):
                yield entry


def _folder() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _commit() -> str:
    """Return the tag of this version in CPython's repository; a build from between two releases ends in `+`."""
    return f"v{platform.python_version().removesuffix('+')}"


PLUGIN = StandardLibrary
