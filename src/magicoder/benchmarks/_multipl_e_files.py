"""Samples and verdicts of MultiPL-E as its harness (the variant of Qwen's reports) writes them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from magicoder.benchmarks import _files
from magicoder.errors import BenchmarkError
from magicoder.records import Answer

_NAME = re.compile(r"(?P<split>(?:humaneval|mbpp)-\w+)-details\.json|pred_(?P<language>\w+)_output\.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """An answer, and whether it passed where it was published; None if the file does not say."""

    answer: Answer
    passed: bool | None


def split_of(path: Path) -> str:
    """Return the split that a file's name tells (`humaneval-java`), "" if it is none of these files."""
    found = _NAME.match(path.name)
    if found is None:
        return ""
    return found["split"] or f"humaneval-{found['language']}"


def published(path: Path) -> Iterator[Published]:
    """Yield the answers of `<split>-details.json[.gz]` (whole programs) or `pred_<language>_output.jsonl[.gz]`.

    Raises:
        BenchmarkError: the file is none of these, or malformed; names it.
    """
    split = split_of(path)
    if not split:
        raise BenchmarkError(f"{path}: neither <split>-details.json nor pred_<language>_output.jsonl")
    for row in _files.rows(path):
        if path.name.startswith("pred_"):
            prompt, text = row.text("prompt"), row.text("generation")
            answer = Answer(task_id=f"{split}/{row.text('task_id')}", text=text, style="completion")
            if text.startswith(prompt):
                answer = Answer(task_id=answer.task_id, text=text[len(prompt) :], style="completion")
            yield Published(answer=answer, passed=None)
        else:
            yield from _details(row, split)


def _details(row: _files.Row, split: str) -> Iterator[Published]:
    for name, runs in row.values.items():
        try:
            found = [(int(number), record["code"], record["passed"]) for number, record in runs]
        except (TypeError, ValueError, KeyError):
            raise BenchmarkError(f"{row.where}: {name!r} is no list of [number, record with code and passed]") from None
        for number, code, passed in found:
            answer = Answer(task_id=f"{split}/{name}", text=str(code), style="solution", index=number)
            yield Published(answer=answer, passed=bool(passed))
