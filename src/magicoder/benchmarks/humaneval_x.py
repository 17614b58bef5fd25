"""HumanEval-X: HumanEval with hand-written solutions in C++, Go, Java, JavaScript, Python and Rust (CodeGeeX).

Paper: CodeGeeX: A Pre-Trained Model for Code Generation with Multilingual Benchmarking on HumanEval-X, 2303.17568.
Licence: Apache-2.0. Decontamination looks for the statement in the prompt's comment and for the solutions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from magicoder.benchmarks import _files, _prose
from magicoder.records import Task

LANGUAGES = {"cpp": "cpp", "go": "go", "java": "java", "js": "javascript", "python": "python", "rust": "rust"}
"""The benchmark's file names and our names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanEvalX:
    """`humaneval_x/humaneval_<language>.jsonl[.gz]`, six files."""

    name: ClassVar[str] = "humaneval_x"
    version: ClassVar[str] = "1.0"
    license: ClassVar[str] = "Apache-2.0"
    paper: ClassVar[str] = "2303.17568"
    size: ClassVar[int] = 984

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield the tasks of all language files at hand (`CPP/0` …).

        Raises:
            BenchmarkError: no file is there, or one is malformed; names it.
        """
        folder = _files.root(data) / "humaneval_x"
        found = False
        for abbreviation, language in LANGUAGES.items():
            try:
                path = _files.either(self.name, folder, f"humaneval_{abbreviation}.jsonl")
            except _files.FilesMissing:
                continue
            for row in _files.rows(path):
                found = True
                yield self._task(row, language)
        if not found:
            raise _files.missing(self.name, folder / "humaneval_cpp.jsonl.gz")

    def _task(self, row: _files.Row, language: str) -> Task:
        prompt = row.text("prompt")
        python = language == "python"
        return Task(
            id=row.text("task_id"),
            benchmark=self.name,
            language=language,
            prompt=prompt,
            description=_prose.docstring(prompt, row.where) if python else _prose.comment(prompt, language),
            reference=row.text("canonical_solution"),
            tests=row.text("test"),
        )


PLUGIN = HumanEvalX
