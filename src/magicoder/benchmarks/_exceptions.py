"""Canonical solutions that are known to fail, and why: lists in `exceptions/`, a file a benchmark.

A file has a `prefix` of task ids and a list of `exceptions`: `why`; `tasks`, the rest of their ids, of which ranges of
numbers are written `666-710`; and where it holds: `where`, libraries and what has to be said of each (`absent`,
`present`, or a comparison as `<2.1`); `fault`, in a profile that has that one; `unless`, where the suite does not have
something at hand.
"""

import re
from collections.abc import Callable, Collection, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

_COMPARISON: Final = re.compile(r"(<=|>=|==|<|>)\s*(\d+(?:\.\d+)*)\Z")
_KEYS: Final = {"why", "tasks", "where", "fault", "unless"}


def known(
    benchmark: str, faults: Collection[str], installed: Callable[[str], str], *, at_hand: Collection[str] = ()
) -> dict[str, str]:
    """Return the tasks of `benchmark` that are known to fail here, and why.

    faults       of the profile
    installed    see `protocols.Suite.exceptions`
    at_hand      what the suite has that would be missing elsewhere
    """
    found: dict[str, str] = {}
    prefix, entries = _read(benchmark)
    for entry in entries:
        if entry.get("fault") not in (None, *faults) or entry.get("unless") in at_hand:
            continue
        where: dict[str, str] = entry.get("where", {})
        if all(holds(installed(library), said) for library, said in where.items()):
            found.update((f"{prefix}{task}", entry["why"]) for task in _ids(entry["tasks"]))
    return found


def holds(version: str, said: str) -> bool:
    """Whether a version ("" for none) is as is said of it; only the leading numbers of its parts count.

    Raises:
        ValueError: nothing that can be said of a version.
    """
    if said in ("absent", "present"):
        return bool(version) == (said == "present")
    match = _COMPARISON.match(said)
    if match is None:
        raise ValueError(f"{said!r} is no condition: absent, present, or a comparison such as <2.1")
    if not version:
        return False
    ours, theirs = _parts(version), _parts(match[2])
    length = max(len(ours), len(theirs))
    one, two = (parts + [0] * (length - len(parts)) for parts in (ours, theirs))
    return {"<": one < two, "<=": one <= two, "==": one == two, ">=": one >= two, ">": one > two}[match[1]]


def _parts(version: str) -> list[int]:
    release = re.match(r"\d+(?:\.\d+)*", version)
    return [int(part) for part in release[0].split(".")] if release else []


def _ids(tasks: list[int | str]) -> Iterator[str]:
    for task in tasks:
        first, dash, last = str(task).partition("-")
        if dash:
            yield from map(str, range(int(first), int(last) + 1))
        else:
            yield str(task)


@cache
def _read(benchmark: str) -> tuple[str, list[dict[str, Any]]]:
    place = files("magicoder.benchmarks") / "exceptions" / f"{benchmark}.yaml"
    if not place.is_file():
        return "", []
    found = yaml.safe_load(place.read_text(encoding="utf-8"))
    entries: list[dict[str, Any]] = found["exceptions"]
    odd = [key for entry in entries for key in entry if key not in _KEYS]
    assert not odd, f"{place}: {odd[0]}"
    return found["prefix"], entries
