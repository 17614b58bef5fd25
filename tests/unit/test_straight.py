"""Calls that a test is certain to make: known beforehand, in order, and no others."""

from collections.abc import Callable
from typing import Any

import pytest

from magicoder.benchmarks import _straight
from magicoder.benchmarks._asserts import Asserts
from magicoder.errors import SandboxError
from magicoder.records import Outcome, Program
from magicoder.sandboxes import _ladder
from magicoder.sandboxes._judging import Bench
from magicoder.sandboxes.cells import Jails


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ("assert f(1) == 2\nassert f(2, 'a') == f([3])", ((1,), (2, "a"), ([3],))),
        ("import math\nassert abs(f(-1.5) - math.pi) < 1e-6\nassert f({1: 2}) == 3", ((-1.5,), ({1: 2},))),
        ("x = 5\nassert f(1) == 2\nassert f(x) == 2\nassert f(3) == 2", ((1,),)),
        ("assert f(1) and f(2)", ()),
        ("assert f(1) == 1\nassert 1 < f(2) < f(3)", ((1,),)),
        ("assert f(1) == [f(i) for i in range(3)]", ((1,),)),
        ("for i in range(3):\n    assert f(i) == i", ()),
        ("assert f(1) == 1\nassert f(x=2) == 1", ((1,),)),
        ("assert f(*[1]) == 1", ()),
        ("assert g(f(1)) == 1 if True else f(2)", ()),
        ("assert (", ()),
    ],
)
def test_only_what_is_called_whatever_is_answered(tests: str, expected: tuple[tuple[Any, ...], ...]) -> None:
    assert _straight.calls(tests, "f", "") == expected


def test_in_a_check_its_argument_and_the_name_are_the_function() -> None:
    tests = "META = 1\ndef check(candidate):\n    assert candidate(1) == 1\n    assert f(2) == 2\n"
    assert _straight.calls(tests, "f", "check") == ((1,), (2,))
    assert _straight.calls(f"{tests}\nf(7)", "f", "check") == ()


COUNTS = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)\n"


@pytest.mark.parametrize(
    ("code", "tests", "outcome"),
    [
        (COUNTS, "assert f(9) == 1\nassert f(9) == 2\nassert f(9) == 3\n", Outcome.PASSED),
        (COUNTS, "assert f(9) == 1\nassert f(9) == 7\nassert f(9) == 3\n", Outcome.WRONG_ANSWER),
        # A call behind the failing assert hangs, dies, prints without end: the assert decides all the same.
        (f"{COUNTS}    while x == 3: pass\n", "assert f(1) == 5\nassert f(3) == 1\n", Outcome.WRONG_ANSWER),
        (
            "def f(x):\n    while x == 3: pass\n    return 1\n",
            "assert f(1) == 5\nassert f(3) == 1\n",
            Outcome.WRONG_ANSWER,
        ),
        (
            "import os\ndef f(x):\n    return 1 if x < 3 else os._exit(0)\n",
            "assert f(1) == 1\nassert f(2) == 5\nassert f(3) == 1\n",
            Outcome.WRONG_ANSWER,
        ),
        (
            "import os\ndef f(x):\n    return 1 if x < 3 else os._exit(0)\n",
            "assert f(1) == 1\nassert f(2) == 1\nassert f(3) == 1\n",
            Outcome.EXITED_EARLY,
        ),
        ("def f(x):\n    return 1 // (x - 2)\n", "assert f(1) == -1\nassert f(2) == 1\n", Outcome.EXCEPTION),
        (
            "def f(x):\n    return 'a' * 300_000\n",
            "assert len(f(1)) == 300000\nassert len(f(2)) == 300000\n",
            Outcome.PASSED,
        ),
        ("import os\nos._exit(0)\n", "assert f(1) == -1\nassert f(2) == 1\n", Outcome.EXITED_EARLY),
    ],
)
def test_verdicts_are_those_of_calls_made_one_by_one(code: str, tests: str, outcome: Outcome) -> None:
    try:
        rung = _ladder.choose()
    except SandboxError as e:
        pytest.skip(f"programs cannot be isolated here: {e}")
    assert len(_straight.calls(tests, "f", "")) > 1
    judges = (Asserts(function="f", tests=tests), OneByOne(Asserts(function="f", tests=tests)))
    bench = Bench(Jails(rung=rung), -1)
    try:
        for judge in judges:
            verdict = bench.judge(Program(language="python", files=(("", code),), judge=judge))
            assert verdict.outcome is outcome, verdict
    finally:
        bench.close()


class OneByOne:
    """A judge whose calls nobody can foresee."""

    def __init__(self, judge: Asserts) -> None:
        self.judge = judge
        self.entry_point = judge.entry_point

    def __call__(self, call: Callable[..., Any]) -> None:
        def one(*arguments: Any) -> Any:
            return call(*arguments)

        self.judge(one)
