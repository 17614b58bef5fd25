"""BigCodeBench: 1,140 practical Python tasks over 139 libraries, and its Hard subset of 148.

Paper: BigCodeBench: Benchmarking Code Generation with Diverse Function Calls and Complex Instructions, 2406.15877.
Licence: Apache-2.0. Decontamination looks for the description that the complete and the instruct prompt share, and
for the canonical solution.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import orjson

from magicoder.benchmarks import _files, _prose
from magicoder.benchmarks._bigcodebench import BigCodeBenchSuite, Problem
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.protocols import Suite
from magicoder.records import Task
from magicoder.text.substrings import letters

_FILES = {
    "full": ("hf_BigCodeBench.jsonl", "BigCodeBench.jsonl", "annotation_data_BigCodeBench.jsonl"),
    "hard": ("BigCodeBench_Hard.jsonl", "BigCodeBench-Hard.jsonl"),
}

_VARIANTS = ("complete", "instruct")


@dataclass(frozen=True, slots=True, kw_only=True)
class BigCodeBench:
    """`bigcodebench/hf_BigCodeBench.jsonl[.gz]` (`full`) or `BigCodeBench_Hard.jsonl[.gz]` (`hard`).

    subset       `full` (the 1,140 tasks, and those of Hard whose text differs) or `hard` (the 148 alone)
    variant      how a model is asked: `complete` (a function with a docstring) or `instruct` (a sentence)
    hub          fall back to bigcode/bigcodebench or bigcode/bigcodebench-hard
    """

    name: ClassVar[str] = "bigcodebench"
    version: ClassVar[str] = "0.1.4"
    license: ClassVar[str] = "Apache-2.0"
    paper: ClassVar[str] = "2406.15877"
    size: ClassVar[int] = 1140

    subset: str = "full"
    variant: str = "complete"
    hub: bool = False

    def __post_init__(self) -> None:
        if self.subset not in _FILES:
            raise RecipeError(f"bigcodebench.subset is {self.subset!r}; it is `full` or `hard`")
        if self.variant not in _VARIANTS:
            raise RecipeError(f"bigcodebench.variant is {self.variant!r}; it is `complete` or `instruct`")

    @classmethod
    def narrowed(cls, parts: tuple[str, ...]) -> Self:
        """Return the part that a user names behind a colon: `full` or `hard`, `complete` or `instruct`.

        Raises:
            RecipeError: there is no such part.
        """
        unknown = [part for part in parts if part not in (*_FILES, *_VARIANTS)]
        if unknown:
            raise RecipeError(f"bigcodebench has no part {unknown[0]!r}; there are: {', '.join((*_FILES, *_VARIANTS))}")
        subset = next((part for part in reversed(parts) if part in _FILES), "full")
        return cls(subset=subset, variant=next((part for part in reversed(parts) if part in _VARIANTS), "complete"))

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield the tasks of the subset.

        Raises:
            BenchmarkError: a file is missing or malformed; names it.
        """
        if self.subset == "hard":
            yield from self._read(data, "hard", "")
            return
        seen = set()
        for task in self._read(data, "full", ""):
            seen.add((task.description, task.reference))
            yield task
        try:
            hard = list(self._read(data, "hard", "/hard"))
        except _files.FilesMissing:
            return
        yield from (task for task in hard if (task.description, task.reference) not in seen)

    def suite(self, data: str) -> Suite:
        """Open the subset for scoring; see `_bigcodebench`.

        Raises:
            BenchmarkError: the file is missing or malformed; names it.
        """
        problems = [
            Problem(
                task=self._task(row, ""),
                instruction=row.optional("instruct_prompt"),
                head=row.optional("code_prompt"),
            )
            for row in self._rows(data, self.subset)
        ]
        if self.variant == "instruct" and not all(problem.instruction for problem in problems):
            raise BenchmarkError("bigcodebench: the file has no instruct prompts; replace it by the published one")
        parts = [*(["hard"] if self.subset == "hard" else []), *(["instruct"] if self.variant == "instruct" else [])]
        name = "-".join([self.name, *parts])
        return BigCodeBenchSuite(name, self.version, problems, instruct=self.variant == "instruct")

    def _read(self, data: str, subset: str, suffix: str) -> Iterator[Task]:
        for row in self._rows(data, subset):
            yield self._task(row, suffix)

    def _rows(self, data: str, subset: str) -> Iterator[_files.Row]:
        dataset = "bigcode/bigcodebench" + ("-hard" if subset == "hard" else "")
        place = _files.HubSplit(dataset=dataset, split=f"v{self.version}") if self.hub else None
        return _files.rows_or_hub(self.name, _files.root(data) / "bigcodebench", _FILES[subset], place)

    def _task(self, row: _files.Row, suffix: str) -> Task:
        return Task(
            id=row.text("task_id") + suffix,
            benchmark=self.name,
            language="python",
            prompt=row.text("complete_prompt", "prompt"),
            description=_description(row),
            reference=row.text("canonical_solution"),
            tests=row.text("test"),
            entry_point=row.text("entry_point"),
        )


def _description(row: _files.Row) -> str:
    """Return the statement that the docstring and the instruct prompt share: the docstring's lines before its sections.

    `doc_struct` lists these lines, but after them now and then some that stand elsewhere in the docstring, so they are
    taken as long as they follow each other in the prompt.
    """
    parts = row.values.get("doc_struct", row.values.get("doc"))
    if isinstance(parts, str):
        try:
            parts = orjson.loads(parts)
        except orjson.JSONDecodeError:
            raise BenchmarkError(f"{row.where}: 'doc_struct' is not JSON; replace the file") from None
    prompt = row.text("complete_prompt", "prompt")
    lines = parts.get("description") if isinstance(parts, dict) else None
    if not isinstance(lines, list):
        return _prose.docstring(prompt, row.where)
    searched, taken = letters(prompt), ""
    for line in lines:
        longer = f"{taken}\n{line}" if taken else str(line)
        if letters(longer) not in searched:
            break
        taken = longer
    return taken.strip()


PLUGIN = BigCodeBench
