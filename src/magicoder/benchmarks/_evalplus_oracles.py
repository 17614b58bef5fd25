"""When an answer counts as right in HumanEval+ and MBPP+: the published rules, and what harnesses make of them.

Answers are equal, or close where the expectation is a float or a list of floats, with some special cases. `evalplus`
follows the harness (master of October 2025) as far as honest programs can tell; `strict` leaves out what is plainly an
accident there: the faults below. `evalplus-head` has in addition what keeps a canonical solution from passing there.
`evalplus-0.3.1` is the last release, `evalplus-0.2` the harness of mid-2024, which many published figures are from.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from magicoder.benchmarks._profiles import Profiles

FLOAT_ATOL: Final = 1e-6
RTOL: Final = 1e-7
LATE: Final = "late-tolerance"
NUMPY: Final = "numpy"
TYPES: Final = "types"
NO_SETS: Final = "no-sets"
ONE_SECOND: Final = "one-second"
ONE_MINUTE: Final = "one-minute"
UNRECORDED: Final = "unrecorded"
HEAP: Final = "heap"
PROFILES: Final = Profiles(
    known={
        LATE: "a tolerance holds from the first answer on that is a float, not in the whole task",
        NUMPY: "numbers are compared as numpy does: an empty list is close to any number, one number to a list of "
        "equal ones, and a whole number beyond 64 bits to none",
        TYPES: "answers within the tolerance have to be of the same type, as no list is where a tuple is expected",
        NO_SETS: "eight tasks whose answers are sets are compared as lists",
        ONE_SECOND: "a call may take 1 s where it may take 4 s elsewhere",
        ONE_MINUTE: "all calls of a check together may take 61 s where they may take 121 s elsewhere",
        UNRECORDED: "answers to HumanEval/32 are not recorded, and so it always fails",
        HEAP: "what the harness holds of Mbpp/255's tests counts as the program's memory, and so its plus always fails",
    },
    made_of={
        "evalplus": (LATE, NUMPY, ONE_MINUTE),
        "evalplus-head": (LATE, NUMPY, ONE_MINUTE, HEAP),
        "evalplus-0.3.1": (LATE, NUMPY, ONE_MINUTE, TYPES, ONE_SECOND, UNRECORDED),
        "evalplus-0.2": (LATE, NUMPY, ONE_MINUTE, NO_SETS, ONE_SECOND),
    },
)
HOPELESS: Final = {UNRECORDED: ("find_zero", ("base", "plus")), HEAP: ("combinations_colors", ("plus",))}
"""The function, and the checks, that no program passes with a fault."""
COMPARING: Final = (LATE, NUMPY, TYPES)
"""The faults of comparisons; others are no matter of a judge."""

_SET: Final = frozenset(
    {
        "similar_elements",  # Mbpp/2
        "find_char_long",  # Mbpp/7
        "common_in_nested_lists",  # Mbpp/111
        "extract_singly",  # Mbpp/140
        "larg_nnum",  # Mbpp/232
        "intersection_array",  # Mbpp/249
        "find_dissimilar",  # Mbpp/579
        "Diff",  # Mbpp/769
    }
)
_NOT_NONE: Final = frozenset({"check_str", "text_match_three", "text_starta_endb"})  # Mbpp/737, 787, 794

_SPECIAL: Final = {
    "are_equivalent": "any",  # Mbpp/164: the sentence does not say what is meant
    "sum_div": "or_zero",  # Mbpp/295
    "surface_Area": "pyramid",  # Mbpp/581: the height may be that of the pyramid instead of its sides
    "digit_distance_nums": "digits",  # Mbpp/558: numbers may be padded to one length first
}


def rule(benchmark: str, entry_point: str) -> str:
    """Return the name of the rule that a task's answers are compared by."""
    if benchmark == "humaneval_plus":
        return "zero" if entry_point == "find_zero" else "equal"  # HumanEval/32: any root will do
    if entry_point in _SET:
        return "set"
    return "not_none" if entry_point in _NOT_NONE else _SPECIAL.get(entry_point, "equal")


