"""Identities derived from values: nothing that decides a result can be forgotten, because nothing is listed by hand."""

import hashlib
import platform
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import orjson

_DECIDING: Final = ("ahocorasick", "license-expression", "magicoder", "pathspec", "tree-sitter")
"""Beginnings of the names of packages that decide what is kept and what is not."""
_WHOLE: Final = 32 * 2**20  # bytes; a larger file is digested by samples
_SAMPLES: Final = 64
_SAMPLE: Final = 2**16


def canonical(value: Any) -> Any:
    """Return `value` as JSON-ready data: dataclasses by class name and all fields that can change a result.

    Raises:
        TypeError: a value that has no canonical form, such as a function or an open file.
    """
    if is_dataclass(value) and not isinstance(value, type):
        named = {f.name: canonical(getattr(value, f.name)) for f in fields(value) if f.metadata.get("identity", True)}
        return {"": f"{type(value).__module__}.{type(value).__qualname__}", **named}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # a path may hold bytes that are no text
    if isinstance(value, int) and value.bit_length() > 63:
        return str(value)
    if value is None or isinstance(value, (int, float, bool)):
        return value
    raise TypeError(f"{value!r} has no canonical form")


def digest(value: Any) -> str:
    """Return 32 hex digits of BLAKE2b over the canonical form of `value`."""
    data = orjson.dumps(canonical(value), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_bytes(data: bytes) -> str:
    """Return 32 hex digits of BLAKE2b over `data`."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@lru_cache(maxsize=64)
def digest_files(files: tuple[tuple[str, int, int], ...]) -> str:
    """Return 32 hex digits of the content of `files` (path, bytes, time of change in ns), "" for none.

    Small files count whole, large ones by their size and 64 samples of 64 KiB, so that a model of many gigabytes takes
    milliseconds; training changes all of them.

    Raises:
        OSError: one cannot be read.
    """
    if not files:
        return ""
    found = hashlib.blake2b(digest_size=16)
    for name, size, _ in files:
        found.update(orjson.dumps([Path(name).name, size]))
        with Path(name).open("rb") as f:
            if size <= _WHOLE:
                found.update(f.read())
                continue
            for sample in range(_SAMPLES):
                f.seek((size - _SAMPLE) * sample // (_SAMPLES - 1))
                found.update(f.read(_SAMPLE))
    return found.hexdigest()


def number(text: str, bits: int = 31) -> int:
    """Return a stable non-negative integer below 2**bits drawn from `text`."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> (64 - bits)


@cache
def software() -> dict[str, str]:
    """Return the versions of Python, of this package and of those whose code decides results: parsers, hashes, rules.

    What they made with other versions is made again rather than mixed.
    """
    from importlib import metadata  # slow to load, and workers do not ask

    names = {name.lower().replace("_", "-") for d in metadata.distributions() if (name := d.name)}
    deciding = sorted(name for name in names if name.startswith(_DECIDING))
    python = ".".join(platform.python_version_tuple()[:2])  # its Unicode tables and random draws
    return {"python": python, **{name: metadata.version(name) for name in deciding}}
