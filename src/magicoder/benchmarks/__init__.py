"""What models are measured on, and so what training data must not contain: one module per benchmark."""

from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from magicoder import plugins
from magicoder.benchmarks._files import FilesMissing
from magicoder.errors import BenchmarkError
from magicoder.fingerprint import digest_bytes
from magicoder.records import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHand:
    """The benchmarks whose files were found.

    tasks          all their tasks, benchmarks in alphabetical order, tasks as in the files, but without their tests,
                   which take a gigabyte where APPS is whole
    versions       of each benchmark found, by name
    not_covered    name of each benchmark without files, and why
    digest         changes when a task or a version does
    """

    tasks: list[Task]
    versions: dict[str, str]
    not_covered: dict[str, str]
    digest: str


def at_hand(data: str | None) -> AtHand:
    """Return the tasks of every benchmark whose files lie under the folder `data` (docs/benchmarks.md).

    Raises:
        BenchmarkError: no such folder, or a file is there but malformed. A file that is not there is no error: see
            `not_covered`.
    """
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
    return AtHand(tasks=tasks, versions=versions, not_covered=not_covered, digest=_digest(versions, tasks))


def _digest(versions: dict[str, str], tasks: list[Task]) -> str:
    return digest_bytes(orjson.dumps([versions, tasks]))
