"""A verdict in words, for a model or a person: what happened, without what differs from run to run."""

import re
from typing import Final

from magicoder.records import Outcome, Verdict

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_LINES: Final = 20
_CHARACTERS: Final = 1500

_WORDS: Final = {
    Outcome.WRONG_ANSWER: "a check failed",
    Outcome.EXCEPTION: "it raised an exception",
    Outcome.COMPILE_ERROR: "it does not compile",
    Outcome.CPU_TIMEOUT: "it did not end within its processor time",
    Outcome.WALL_TIMEOUT: "it did not end in time",
    Outcome.OUT_OF_MEMORY: "it used up its memory",
    Outcome.CRASHED: "it crashed",
    Outcome.OUTPUT_LIMIT: "it printed far too much",
    Outcome.EXITED_EARLY: "it ended before all checks were made",
}


def one_line(detail: str, most: int = 300) -> str:
    """Return the first line of a verdict's detail, with a stand-in for addresses."""
    return _ADDRESS.sub("0x…", detail.strip().split("\n")[0])[:most]


def what_happened(verdict: Verdict) -> str:
    """Return a few lines on what went wrong: the outcome, the detail, and the end of what was printed to stderr."""
    said = _WORDS.get(verdict.outcome, verdict.outcome.value)
    lines = _ADDRESS.sub("0x…", verdict.stderr).strip().split("\n")[-_LINES:]
    output = "\n".join(lines)[-_CHARACTERS:]
    detail = one_line(verdict.detail)
    text = f"{said} ({detail})." if detail else f"{said}."
    return f"{text}\n\n```\n{output}\n```" if output.strip() else text
