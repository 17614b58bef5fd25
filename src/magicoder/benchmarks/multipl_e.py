"""MultiPL-E: HumanEval and MBPP translated to 18 programming languages.

Paper: MultiPL-E: A Scalable and Polyglot Approach to Benchmarking Neural Code Generation, 2208.08227.
Licence: MIT (HumanEval), BSD-3-Clause (translator). The original skips this set on the ground that it derives from
HumanEval and MBPP, but its statements are reworded per language, so a substring search for the Python ones misses them.
Decontamination looks for the statement in the prompt's comment; no canonical solutions are published (the answers of
a model that some copies of the files carry are not used).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from magicoder.benchmarks import _files, _prose
from magicoder.records import Task

LANGUAGES = {
    "cpp": "cpp",
    "cs": "csharp",
    "d": "d",
    "go": "go",
    "java": "java",
    "jl": "julia",
    "js": "javascript",
    "lua": "lua",
    "php": "php",
    "pl": "perl",
    "r": "r",
    "rb": "ruby",
    "rkt": "racket",
    "rs": "rust",
    "scala": "scala",
    "sh": "shell",
    "swift": "swift",
    "ts": "typescript",
}
"""The benchmark's abbreviations and our names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiPlE:
    """`multiple/{humaneval,mbpp}-<language>.jsonl[.gz]`; with `hub`, nuprl/MultiPL-E where a file is absent."""

    name: ClassVar[str] = "multipl_e"
    version: ClassVar[str] = "reworded"
    license: ClassVar[str] = "MIT AND BSD-3-Clause"
    paper: ClassVar[str] = "2208.08227"
    size: ClassVar[int] = 9851

    hub: bool = False

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield the tasks of all language files at hand, `humaneval-cpp/HumanEval_0_has_close_elements` first.

        Raises:
            BenchmarkError: no file is there, or one is malformed; names it.
        """
        folder = _files.root(data) / "multiple"
        found = False
        for origin in ("humaneval", "mbpp"):
            for abbreviation, language in LANGUAGES.items():
                split = f"{origin}-{abbreviation}"
                place = _files.HubSplit(dataset="nuprl/MultiPL-E", configuration=split, split="test")
                try:
                    rows = _files.rows_or_hub(self.name, folder, (f"{split}.jsonl",), place if self.hub else None)
                except _files.FilesMissing:
                    continue
                for row in rows:
                    found = True
                    yield self._task(row, split, language)
        if not found:
            raise _files.missing(self.name, folder / "humaneval-cpp.jsonl.gz")

    def _task(self, row: _files.Row, split: str, language: str) -> Task:
        prompt = row.text("prompt")
        return Task(
            id=f"{split}/{row.text('name', 'task_id')}",
            benchmark=self.name,
            language=language,
            prompt=prompt,
            description=_prose.comment(prompt, language),
            tests=row.optional("tests") or row.optional("test"),
        )


PLUGIN = MultiPlE
