"""LiveCodeBench: contest problems collected month by month, and the few-shot examples of its prompts.

Paper: LiveCodeBench: Holistic and Contamination Free Evaluation of Large Language Models for Code, 2403.07974.
Licence: MIT. Decontamination looks for the statement up to its input section or first example, and for the answers of
the few-shot examples; the problems' solutions are not published.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from magicoder.benchmarks import _files, _prose
from magicoder.records import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCodeBench:
    """`livecodebench/test*.jsonl[.gz]` (release files as published) and `livecodebench/few_shot_{func,stdin}.json`."""

    name: ClassVar[str] = "livecodebench"
    version: ClassVar[str] = "release_v6"
    license: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "2403.07974"
    size: ClassVar[int] = 1055

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield the problems of the release files at hand, then the few-shot examples.

        Raises:
            BenchmarkError: neither is there, or a file is malformed; names it.
        """
        folder = _files.root(data) / "livecodebench"
        releases = sorted((*folder.glob("test*.jsonl"), *folder.glob("test*.jsonl.gz")))
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


PLUGIN = LiveCodeBench
