"""HumanEval: 164 Python functions from docstrings (OpenAI).

Paper: Evaluating Large Language Models Trained on Code, 2107.03374. Licence: MIT.
Decontamination looks for the docstring (by the original's rule) and the canonical solution.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from magicoder.benchmarks import _files, _prose
from magicoder.benchmarks._python_suites import HumanEvalSuite
from magicoder.protocols import Suite
from magicoder.records import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanEval:
    """`humaneval/HumanEval.jsonl[.gz]`; with `hub`, openai/openai_humaneval where the file is absent."""

    name: ClassVar[str] = "humaneval"
    version: ClassVar[str] = "1.0"
    license: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "2107.03374"
    size: ClassVar[int] = 164

    hub: bool = False

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield the 164 tasks.

        Raises:
            BenchmarkError: the file is missing or malformed; names it.
        """
        place = _files.HubSplit(dataset="openai/openai_humaneval", split="test") if self.hub else None
        folder = _files.root(data) / "humaneval"
        for row in _files.rows_or_hub(self.name, folder, ("HumanEval.jsonl",), place):
            prompt = row.text("prompt")
            yield Task(
                id=row.text("task_id"),
                benchmark=self.name,
                language="python",
                prompt=prompt,
                description=_prose.docstring(prompt, row.where),
                reference=row.text("canonical_solution"),
                tests=row.text("test"),
                entry_point=row.text("entry_point"),
            )

    def suite(self, data: str) -> Suite:
        """Open the benchmark for scoring; see `_python_suites`.

        Raises:
            BenchmarkError: the file is missing or malformed; names it.
        """
        return HumanEvalSuite(self.name, self.version, list(self.tasks(data)))


PLUGIN = HumanEval
