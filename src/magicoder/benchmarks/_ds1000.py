"""DS-1000 opened for scoring: each problem's own context runs the answer, in the process of its tests.

Profiles: `strict`, and `bigcode` with what bigcode-evaluation-harness does: tests are looked up by the reference code,
so that problems that share one are scored with the first one's tests (38 of 1,000 with tests that are not theirs), and
an answer is cut as published, whatever it says. Its limit is 120 s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from magicoder.benchmarks import _ds1000_answers as answers
from magicoder.benchmarks import _exceptions
from magicoder.benchmarks._profiles import Profiles
from magicoder.errors import RecipeError
from magicoder.protocols import Runner
from magicoder.records import STYLES, Extracted, Limits, Message, Program, Prompt, Task

FIRST_TESTS: Final = "first-tests"
CUT: Final = "cut"
SECONDS: Final = "120-s"
PROFILES: Final = Profiles(
    known={
        FIRST_TESTS: "tests are looked up by the reference code: a problem gets those of the first that shares it",
        CUT: "an answer is cut at the first of the published stop sequences, whatever it says",
        SECONDS: "a program may take 120 s, not 30",
    },
    made_of={"bigcode": (FIRST_TESTS, CUT, SECONDS)},
)
_LIMITS: Final = Limits(cpu_s=30, wall_s=120, memory_mb=4096, output_kb=16384)
_HARNESS: Final = Limits(cpu_s=120, wall_s=120, memory_mb=8192, output_kb=16384)
_SEABORN_DATA: Final = "seaborn-data"
_MAX_TOKENS: Final = 1024
_STOPS: Final = ("</code>", "# SOLUTION END", "\nEND SOLUTION")
_AGG: Final = "import matplotlib\nmatplotlib.use('agg')\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A task and the library that it is about."""

    task: Task
    library: str


class Ds1000Suite:
    """A `Suite` of answers that go into a given context."""

    profiles = PROFILES.names
    scores = ("all",)

    def __init__(
        self,
        version: str,
        problems: Sequence[Problem],
        *,
        infill: str = "",
        name: str = "ds1000",
        seaborn_data: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """`seaborn_data` are names and texts of the tables that some problems would download."""
        self.name = name
        self.version = version
        self.tasks = [problem.task for problem in problems]
        self.libraries: Mapping[str, str] = {problem.task.id: problem.library for problem in problems}
        self._infill = infill
        self._seaborn_data = tuple((f".cache/seaborn/{name}", text) for name, text in seaborn_data)
        self._first: dict[str, str] = {}
        for task in self.tasks:
            self._first.setdefault(task.reference, task.tests)

    def prompt(self, task: Task, style: str) -> Prompt:
        """Return what a model is asked.

        Raises:
            RecipeError: there is no such style, or one that fills in was asked for otherwise than raw.
        """
        if style not in STYLES[:-1]:
            raise RecipeError(f"there is no prompt style {style!r}; there are: {', '.join(STYLES[:-1])}")
        if self._infill and style != "completion":
            raise RecipeError("a model that fills in is asked in the style `completion`")
        if style == "completion":
            text = answers.infilling(task, self._infill) if self._infill else task.prompt
            return Prompt(messages=(Message(role="user", content=text),), max_tokens=_MAX_TOKENS, stop=_STOPS)
        instruction, begun = answers.conversation(task)
        if style == "chat":
            asked = f"{instruction}\n\n{answers.ASKED}\n{begun}"
            return Prompt(messages=(Message(role="user", content=asked),), max_tokens=2 * _MAX_TOKENS)
        given = Message(role="assistant", content=begun)
        return Prompt(
            messages=(Message(role="user", content=instruction), given), max_tokens=_MAX_TOKENS, stop=("\n```",)
        )

    def program_text(self, task: Task, answer: str, style: str) -> Extracted:
        """Return what is put into the context; see `_ds1000_answers`."""
        return answers.solution(task, answer, style)

    def prepare(self, tasks: Sequence[Task], runner: Runner, folder: Path) -> None:
        """Nothing is to be made."""

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        """Return the one program that runs the problem's context with `code` in it.

        The program itself only holds the answer as text; the context comes as tests, so that an answer which ends the
        process has not passed.
        """
        faults = self.faults(profile)
        context = self._first[task.reference] if FIRST_TESTS in faults else task.tests
        text = answers.published(code) if CUT in faults else code
        tables = self._seaborn_data if "load_dataset(" in context else ()
        agg = _AGG if "matplotlib" in context else ""
        calls = "test_execution(__answer__)\n" + ("test_string(__answer__)\n" if "def test_string(" in context else "")
        program = Program(
            language="python",
            files=(("", f"__answer__ = {text!r}\n"), *tables),
            tests=f"{agg}{context}\n{calls}",
            group=task.id,
            limits=_HARNESS if SECONDS in faults else _LIMITS,
        )
        return (("all", program),)

    def faults(self, profile: str) -> Mapping[str, str]:
        """As in the protocol."""
        return PROFILES.faults(profile)

    def exceptions(self, profile: str, installed: Callable[[str], str]) -> Mapping[str, str]:
        """As in the protocol."""
        at_hand = (_SEABORN_DATA,) if self._seaborn_data else ()
        return _exceptions.known("ds1000", self.faults(profile), installed, at_hand=at_hand)

    def reference(self, task: Task) -> str:
        """As in the protocol."""
        return task.reference
