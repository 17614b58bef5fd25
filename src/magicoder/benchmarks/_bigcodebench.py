"""BigCodeBench opened for scoring: its unittest classes run in the process of the program.

A program and its tests share a module named `__test__`, as they do in the harness, so that a main guard does not run
and `patch(__name__ + ".…")` works. It has passed when the end of its tests was reached, as many ran as the class has,
and none failed.

Profiles: `strict`, and `bigcodebench` with that harness's semantics: 240 s, `os`, `sys` and `environ` are there
without an import, and a class without tests passes.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from magicoder.benchmarks import _exceptions, _programs
from magicoder.benchmarks._profiles import Profiles
from magicoder.benchmarks._python_text import put_before, tree
from magicoder.errors import RecipeError
from magicoder.protocols import Runner
from magicoder.records import STYLES, Extracted, Limits, Message, Program, Prompt, Task
from magicoder.text.extraction import Wanted, continued, extract

UNCOUNTED: Final = "uncounted"
IMPORTED: Final = "imported"
SECONDS: Final = "240-s"
PROFILES: Final = Profiles(
    known={
        UNCOUNTED: "tests are not counted, so that a class without any passes",
        IMPORTED: "`os`, `sys` and `environ` are there without an import",
        SECONDS: "a program may take 240 s of the clock, not 60 s of processor time",
    },
    made_of={"bigcodebench": (UNCOUNTED, IMPORTED, SECONDS)},
)
_LIMITS: Final = Limits(cpu_s=60, wall_s=180, memory_mb=4096, output_kb=16384, tmp_mb=512)
_HARNESS: Final = Limits(cpu_s=480, wall_s=240, memory_mb=8192, output_kb=65536, tmp_mb=1024)
_MAX_TOKENS: Final = 1280
_STOPS: Final = ("\nif __name__", "\ndef main(", "\nprint(", "\n```", "\n\ndef ", "\n\nclass ", "\nassert ")
_ASKED: Final = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)

_MODULE: Final = 'import sys as __sys\n__name__ = "__test__"\n__sys.modules[__name__] = __sys.modules["__main__"]\n'
_AGG: Final = "try:\n    import matplotlib\n    matplotlib.use('agg')\nexcept ImportError:\n    pass\n"
_GIVEN: Final = "import os, sys\nfrom os import environ\n"
_END: Final = """

def __run_tests(wanted):
    import unittest
    result = unittest.TestResult()
    unittest.TestLoader().loadTestsFromTestCase(TestCases).run(result)
    for problems, failed in ((result.failures, True), (result.errors, False)):
        if not problems:
            continue
        lines = [line for line in problems[0][1].splitlines() if line[:1] not in ("", " ")]
        told = [line for line in (line.strip("* ") for line in lines) if line and not line.startswith("Traceback")]
        told = told or ["Exception"]
        kind, _, said = told[0].partition(": ")
        said = said or " ".join(told[1:2])
        where = f"{str(problems[0][0]).split(' ')[0]}, {len(problems)} of {result.testsRun} tests"
        raise (AssertionError if failed else type(kind.rstrip(":"), (Exception,), {}))(f"{said} ({where})".strip())
    if wanted is not None and result.testsRun != wanted:
        raise AssertionError(f"{result.testsRun} tests ran, not {wanted}")

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A task, how it is asked as an instruction, and what a program begins with."""

    task: Task
    instruction: str
    head: str


class BigCodeBenchSuite:
    """A `Suite` of tasks with unittest classes; `instruct` asks with the instruction instead of the docstring."""

    profiles = PROFILES.names
    scores = ("all",)

    def __init__(self, name: str, version: str, problems: Sequence[Problem], *, instruct: bool) -> None:
        self.name = name
        self.version = version
        self.tasks = [problem.task for problem in problems]
        self._problems: Mapping[str, Problem] = {problem.task.id: problem for problem in problems}
        self._instruct = instruct

    def prompt(self, task: Task, style: str) -> Prompt:
        """Return what a model is asked.

        Raises:
            RecipeError: there is no such style, or it cannot ask with the instruction.
        """
        if style not in STYLES[:-1]:
            raise RecipeError(f"there is no prompt style {style!r}; there are: {', '.join(STYLES[:-1])}")
        code = task.prompt.strip()
        instruction = self._problems[task.id].instruction
        if style == "completion":
            if self._instruct:
                raise RecipeError("bigcodebench: the instruct variant is asked in the styles chat and magicoder")
            return Prompt(messages=(_user(task.prompt.rstrip() + "\n"),), max_tokens=_MAX_TOKENS, stop=_STOPS)
        asked = instruction if self._instruct else f"{_ASKED}\n```\n{code}\n```"
        if style == "chat":
            return Prompt(messages=(_user(asked),), max_tokens=_MAX_TOKENS)
        begun = "```python\n" + ("" if self._instruct else f"{code}\n")
        given = Message(role="assistant", content=begun.rstrip("\n"))
        return Prompt(messages=(_user(asked), given), max_tokens=_MAX_TOKENS, stop=("\n```",))

    def program_text(self, task: Task, answer: str, style: str) -> Extracted:
        """Return the program in an answer; see `text.extraction`."""
        if style == "solution":
            return Extracted(code=answer, rule="whole")
        if style == "completion":
            return continued(answer, self._wanted(task), _STOPS)
        if style == "magicoder":
            answer = "```python\n" + ("" if self._instruct else task.prompt.strip()) + answer
        return extract(answer, self._wanted(task))

    def _wanted(self, task: Task) -> Wanted:
        return _programs.wanted("python", task.entry_point, task.prompt, "")

    def prepare(self, tasks: Sequence[Task], runner: Runner, folder: Path) -> None:
        """Nothing is to be made."""

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        """Return the one program that is `code`, with the tests of the task behind it."""
        faults = self.faults(profile)
        before = _MODULE + (_GIVEN if IMPORTED in faults else "")
        if "matplotlib" in code or "matplotlib" in task.tests:
            before += _AGG
        wanted = None if UNCOUNTED in faults else count(task.tests)
        program = Program(
            language="python",
            files=(("", put_before(before, code)),),
            tests=f"{task.tests}\n{_END}__run_tests({wanted})\n",
            group=task.id,
            limits=_HARNESS if SECONDS in faults else _LIMITS,
        )
        return (("all", program),)

    def faults(self, profile: str) -> Mapping[str, str]:
        """As in the protocol."""
        return PROFILES.faults(profile)

    def exceptions(self, profile: str, installed: Callable[[str], str]) -> Mapping[str, str]:
        """As in the protocol."""
        at_hand = ("hard",) if "-hard" in self.name else ()
        return _exceptions.known("bigcodebench", self.faults(profile), installed, at_hand=at_hand)

    def reference(self, task: Task) -> str:
        """As in the protocol: the harness's ground truth is prompt and canonical solution."""
        return f"{task.prompt}{task.reference}"


def calibrated(head: str, code: str) -> str:
    """Return a program with an empty function before it, as the harness's `calibrated` samples have it."""
    return f"{head}\n    pass\n{code}"


def count(tests: str) -> int:
    """Return how many tests the class `TestCases` has."""
    names: set[str] = set()
    found = tree(tests)
    for node in found.body if found else []:
        if isinstance(node, ast.ClassDef) and node.name == "TestCases":
            names = {n.name for n in node.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test")}
    return len(names)


def _user(text: str) -> Message:
    return Message(role="user", content=text)
