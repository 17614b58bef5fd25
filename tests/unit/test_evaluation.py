"""Answers are judged: which, in what order, and what is refused. With a sandbox that trusts its programs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from magicoder import scores
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.evaluation import Evaluate, suite_of
from magicoder.protocols import Runner
from magicoder.records import Answer, Extracted, Program, Prompt, Task
from magicoder.scores import Result
from magicoder.store import Silent
from tests import fake_sandbox
from tests.fake_sandbox import FakeSandbox


@dataclass
class Sums:
    """A benchmark of two tasks: `add` has to add, and to add large numbers."""

    name: str = "sums"
    version: str = "1"
    profiles: tuple[str, ...] = ("strict", "lax")
    scores: tuple[str, ...] = ("base", "plus")
    broken: bool = False
    known: dict[str, str] = field(default_factory=dict)
    prepared: list[str] = field(default_factory=list)
    tasks: Sequence[Task] = tuple(
        Task(id=f"Sums/{n}", benchmark="sums", language="python", prompt="def add(a, b):\n", entry_point="add")
        for n in (0, 1)
    )

    def prompt(self, task: Task, style: str) -> Prompt:
        return Prompt(messages=())

    def program_text(self, task: Task, answer: str, style: str) -> Extracted:
        if style == "completion":
            return Extracted(code=task.prompt + answer.rstrip(), rule="completion", note="white space")
        return Extracted(code=answer.replace("prose", ""), rule="whole")

    def prepare(self, tasks: Sequence[Task], runner: Runner, folder: Path) -> None:
        self.prepared += [task.id for task in tasks]

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        most = 1 if self.faults(profile) else 10**9
        tests = {"base": "assert add(1, 1) == 2", "plus": f"assert add({most}, 1) == {most + 1}"}
        return tuple(
            (name, Program(language="python", files=(("", code),), tests=f"{text}  # {task.id}"))
            for name, text in tests.items()
        )

    def faults(self, profile: str) -> Mapping[str, str]:
        more = profile.split("+")[1:]
        if more not in ([], ["small"]):
            raise RecipeError(f"there is no fault {more[0]!r}")
        return {"small": "only small numbers are added"} if profile == "lax" or more else {}

    def exceptions(self, profile: str, installed: Callable[[str], str]) -> Mapping[str, str]:
        return self.known

    def reference(self, task: Task) -> str:
        return "def add(a, b): return a - b" if self.broken else "def add(a, b): return a + b"


RIGHT, SMALL, WRONG = "    return a + b\n", "    return (a + b) % 100\n", "    return 0\n"


def run(
    tmp_path: Path,
    answers: list[tuple[str, str, str]],
    suite: Sums | None = None,
    *,
    profile: str = "strict",
    partial: bool = False,
    self_check: bool = True,
) -> Result:
    counts: dict[str, int] = {}
    made = []
    for task, text, style in answers:
        made.append(Answer(task_id=task, text=text, style=style, index=counts.setdefault(task, 0)))
        counts[task] += 1
    settings = Evaluate(profile=profile, partial=partial, self_check=self_check)
    return settings.run(
        suite or Sums(), made, FakeSandbox(), folder=tmp_path, cache=tmp_path / "v.db", progress=Silent()
    )


def test_every_answer_gets_the_verdicts_of_its_checks(tmp_path: Path) -> None:
    found = run(tmp_path, [("Sums/1", SMALL, "completion"), ("Sums/0", RIGHT, "completion")])
    assert [a.task_id for a in found.attempts] == ["Sums/0", "Sums/1"]
    assert found.shares("base") == {"Sums/0": 1.0, "Sums/1": 1.0}
    assert found.shares("plus") == {"Sums/0": 1.0, "Sums/1": 0.0}
    assert found.self_check == 2
    assert found.toolchains == {"python": "Python"}
    assert found.attempts[0].rule == "completion"
    assert found.attempts[0].note == "white space"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_answer_without_code_is_not_run_wherever_it_stands(tmp_path: Path, place: int) -> None:
    texts = [RIGHT, WRONG]
    answers = [("Sums/0", f"def add(a, b):\n{text}", "solution") for text in texts]
    answers.insert(place, ("Sums/0", "prose", "solution"))
    found = run(tmp_path, answers, partial=True)
    outcomes = [attempt.checks["base"].outcome for attempt in found.attempts]
    assert outcomes.pop(place) == "no_code"
    assert outcomes == ["passed", "wrong_answer"]


def test_a_machine_that_cannot_run_a_language_scores_nothing(tmp_path: Path) -> None:
    answers = [("Sums/0", RIGHT, "completion"), ("Sums/1", RIGHT, "completion")]
    suite = Sums()
    suite.tasks = [suite.tasks[0], replace(suite.tasks[1], language="swift")]
    with pytest.raises(BenchmarkError, match=r"sums: nothing on this machine runs swift \(1 of 2 tasks\)"):
        run(tmp_path, answers, suite)
    assert len(run(tmp_path, answers[:1], suite, partial=True).attempts) == 1
    assert len(run(tmp_path, answers, suite, self_check=False).attempts) == 2


def test_a_machine_that_fails_a_canonical_solution_scores_nothing(tmp_path: Path) -> None:
    answers = [("Sums/0", RIGHT, "completion"), ("Sums/1", RIGHT, "completion")]
    with pytest.raises(BenchmarkError, match=r"2 of 2 canonical solutions fail.*Sums/0 \(base: wrong_answer"):
        run(tmp_path, answers, Sums(broken=True))
    assert run(tmp_path, answers, Sums(broken=True), self_check=False).self_check == 0


def test_what_is_known_to_fail_fails_no_machine_and_is_told(tmp_path: Path) -> None:
    answers = [("Sums/0", RIGHT, "completion"), ("Sums/1", WRONG, "completion")]
    found = run(tmp_path, answers, Sums(broken=True, known={"Sums/0": "it subtracts", "Sums/1": "it, too"}))
    assert found.exceptions == {"Sums/0": "it subtracts", "Sums/1": "it, too"}
    assert found.self_check == 2
    assert found.pass_at("base")[1].estimate == 0.5  # of all tasks, as published
    with pytest.raises(BenchmarkError, match=r"1 of 2 canonical solutions fail.*Sums/1 .*and 1 that are known to fail"):
        run(tmp_path, answers, Sums(broken=True, known={"Sums/0": "it subtracts"}))


def test_what_is_known_to_fail_and_passes_is_told_and_counts(tmp_path: Path) -> None:
    answers = [("Sums/0", RIGHT, "completion"), ("Sums/1", WRONG, "completion")]
    found = run(tmp_path, answers, Sums(known={"Sums/1": "no longer"}))
    assert (found.exceptions, found.surprises) == ({}, ("Sums/1",))
    assert found.without_exceptions() == found


def test_beside_the_score_of_all_tasks_stands_that_of_those_that_can_be_passed_here(tmp_path: Path) -> None:
    class Half(Sums):
        def reference(self, task: Task) -> str:
            return "def add(a, b): return a + b" if task.id == "Sums/0" else "def add(a, b): raise OSError"

    answers = [("Sums/0", RIGHT, "completion"), ("Sums/1", WRONG, "completion")]
    found = run(tmp_path, answers, Half(known={"Sums/1": "no network"}))
    assert found.exceptions == {"Sums/1": "no network"}
    assert found.without_exceptions().pass_at("plus")[1].estimate == 1.0
    written = scores.as_json(found)
    assert written["scores"]["plus"]["pass@1"]["estimate"] == 0.5
    assert written["scores_without_exceptions"]["plus"]["pass@1"]["estimate"] == 1.0
    scores.write(found, tmp_path / "results.json")
    assert scores.read(tmp_path / "results.json") == found


def test_a_profile_can_be_ours_with_one_fault_of_a_harness(tmp_path: Path) -> None:
    answers = [("Sums/0", f"{SMALL}\n\n", "completion"), ("Sums/1", RIGHT, "completion")]
    found = run(tmp_path, answers, profile="strict+small")
    assert found.shares("plus") == {"Sums/0": 1.0, "Sums/1": 1.0}
    assert found.attempts[0].rule == "completion"  # a completion is read as ours
    with pytest.raises(RecipeError, match="no fault 'large'"):
        run(tmp_path, answers, profile="strict+large")


def test_scoring_again_runs_nothing(tmp_path: Path) -> None:
    answers = [("Sums/0", RIGHT, "completion"), ("Sums/1", WRONG, "completion")]
    first = run(tmp_path, answers)
    before = len(fake_sandbox.RUN)
    assert run(tmp_path, answers) == first
    assert len(fake_sandbox.RUN) == before


def test_a_task_without_answer_is_an_error_unless_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"1 of 2 tasks have no answer \(Sums/1\)"):
        run(tmp_path, [("Sums/0", RIGHT, "completion")])
    suite = Sums()
    assert len(run(tmp_path, [("Sums/0", RIGHT, "completion")], suite, partial=True).attempts) == 1
    assert suite.prepared == ["Sums/0"]


def test_answers_to_other_tasks_are_named(tmp_path: Path) -> None:
    answers = [("sums/0", RIGHT, "completion"), ("Sums/1", RIGHT, "completion"), ("Sums/2", RIGHT, "completion")]
    found = run(tmp_path, answers)
    assert found.unknown == ("Sums/2",)
    assert [a.task_id for a in found.attempts] == ["Sums/0", "Sums/1"]
    with pytest.raises(RecipeError, match="none of the answers"):
        run(tmp_path, [("Other/0", RIGHT, "completion")])


def test_a_profile_changes_verdicts_and_takes_completions_as_they_are(tmp_path: Path) -> None:
    answers = [("Sums/0", SMALL, "completion"), ("Sums/1", RIGHT, "completion")]
    lax = run(tmp_path, answers, profile="lax")
    assert lax.shares("plus") == {"Sums/0": 1.0, "Sums/1": 1.0}
    assert lax.attempts[0].code == f"def add(a, b):\n{SMALL}"
    assert lax.attempts[0].rule == "whole"
    with pytest.raises(RecipeError, match="did you mean lax"):
        run(tmp_path, answers, profile="laxx")


def test_benchmarks_go_by_the_names_that_people_use(shared_data: Path) -> None:
    assert suite_of("HumanEval+", str(shared_data)).name == "humaneval_plus"
    assert len(suite_of("mbpp", str(shared_data)).tasks) == 500
    assert suite_of("multipl_e:humaneval-js", str(shared_data)).name == "multipl_e-humaneval-js"
    assert {task.language for task in suite_of("humaneval_x:rust", str(shared_data)).tasks} == {"rust"}
    for name, says in (
        ("multipl_e:cobol", "no part 'cobol'"),
        ("humaneval_x:js,go", "no part"),
        ("mbpp:x", "no parts"),
    ):
        with pytest.raises(RecipeError, match=says):
            suite_of(name, str(shared_data))
    with pytest.raises(RecipeError, match=r"gsm8k cannot be scored; these can: .*humaneval_plus"):
        suite_of("gsm8k", str(shared_data))
    with pytest.raises(RecipeError, match="did you mean"):
        suite_of("humanevals", str(shared_data))
