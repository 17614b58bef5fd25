"""DS-1000 and BigCodeBench: what runs, what passes, what of an answer is taken; in an environment of libraries, too."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from magicoder.benchmarks import _bigcodebench as bcb
from magicoder.benchmarks import _ds1000_answers as answers
from magicoder.benchmarks.bigcodebench import BigCodeBench
from magicoder.benchmarks.ds1000 import Ds1000
from magicoder.errors import RecipeError
from magicoder.protocols import Runner, Suite
from magicoder.records import Task
from magicoder.sandboxes.cells import Cells

SOLUTIONS = "recorded_completions/qwen25coder_1.5b-base/bigcodebench"


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Cells().open(workers=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def libraries() -> Iterator[Runner]:
    python = os.environ.get("MAGICODER_EVAL_PYTHON")
    if not python:
        pytest.skip("no environment of libraries; MAGICODER_EVAL_PYTHON names its interpreter (constraints-eval.txt)")
    with Cells(python=python).open(workers=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def ds1000() -> Suite:
    data = Path(os.environ.get("MAGICODER_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not data.is_dir():
        pytest.skip("no shared data")
    return Ds1000().suite(str(data))


def numbered(suite: Suite, number: int) -> Task:
    return next(task for task in suite.tasks if task.id == f"DS-1000/{number}")


# DS-1000


def test_canonical_solutions_of_every_library_pass_and_empty_ones_do_not(ds1000: Suite, libraries: Runner) -> None:
    numbers = (0, 300, 511, 512, 711, 712, 817, 818, 830)
    tasks = [numbered(ds1000, number) for number in numbers]
    right = [ds1000.checks(task, ds1000.reference(task), "strict")[0][1] for task in tasks]
    assert [v.outcome for v in libraries.run(right)] == ["passed"] * len(tasks)
    empty = [
        ds1000.checks(task, "pass" if not answers.is_inside(task) else "    pass", "strict")[0][1] for task in tasks
    ]
    assert {v.outcome for v in libraries.run(empty)} <= {"wrong_answer", "exception"}


def test_a_picture_that_differs_is_wrong(ds1000: Suite, libraries: Runner) -> None:
    task = numbered(ds1000, 512)
    wrong = ds1000.checks(task, "plt.plot([1, 2], [2, 1])", "strict")
    (verdict,) = libraries.run([wrong[0][1]])
    assert verdict.outcome in ("wrong_answer", "exception")


def test_an_answer_that_ends_the_process_has_not_passed(runner: Runner) -> None:
    suite = small("result = 1", "result == 1")
    for code, outcome in (
        ("result = 1", "passed"),
        ("result = 2", "wrong_answer"),
        ("import os; os._exit(0)", "exited_early"),
        ("raise SystemExit", "exited_early"),
        ("class E:\n    def __eq__(self, other): return True\nresult = E()", "wrong_answer"),
        ("for _ in [0]: result = 1", "wrong_answer"),
    ):
        (verdict,) = runner.run([suite.checks(suite.tasks[0], code, "strict")[0][1]])
        assert verdict.outcome == outcome, code


CONTEXT = """
def test_execution(solution):
    space = {}
    exec(solution, space)
    result = space["result"]
    assert CONDITION

def test_string(solution):
    assert "for" not in solution
