"""DS-1000: 1,000 data-science problems over seven Python libraries, from Stack Overflow.

Paper: DS-1000: A Natural and Reliable Benchmark for Data Science Code Generation, 2211.11501. Licence: CC-BY-SA-4.0.
Decontamination looks for the problem statement (for Matplotlib, whose prompts are commented code, the prompt before
the solution marker) and the reference code. The original looks for the prompt before the marker.

Scored by the problem's own context, in an interpreter that has the libraries (docs/evaluation-libraries.md). Paper's
decoding: temperature 0.2, top_p 0.5, 40 samples, pass@1; prompts up to 1,024 tokens with the answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from magicoder.benchmarks import _ds1000_answers, _files
from magicoder.benchmarks._ds1000 import Ds1000Suite, Problem
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.protocols import Suite
from magicoder.records import Task

MARKERS = ("SOLUTION START", "BEGIN SOLUTION")
"""Where a prompt ends; each occurs at most once in a prompt."""

LIBRARIES = ("pandas", "numpy", "tensorflow", "scipy", "sklearn", "pytorch", "matplotlib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ds1000:
    """`ds1000/ds1000.jsonl[.gz]` (simplified format: prompt, reference_code, metadata); with `hub`, xlangai/DS-1000.

    `ds1000/seaborn-data/*.csv`, where they are, stand in for what 14 problems download (`penguins`, `tips`, …).

    infill       asks a model to fill in between what is given (`starcoder`, `codellama`, `deepseek`, `qwen`: whose
                 tokens); "" asks it to go on
    libraries    scores the problems of these alone (`numpy`, `pandas`, …); () for all
    """

    name: ClassVar[str] = "ds1000"
    version: ClassVar[str] = "1.0-simplified"
    license: ClassVar[str] = "CC-BY-SA-4.0"
    paper: ClassVar[str] = "2211.11501"
    size: ClassVar[int] = 1000

    infill: str = ""
    libraries: tuple[str, ...] = ()
    hub: bool = False

    def __post_init__(self) -> None:
        if self.infill and self.infill not in _ds1000_answers.INFILL:
            known = ", ".join(_ds1000_answers.INFILL)
            raise RecipeError(f"ds1000.infill is {self.infill!r}; it is one of {known}")
        unknown = [name for name in self.libraries if name not in LIBRARIES]
        if unknown:
            raise RecipeError(f"ds1000 has no problems about {unknown[0]!r}; there are: {', '.join(LIBRARIES)}")

    @classmethod
    def narrowed(cls, parts: tuple[str, ...]) -> Self:
        """Return the part that a user names behind a colon: libraries, or `insertion-` and whose tokens.

        Raises:
            RecipeError: there is no such part.
        """
        forms = [part.removeprefix("insertion-") for part in parts if part.startswith("insertion-")]
        libraries = tuple(part for part in parts if not part.startswith("insertion-"))
        return cls(libraries=libraries, infill=forms[-1] if forms else "")

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield `DS-1000/0` … `DS-1000/999`.

        Raises:
            BenchmarkError: the file is missing or malformed, or a prompt has no solution marker; names it.
        """
        for problem in self._problems(data):
            yield problem.task

    def suite(self, data: str) -> Suite:
        """Open the benchmark for scoring; see `_ds1000`.

        Raises:
            BenchmarkError: the file is missing or malformed; names it.
        """
        wanted = self.libraries or LIBRARIES
        problems = [problem for problem in self._problems(data) if problem.library in wanted]
        tables = sorted((_files.root(data) / "ds1000" / "seaborn-data").glob("*.csv"))
        parts = [*self.libraries, *([f"insertion_{self.infill}"] if self.infill else [])]
        return Ds1000Suite(
            self.version,
            problems,
            infill=self.infill,
            name="-".join([self.name, *parts]),
            seaborn_data=tuple((path.name, path.read_text(encoding="utf-8")) for path in tables),
        )

    def _problems(self, data: str) -> Iterator[Problem]:
        place = _files.HubSplit(dataset="xlangai/DS-1000", split="test") if self.hub else None
        folder = _files.root(data) / "ds1000"
        for index, row in enumerate(_files.rows_or_hub(self.name, folder, ("ds1000.jsonl",), place)):
            prompt = row.text("prompt")
            metadata: Any = row.values.get("metadata")
            number = metadata.get("problem_id", index) if isinstance(metadata, dict) else index
            library = metadata.get("library", "") if isinstance(metadata, dict) else ""
            task = Task(
                id=f"DS-1000/{number}",
                benchmark=self.name,
                language="python",
                prompt=prompt,
                description=_statement(before_solution(prompt, row.where)),
                reference=row.text("reference_code"),
                tests=row.optional("code_context"),
            )
            yield Problem(task=task, library=str(library).lower())


def before_solution(prompt: str, where: str) -> str:
    """Return the prompt before its solution marker, without the marker's own comment sign.

    Raises:
        BenchmarkError: no marker, or one that occurs twice.
    """
    for marker in MARKERS:
        pieces = prompt.split(marker)
        if len(pieces) == 2:
            return pieces[0].rstrip("# \n")
        if len(pieces) > 2:
            raise BenchmarkError(f"{where}: {marker!r} occurs {len(pieces) - 1} times; replace the file")
    raise BenchmarkError(f"{where}: the prompt has neither {' nor '.join(map(repr, MARKERS))}; replace the file")


def _statement(prompt: str) -> str:
    """Return the problem alone where the prompt is `Problem: … A: <code>`, else the prompt."""
    before, answer, _ = prompt.rpartition("\nA:\n")
    return before.strip().removeprefix("Problem:").strip() if answer else prompt.strip()


PLUGIN = Ds1000
