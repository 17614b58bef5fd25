"""A stand-in for a sandbox, for trusted programs of the tests' own: a Python process each, without any isolation."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from magicoder.records import Outcome, Program, Verdict

RUN: list[Program] = []
"""Every program that was really run, by all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeSandbox:
    """Runs Python; other languages are missing. Remembers verdicts between runs if it is given a cache."""

    isolation: str = "none: trusted programs only"

    @contextmanager
    def open(self, workers: int = 1, cache: Path | None = None) -> Iterator["FakeRunner"]:
        yield FakeRunner(self.isolation, KNOWN.setdefault(cache, {}))


KNOWN: dict[Path | None, dict[Program, Verdict]] = {}


@dataclass
class FakeRunner:
    """An open one."""

    isolation: str
    known: dict[Program, Verdict]

    def toolchain(self, language: str) -> str:
        """Name what runs a language."""
        return "Python" if language == "python" else ""

    def run(self, programs: Iterable[Program]) -> Iterator[Verdict]:
        """Yield a verdict for each program."""
        for program in programs:
            if program not in self.known:
                RUN.append(program)
                self.known[program] = _judge(program)
            yield self.known[program]


def _judge(program: Program) -> Verdict:
    if program.language != "python":
        return Verdict(outcome=Outcome.TOOLCHAIN_MISSING, detail=f"no {program.language} here")
    with tempfile.TemporaryDirectory() as folder:
        main = Path(folder, "main.py")
        main.write_text(f"{program.files[0][1]}\n{program.tests}\nprint('the end was reached')\n", encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(main)],
                capture_output=True, text=True, timeout=program.limits.cpu_s, cwd=folder, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Verdict(outcome=Outcome.CPU_TIMEOUT, cpu_s=program.limits.cpu_s, toolchain="Python")
    last = done.stderr.strip().split("\n")[-1]
    if done.returncode == 0:
        outcome = Outcome.PASSED if done.stdout.endswith("the end was reached\n") else Outcome.EXITED_EARLY
    elif last.startswith("SyntaxError"):
        outcome = Outcome.COMPILE_ERROR
    else:
        outcome = Outcome.WRONG_ANSWER if last.startswith("AssertionError") else Outcome.EXCEPTION
    return Verdict(outcome=outcome, detail=last, stderr=done.stderr, cpu_s=0.01, toolchain="Python")