"""


def small(reference: str, condition: str, second: str = "") -> Suite:
    from magicoder.benchmarks._ds1000 import Ds1000Suite, Problem

    prompt = "Problem:\nOne.\n\nA:\n<code>\nx = 1\n</code>\nresult = ... # here\nBEGIN SOLUTION\n<code>\n"
    tasks = [
        Task(
            id=f"DS-1000/{i}",
            benchmark="ds1000",
            language="python",
            prompt=prompt,
            reference=reference,
            tests=CONTEXT.replace("CONDITION", text),
        )
        for i, text in enumerate(filter(None, (condition, second)))
    ]
    return Ds1000Suite("1", [Problem(task=task, library="numpy") for task in tasks])


def test_the_profile_of_bigcode_scores_problems_with_the_tests_of_the_first_that_shares_their_reference(
    runner: Runner, ds1000: Suite
) -> None:
    suite = small("result = 1", "result == 1", "result == 2")
    second = suite.tasks[1]
    outcomes = [
        next(iter(runner.run([suite.checks(second, code, profile)[0][1]]))).outcome
        for profile in ("strict", "bigcode")
        for code in ("result = 1", "result = 2")
    ]
    assert outcomes == ["wrong_answer", "passed", "passed", "wrong_answer"]
    others = [
        task
        for task in ds1000.tasks
        if ds1000.checks(task, "x", "bigcode")[0][1].tests != ds1000.checks(task, "x", "strict")[0][1].tests
    ]
    assert len(others) == 38


def test_every_prompt_is_converted_for_each_style(ds1000: Suite) -> None:
    for task in ds1000.tasks:
        asked, begun = ds1000.prompt(task, "magicoder").messages
        assert begun.content.startswith("```python\n"), task.id
        assert begun.content.rstrip().endswith("# Solution"), task.id
        assert "SOLUTION START" not in begun.content
        assert "BEGIN SOLUTION" not in begun.content
        assert "<code>" not in begun.content
        assert "</code>" not in begun.content
        assert asked.content
        assert not asked.content.startswith("Problem:")
    assert ds1000.prompt(numbered(ds1000, 0), "completion").messages[0].content == ds1000.tasks[0].prompt


def test_a_model_that_fills_in_sees_what_follows(shared_data: Path) -> None:
    suite = Ds1000.narrowed(("pandas", "insertion-starcoder")).suite(str(shared_data))
    assert suite.name == "ds1000-pandas-insertion_starcoder"
    assert len(suite.tasks) == 291
    text = suite.prompt(suite.tasks[0], "completion").messages[0].content
    assert text.startswith("<fim_prefix>Problem:")
    assert text.endswith("</code>\n<fim_middle>")
    assert "<fim_suffix>\n</code>\nEND SOLUTION\n" in text
    with pytest.raises(RecipeError):
        suite.prompt(suite.tasks[0], "chat")
    for wrong in (("cobol",), ("insertion-cobol",)):
        with pytest.raises(RecipeError):
            Ds1000.narrowed(wrong)


def test_what_repeats_the_prompt_is_left_away_and_a_function_body_is_indented(ds1000: Suite) -> None:
    top, inside = numbered(ds1000, 0), numbered(ds1000, 830)
    given = top.prompt.rpartition("\nA:\n")[2].partition("</code>")[0].replace("<code>", "").strip()
    for style, answer in (
        ("completion", "result = df.iloc[List]\n</code>\nEND SOLUTION\nMore words."),
        ("chat", f"So:\n```python\n{given}\nresult = df.iloc[List]\n```\nDone."),
        ("chat", "```python\nresult = df.iloc[List]\n```\nwhich prints\n```\n   Col1\n```"),
        ("chat", "<code>\nresult = df.iloc[List]\n</code>"),
        ("magicoder", "result = df.iloc[List]\n```\nThis picks rows."),
        ("solution", top.prompt + "result = df.iloc[List]\n</code>"),
    ):
        code = ds1000.program_text(top, answer, style).code
        assert [line for line in code.split("\n") if line and "import" not in line] == ["result = df.iloc[List]"], (
            answer
        )
    body = "    out = df\n    return out"
    for answer in (
        body,
        "out = df\nreturn out",
        "out = df\n    return out",
        f"def solve(df, transform_output):\n    # it is\n{body}\n\nprint(solve(1, 2))",
        f"def solve(\n    df,\n    transform_output,\n) -> int:\n{body}",
    ):
        code = ds1000.program_text(inside, f"```python\n{answer}\n```", "chat").code
        space: dict[str, object] = {}
        exec(f"def solve(df, transform_output):\n{code}\n", space)
        assert space["solve"]("x", 0) == "x", answer  # type: ignore[operator]


def test_published_references_are_taken_as_they_are(ds1000: Suite) -> None:
    for task in ds1000.tasks:
        code = ds1000.program_text(task, task.reference, "solution").code
        assert code.split() == task.reference.split(), task.id


# BigCodeBench

TESTS = """
import unittest
class TestCases(unittest.TestCase):
    def test_one(self):
        self.assertEqual(task_func(1), 2)
    def test_two(self):
        self.assertEqual(task_func(2), 3)
    def helper(self): ...
