"""What models are measured on, and so what training data must not contain: one module per benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from magicoder import plugins
from magicoder.benchmarks._files import FilesMissing
from magicoder.errors import BenchmarkError
from magicoder.fingerprint import digest_bytes
from magicoder.records import Task

if TYPE_CHECKING:  # it needs Arrow, which costs workers that judge a quarter of a second to load
    from magicoder.text.benchmark_index import Index

INDEX = "index.bin"
"""Name of the shipped index in this package, and of one of the user's own in a folder of benchmark files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHand:
    """The benchmarks whose files were found, and what is known of the others.

    tasks          all their tasks, benchmarks in alphabetical order, tasks as in the files, but without their tests,
                   which take a gigabyte where APPS is whole
    versions       of each benchmark found, by name
    not_covered    name of each benchmark without files, and why; `index` may cover it all the same
    index          figures of benchmarks, for those without files; None if there is no index
    digest         changes when a task, a version or the index does
    """

    tasks: list[Task]
    versions: dict[str, str]
    not_covered: dict[str, str]
    digest: str
    index: Index | None = None


def at_hand(data: str | None) -> AtHand:
    """Return the tasks of every benchmark whose files lie under the folder `data`, and an index for the others.

    The index is the one in that folder, else the one that comes with magicoder (docs/benchmarks.md).

    Raises:
        BenchmarkError: no such folder, or a file is there but malformed. A file that is not there is no error: see
            `not_covered`.
    """
    tasks, versions, not_covered = _of_files(data)
    index, index_digest = _index(data)
    return AtHand(
        tasks=tasks,
        versions=versions,
        not_covered=not_covered,
        digest=digest_bytes(orjson.dumps([versions, tasks, index_digest])),
        index=index,
    )


def _of_files(data: str | None) -> tuple[list[Task], dict[str, str], dict[str, str]]:
    """Return tasks, versions and what is not covered, as in `AtHand`."""
    if data is not None and not Path(data).expanduser().is_dir():
        raise BenchmarkError(
            f"there is no folder {data} with benchmark files; correct --data or MAGICODER_DATA, or leave it away"
        )
    tasks: list[Task] = []
    versions: dict[str, str] = {}
    not_covered: dict[str, str] = {}
    for name in plugins.names("benchmarks"):
        if data is None:
            not_covered[name] = "no folder with benchmark files was given"
            continue
        benchmark = plugins.load("benchmarks", name)()
        try:
            tasks += (replace(task, tests="") for task in benchmark.tasks(data))
        except FilesMissing as e:
            not_covered[name] = str(e)
        else:
            versions[name] = benchmark.version
    return tasks, versions, not_covered


def build_index(data: str, name: str) -> tuple[bytes, Index]:
    """Return an index of the benchmarks whose files lie under `data`, as a file and as a value.

    name     says in reports which index it is

    Raises:
        BenchmarkError: no such folder, no benchmark files in it, or a file is malformed.
    """
    from magicoder.text.benchmark_index import FLOOR, decode, encode, index_of

    tasks, versions, _ = _of_files(data)  # not an index that is there: it may be what has to be made again
    if not tasks:
        raise BenchmarkError(f"{data} has no benchmark files; docs/benchmarks.md says which are read")
    file = encode(index_of(tasks, versions, FLOOR), name)
    return file, decode(file, name)


def _index(data: str | None) -> tuple[Index | None, str]:
    """Return the index to be used and a digest of its file."""
    from magicoder.text.benchmark_index import decode

    own = (
        [folder / INDEX for folder in (Path(data).expanduser(), Path(data).expanduser() / "benchmarks")] if data else []
    )
    for place in (*own, files("magicoder.benchmarks") / INDEX):
        if place.is_file():
            file = place.read_bytes()
            return decode(file, str(place)), digest_bytes(file)
    return None, ""
