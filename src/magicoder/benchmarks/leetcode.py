"""LeetCode contests: 180 problems of July 2023 to January 2024 with tests (DeepSeek-Coder).

Paper: DeepSeek-Coder: When the Large Language Model Meets Programming, 2401.14196. Licence: MIT.
Decontamination looks for the statement up to its first example; no solutions are published.

Scored by each problem's asserts about a class `Solution`, which run outside the sandbox. What the site imports is
there without an import. Decoding as published: greedy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from magicoder.benchmarks import _files, _prose
from magicoder.benchmarks._contests import Contest, ContestSuite
from magicoder.benchmarks._profiles import ONLY_STRICT
from magicoder.protocols import Suite
from magicoder.records import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class LeetCode:
    """`leetcode_deepseek/20240121-Jul.jsonl[.gz]`."""

    name: ClassVar[str] = "leetcode"
    version: ClassVar[str] = "20240121-Jul"
    license: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "2401.14196"
    size: ClassVar[int] = 180

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield the 180 tasks.

        Raises:
            BenchmarkError: the file is missing or malformed; names it.
        """
        folder = _files.root(data) / "leetcode_deepseek"
        for row in _files.rows(_files.either(self.name, folder, f"{self.version}.jsonl")):
            prompt = row.text("prompt")
            yield Task(
                id=row.text("task_id"),
                benchmark=self.name,
                language="python",
                prompt=prompt,
                description=_prose.statement(_prose.docstring(prompt, row.where)),
                tests=row.text("test"),
            )

    def suite(self, data: str) -> Suite:
        """Open the benchmark for scoring; see `_contests`.

        Raises:
            BenchmarkError: the file is missing or malformed; names it.
        """
        contests = [
            Contest(task=task, tests=task.tests, starter=task.prompt.rpartition('"""')[2].strip())
            for task in self.tasks(data)
        ]
        return ContestSuite(self.name, self.version, contests, ONLY_STRICT, cpu_s=30)


PLUGIN = LeetCode