"""


def one(tests: str = TESTS) -> bcb.BigCodeBenchSuite:
    task = Task(
        id="BigCodeBench/0",
        benchmark="bigcodebench",
        language="python",
        prompt='import os\nSTEP = 1\ndef task_func(x):\n    """Add."""\n',
        reference="    return x + STEP\n",
        tests=tests,
        entry_point="task_func",
    )
    problem = bcb.Problem(task=task, instruction="Add.", head="import os\nSTEP = 1\ndef task_func(x):\n")
    return bcb.BigCodeBenchSuite("bigcodebench", "0", [problem], instruct=False)


def outcome(runner: Runner, suite: Suite, code: str, profile: str = "strict") -> tuple[str, str]:
    (verdict,) = runner.run([suite.checks(suite.tasks[0], code, profile)[0][1]])
    return verdict.outcome, verdict.detail


def test_tests_run_to_their_end_and_as_many_as_there_are(runner: Runner) -> None:
    suite = one()
    right = suite.reference(suite.tasks[0])
    assert outcome(runner, suite, right) == ("passed", "")
    assert outcome(runner, suite, right.replace("STEP\n", "2\n"))[0] == "wrong_answer"
    assert outcome(runner, suite, "def task_func(x): return {}[x]") == (
        "exception",
        "KeyError: 1 (test_one, 2 of 2 tests)",
    )
    assert outcome(runner, suite, "def task_func(): ...")[1].startswith("TypeError: task_func() takes 0 positional")
    for code, expected in (
        (right + "\nimport os\nos._exit(0)", "exited_early"),
        ("def task_func(x):\n    import os\n    os._exit(0)", "exited_early"),
        ("def task_func(x):\n    raise SystemExit", "exception"),
        (right + "\nimport unittest\nunittest.TestCase.run = lambda *a: None\nraise SystemExit", "exited_early"),
        ("def task_func(x):\n    return x +", "compile_error"),
        ("from __future__ import annotations\n" + right, "passed"),
        (right + "\nif __name__ == '__main__':\n    raise ValueError", "passed"),
    ):
        assert outcome(runner, suite, code)[0] == expected, code


def test_the_profile_of_the_harness_passes_without_tests_and_gives_what_was_not_imported(runner: Runner) -> None:
    empty = one("import unittest\nclass TestCases(unittest.TestCase):\n    ...\n")
    assert outcome(runner, empty, "x = 1")[0] == "passed"
    uses_os = "def task_func(x):\n    return x + len(os.sep)"
    assert outcome(runner, one(), uses_os)[0] == "exception"
    assert outcome(runner, one(), uses_os, "bigcodebench")[0] == "passed"
    unless_run = one(TESTS + "\n    def load_tests(self): ...\ndef loaded(*a): return unittest.TestSuite()\n"
                     "unittest.TestLoader.loadTestsFromTestCase = loaded\n")  # fmt: skip
    right = unless_run.reference(unless_run.tasks[0])
    assert outcome(runner, unless_run, right) == ("wrong_answer", "AssertionError: 0 tests ran, not 2")
    assert outcome(runner, unless_run, right, "bigcodebench")[0] == "passed"


def test_tests_may_patch_their_module_by_name(runner: Runner) -> None:
    tests = "import unittest\nfrom unittest.mock import patch\nclass TestCases(unittest.TestCase):\n"
    tests += "    @patch(__name__ + '.STEP', 5)\n    def test_one(self):\n        self.assertEqual(task_func(1), 6)\n"
    suite = one(tests)
    assert outcome(runner, suite, suite.reference(suite.tasks[0]))[0] == "passed"


def test_answers_of_each_style_get_what_the_prompt_had(runner: Runner) -> None:
    suite = one()
    task = suite.tasks[0]
    for style, answer in (
        ("completion", "    return x + STEP\n\nprint(task_func(1))"),
        ("magicoder", "\n    return x + STEP\n```\nThis adds."),
        ("chat", "```python\ndef task_func(x):\n    return x + STEP\n```"),
        (
            "chat",
            "```python\ndef task_func(x):\n    return x + STEP\n\nif __name__ == '__main__':\n    task_func('')\n```",
        ),
    ):
        code = suite.program_text(task, answer, style).code
        assert outcome(runner, suite, code)[0] == "passed", (style, code)


def test_parts_are_named_and_counted(shared_data: Path) -> None:
    sizes = {"": 1140, "hard": 148, "hard,instruct": 148}
    for parts, size in sizes.items():
        plugin = BigCodeBench.narrowed(tuple(parts.split(","))) if parts else BigCodeBench()
        suite = plugin.suite(str(shared_data))
        assert len(suite.tasks) == size
        assert all(bcb.count(task.tests) > 0 for task in suite.tasks)
    asked = suite.prompt(suite.tasks[0], "chat").messages[0].content
    assert "self-contained code starting with" in asked
    with pytest.raises(RecipeError):
        suite.prompt(suite.tasks[0], "completion")
    with pytest.raises(RecipeError):
        BigCodeBench.narrowed(("easy",))


def test_published_verdicts_are_reproduced(shared_data: Path, libraries: Runner) -> None:
    folder = shared_data / SOLUTIONS / "hard"
    results = json.loads(gzip.decompress(next(folder.glob("*eval_results.json.gz")).read_bytes()))["eval"]
    suite = BigCodeBench(subset="hard").suite(str(shared_data))
    tasks = [task for task in suite.tasks if task.id in results][:12]
    programs = (suite.checks(task, results[task.id][0]["solution"], "strict")[0][1] for task in tasks)
    for task, verdict in zip(tasks, libraries.run(programs), strict=True):
        assert (verdict.outcome == "passed") == (results[task.id][0]["status"] == "pass"), task.id