def is_floats(value: Any) -> bool:
    """Whether an expectation asks for a tolerance: a float, or a list or tuple of nothing else."""
    if isinstance(value, float):
        return True
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, float) for v in value)


def right(
    rule: str, answer: Any, expected: Any, arguments: Sequence[Any], atol: float, *, faults: Sequence[str] = ()
) -> bool:
    """Whether `answer` is right. Never raises: what cannot be compared is wrong."""
    try:
        if rule == "zero":
            return bool(abs(sum(c * math.pow(answer, i) for i, c in enumerate(arguments[0]))) <= atol)
        if rule == "any" or _exact(rule, answer, expected, arguments, atol):
            return True
        if atol == 0 or (TYPES in faults and type(answer) is not type(expected)):
            return False
        return _broadcast(answer, expected, atol) if NUMPY in faults else _close(answer, expected, atol)
    except (TypeError, ValueError, OverflowError, AttributeError, ArithmeticError, RecursionError):
        return False


def _exact(rule: str, answer: Any, expected: Any, arguments: Sequence[Any], atol: float) -> bool:
    if rule == "set":
        return set(answer) == set(expected)
    if rule == "not_none":
        return bool(answer == expected) if isinstance(answer, bool) else expected == (answer is not None)
    if bool(answer == expected):
        return True
    if rule == "or_zero":
        return bool(answer == 0)
    if rule == "pyramid":
        edge, height = arguments
        slant = math.sqrt((edge / 2) ** 2 + height**2)
        return bool(abs(answer - round(edge**2 + 2 * edge * slant)) <= atol)
    if rule == "digits":
        first, second = map(str, arguments)
        width = max(len(first), len(second))
        pairs = zip(first.zfill(width), second.zfill(width), strict=True)
        return bool(answer == sum(abs(int(a) - int(b)) for a, b in pairs))
    return False


def _near(answer: Any, expected: Any, atol: float) -> bool:
    if answer == expected:  # infinities too
        return True
    return bool(abs(answer - expected) <= atol + RTOL * abs(expected)) and math.isfinite(abs(expected))


def _close(answer: Any, expected: Any, atol: float) -> bool:
    answer, expected = _list(answer), _list(expected)
    if type(answer) is not list and type(expected) is not list:
        return _near(answer, expected, atol)
    if type(answer) is not list or type(expected) is not list or len(answer) != len(expected):
        return False
    return all(_close(a, e, atol) for a, e in zip(answer, expected, strict=True))


def _broadcast(answer: Any, expected: Any, atol: float) -> bool:
    """Compare as numpy does, which stretches what has one element to the length of the other."""
    answer, expected = _list(answer), _list(expected)
    if type(answer) is not list and type(expected) is not list:
        for number in (answer, expected):
            if isinstance(number, int) and not -(1 << 63) <= number < 1 << 64:
                raise TypeError("an object to numpy")
        return _near(answer, expected, atol)
    lists = [v for v in (answer, expected) if type(v) is list]
    length = next((len(v) for v in lists if len(v) != 1), 1)
    if any(len(v) not in (1, length) for v in lists):
        raise ValueError("forms that do not broadcast")
    stretched = [(v * length if len(v) == 1 else v) if type(v) is list else [v] * length for v in (answer, expected)]
    for value in (answer, expected):  # an empty one says nothing, but has to be made of numbers
        if type(value) is not list and not isinstance(value, int | float | complex):
            raise TypeError("not a number")
    return all(_broadcast(a, e, atol) for a, e in zip(*stretched, strict=True))


def _list(value: Any) -> Any:
    """Return a sequence, or an array of numpy's, as a list."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, list | int | float | complex):
        return value
    if type(value).__module__ == "numpy":
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no number")
