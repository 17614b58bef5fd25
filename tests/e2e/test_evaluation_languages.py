"""Programs of many languages, judged in the sandbox, against verdicts that others have published."""

import gzip
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from magicoder.benchmarks._multipl_e import MultiPlESuite
from magicoder.benchmarks._multipl_e_files import published
from magicoder.benchmarks.humaneval_x import HumanEvalX
from magicoder.benchmarks.multipl_e import MultiPlE
from magicoder.protocols import Runner, Suite
from magicoder.records import Outcome, Program, Task, Verdict
from magicoder.sandboxes.cells import Cells

RECORDED = Path("recorded_completions/qwen25coder_1.5b-base/multipl-e")


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Cells().open(workers=2) as found:
        yield found


def judged(
    runner: Runner, suite: Suite, texts: Sequence[tuple[Task, str, str]], profile: str = "strict"
) -> list[Verdict]:
    """Return the verdict on each (task, answer, style)."""

    def programs() -> Iterator[Program]:
        for task, answer, style in texts:
            yield suite.checks(task, suite.program_text(task, answer, style).code, profile)[0][1]

    return list(runner.run(programs()))


def split(shared_data: Path, name: str) -> tuple[MultiPlESuite, dict[str, Task]]:
    suite = MultiPlE().suite(str(shared_data), only=name)
    return suite, {task.id: task for task in suite.tasks}


@pytest.mark.parametrize(("short", "step"), [("js", 10), ("php", 10), ("sh", 0)])
def test_recorded_programs_get_their_published_verdicts(
    shared_data: Path, runner: Runner, short: str, step: int
) -> None:
    suite, tasks = split(shared_data, f"humaneval-{short}")
    found = list(published(shared_data / RECORDED / f"humaneval-{short}-details.json.gz"))
    # Of the shell's only those that passed: many of the others loop without end, each for its whole limit.
    found = found[::step] if step else [p for p in found if p.passed][::2]
    verdicts = judged(runner, suite, [(tasks[p.answer.task_id], p.answer.text, p.answer.style) for p in found])
    differ = {
        p.answer.task_id for p, v in zip(found, verdicts, strict=True) if p.passed != (v.outcome is Outcome.PASSED)
    }
    assert len(found) >= 16
    assert differ <= {"humaneval-php/HumanEval_16_count_distinct_characters"}  # PHP 8.2 splits "" into nothing


def test_the_completions_behind_the_programs_get_the_same_verdicts(shared_data: Path, runner: Runner) -> None:
    suite, tasks = split(shared_data, "humaneval-js")
    whole = {p.answer.task_id: p for p in published(shared_data / RECORDED / "humaneval-js-details.json.gz")}
    said = [p.answer for p in published(shared_data / RECORDED / "pred_js_output.jsonl.gz")][::10]
    verdicts = judged(runner, suite, [(tasks[a.task_id], a.text, a.style) for a in said])
    assert [v.outcome is Outcome.PASSED for v in verdicts] == [whole[a.task_id].passed for a in said]


def test_chat_answers_become_programs_that_run(shared_data: Path, runner: Runner) -> None:
    suite, tasks = split(shared_data, "humaneval-php")
    path = shared_data / "recorded_completions" / "qwen2_chat_multipl_e" / "generations_php.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][::6]
    texts = [(tasks[f"humaneval-php/{row['task_id']}"], row["generation"], "chat") for row in rows]
    verdicts = judged(runner, suite, texts)
    broken = [v.detail for v in verdicts if "syntax" in v.detail.lower() or v.outcome is Outcome.COMPILE_ERROR]
    assert broken == []
    assert sum(v.outcome is Outcome.PASSED for v in verdicts) >= len(rows) // 2


def test_a_great_deal_of_output_fails_in_the_profile_of_the_harness_only(shared_data: Path, runner: Runner) -> None:
    suite, tasks = split(shared_data, "humaneval-js")
    task = tasks["humaneval-js/HumanEval_23_strlen"]
    code = f"{task.prompt}  return string.length;\n}}\nconsole.log('x'.repeat(200000));\n"
    (strict,) = judged(runner, suite, [(task, code, "solution")])
    (harness,) = judged(runner, suite, [(task, code, "solution")], "multipl-e")
    assert (strict.outcome, harness.outcome) == (Outcome.PASSED, Outcome.OUTPUT_LIMIT)


@pytest.mark.skipif(shutil.which("mcs") is None, reason="needs mono-mcs")
def test_csharp_lists_are_compared_by_value_and_exceptions_pass_in_the_harness_only(
    shared_data: Path, runner: Runner
) -> None:
    suite, tasks = split(shared_data, "humaneval-cs")
    task = tasks["humaneval-cs/HumanEval_159_eat"]
    right = task.prompt + (
        "        return new List<long>(new long[]{number + Math.Min(need, remaining),"
        " Math.Max(0, remaining - need)});\n"
    )
    wrong = task.prompt + "        return new List<long>();\n"
    raises = task.prompt + '        throw new Exception("no");\n'
    strict = judged(runner, suite, [(task, text, "solution") for text in (right, wrong, raises)])
    harness = judged(runner, suite, [(task, text, "solution") for text in (right, wrong, raises)], "multipl-e")
    assert [v.outcome is Outcome.PASSED for v in strict] == [True, False, False]
    assert [v.outcome is Outcome.PASSED for v in harness] == [False, False, True]


def test_canonical_solutions_of_humaneval_x_pass(shared_data: Path, runner: Runner) -> None:
    for short, step in (("js", 30), ("python", 30), ("go", 200), ("rust", 200), ("java", 90), ("cpp", 200)):
        suite = HumanEvalX().suite(str(shared_data), only=short)
        tasks = suite.tasks[1::step]
        verdicts = judged(runner, suite, [(task, suite.reference(task), "solution") for task in tasks])
        failed = [(t.id, v.outcome, v.detail) for t, v in zip(tasks, verdicts, strict=True) if v.outcome != "passed"]
        assert [f for f in failed if f[1] is not Outcome.TOOLCHAIN_MISSING] == []


def test_failed_asserts_of_javascript_and_go_are_failures(shared_data: Path, runner: Runner) -> None:
    for short, wrong in (("js", "  return true\n}\n"), ("go", "    return true\n}\n")):
        suite = HumanEvalX().suite(str(shared_data), only=short)
        task = suite.tasks[0]
        code = suite.problems[task.id].given + wrong
        (verdict,) = judged(runner, suite, [(task, code, "solution")])
        assert verdict.outcome in (Outcome.EXCEPTION, Outcome.WRONG_ANSWER, Outcome.TOOLCHAIN_MISSING)


def test_python_that_ends_before_its_tests_has_not_passed(shared_data: Path, runner: Runner) -> None:
    suite = HumanEvalX().suite(str(shared_data), only="python")
    task = suite.tasks[0]
    code = suite.problems[task.id].given + "    return True\nimport os\nos._exit(0)\n"
    (verdict,) = judged(runner, suite, [(task, code, "solution")])
    assert verdict.outcome is Outcome.EXITED_EARLY


def test_a_language_is_a_part_with_all_its_problems(shared_data: Path) -> None:
    suite, tasks = split(shared_data, "java")
    assert suite.name == "multipl_e-java"
    assert len(tasks) == 158 + 386
