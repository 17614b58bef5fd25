"""Contest problems opened for scoring: one program for each task, that runs on its inputs until it fails.

A task is one `Program`. Its text stands in a program of ours that forks once for each input, and a judge outside feeds
the inputs and compares what was printed; expected outputs never enter the sandbox. That takes three quarters of the
time of a `Program` for each input, which could not stop at the first failure, nor make one score.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from magicoder import languages
from magicoder.benchmarks import _programs
from magicoder.benchmarks._contest_judges import Calls, Outputs, SolutionTests
from magicoder.benchmarks._profiles import Profiles
from magicoder.benchmarks._python_text import put_before, tree
from magicoder.errors import RecipeError
from magicoder.protocols import Runner
from magicoder.records import STYLES, Extracted, Judge, Limits, Message, Program, Prompt, Task
from magicoder.text import extraction

_MAX_TOKENS: Final = 2048
_HEAVY: Final = ("numpy", "pandas", "scipy", "sklearn", "torch")
_WHOLE_PROGRAM: Final = "Write a Python program that reads standard input and prints the answer to standard output."
_FUNCTION: Final = "Complete this Python code; it is called by its name."
_BLOCK: Final = "Answer with one code block that holds the whole program."

PRELUDE: Final = (
    "import bisect, collections, copy, datetime, functools, heapq, itertools, math, operator, random, re, string, sys;"
    "from typing import *;from collections import *;from functools import *;from itertools import *;"
    "from heapq import *;from bisect import *;from math import ceil, comb, factorial, floor, gcd, inf, isqrt, lcm;"
    "from math import log, log2, prod, sqrt;__name__ = 'solution'\n"
)
"""What sites that ask for a function import before it."""
_CALL: Final = """

def call_solution(method, arguments, named, seconds, given={function!r}, kept=[]):
    import resource
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))
    if not kept:
        kept.append(Solution() if "Solution" in globals() else None)
    name = method or given
    return (getattr(kept[0], name) if hasattr(kept[0], name) else globals()[name])(*arguments, **named)
"""
_MIMICKED: Final = "\ndef run_mimicked(text, cpu_s):\n    return run_case(text, cpu_s, mimic=True)\n"


GRADER: Final = "grader"
LINES: Final = "lines"
SIX_SECONDS: Final = "6-s"
LOOSE: Final = "loose"
ANY_ITEM: Final = "any-item"
FOUR_SECONDS: Final = "4-s"
LCB_PROFILES: Final = Profiles(
    known={
        GRADER: "programs run as the body of a function, with streams that are no files: `open(0)`, `for line in "
        "sys.stdin`, `sys.stdout.buffer`, `global`, `quit()` and a main guard before the end do not work",
        LINES: "outputs are compared line by line, as text or decimals, where rounding does not count as equal",
        SIX_SECONDS: "an input may take 6 s, not 10",
    },
    made_of={"lcb": (GRADER, LINES, SIX_SECONDS)},
)
APPS_PROFILES: Final = Profiles(
    known={
        LOOSE: "lines and words may come in any order, and numbers within 1e-5",
        ANY_ITEM: "of several expected values the first one will do",
        FOUR_SECONDS: "an input may take 4 s, not 10",
    },
    made_of={"apps": (LOOSE, ANY_ITEM, FOUR_SECONDS)},
)
_SECONDS: Final = {SIX_SECONDS: 6, FOUR_SECONDS: 4}
_COMPARE: Final = {LINES: "lcb", LOOSE: "apps"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How outputs are compared, seconds for each input, a grader's faults."""

    compare: str = "tokens"
    cpu_s: int = 10
    mimic: bool = False
    any_item: bool = False


