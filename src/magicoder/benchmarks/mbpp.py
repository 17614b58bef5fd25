"""MBPP: 974 short Python programs from one-sentence descriptions (Google).

Paper: Program Synthesis with Large Language Models, 2108.07732. Licence: CC-BY-4.0.
Decontamination looks for the sentence and the solution of all 974 tasks and of the sanitized set where it differs.
The original filters the 500 test tasks (ids 11 to 510) only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from magicoder.benchmarks import _files
from magicoder.benchmarks._python_suites import MbppSuite
from magicoder.protocols import Suite
from magicoder.records import Task

_TEST_SPLIT: Final = range(11, 511)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mbpp:
    """`mbpp/mbpp.jsonl[.gz]` and, if it is there, `mbpp/sanitized-mbpp.json`; with `hub`, google-research-datasets/mbpp."""  # noqa: E501 - one line by convention

    name: ClassVar[str] = "mbpp"
    version: ClassVar[str] = "1.0"
    license: ClassVar[str] = "CC-BY-4.0"
    paper: ClassVar[str] = "2108.07732"
    size: ClassVar[int] = 974

    hub: bool = False

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield `MBPP/1` … `MBPP/974`, then `MBPP/<n>/sanitized` for each task that sanitizing changed.

        Raises:
            BenchmarkError: a file is missing or malformed; names it.
        """
        folder = _files.root(data) / "mbpp"
        seen = set()
        for row in self._rows(folder):
            task = self._task(row, "")
            seen.add((task.description, task.reference))
            yield task
        for row in self._sanitized(folder):
            task = self._task(row, "/sanitized")
            if (task.description, task.reference) not in seen:
                yield task

    def suite(self, data: str) -> Suite:
        """Open the 500 test tasks for scoring; see `_python_suites`.

        Raises:
            BenchmarkError: the file is missing or malformed; names it.
        """
        rows = [row for row in self._rows(_files.root(data) / "mbpp") if row.number("task_id") in _TEST_SPLIT]
        tasks = [self._task(row, "") for row in rows]
        setups = {
            task.id: setup for task, row in zip(tasks, rows, strict=True) if (setup := row.optional("test_setup_code"))
        }
        return MbppSuite(self.name, self.version, tasks, setups)

    def _rows(self, folder: Path) -> Iterator[_files.Row]:
        try:
            path = _files.either(self.name, folder, "mbpp.jsonl", "mbpp_test.jsonl")
        except _files.FilesMissing:
            if not self.hub:
                raise
            for split in ("prompt", "test", "validation", "train"):
                place = _files.HubSplit(dataset="google-research-datasets/mbpp", configuration="full", split=split)
                yield from _files.hub_rows(self.name, place)
            return
        yield from _files.rows(path)

    def _sanitized(self, folder: Path) -> Iterator[_files.Row]:
        try:
            path = _files.either(self.name, folder, "sanitized-mbpp.json")
        except _files.FilesMissing:
            return iter(())
        return _files.rows(path)

    def _task(self, row: _files.Row, suffix: str) -> Task:
        text = row.text("text", "prompt")
        return Task(
            id=f"MBPP/{row.number('task_id')}{suffix}",
            benchmark=self.name,
            language="python",
            prompt=text,
            description=text.strip(),
            reference=row.text("code"),
            tests=row.optional("test_list") or row.optional("test"),
        )


PLUGIN = Mbpp
