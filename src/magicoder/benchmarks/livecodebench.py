"""LiveCodeBench: contest problems collected month by month, and the few-shot examples of its prompts.

Paper: LiveCodeBench: Holistic and Contamination Free Evaluation of Large Language Models for Code, 2403.07974.
Licence: MIT. Decontamination looks for the statement up to its input section or first example, and for the answers of
the few-shot examples; the problems' solutions are not published.

Scored by inputs and outputs, or by calls where a problem has a starter. Profiles: `strict`, and `lcb` with what that
grader (28fef95) does: a program is the body of a function, its streams are no files, 6 s for each input, lines are
compared as text or decimals. Of 20 right ways to read and write, that rejects 11 (docs/evaluation-libraries.md).
Decoding as published: temperature 0.2, 10 samples, 2,000 tokens; pass@1, over the problems of a window of dates.
"""

import base64
import io
import json
import pickle
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from magicoder.benchmarks import _files, _prose
from magicoder.benchmarks._contests import LCB_PROFILES, Contest, ContestSuite
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.protocols import Suite
from magicoder.records import Task

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_RELEASE = re.compile(r"v([1-9])\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCodeBench:
    """`livecodebench/test*.jsonl[.gz]` (release files as published) and `livecodebench/few_shot_{func,stdin}.json`.

    first, last  scores the problems of contests from `first` to `last` alone, days as `2024-08-01`; "" for no bound
    release      scores those of a release alone: its files are `test.jsonl`, `test2.jsonl`, … up to its number; 0 for
                 all files at hand
    """

    name: ClassVar[str] = "livecodebench"
    version: ClassVar[str] = "release_v6"
    license: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "2403.07974"
    size: ClassVar[int] = 1055

    first: str = ""
    last: str = ""
    release: int = 0

    def __post_init__(self) -> None:
        for day in (self.first, self.last):
            if day and not _DATE.match(day):
                raise RecipeError(f"livecodebench: {day!r} is no day; write it as 2024-08-01")

    @classmethod
    def narrowed(cls, parts: tuple[str, ...]) -> Self:
        """Return the part that a user names behind a colon: `v5`, or `2024-08-01..2025-02-01`.

        Raises:
            RecipeError: there is no such part.
        """
        first = last = ""
        release = 0
        for part in parts:
            if found := _RELEASE.match(part):
                release = int(found[1])
            elif ".." in part:
                first, _, last = part.partition("..")
            else:
                raise RecipeError(f"livecodebench has no part {part!r}; name a release (v5) or days (2024-08-01..)")
        return cls(first=first, last=last, release=release)

    def suite(self, data: str) -> Suite:
        """Open the problems of the release and the days for scoring; see `_contests`.

        Raises:
            BenchmarkError: there are none, or a file is malformed; names it.
        """
        folder = _files.root(data) / "livecodebench"
        paths = _releases(folder)
        if not paths:
            raise _files.missing(self.name, folder / "test.jsonl")
        if self.release:
            paths = [path for path in paths if _number(path) <= self.release]
        contests = [
            _contest(self._problem(row), row)
            for path in paths
            for row in _files.rows(path)
            if self._is_within(row.optional("contest_date")[:10])
        ]
        if not contests:
            raise BenchmarkError(f"livecodebench: no problem of {folder} is of these days; choose others")
        days = f"{self.first}..{self.last}" if self.first + self.last else ""
        release = f"v{self.release}" if self.release else ""
        name = "-".join(part for part in (self.name, release, days) if part)
        return ContestSuite(name, self.version, contests, LCB_PROFILES)

    def _is_within(self, day: str) -> bool:
        return (not self.first or day >= self.first) and (not self.last or (day != "" and day <= self.last))

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield the problems of the release files at hand, then the few-shot examples.

        Raises:
            BenchmarkError: neither is there, or a file is malformed; names it.
        """
        folder = _files.root(data) / "livecodebench"
        releases = _releases(folder)
        examples = sorted((*folder.glob("few_shot_*.json"), *folder.glob("few_shot_*.json.gz")))
        if not releases and not examples:
            raise _files.missing(self.name, folder / "test.jsonl")
        for path in releases:
            for row in _files.rows(path):
                yield self._problem(row)
        for path in examples:
            for index, row in enumerate(_files.rows(path)):
                yield self._example(path, index, row)

    def _problem(self, row: _files.Row) -> Task:
        text = row.text("question_content")
        return Task(
            id=row.text("question_id"),
            benchmark=self.name,
            language="python",
            prompt=text,
            description=_prose.statement(text),
            tests=row.optional("public_test_cases"),
        )

    def _example(self, path: Path, index: int, row: _files.Row) -> Task:
        text = row.text("question")
        return Task(
            id=f"{path.name.partition('.')[0]}/{index}",
            benchmark=self.name,
            language="python",
            prompt=text,
            description=_prose.statement(text),
            reference=row.text("answer"),
        )


def _releases(folder: Path) -> list[Path]:
    """Return the release files at hand."""
    return sorted((*folder.glob("test*.jsonl"), *folder.glob("test*.jsonl.gz")))


def _number(path: Path) -> int:
    """Return the number of the release that a file belongs to first."""
    digits = path.name.partition(".")[0].removeprefix("test")
    return int(digits) if digits.isdigit() else 1


def _contest(task: Task, row: _files.Row) -> Contest:
    """Return a problem with its public and its hidden cases.

    Raises:
        BenchmarkError: they are malformed.
    """
    try:
        metadata: Any = json.loads(row.optional("metadata") or "{}")
        tests = [*json.loads(row.optional("public_test_cases") or "[]"), *_hidden(row.optional("private_test_cases"))]
        kinds = {str(test["testtype"]) for test in tests}
        cases = [(str(test["input"]), str(test["output"])) for test in tests]
    except (ValueError, TypeError, KeyError, zlib.error, pickle.UnpicklingError, EOFError) as e:
        raise BenchmarkError(f"{row.where}: its tests cannot be read ({e}); replace the file") from None
    if not cases or len(kinds) != 1:
        raise BenchmarkError(f"{row.where}: {len(cases)} tests of {len(kinds)} kinds; replace the file")
    if kinds == {"stdin"}:
        return Contest(task=task, cases=tuple(cases))
    lines = ([line for line in given.split("\n") if line.strip()] for given, _ in cases)
    arguments = [f"[{', '.join(parts)}]" for parts in lines]
    return Contest(
        task=task,
        cases=tuple(zip(arguments, (expected for _, expected in cases), strict=True)),
        function=str(metadata.get("func_name", "")),
        starter=row.optional("starter_code"),
    )


class _Plain(pickle.Unpickler):
    """Reads a text out of a pickle and can make nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} in a file of tests")


def _hidden(text: str) -> Any:
    """Return hidden tests: JSON, or JSON that was pickled, compressed and written as base64."""
    if not text.strip():
        return []
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(_Plain(io.BytesIO(zlib.decompress(base64.b64decode(text)))).load())


PLUGIN = LiveCodeBench
