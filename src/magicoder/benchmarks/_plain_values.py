"""Answers of canonical solutions as JSON: what JSON has no word for becomes a record whose one field names its type."""

import json
import math
from collections import Counter
from typing import Any, Final

_EXACT: Final = 1 << 53


class Unwritable(ValueError):  # noqa: N818 - a property of the value
    """The value has no plain form."""


def dumps(value: Any) -> bytes:
    """Return `value` as JSON.

    Raises:
        Unwritable: it holds something other than plain data.
    """
    return json.dumps(_plain(value), separators=(",", ":")).encode()


def loads(data: bytes) -> Any:
    """Return what `dumps` wrote."""
    return _value(json.loads(data))


def _plain(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if -_EXACT <= value <= _EXACT else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is list:
        return [_plain(v) for v in value]
    if kind is complex:
        return {"complex": [_plain(value.real), _plain(value.imag)]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind in (dict, Counter):
        return {"dict" if kind is dict else "Counter": [[_plain(k), _plain(v)] for k, v in value.items()]}
    if kind is tuple:
        return {"tuple": [_plain(v) for v in value]}
    if kind in (set, frozenset):
        return {kind.__name__: sorted((_plain(v) for v in value), key=json.dumps)}
    raise Unwritable(f"{kind.__module__}.{kind.__qualname__}")


def _value(plain: Any) -> Any:
    if type(plain) is list:
        return [_value(v) for v in plain]
    if type(plain) is not dict:
        return plain
    ((name, inner),) = plain.items()
    return _MADE[name](inner)


_MADE: Final[dict[str, Any]] = {
    "int": lambda inner: int(inner, 16),
    "float": float,
    "complex": lambda inner: complex(*map(_value, inner)),
    "bytes": bytes.fromhex,
    "dict": lambda inner: {_value(k): _value(v) for k, v in inner},
    "Counter": lambda inner: Counter({_value(k): _value(v) for k, v in inner}),
    "tuple": lambda inner: tuple(map(_value, inner)),
    "set": lambda inner: set(map(_value, inner)),
    "frozenset": lambda inner: frozenset(map(_value, inner)),
}
