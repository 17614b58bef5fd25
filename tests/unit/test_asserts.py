"""Tests that come as code, run outside the sandbox."""

from collections.abc import Callable
from typing import Any

import pytest

from magicoder.benchmarks._asserts import Asserts, called
from magicoder.benchmarks._python_suites import HumanEvalSuite
from magicoder.records import Task


def test_the_tested_function_is_the_one_that_is_called() -> None:
    judge = Asserts(function="f", tests="assert f(1) == 2\nassert f(2) == 3")
    judge(lambda n: n + 1)
    with pytest.raises(AssertionError, match=r"assert f\(2\) == 3"):
        judge(lambda n: 2)


def test_an_asserts_own_words_are_kept() -> None:
    with pytest.raises(AssertionError, match="two, please"):
        Asserts(function="f", tests="assert f(1) == 2, 'two, please'")(lambda n: 0)


def test_helpers_of_the_prompt_are_the_datasets() -> None:
    judge = Asserts(
        function="decode",
        setup="def encode(s): return s[::-1]\ndef decode(s): raise NotImplementedError",
        tests="def check(candidate):\n    assert candidate(encode('ab')) == 'ab'\n    assert decode('ba') == 'ab'",
        check="check",
    )
    judge(lambda s: s[::-1])


def test_what_a_function_raises_comes_through() -> None:
    def fails(_: Any) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        Asserts(function="f", tests="assert f(1) == 2")(fails)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("assert f(1) == 2\nassert f(3) == 4", "f"),
        ("import math\nassert math.isclose(f(1), 2)", "f"),
        ("assert set(f([1])) == set([1])", "f"),
        ("assert longest([Pair(1, 2)]) == 1", ""),
        ("assert f(root) == 1", ""),
        ("assert (", ""),
        ("assert X == 1", ""),
    ],
)
def test_asserts_about_one_function_are_told_from_others(text: str, name: str) -> None:
    assert called(text) == name


def task(reference: str) -> Task:
    return Task(
        id="HumanEval/x",
        benchmark="humaneval",
        language="python",
        prompt='def f(n):\n    """Double n."""\n',
        reference=reference,
        tests="def check(candidate):\n    assert candidate(2) == 4\n",
        entry_point="f",
    )


@pytest.mark.parametrize(
    ("style", "answer"),
    [
        ("completion", "    return 2 * n\n"),
        ("magicoder", "\n    return 2 * n\n```\nThis doubles it."),
        ("chat", "Sure:\n```python\ndef f(n):\n    return 2 * n\n```\nDone."),
        ("solution", "def f(n):\n    return 2 * n\nif __name__ == '__main__':\n    print(f(int(input())))\n"),
    ],
)
def test_answers_of_all_styles_become_programs(style: str, answer: str) -> None:
    one = task("    return 2 * n\n")
    suite = HumanEvalSuite("humaneval", "1.0", [one])
    code = suite.program_text(one, answer, style).code
    ((name, program),) = suite.checks(one, code, "strict")
    space: dict[str, Callable[..., Any]] = {"__name__": "__main__"}
    exec(program.files[0][1], space)
    assert name == "all"
    assert program.judge is not None
    program.judge(space["f"])


def test_prompts_are_those_of_the_paper() -> None:
    one = task("")
    suite = HumanEvalSuite("humaneval", "1.0", [one])
    asked = suite.prompt(one, "magicoder")
    text = one.prompt.strip()
    assert asked.messages[0].content == f"Write a solution to the following problem:\n```python\n{text}\n```"
    assert asked.messages[1].content == f"```python\n{text}"
    assert suite.prompt(one, "completion").messages[0].content == one.prompt
    assert "\ndef " in suite.prompt(one, "completion").stop
    assert len(suite.prompt(one, "chat").messages) == 1