def _semantics(faults: Mapping[str, str], cpu_s: int) -> Profile:
    return Profile(
        compare=next((_COMPARE[fault] for fault in faults if fault in _COMPARE), "tokens"),
        cpu_s=next((_SECONDS[fault] for fault in faults if fault in _SECONDS), cpu_s),
        mimic=GRADER in faults,
        any_item=ANY_ITEM in faults,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A task with its cases.

    function     what is called, "" where the program reads and prints; `starter` is the code to be completed
    cases        input and output each; of a function, arguments and value as JSON
    tests        Python tests about the class `Solution`, instead of cases
    wrapped      see `Calls`
    """

    task: Task
    cases: tuple[tuple[str, str], ...] = ()
    function: str = ""
    starter: str = ""
    tests: str = ""
    wrapped: bool = False


class ContestSuite:
    """A `Suite` of contest problems."""

    scores = ("all",)

    def __init__(
        self, name: str, version: str, contests: Sequence[Contest], profiles: Profiles, *, cpu_s: int = 10
    ) -> None:
        """`cpu_s` are seconds for each input."""
        self.name = name
        self.version = version
        self.tasks = [contest.task for contest in contests]
        self.profiles = profiles.names
        self._profiles = profiles
        self._cpu_s = cpu_s
        self._contests = {contest.task.id: contest for contest in contests}
        self._judges: dict[tuple[str, Profile], Judge] = {}

    def prompt(self, task: Task, style: str) -> Prompt:
        """Return what a model is asked, in words of ours.

        Raises:
            RecipeError: there is no such style.
        """
        if style not in STYLES[:-1]:
            raise RecipeError(f"there is no prompt style {style!r}; there are: {', '.join(STYLES[:-1])}")
        contest = self._contests[task.id]
        starter = contest.starter.rstrip()
        if style == "completion":
            text = f'"""\n{_statement(task, starter)}\n"""\n' + (f"{starter}\n" if starter else "")
            return Prompt(messages=(_user(text),), max_tokens=_MAX_TOKENS, stop=("\n```", "\nif __name__ ==", '\n"""'))
        wanted = f"{_FUNCTION}\n```python\n{starter}\n```" if starter else _WHOLE_PROGRAM
        if contest.function and not starter:
            wanted = f"Write a Python function `{contest.function}`."
        asked = f"{_statement(task, starter)}\n\n{wanted}\n"
        if style == "chat":
            return Prompt(messages=(_user(asked + _BLOCK),), max_tokens=_MAX_TOKENS)
        begun = Message(role="assistant", content=f"```python\n{starter}" if starter else "```python")
        return Prompt(messages=(_user(asked.rstrip()), begun), max_tokens=_MAX_TOKENS, stop=("\n```",))

    def program_text(self, task: Task, answer: str, style: str) -> Extracted:
        """Return the program in an answer."""
        starter = self._contests[task.id].starter.rstrip()
        if style == "solution":
            return Extracted(code=answer.removeprefix(task.prompt), rule="whole")
        if style == "completion":
            return Extracted(code=f"{starter}\n{answer}" if starter else answer, rule="completion")
        if style == "magicoder":
            code, fence, rest = answer.partition("\n```")
            note = "what follows the code block was left away" if fence and rest.strip() else ""
            return Extracted(code=starter + code, rule="completion", note=note)
        looked_for = extraction.Wanted(
            language="python", fences=_programs.fences(), grammar=languages.get("python"), prompt=starter
        )
        return extraction.extract(answer, looked_for)

    def prepare(self, tasks: Sequence[Task], runner: Runner, folder: Path) -> None:
        """Nothing is to be made."""

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        """Return the one program that runs on all inputs."""
        contest, semantics = self._contests[task.id], _semantics(self.faults(profile), self._cpu_s)
        count = max(1, len(contest.cases))
        limits = Limits(cpu_s=semantics.cpu_s * (count + 1.0), wall_s=30.0 + 3 * semantics.cpu_s, tmp_mb=256)
        if tree(code) is None:  # the sandbox says where; were it right there, it would still not have been judged
            program = Program(language="python", files=(("", code),), tests="raise SyntaxError", group=task.id)
            return (("all", program),)
        if "ListNode" in contest.tests:  # that class is the program's own, and its objects are no plain data
            program = Program(
                language="python",
                files=(("", put_before(PRELUDE, code)),),
                tests=contest.tests,
                group=task.id,
                limits=limits,
            )
            return (("all", program),)
        key = (task.id, semantics)
        if key not in self._judges:
            self._judges[key] = _judge(contest, semantics)
        text = put_before(PRELUDE, code) + _CALL.format(function=contest.function)
        if not contest.function and not contest.tests:
            text = _running(code) + (_MIMICKED if semantics.mimic else "")
        program = Program(language="python", files=(("", text),), judge=self._judges[key], group=task.id, limits=limits)
        return (("all", program),)

    def faults(self, profile: str) -> Mapping[str, str]:
        """As in the protocol."""
        return self._profiles.faults(profile)

    def exceptions(self, profile: str, installed: Callable[[str], str]) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's
        """Return none."""
        return {}

    def reference(self, task: Task) -> str:
        """As in the protocol."""
        return task.reference


def _judge(contest: Contest, semantics: Profile) -> Judge:
    if contest.tests:
        return SolutionTests(tests=contest.tests, cpu_s=semantics.cpu_s)
    if contest.function:
        return Calls(cases=contest.cases, cpu_s=semantics.cpu_s, wrapped=contest.wrapped, any_item=semantics.any_item)
    return Outputs(cases=contest.cases, compare=semantics.compare, cpu_s=semantics.cpu_s, mimic=semantics.mimic)


@cache
def _inside() -> tuple[str, str]:
    text = (files("magicoder.benchmarks") / "_contest_inside.py").read_text(encoding="utf-8")
    before, _, after = text.partition('\nSOURCE = ""\n')
    return before, after


def _running(code: str) -> str:
    """Return the program that runs `code` anew for each input, in an interpreter that is warm for what it imports."""
    before, after = _inside()
    heavy = [name for name in _HEAVY if f"import {name}" in code or f"from {name}" in code]
    warm = "".join(f"if False:\n    import {name}\n" for name in heavy)
    return f"{before}\nSOURCE = {code!r}\n{after}\n{warm}"


def _statement(task: Task, starter: str) -> str:
    """Return the problem without the code to be completed, where the prompt has both."""
    text = task.prompt.strip()
    if starter and text.endswith(starter.strip()):
        text = text[: -len(starter.strip())].strip().strip('"').strip()
    return text


def _user(text: str) -> Message:
    return Message(role="user", content=text)
