"""HumanEval-X: HumanEval with hand-written solutions in C++, Go, Java, JavaScript, Python and Rust (CodeGeeX).

Paper: CodeGeeX: A Pre-Trained Model for Code Generation with Multilingual Benchmarking on HumanEval-X, 2303.17568.
Licence: Apache-2.0. Decontamination looks for the statement in the prompt's comment and for the solutions.

Scoring: a program is the prompt (of Rust: and the declaration), its continuation, and the tests. Go tests use testify,
for which a file of ours stands in; failed `console.assert`s of JavaScript end the program, which Node would let pass;
`use` of crates that a Rust program does not use is taken out. Problems that need more than a compiler are named in
docs/evaluation-languages.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from magicoder.benchmarks import _files, _prose
from magicoder.benchmarks._humaneval_x import HumanEvalXSuite, Problem
from magicoder.errors import RecipeError
from magicoder.records import Task
from magicoder.text.extraction import entry_point_of

LANGUAGES = {"cpp": "cpp", "go": "go", "java": "java", "js": "javascript", "python": "python", "rust": "rust"}
"""The benchmark's file names and our names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanEvalX:
    """`humaneval_x/humaneval_<language>.jsonl[.gz]`, six files.

    only         scores one language alone; "" for all
    """

    name: ClassVar[str] = "humaneval_x"
    version: ClassVar[str] = "1.0"
    license: ClassVar[str] = "Apache-2.0"
    paper: ClassVar[str] = "2303.17568"
    size: ClassVar[int] = 984

    only: str = ""

    @classmethod
    def narrowed(cls, parts: tuple[str, ...]) -> Self:
        """Return the part that a user names behind a colon: a language (`js` or `javascript`).

        Raises:
            RecipeError: there is no such part, or several are named.
        """
        if len(parts) != 1 or parts[0] not in (*LANGUAGES, *LANGUAGES.values()):
            raise RecipeError(f"humaneval_x has no part {','.join(parts)!r}; name one of {', '.join(LANGUAGES)}")
        return cls(only=parts[0])

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

    def suite(self, data: str, only: str = "") -> HumanEvalXSuite:
        """Return the tasks for scoring: all, or those of one language (`js` or `javascript`).

        Raises:
            BenchmarkError: files are missing or malformed, or nothing is left; says which.
        """
        folder, only = _files.root(data) / "humaneval_x", only or self.only
        problems: dict[str, Problem] = {}
        for abbreviation, language in LANGUAGES.items():
            if only not in ("", abbreviation, language):
                continue
            try:
                path = _files.either(self.name, folder, f"humaneval_{abbreviation}.jsonl")
            except _files.FilesMissing:
                continue
            for row in _files.rows(path):
                task = self._task(row, language)
                given = task.prompt + (row.text("declaration") if language == "rust" else "")
                problems[task.id] = Problem(task=task, given=given, setup=row.optional("test_setup"))
        if not problems:
            raise _files.missing(self.name, folder / f"humaneval_{only or 'cpp'}.jsonl.gz")
        return HumanEvalXSuite(problems=problems, only=only)

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
            entry_point=entry_point_of(row.optional("declaration") or prompt),
        )


PLUGIN = HumanEvalX
