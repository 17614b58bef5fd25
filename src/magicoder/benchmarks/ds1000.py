"""DS-1000: 1,000 data-science problems over seven Python libraries, from Stack Overflow.

Paper: DS-1000: A Natural and Reliable Benchmark for Data Science Code Generation, 2211.11501. Licence: CC-BY-SA-4.0.
Decontamination looks for the problem statement (for Matplotlib, whose prompts are commented code, the prompt before
the solution marker) and the reference code. The original looks for the prompt before the marker.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from magicoder.benchmarks import _files
from magicoder.errors import BenchmarkError
from magicoder.records import Task

MARKERS = ("SOLUTION START", "BEGIN SOLUTION")
"""Where a prompt ends; each occurs at most once in a prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ds1000:
    """`ds1000/ds1000.jsonl[.gz]` (the simplified format: prompt, reference_code, metadata); with `hub`, xlangai/DS-1000."""  # noqa: E501 - one line by convention

    name: ClassVar[str] = "ds1000"
    version: ClassVar[str] = "1.0-simplified"
    license: ClassVar[str] = "CC-BY-SA-4.0"
    paper: ClassVar[str] = "2211.11501"
    size: ClassVar[int] = 1000

    hub: bool = False

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield `DS-1000/0` … `DS-1000/999`.

        Raises:
            BenchmarkError: the file is missing or malformed, or a prompt has no solution marker; names it.
        """
        place = _files.HubSplit(dataset="xlangai/DS-1000", split="test") if self.hub else None
        folder = _files.root(data) / "ds1000"
        for index, row in enumerate(_files.rows_or_hub(self.name, folder, ("ds1000.jsonl",), place)):
            prompt = row.text("prompt")
            metadata: Any = row.values.get("metadata")
            number = metadata.get("problem_id", index) if isinstance(metadata, dict) else index
            yield Task(
                id=f"DS-1000/{number}",
                benchmark=self.name,
                language="python",
                prompt=prompt,
                description=_statement(before_solution(prompt, row.where)),
                reference=row.text("reference_code"),
                tests=row.optional("code_context"),
            )


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
