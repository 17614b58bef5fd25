"""What JSON cannot say of MBPP+'s inputs: which lists are tuples or sets, and which texts are complex numbers.

The published file has lists everywhere; which tasks want what is a fact of its loader (evalplus, `data/mbpp.py`).
"""

from collections.abc import Callable
from typing import Any, Final


def _rows(value: Any) -> Any:
    """Return a list of lists as one of tuples."""
    return [tuple(v) for v in value]


def _all(value: Any) -> Any:
    """Return a value with all its lists as tuples, however deep."""
    return tuple(map(_all, value)) if isinstance(value, list) else value


def _sets(value: Any) -> Any:
    return [set(v) if isinstance(v, list) and v else {} for v in value]


_TUPLES: Final = (
    *(2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
)
_ROWS: Final = (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780)
_DEEP: Final = (259, 401, 445)
_WHOLE: Final = (580, 615, 791)


def _first(change: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    return lambda arguments: [change(arguments[0]), *arguments[1:]]


def _each(change: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    return lambda arguments: [change(a) for a in arguments]


_CHANGES: Final[dict[int, Callable[[list[Any]], list[Any]]]] = {
    **dict.fromkeys(_TUPLES, _each(tuple)),
    **dict.fromkeys(_ROWS, _each(_rows)),
    **dict.fromkeys(_DEEP, _each(lambda a: tuple(map(tuple, a)))),
    **dict.fromkeys(_WHOLE, _each(_all)),
    **dict.fromkeys((75, 413, 444, 753), _first(_rows)),
    **dict.fromkeys((250, 307, 405, 446, 617, 720, 763, 808), _first(tuple)),
    **dict.fromkeys((106, 750), lambda a: [a[0], tuple(a[1])]),
    115: _first(_sets),
    124: lambda a: [float(a[0]), complex(a[1])],
    252: _first(complex),
    278: _each(lambda a: tuple(tuple(v) if isinstance(v, list) else v for v in a)),
    722: _first(lambda a: {k: tuple(v) for k, v in a.items()}),
}


def converted(number: int, inputs: list[list[Any]]) -> list[list[Any]]:
    """Return the inputs of task `Mbpp/<number>` as its function takes them."""
    change = _CHANGES.get(number)
    return inputs if change is None else [change(arguments) for arguments in inputs]
