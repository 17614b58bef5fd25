"""Whether a program printed what it should have. The output is untrusted: every step takes linear time."""

import contextlib
import math
import re
from typing import Any, Final

TOLERANCE: Final = 1e-9
_INTEGER: Final = re.compile(r"[+-]?[0-9]+\Z")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")  # one way only: no trying


def difference(printed: bytes, expected: str, compare: str) -> str:
    """Return where output differs from what is expected, "" if it does not.

    `exact`: byte by byte. `tokens`: white space aside; whole numbers have to be equal, others within 1e-9, absolute
    or relative.

    Raises:
        ValueError: there is no such way to compare.
    """
    if compare == "exact":
        if printed == expected.encode("utf-8", "surrogatepass"):
            return ""
        return _first_line_that_differs(printed.decode("utf-8", "replace"), expected)
    if compare != "tokens":
        raise ValueError(f"outputs are compared as `exact` or `tokens`, not as {compare!r}")
    return of_tokens(printed.decode("utf-8", "replace"), expected)


def of_tokens(printed: str, expected: str) -> str:
    """Return which word differs, "" if none does."""
    got, want = printed.split(), expected.split()
    for place, (a, b) in enumerate(zip(got, want, strict=False), 1):
        if a != b and not _same_number(a, b):
            return f"word {place} is {short(a)}, expected {short(b)}"
    if len(got) != len(want):
        return f"{len(got)} words, expected {len(want)}"
    return ""


def _same_number(a: str, b: str) -> bool:
    if _INTEGER.match(a) and _INTEGER.match(b):
        with contextlib.suppress(ValueError):  # thousands of digits
            return int(a) == int(b)
        return False
    if not (_NUMBER.match(a) and _NUMBER.match(b)):
        return False
    return math.isclose(float(a), float(b), rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _first_line_that_differs(got: str, want: str) -> str:
    lines, wanted = got.split("\n"), want.split("\n")
    for place, (a, b) in enumerate(zip(lines, wanted, strict=False), 1):
        if a != b:
            return f"line {place} is {short(a)}, expected {short(b)}"
    return f"{len(lines)} lines, expected {len(wanted)}"


def short(value: Any) -> str:
    """Return a text, or how any other value is written, as a short line for a person."""
    text = value if isinstance(value, str) else repr(value)
    return ascii(text) if len(text) <= 60 else f"{text[:50]!a}… ({len(text)} characters)"
