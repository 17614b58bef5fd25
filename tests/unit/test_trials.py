"""What OSS-Instruct does beyond one answer: tests in a second turn, several solutions, repair; through the driver."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from magicoder.conversation import conversation
from magicoder.engines.local import Local
from magicoder.errors import RecipeError, SandboxError, TeacherError
from magicoder.journal import Journal
from magicoder.recipe import Recipe
from magicoder.records import Completion, Outcome, Prompt, Sample, Seed, Verdict
from magicoder.stages.export import messages_form
from magicoder.stages.generate import Desk, Generate
from magicoder.store import Artifact, RunFolder
from magicoder.strategies._tests import read_tests
from magicoder.strategies.oss_instruct import OssInstruct
from magicoder.text.feedback import what_happened
from magicoder.text.programs import Code
from tests import fake_sandbox
from tests.fake_sandbox import FakeSandbox

RIGHT = "```python\ndef double(x):\n    return x + x\n```"
WRONG = "```python\ndef double(x):\n    return x * x\n```"
ALSO_WRONG = "```python\ndef double(x):\n    return x + 3\n```"
PROBLEM = "Write double(x)."
TESTS = "```python\nassert double(3) == 6\nassert double(-1) == -2\n```"
WRONG_TESTS = "```python\nassert double(3) == 9\n```"

SEED = Seed(
    id="d#L1", text="x = 1", language="python", document_id="d", repository="r", commit="c", path="d.py", license="MIT",
    first_line=1, last_line=1, kind="window", index=0, raw_index=0,
)  # fmt: skip


@dataclass
class Teacher:
    """Answers by what it is asked: `solutions` in turn, `tests` for each of them, `repairs` in turn."""

    solutions: tuple[str, ...] = (RIGHT,)
    tests: tuple[str, ...] = (TESTS,)
    repairs: tuple[str, ...] = ()
    model: str = "scripted"
    capacity: int = 4
    asked: list[Prompt] = field(default_factory=list)

    def body(self, p: Prompt) -> bytes:
        return repr(p).encode()

    @contextmanager
    def open(self, meter: object = None, folder: object = None) -> Iterator["Teacher"]:
        self.flying: list[tuple[int, Prompt]] = []
        yield self

    def submit(self, ticket: int, p: Prompt) -> None:
        self.flying.append((ticket, p))

    def collect(self) -> list[tuple[int, Completion]]:
        done, self.flying = self.flying, []
        return [(ticket, self.answer(p)) for ticket, p in done]

    def answer(self, p: Prompt) -> Completion:
        self.asked.append(p)
        last = p.messages[-1].content
        if "Code snippet for inspiration" in last:
            text = f"[Problem Description]\n{PROBLEM}\n\n[Solution]\n{self.solutions[0]}"
        elif "<solution>" in last:
            shown = re.search(r"<solution>\n(.*)\n</solution>", last, re.DOTALL)
            assert shown
            text = self.tests[self.solutions.index(shown[1]) % len(self.tests)]
        elif "I ran this solution" in last:
            text = self.repairs[(len(p.messages) - 4) // 2]
        else:
            text = self.solutions[1 + sum(q.messages == p.messages for q in self.asked[:-1])]
        return Completion(
            texts=(text,), finish_reasons=("stop",), model="scripted", prompt_tokens=2, completion_tokens=3
        )


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Artifact[Sample]]:
    def run(teacher: Teacher, name: str = "run", sandbox: bool = True, **options: object) -> Artifact[Sample]:
        with RunFolder.locked(tmp_path / name) as folder, Journal.open(tmp_path / "journal.sqlite") as journal:
            seeds, _ = folder.publish("seeds", Seed, lambda out: out.write([SEED], []), settings=[], inputs=[])
            stage = Generate()
            desk = Desk(
                teacher=teacher,
                journal=journal,
                sandbox=(lambda: FakeSandbox().open(cache=tmp_path / "verdicts")) if sandbox else None,
            )
            strategy = OssInstruct(**options)
            return folder.publish(
                "samples",
                Sample,
                lambda out: stage.run(seeds, out, Local(), strategy=strategy, desk=desk),
                settings=[strategy],
                inputs=[],
            )[0]

    return run


def test_without_options_one_question_is_asked_and_nothing_else_changes(make) -> None:
    teacher = Teacher()
    (row,) = make(teacher, sandbox=False)
    assert len(teacher.asked) == 1
    assert (row.tests, row.turns, row.solutions, row.difficulty) == ("", (), 0, "")


def test_tests_are_asked_for_in_a_second_turn_and_kept(make) -> None:
    teacher = Teacher()
    (row,) = make(teacher, sandbox=False, tests="asserts")
    assert (row.tests, row.test_format) == ("assert double(3) == 6\nassert double(-1) == -2\n", "assert")
    assert PROBLEM in teacher.asked[1].messages[-1].content
    assert RIGHT in teacher.asked[1].messages[-1].content
    assert (row.prompt_tokens, row.completion_tokens) == (4, 6)


def test_of_several_solutions_the_one_that_most_agree_with_becomes_the_response(make) -> None:
    other_right = RIGHT.replace("x + x", "2 * x")
    teacher = Teacher(solutions=(WRONG, RIGHT, other_right), tests=(WRONG_TESTS, TESTS, TESTS))
    (row,) = make(teacher, tests="asserts", solutions=3)
    assert row.response == RIGHT
    assert row.tests == "assert double(3) == 6\nassert double(-1) == -2\n"
    assert (row.solutions, row.pass_rate, row.agreement) == (3, 2 / 3, 2 / 3)
    assert row.difficulty == "medium"
    (row,) = make(teacher, tests="asserts", solutions=3, bands="rstar_coder")
    assert row.difficulty == "agreed"


def test_where_no_solution_passes_any_tests_the_first_one_stands(make) -> None:
    teacher = Teacher(solutions=(WRONG, ALSO_WRONG), tests=("```python\nassert double(1) == 0\n```",))
    (row,) = make(teacher, tests="asserts", solutions=2)
    assert (row.response, row.pass_rate, row.difficulty) == (WRONG, 0.0, "fail")
    assert row.tests == "assert double(1) == 0\n"


def test_a_failing_solution_goes_back_with_its_error_and_all_turns_are_kept(make) -> None:
    teacher = Teacher(solutions=(WRONG,), repairs=(f"Sorry.\n\n{ALSO_WRONG}", f"It was the sign.\n\n{RIGHT}"))
    (row,) = make(teacher, tests="asserts", repair=3)
    assert row.response.endswith(RIGHT)
    assert len(row.turns) == 4
    assert row.turns[0] == WRONG
    assert "a check failed (AssertionError)" in row.turns[1]
    assert "assert double(3) == 6" in row.turns[1]
    messages = messages_form(row, "")["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"] * 3
    assert messages[-1]["content"] == row.response
    assert [m.role for m in teacher.asked[-1].messages] == ["system", *["user", "assistant"] * 2, "user"]


def test_repair_ends_after_so_many_turns_and_where_no_code_comes_back(make) -> None:
    (row,) = make(Teacher(solutions=(WRONG,), repairs=(ALSO_WRONG, WRONG)), tests="asserts", repair=1)
    assert (row.response, len(row.turns)) == (ALSO_WRONG, 2)
    (row,) = make(Teacher(solutions=(WRONG,), repairs=("I give up.",), model="b"), name="b", tests="asserts", repair=3)
    assert (row.response, row.turns) == (WRONG, ())


def test_a_run_made_again_pays_nothing_and_runs_nothing(make) -> None:
    options = {"tests": "asserts", "solutions": 2, "repair": 1}
    teacher = Teacher(solutions=(WRONG, ALSO_WRONG), tests=(TESTS,), repairs=(RIGHT,))
    first = list(make(teacher, **options))
    paid, ran = len(teacher.asked), len(fake_sandbox.RUN)
    assert list(make(teacher, name="again", **options)) == first
    assert (len(teacher.asked), len(fake_sandbox.RUN)) == (paid, ran)


def test_programs_without_a_sandbox_are_an_error_not_a_verdict(make) -> None:
    with pytest.raises(SandboxError, match="oss_instruct tries out programs"):
        make(Teacher(), sandbox=False, repair=1)


def test_a_conversation_is_replayed_without_running_anything(make, tmp_path: Path) -> None:
    teacher = Teacher(solutions=(WRONG,), repairs=(RIGHT,))
    make(teacher, tests="asserts", repair=1)
    ran = len(fake_sandbox.RUN)
    recipe = Recipe(strategy=OssInstruct(tests="asserts", repair=1), teacher=teacher)
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        turns, pending = conversation(recipe, SEED, journal)
    assert ([t.answer for t in turns][1:], pending) == ([TESTS], None)
    assert len(fake_sandbox.RUN) == ran


def test_tests_repeat_neither_the_solution_nor_an_import_of_it() -> None:
    solution = Code(language="python", pieces=("def double(x):\n    return x + x\n",))
    answer = (
        "Here:\n```python\nfrom solution import double\nimport math\n\ndef double(x):\n    return 0\n\n"
        "def helper():\n    return 6\n\nassert double(3) == helper()\n```"
    )
    assert read_tests(answer, solution) == (
        "import math\n\n\ndef helper():\n    return 6\n\nassert double(3) == helper()\n"
    )
    assert read_tests("```python\nprint(double(3))\n```", solution) == ""
    assert read_tests("There is nothing to test.", solution) == ""
    assert read_tests("```rust\nfn main() {}\n```", solution) == ""


def test_what_goes_back_does_not_differ_from_run_to_run() -> None:
    verdict = Verdict(
        outcome=Outcome.EXCEPTION, detail="KeyError: <object at 0x7f12345678>", stderr="at 0x7fffffff11\n"
    )
    said = what_happened(verdict)
    assert said == "it raised an exception (KeyError: <object at 0x…>).\n\n```\nat 0x…\n```"
    assert said == what_happened(replace(verdict, detail=verdict.detail.replace("0x7f", "0x55")))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tests": "assert"}, "did you mean asserts"),
        ({"solutions": 2}, "add `tests: asserts`"),
        ({"repair": -1}, "at least 0"),
        ({"bands": "kodkode"}, "did you mean kodcode"),
    ],
)
def test_impossible_options_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        OssInstruct(**options)


@dataclass
class Failing(Teacher):
    """Is down after so many answers."""

    patience: int = 0

    def collect(self) -> list[tuple[int, Completion]]:
        if len(self.asked) >= self.patience:
            raise TeacherError("down")
        return super().collect()


def test_a_run_that_breaks_at_any_turn_goes_on_without_paying_twice(make) -> None:
    options = {"tests": "asserts", "solutions": 2, "repair": 1}
    script = {"solutions": (WRONG, ALSO_WRONG), "repairs": (RIGHT,)}
    whole = list(make(Teacher(**script), name="whole", **options))
    asked = 0
    for turn in range(1, 5):  # of five
        broken = Failing(**script, patience=1, model="broken")
        with pytest.raises(TeacherError):
            make(broken, name="broken", **options)
        asked += len(broken.asked)
        assert asked == turn
    last = Teacher(**script, model="broken")
    rows = list(make(last, name="broken", **options))
    assert len(last.asked) == 1
    assert [r.response for r in rows] == [r.response for r in whole]
    assert rows[0].turns == whole[0].turns
