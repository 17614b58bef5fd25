"""Contest problems: real streams for every way to read and write, calls, tests about a class, harnesses' semantics."""

import ast
import base64
import json
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from magicoder.benchmarks import _contest_judges as judges
from magicoder.benchmarks.apps import Apps
from magicoder.benchmarks.leetcode import LeetCode
from magicoder.benchmarks.livecodebench import LiveCodeBench
from magicoder.errors import BenchmarkError, RecipeError
from magicoder.protocols import Runner, Suite
from magicoder.records import Verdict
from magicoder.sandboxes.cells import Cells

IDIOMS = {
    "input": "n = int(input())\nprint(sum(int(x) for x in input().split()) + n)",
    "stdin.read": "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
    "stdin.readline": "import sys\nr = sys.stdin.readline\nprint(int(r()) + sum(map(int, r().split())))",
    "input = readline": "import sys\ninput = sys.stdin.readline\nprint(int(input()) + sum(map(int, input().split())))",
    "stdin.readlines": "import sys\nl = sys.stdin.readlines()\nprint(int(l[0]) + sum(map(int, l[1].split())))",
    "stdin.buffer.read": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))",
    "stdin.buffer.readline": "import sys\nr = sys.stdin.buffer.readline\nprint(int(r()) + sum(map(int, r().split())))",
    "for line in stdin": "import sys\nt = 0\nfor l in sys.stdin:\n    t += sum(map(int, l.split()))\nprint(t)",
    "next(stdin)": "import sys\ni = iter(sys.stdin)\nprint(int(next(i)) + sum(map(int, next(i).split())))",
    "open(0)": "print(sum(map(int, open(0).read().split())))",
    "os.read": "import os\nprint(sum(map(int, os.read(0, 1000).split())))",
    "stdout.write": "import sys\nsys.stdout.write(str(sum(map(int, sys.stdin.read().split()))) + '\\n')",
    "stdout.buffer.write": "import sys\nsys.stdout.buffer.write(b'%d\\n' % sum(map(int, sys.stdin.read().split())))",
    "os.write": "import os, sys\nos.write(1, b'%d\\n' % sum(map(int, sys.stdin.read().split())))",
    "global": "t = 0\ndef add(x):\n    global t\n    t += x\nfor _ in range(2):\n"
    "    for x in input().split():\n        add(int(x))\nprint(t)",
    "main guard": "def main():\n    print(int(input()) + sum(map(int, input().split())))\n"
    "if __name__ == '__main__':\n    main()",
    "main guard, not last": "def main():\n    print(int(input()) + sum(map(int, input().split())))\n"
    "if __name__ == '__main__':\n    main()\nx = 1",
    "quit": "print(int(input()) + sum(map(int, input().split())))\nquit()",
    "sys.exit": "import sys\nprint(int(input()) + sum(map(int, input().split())))\nsys.exit()",
    "os._exit": "import os, sys\nprint(int(input()) + sum(map(int, input().split())))\nsys.stdout.flush()\nos._exit(0)",
}
REJECTED = {
    *("stdin.buffer.readline", "for line in stdin", "next(stdin)", "open(0)", "os.read", "stdout.buffer.write"),
    *("os.write", "global", "main guard, not last", "quit", "os._exit"),
}
"""What LiveCodeBench's grader calls wrong, of the programs above, which all are right."""


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Cells().open(workers=1) as opened:
        yield opened


def problem(**changes: Any) -> dict[str, Any]:
    cases = [("3\n1 2 3\n", "9\n"), ("1\n10", "11")]
    return {
        "question_id": "sum",
        "question_content": "Add the numbers.",
        "contest_date": "2024-08-03T00:00:00",
        "starter_code": "",
        "metadata": "{}",
        "public_test_cases": json.dumps([{"input": i, "output": o, "testtype": "stdin"} for i, o in cases]),
        "private_test_cases": "",
    } | changes


def livecodebench(folder: Path, *rows: dict[str, Any], **fields: Any) -> Suite:
    (folder / "livecodebench").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "livecodebench" / "test.jsonl").write_text(text, encoding="utf-8")
    return LiveCodeBench(**fields).suite(str(folder))


def judged(suite: Suite, runner: Runner, code: str, *, profile: str = "strict", task: int = 0) -> Verdict:
    return next(iter(runner.run(program for _, program in suite.checks(suite.tasks[task], code, profile))))


