"""What runs where and when, and what makes two programs the same."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from magicoder.records import Limits, Program
from magicoder.sandboxes._plan import Costs, Keys, ordered, tier


@pytest.mark.parametrize(
    ("source", "tests", "expected"),
    [
        ("import os, re", "", "plain"),
        ("import numpy as np", "", "numpy"),
        ("x = 1", "from numpy.linalg import norm", "numpy"),
        ("import pandas", "import numpy", "pandas"),
        ("def f():\n    from sklearn import svm", "", "science"),
        ("import matplotlib.pyplot as plt", "", "science"),
        ("import torch", "", "torch"),
        ("import torch, pandas", "", "torch"),
        ("import numpy as (", "", "plain"),
        ("# import numpy", "", "plain"),
        ("s = 'import torch'", "", "plain"),
        ("from .numpy import x", "", "plain"),
        ("import numpyro", "", "plain"),
        ("\0import numpy", "", "plain"),
        ("(" * 10_000 + "numpy", "", "plain"),
    ],
)
def test_imports_choose_the_warm_interpreter(source: str, tests: str, expected: str) -> None:
    assert tier(source, tests) == expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    answer: int
    entry_point: str = "f"

    def __call__(self, call: Any) -> None:
        assert call() == self.answer


BASE = Program(language="python", files=(("", "x = 1"),))


def test_what_can_change_a_verdict_changes_the_key() -> None:
    others = [
        replace(BASE, language="ruby"),
        replace(BASE, files=(("main.py", "x = 1"),)),
        replace(BASE, files=(("", "x = 2"),)),
        replace(BASE, files=(("", "x = 1"), ("a", ""))),
        replace(BASE, tests="x = 1"),
        replace(BASE, stdin="a"),
        replace(BASE, expected_stdout=""),
        replace(BASE, expected_stdout="-"),
        replace(BASE, compare="exact"),
        replace(BASE, judge=Wants(answer=1)),
        replace(BASE, judge=Wants(answer=2)),
        replace(BASE, limits=Limits(cpu_s=1)),
        replace(BASE, limits=Limits(tmp_mb=1)),
        replace(BASE, files=(("", "\udc80"),)),
        replace(BASE, files=(("", "\\udc80"),)),  # not to be mistaken for the lone surrogate above
        replace(BASE, files=(("x = 1", ""),)),
    ]
    keys = Keys("rung 3")
    found = {keys.key(program, "python 3.11") for program in (BASE, *others)}
    assert len(found) == len(others) + 1
    assert keys.key(BASE, "python 3.12") not in found
    assert Keys("rung 1").key(BASE, "python 3.11") not in found


def test_what_cannot_change_a_verdict_does_not_change_the_key() -> None:
    keys = Keys("rung 3")
    assert keys.key(BASE, "a") == keys.key(replace(BASE, group="HumanEval/1"), "a")
    assert keys.key(replace(BASE, judge=Wants(answer=1)), "a") == keys.key(replace(BASE, judge=Wants(answer=1)), "a")


def test_many_judges_are_told_apart_though_few_are_remembered() -> None:
    keys = Keys("rung 3")
    assert len({keys.judge(Wants(answer=i)) for i in range(500)}) == 500


def test_groups_stay_together_and_the_longest_comes_first() -> None:
    costs = Costs()
    for group, seconds in (("a", 0.1), ("b", 2.0), ("c", 0.5)):
        costs.learn(replace(BASE, group=group), seconds)
    programs = [replace(BASE, group="acb"[i % 3]) for i in range(9)]
    order = ordered(enumerate(programs), costs)
    assert [programs[i].group for i in order] == [*"bbb", *"ccc", *"aaa"]
    assert sorted(order) == list(range(9))
    assert order == ordered(enumerate(programs), costs)


def test_costs_are_learnt_and_forgotten_in_bounded_memory() -> None:
    costs = Costs()
    for i in range(20_000):
        costs.learn(replace(BASE, group=str(i)), 1.0)
    assert len(costs._seen) == 10_000
    assert costs.expect(replace(BASE, group="19999")) == 1.0
    assert costs.expect(replace(BASE, group="0")) < costs.expect(replace(BASE, language="java", group="0"))
