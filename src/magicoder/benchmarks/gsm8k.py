"""GSM8K: 1,319 grade-school mathematics word problems, the test set (OpenAI).

Paper: Training Verifiers to Solve Math Word Problems, 2110.14168. Licence: MIT.
Not a code benchmark, but one of the sets that the original filters (`gsm8k_questions`).
Decontamination looks for the question and the worked answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from magicoder.benchmarks import _files
from magicoder.records import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Gsm8k:
    """`gsm8k/test.jsonl[.gz]` (question, answer), as published; with `hub`, openai/gsm8k where the file is absent."""

    name: ClassVar[str] = "gsm8k"
    version: ClassVar[str] = "1.0"
    license: ClassVar[str] = "MIT"
    paper: ClassVar[str] = "2110.14168"
    size: ClassVar[int] = 1319

    hub: bool = False

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield `gsm8k/test/0` … `gsm8k/test/1318`.

        Raises:
            BenchmarkError: the file is missing or malformed; names it.
        """
        place = _files.HubSplit(dataset="openai/gsm8k", configuration="main", split="test") if self.hub else None
        folder = _files.root(data) / "gsm8k"
        for index, row in enumerate(_files.rows_or_hub(self.name, folder, ("test.jsonl",), place)):
            question = row.text("question")
            yield Task(
                id=f"gsm8k/test/{index}",
                benchmark=self.name,
                language="",
                prompt=question,
                description=question.strip(),
                reference=row.text("answer"),
            )


PLUGIN = Gsm8k