@pytest.mark.parametrize("profile", ["strict", "lcb"])
def test_strict_takes_all_twenty_idioms_and_the_grader_of_livecodebench_nine(
    profile: str, tmp_path: Path, runner: Runner
) -> None:
    suite = livecodebench(tmp_path, problem())
    programs = [suite.checks(suite.tasks[0], code, profile)[0][1] for code in IDIOMS.values()]
    passed = {name for name, v in zip(IDIOMS, runner.run(programs), strict=True) if v.outcome == "passed"}
    assert len(IDIOMS) == 20
    assert passed == (set(IDIOMS) if profile == "strict" else set(IDIOMS) - REJECTED)


def test_what_goes_wrong_says_how(tmp_path: Path, runner: Runner) -> None:
    suite = livecodebench(tmp_path, problem())
    for code, outcome, detail in (
        ("print(input())", "wrong_answer", "input 1 of 2: word 1 is '3', expected '9'"),
        ("print(9)", "wrong_answer", "input 2 of 2"),
        ("print(", "compile_error", "never closed"),
        ("print(1 / 0)", "exception", "ZeroDivisionError"),
        ("import os\nos.kill(os.getpid(), 11)", "crashed", "SIGSEGV"),
        ("", "wrong_answer", "0 words, expected 1"),
        ("import os\nos.kill(os.getppid(), 9)\nprint(9)", "crashed", "SIGKILL"),
    ):
        verdict = judged(suite, runner, code)
        assert verdict.outcome == outcome, code
        assert detail in verdict.detail, code


def test_a_program_that_prints_a_lot_is_right_and_one_that_never_ends_is_a_timeout(
    tmp_path: Path, runner: Runner
) -> None:
    row = problem(public_test_cases=json.dumps([{"input": "1", "output": "7 " * 150_000, "testtype": "stdin"}]))
    suite = livecodebench(tmp_path, row)
    assert judged(suite, runner, "print('7 ' * 150_000)").outcome == "passed"
    verdict = judged(suite, runner, "while True: pass", profile="lcb")
    assert "SIGXCPU" in verdict.detail  # which evaluation tells as a CPU timeout


def test_functions_are_called_with_plain_values_and_hidden_tests_are_read_without_unpickling_anything(
    tmp_path: Path, runner: Runner
) -> None:
    hidden = json.dumps([{"input": '"b"\n[2.0]', "output": "[2.0, 1]", "testtype": "functional"}])
    packed = base64.b64encode(zlib.compress(pickle.dumps(hidden))).decode()
    row = problem(
        starter_code="class Solution:\n    def f(self, s: str, xs: List[int]) -> List[int]:\n        ",
        metadata='{"func_name": "f"}',
        public_test_cases=json.dumps([{"input": '"aa"\n[1, 2]', "output": "[1, 2]", "testtype": "functional"}]),
        private_test_cases=packed,
    )
    suite = livecodebench(tmp_path, row)
    right = "class Solution:\n    def f(self, s: str, xs: List[int]):\n        return xs[:1] + [len(s)]"
    assert judged(suite, runner, right).outcome == "passed"
    as_tuple = right.replace("xs[:1] + [len(s)]", "(xs[0], len(s))")
    assert judged(suite, runner, as_tuple).outcome == "passed"
    assert judged(suite, runner, right.replace("len(s)", "2")).outcome == "wrong_answer"
    assert judged(suite, runner, right.replace("def f", "def g")).outcome == "exception"
    harmful = base64.b64encode(zlib.compress(b"cos\nsystem\n(S'true'\ntR.")).decode()
    with pytest.raises(BenchmarkError, match="cannot be read"):
        livecodebench(tmp_path, row | {"private_test_cases": harmful})


def test_a_window_of_days_and_a_release_narrow_the_problems(tmp_path: Path) -> None:
    rows = [
        problem(question_id=day, contest_date=f"{day}T00:00:00") for day in ("2024-07-31", "2024-08-01", "2025-02-01")
    ]
    suite = livecodebench(tmp_path, *rows, first="2024-08-01", last="2025-01-31")
    assert [task.id for task in suite.tasks] == ["2024-08-01"]
    assert suite.name == "livecodebench-2024-08-01..2025-01-31"
    assert LiveCodeBench.narrowed(("v5", "2024-08-01..")) == LiveCodeBench(release=5, first="2024-08-01")
    later = problem(question_id="later")
    (tmp_path / "livecodebench" / "test2.jsonl").write_text(json.dumps(later) + "\n", encoding="utf-8")
    assert len(LiveCodeBench(release=1).suite(str(tmp_path)).tasks) == 3
    assert len(LiveCodeBench().suite(str(tmp_path)).tasks) == 4
    for wrong in (("yesterday",), ("1.8.2024..",)):
        with pytest.raises(RecipeError):
            LiveCodeBench.narrowed(wrong)


