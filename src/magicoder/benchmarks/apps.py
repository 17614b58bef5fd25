"""APPS: 10,000 contest and interview problems, 5,000 of them the test set (Berkeley).

Paper: Measuring Coding Challenge Competence With APPS, 2105.09938. Licence: MIT.
Decontamination looks for the statement of every problem at hand, and for all of its solutions where the files have
them. The original looks for the whole question of the 5,000 test problems, and leaves out the 115,212 solutions as
too slow for its nested loops.

Scored by inputs and outputs, or by calls where a problem names a function. Profiles: `strict`, and `apps` with that
grader's comparison (any order of lines and words, numbers within 1e-5, the first of several values) and its 4 s.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from magicoder.benchmarks import _files, _prose
from magicoder.benchmarks._contests import APPS_PROFILES, Contest, ContestSuite
from magicoder.errors import BenchmarkError
from magicoder.protocols import Suite
from magicoder.records import Task

_FOLDERS = {"test": "test", "train": "train", "train_samples": "train"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Apps:
    """`apps/{test,train}.jsonl[.gz]` (Hub), or folders `apps/{test,train,train_samples}/<number>/` as first published.

    A folder has `question.txt`, and may have `solutions.json` and `input_output.json`; a line has `question`, and may
    have `solutions` and `input_output` (JSON within a text) and `problem_id` or `id`.

    The file `test_example_tests…` holds tests without statements and is not read here.
    """

    name: ClassVar[str] = "apps"
    version: ClassVar[str] = "1.0"
    license: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "2105.09938"
    size: ClassVar[int] = 10000

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield `apps/test/0000` …, then `apps/train/0000` …, as far as they are at hand.

        Raises:
            BenchmarkError: none is there, or a file is malformed; names it.
        """
        folder = _files.root(data) / "apps"
        found = False
        for name, split in _FOLDERS.items():
            for task in self._split(folder, name, split):
                found = True
                yield task
        if not found:
            raise _files.missing(self.name, folder / "test.jsonl.gz")

    def suite(self, data: str) -> Suite:
        """Open the problems that have tests for scoring; see `_contests`.

        Raises:
            BenchmarkError: none is there, or a file is malformed; names it.
        """
        contests = [contest for task in self.tasks(data) if (contest := _contest(task)) is not None]
        if not contests:
            raise BenchmarkError(f"{self.name}: the problems under {data} have no tests; put the published files there")
        return ContestSuite(self.name, self.version, contests, APPS_PROFILES)

    def _split(self, folder: Path, name: str, split: str) -> Iterator[Task]:
        lines = [p for p in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if p.is_file()]
        lines += sorted((folder / name).glob("*.jsonl")) + sorted((folder / name).glob("*.jsonl.gz"))
        for path in lines:
            for index, row in enumerate(_files.rows(path)):
                number = row.values.get("problem_id", row.values.get("id", index))
                given = row.values.get("solutions")
                solutions = _solutions(given if isinstance(given, list) else row.optional("solutions"), row.where)
                yield self._task(split, str(number), row.text("question"), solutions, row.optional("input_output"))
        for path in sorted((folder / name).glob("*/question.txt")):
            solutions_path, tests = path.with_name("solutions.json"), path.with_name("input_output.json")
            solutions = _solutions(_read(solutions_path), str(solutions_path))
            yield self._task(split, path.parent.name, _read(path), solutions, _read(tests))

    def _task(self, split: str, number: str, question: str, solutions: list[str], tests: str) -> Task:
        return Task(
            id=f"{self.name}/{split}/{number.zfill(4)}",
            benchmark=self.name,
            language="python",
            prompt=question,
            description=_prose.statement(question),
            reference=solutions[0] if solutions else "",
            tests=tests,
            more_references=tuple(dict.fromkeys(solutions[1:])),
        )


def _contest(task: Task) -> Contest | None:
    """Return a task with its cases, None if it has none."""
    try:
        found: Any = json.loads(task.tests) if task.tests.strip() else {}
        inputs, outputs = found.get("inputs") or [], found.get("outputs") or []
        pairs = list(zip(inputs, outputs, strict=True))
    except (ValueError, AttributeError, TypeError) as e:
        raise BenchmarkError(f"{task.id}: its tests are no inputs and outputs ({e}); replace the file") from None
    if not pairs:
        return None
    function = str(found.get("fn_name") or "")
    if function:
        cases = [(json.dumps(given), json.dumps(expected)) for given, expected in pairs]
    else:
        cases = [(_text(given), _text(expected)) for given, expected in pairs]
    return Contest(task=task, cases=tuple(cases), function=function, wrapped=True)


def _text(value: Any) -> str:
    """Return an input or output, of which some are lists of lines."""
    return value if isinstance(value, str) else "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(path: Path) -> str:
    """Return a file's text, "" if it is absent."""
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as e:
        raise BenchmarkError(f"{path}: cannot be read ({e}); replace the file") from None


def _solutions(given: str | list[Any], where: str) -> list[str]:
    """Return the solutions from their JSON array, none from an empty text."""
    found: Any = given
    if isinstance(given, str):
        try:
            found = orjson.loads(given) if given.strip() else []
        except orjson.JSONDecodeError as e:
            raise BenchmarkError(f"{where}: solutions are not JSON ({e}); replace the file") from None
    if not isinstance(found, list) or not all(isinstance(s, str) for s in found):
        raise BenchmarkError(f"{where}: solutions are not an array of text; replace the file")
    return found


PLUGIN = Apps
