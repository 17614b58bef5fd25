"""HumanEval and MBPP as they were first published, opened for scoring.

HumanEval (2107.03374): 164 tasks, `check(candidate)`, pass@k. The helpers that prompts define (tasks 10, 32, 38, 50)
are the dataset's for the tests, whatever the answer does to them. Profile `human-eval`: 3 s, as that harness has it,
else 10 s, of processor time in both.

MBPP (2108.07732): the 500 test tasks (11 to 510), three asserts each; `challenge_test_list` is not used, as usual.
Asked with the sentence and the first assert (the original's prompt has three worked examples before it). The few tests
that are about classes run in the process of the program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from magicoder.benchmarks import _asserts, _python_answers
from magicoder.protocols import Runner
from magicoder.records import Extracted, Limits, Program, Prompt, Task

_LIMITS: Final = Limits(output_kb=16384)
_HARNESS: Final = Limits(cpu_s=3, wall_s=4, output_kb=16384)


class HumanEvalSuite:
    """A `Suite` of tasks with a `check` function."""

    profiles = ("strict", "human-eval")
    scores = ("all",)

    def __init__(self, name: str, version: str, tasks: Sequence[Task]) -> None:
        self.name = name
        self.version = version
        self.tasks = tasks
        self._judges = {
            task.id: _asserts.Asserts(function=task.entry_point, setup=task.prompt, tests=task.tests, check="check")
            for task in tasks
        }

    def prompt(self, task: Task, style: str) -> Prompt:
        """As in the protocol."""
        return _python_answers.function_prompt(task, style)

    def program_text(self, task: Task, answer: str, style: str) -> Extracted:
        """As in the protocol."""
        return _python_answers.program_text(task, answer, style)

    def prepare(self, tasks: Sequence[Task], runner: Runner, folder: Path) -> None:
        """Nothing is to be made."""

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        """As in the protocol."""
        program = Program(
            language="python",
            files=(("", code),),
            judge=self._judges[task.id],
            group=task.id,
            limits=_HARNESS if profile == "human-eval" else _LIMITS,
        )
        return (("all", program),)

    def reference(self, task: Task) -> str:
        """As in the protocol."""
        return task.prompt + task.reference


class MbppSuite:
    """A `Suite` of tasks with asserts."""

    profiles = ("strict",)
    scores = ("all",)

    def __init__(self, name: str, version: str, tasks: Sequence[Task], setups: Mapping[str, str]) -> None:
        self.name = name
        self.version = version
        self.tasks = [replace(task, entry_point=_asserts.called(task.tests)) for task in tasks]
        self._setups = setups

    def prompt(self, task: Task, style: str) -> Prompt:
        """As in the protocol."""
        return _python_answers.sentence_prompt(replace(task, prompt=_with_assert(task)), style)

    def program_text(self, task: Task, answer: str, style: str) -> Extracted:
        """As in the protocol."""
        return _python_answers.program_text(replace(task, prompt=_with_assert(task)), answer, style)

    def prepare(self, tasks: Sequence[Task], runner: Runner, folder: Path) -> None:
        """Nothing is to be made."""

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:  # noqa: ARG002 - one only
        """As in the protocol."""
        setup = self._setups.get(task.id, "")
        if task.entry_point and not setup:
            judge = _asserts.Asserts(function=task.entry_point, tests=task.tests)
            program = Program(language="python", files=(("", code),), judge=judge, group=task.id, limits=_LIMITS)
        else:
            tests = f"{setup}\n{task.tests}"
            program = Program(language="python", files=(("", code),), tests=tests, group=task.id, limits=_LIMITS)
        return (("all", program),)

    def reference(self, task: Task) -> str:
        """As in the protocol."""
        return task.reference


def _with_assert(task: Task) -> str:
    return f'"""\n{task.prompt.strip()}\n{task.tests.splitlines()[0]}\n"""\n'