def test_outputs_are_compared_as_each_harness_does() -> None:
    for printed, expected, compare, same in (
        ("1 2\n3", "1\n2 3", "tokens", True),
        ("1 2\n3", "1\n2 3", "lcb", False),
        ("1.0", "1.000", "lcb", True),
        ("0.3000000001", "0.3", "tokens", True),
        ("0.3000000001", "0.3", "lcb", False),
        ("0.30000100", "0.3", "tokens", False),
        ("0.30000100", "0.3", "apps", True),
        ("b\na", "a\nb", "tokens", False),
        ("b\na", "a\nb", "apps", True),
        ("Yes", "YES", "tokens", False),
        ("1" * 5000, "1" * 5000, "tokens", True),
    ):
        assert (judges.difference(printed, expected, compare) == "") is same, (printed, expected, compare)
    assert judges.equal(1.0, 1)
    assert not judges.equal(True, 1)
    assert not judges.equal([1], [1, 2])


def test_solutions_of_the_whole_apps_problems_pass(shared_data: Path, runner: Runner) -> None:
    suite = Apps().suite(str(shared_data))
    assert len(suite.tasks) == 5
    for task in suite.tasks:
        solutions = [task.reference, *task.more_references][:4]
        verdicts = list(runner.run(suite.checks(task, code, "strict")[0][1] for code in solutions))
        assert [v.outcome for v in verdicts if v.outcome != "passed" and "outside function" not in v.detail] == []
    assert judged(suite, runner, "print('no')", task=1).outcome == "wrong_answer"


def looked_up(tests: str, name: str) -> str:
    """Return a solution that knows the answers of the tests by heart."""
    table, given = {}, None
    for node in ast.parse(tests).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "test_input":
            given = ast.literal_eval(node.value)
        elif isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
            table[repr(given)] = ast.literal_eval(node.test.comparators[0])
    return f"class Solution:\n    def {name}(self, **named):\n        return {table!r}[repr(named)]\n"


def test_the_tests_of_every_leetcode_problem_can_be_passed_from_outside(shared_data: Path, runner: Runner) -> None:
    suite = LeetCode().suite(str(shared_data))
    plain = [task for task in suite.tasks if "ListNode" not in task.tests]
    assert (len(suite.tasks), len(plain)) == (180, 178)
    names = [task.tests.partition("my_solution.")[2].partition("(")[0] for task in plain]
    codes = [looked_up(task.tests, name) for task, name in zip(plain, names, strict=True)]
    programs = (suite.checks(t, code, "strict")[0][1] for t, code in zip(plain, codes, strict=True))
    assert [t.id for t, v in zip(plain, runner.run(programs), strict=True) if v.outcome != "passed"] == []


def test_linked_lists_are_judged_beside_the_program(shared_data: Path, runner: Runner) -> None:
    suite = LeetCode().suite(str(shared_data))
    number = next(i for i, task in enumerate(suite.tasks) if "doubleIt" in task.tests)
    starter = suite.tasks[number].prompt.rpartition('"""')[2].strip()
    body = """
        text, made = "", None
        while head:
            text += str(head.val)
            head = head.next
        for digit in reversed(str(2 * int(text))):
            made = ListNode(int(digit), made)
        return made"""
    assert judged(suite, runner, starter + body, task=number).outcome == "passed"
    assert judged(suite, runner, starter + body.replace("2 *", "3 *"), task=number).outcome == "wrong_answer"


def test_answers_of_each_style_become_the_same_program(shared_data: Path) -> None:
    suite = LeetCode().suite(str(shared_data))
    task = suite.tasks[5]
    body = "        return nums == sorted(nums)\n"
    starter = task.prompt.rpartition('"""')[2].strip()
    whole = f"{starter}\n{body}"
    for style, answer in (
        ("completion", body),
        ("magicoder", f"\n{body}```\nThis sorts."),
        ("chat", f"Here it is:\n```python\n{whole}```\nIt compares."),
        ("solution", whole),
    ):
        assert suite.program_text(task, answer, style).code.split() == whole.split(), style
    assert suite.prompt(task, "completion").messages[0].content.endswith(f"{starter}\n")
