"""Judge contest programs on many inputs, up to the first wrong output. What is expected never enters the sandbox."""

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from magicoder.text.outputs import TOLERANCE, of_tokens, short

_APPS_RELATIVE, _APPS_ABSOLUTE = 1e-5, 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """A judge of what a program prints, for each input; `compare` is `tokens`, `lcb` or `apps`, see `difference`.

    cpu_s        seconds of processor time for each input
    mimic        runs the program as LiveCodeBench's grader does
    """

    cases: tuple[tuple[str, str], ...]
    compare: str
    cpu_s: int
    mimic: bool = False

    @property
    def entry_point(self) -> str:
        """As in the protocol."""
        return "run_mimicked" if self.mimic else "run_case"

    def __call__(self, call: Callable[..., Any]) -> None:
        """Run the cases, in order.

        Raises:
            AssertionError: an output is wrong.
        """
        for number, (given, expected) in enumerate(self.cases, 1):
            printed = call(given, self.cpu_s)
            text = printed.decode("utf-8", "replace") if isinstance(printed, bytes) else ""
            wrong = difference(text, expected, self.compare)
            if wrong:
                raise AssertionError(f"input {number} of {len(self.cases)}: {wrong}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """A judge of what a function returns: each case is its arguments and the expected value, as JSON.

    wrapped      the expected value may be the only item of a list, as APPS writes it
    any_item     it may be the first of several, as APPS' own grader takes it
    """

    cases: tuple[tuple[str, str], ...]
    cpu_s: int
    wrapped: bool = False
    any_item: bool = False

    @property
    def entry_point(self) -> str:
        """As in the protocol."""
        return "call_solution"

    def __call__(self, call: Callable[..., Any]) -> None:
        """Call the function with each case.

        Raises:
            AssertionError: a value is wrong.
        """
        for number, (arguments, text) in enumerate(self.cases, 1):
            got, expected = plain(call("", json.loads(arguments), {}, self.cpu_s)), json.loads(text)
            if equal(got, expected):
                continue
            inner = isinstance(expected, list) and expected and (len(expected) == 1 or self.any_item)
            if self.wrapped and inner and equal(got, expected[0]):
                continue
            raise AssertionError(f"call {number} of {len(self.cases)}: {short(got)}, expected {short(expected)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SolutionTests:
    """A judge that runs tests about a class `Solution` outside; only the methods' calls go into the sandbox."""

    tests: str
    cpu_s: int

    @property
    def entry_point(self) -> str:
        """As in the protocol."""
        return "call_solution"

    def __call__(self, call: Callable[..., Any]) -> None:
        """Run the tests.

        Raises:
            AssertionError: one failed.
        """
        seconds = self.cpu_s

        class Solution:
            def __getattr__(self, name: str) -> Callable[..., Any]:
                return lambda *args, **named: call(name, list(args), named, seconds)

        space: dict[str, Any] = {"__name__": "tests", "Solution": Solution}
        exec(compile(self.tests, "<tests>", "exec"), space)  # noqa: S102 - the benchmark's own code


def plain(value: Any) -> Any:
    """Return a value as JSON would give it back: lists for tuples, text for keys."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {json.dumps(k) if isinstance(k, int) else k: plain(v) for k, v in value.items()}
    return value


def equal(got: Any, expected: Any) -> bool:
    """Whether two values are equal; numbers with a point within 1e-9, absolute or relative."""
    if isinstance(got, float) or isinstance(expected, float):
        if isinstance(got, (bool, str)) or isinstance(expected, (bool, str)):
            return False
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return got == expected or math.isclose(got, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return False
    if isinstance(got, list) and isinstance(expected, list):
        return len(got) == len(expected) and all(map(equal, got, expected))
    if isinstance(got, bool) != isinstance(expected, bool):
        return False
    return bool(got == expected)


def difference(printed: str, expected: str, compare: str) -> str:
    """Return where an output differs from what is expected, "" if it does not.

    tokens   white space aside; whole numbers equal, others within 1e-9, absolute or relative
    lcb      as LiveCodeBench's grader: lines, stripped, as text or as decimals
    apps     as APPS' grader: lines as text; numbers within 1e-5; lines or words in any order
    """
    if compare == "lcb":
        return _of_lines(printed, expected)
    wrong = of_tokens(printed, expected)
    if wrong and compare == "apps" and _apps_equal(printed, expected):
        return ""
    return wrong


def _of_lines(printed: str, expected: str) -> str:
    got = [line.strip() for line in printed.strip().split("\n")]
    want = [line.strip() for line in expected.strip().split("\n")]
    if len(got) != len(want):
        return f"{len(got)} lines, expected {len(want)}"
    for place, (a, b) in enumerate(zip(got, want, strict=True), 1):
        if a != b and not _same_decimals(a, b):
            return f"line {place} is {short(a)}, expected {short(b)}"
    return ""


def _same_decimals(a: str, b: str) -> bool:
    try:
        return [Decimal(word) for word in a.split()] == [Decimal(word) for word in b.split()]
    except InvalidOperation:
        return False


def _apps_equal(printed: str, expected: str) -> bool:
    got = [line.strip() for line in printed.strip().split("\n") if line.strip()]
    want = [line.strip() for line in expected.strip().split("\n") if line.strip()]
    if set(got) == set(want) or {frozenset(line.split()) for line in got} == {frozenset(w.split()) for w in want}:
        return True
    try:
        pairs = [(float(a), float(b)) for a, b in zip(printed.split(), expected.split(), strict=True)]
    except ValueError:
        return False
    return all(abs(a - b) <= _APPS_ABSOLUTE + _APPS_RELATIVE * abs(b) for a, b in pairs)
