"""MultiPL-E: HumanEval and MBPP translated to 18 programming languages.

Paper: MultiPL-E: A Scalable and Polyglot Approach to Benchmarking Neural Code Generation, 2208.08227.
Licence: MIT (HumanEval), BSD-3-Clause (translator). The original skips this set on the ground that it derives from
HumanEval and MBPP, but its statements are reworded per language, so a substring search for the Python ones misses them.
Decontamination looks for the statement in the prompt's comment; no canonical solutions are published (the answers of
a model that some copies of the files carry are not used).

Scoring: a program is the prompt, its continuation, and the tests, which mostly begin with the brace that closes the
function; its exit code tells. Published decoding (Magicoder): temperature 0.2, top_p 0.95, raw completion; the number
for several languages is the mean over all their problems. Known faults of the published files and harness, and what is
done about them, stand in docs/evaluation-languages.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

from magicoder.benchmarks import _files, _prose
from magicoder.benchmarks._multipl_e import MultiPlESuite, Problem
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.records import Task
from magicoder.text.extraction import entry_point_of

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
_ORIGINS: Final = ("humaneval", "mbpp")


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiPlE:
    """`multiple/{humaneval,mbpp}-<language>.jsonl[.gz]`; with `hub`, nuprl/MultiPL-E where a file is absent.

    only         scores a language, an origin (`mbpp`) or a split (`humaneval-java`) alone; "" for all
    """

    name: ClassVar[str] = "multipl_e"
    version: ClassVar[str] = "reworded"
    license: ClassVar[str] = "MIT AND BSD-3-Clause"
    paper: ClassVar[str] = "2208.08227"
    size: ClassVar[int] = 9851

    only: str = ""
    hub: bool = False

    @classmethod
    def narrowed(cls, parts: tuple[str, ...]) -> Self:
        """Return the part that a user names behind a colon: a language (`java`, `js`), an origin, or a split.

        Raises:
            RecipeError: there is no such part, or several are named.
        """
        splits = [f"{origin}-{abbreviation}" for origin in _ORIGINS for abbreviation in LANGUAGES]
        known = (*_ORIGINS, *LANGUAGES, *LANGUAGES.values(), *splits)
        if len(parts) != 1 or parts[0] not in known:
            some = ", ".join((*_ORIGINS, *LANGUAGES, "humaneval-java", "…"))
            raise RecipeError(f"multipl_e has no part {','.join(parts)!r}; name one of {some}")
        return cls(only=parts[0])

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
                for row in self._rows(folder, split):
                    found = True
                    yield self._task(row, split, language)
        if not found:
            raise _files.missing(self.name, folder / "humaneval-cpp.jsonl.gz")

    def suite(self, data: str, only: str = "") -> MultiPlESuite:
        """Return the tasks for scoring: all, or those of `only`, a language or a split (`java`, `humaneval-java`).

        Raises:
            BenchmarkError: files are missing or malformed, or nothing is left; says which.
        """
        folder, only = _files.root(data) / "multiple", only or self.only
        problems: dict[str, Problem] = {}
        for origin in _ORIGINS:
            for abbreviation, language in LANGUAGES.items():
                split = f"{origin}-{abbreviation}"
                if only not in ("", origin, abbreviation, language, split):
                    continue
                for row in self._rows(folder, split):
                    task = self._task(row, split, language)
                    problems[task.id] = Problem(task=task, stop=_stop(row))
        if not problems:
            raise _files.missing(self.name, folder / f"{only or 'humaneval-cpp'}.jsonl.gz")
        return MultiPlESuite(problems=problems, only=only)

    def _rows(self, folder: Path, split: str) -> Iterator[_files.Row]:
        place = _files.HubSplit(dataset="nuprl/MultiPL-E", configuration=split, split="test")
        try:
            yield from _files.rows_or_hub(self.name, folder, (f"{split}.jsonl",), place if self.hub else None)
        except _files.FilesMissing:
            return

    def _task(self, row: _files.Row, split: str, language: str) -> Task:
        prompt = row.text("prompt")
        return Task(
            id=f"{split}/{row.text('name', 'task_id')}",
            benchmark=self.name,
            language=language,
            prompt=prompt,
            description=_prose.comment(prompt, language),
            tests=row.optional("tests") or row.optional("test"),
            entry_point=entry_point_of(prompt),
        )


def _stop(row: _files.Row) -> tuple[str, ...]:
    """Return the stop sequences of a record; the parser of files keeps lists as they are."""
    found = row.values.get("stop_tokens", [])
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise BenchmarkError(f"{row.where}: 'stop_tokens' is not a list of texts")
    return tuple(found)


PLUGIN = MultiPlE
