"""What runs where and when: identities of programs, warm interpreters by import, an order that wastes no core."""

import ast
import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from magicoder.fingerprint import digest
from magicoder.records import Judge, Program
from magicoder.sandboxes._wire import TIERS

VERSION: Final = 1
"""Raised when the same program could get another verdict than before; part of every key."""

_HEAVY: Final = frozenset(
    root for packages in TIERS.values() for package in packages for root in [package.split(".")[0]]
)
_MENTIONS_HEAVY: Final = re.compile(rf"\b(?:{'|'.join(sorted(_HEAVY))})\b")
_GROUPS: Final = 10_000
_LONG: Final = 1 << 18


def tier(source: str, tests: str = "") -> str:
    """Return the smallest warm interpreter that has imported what the program does; `plain` if it does not parse."""
    imported: set[str] = set()
    for text in (source, tests):
        if _MENTIONS_HEAVY.search(text):
            imported |= _imports(text)
    for name, packages in TIERS.items():
        if imported <= {package.split(".")[0] for package in packages}:
            return name
    return "torch" if "torch" in imported else "science"


def _imports(text: str) -> set[str]:
    """Return the heavy packages that the program imports, wherever in it the import stands."""
    if len(text) > _LONG:  # a tree takes hundreds of times as much memory as its text: ours, not the program's
        return set(_MENTIONS_HEAVY.findall(text))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found & _HEAVY


class Keys:
    """Identities: two programs of one key get one verdict."""

    def __init__(self, isolation: str) -> None:
        self._isolation = isolation
        self._judges: OrderedDict[int, tuple[Judge, str]] = OrderedDict()

    def judge(self, judge: Judge) -> str:
        """Return the digest of a judge's fields; the programs of a task share one judge, so it is remembered."""
        known = self._judges.get(id(judge))
        if known is None:
            known = self._judges[id(judge)] = (judge, digest(judge))
            if len(self._judges) > 64:
                self._judges.popitem(last=False)
        return known[1]

    def key(self, program: Program, toolchain: str) -> bytes:
        """Return 20 bytes over all that decides a verdict; `group` does not."""
        judge = self.judge(program.judge) if program.judge is not None else ""
        expected = ("-", "") if program.expected_stdout is None else ("+", program.expected_stdout)
        limits = program.limits
        numbers = (limits.cpu_s, limits.wall_s, limits.memory_mb, limits.processes, limits.output_kb, limits.tmp_mb)
        parts = (
            *(str(VERSION), self._isolation, toolchain, program.language, program.compare, judge, repr(numbers)),
            *(program.tests, program.stdin, *expected),
            *(part for file in program.files for part in file),
        )
        hashed = hashlib.blake2b(digest_size=20)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            hashed.update(b"%d:" % len(data))
            hashed.update(data)
        return hashed.digest()


class Costs:
    """What programs of a group have taken so far, to guess what the next will."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()

    def learn(self, program: Program, seconds: float) -> None:
        """Remember what one has taken; later ones count for a quarter."""
        name = (program.language, program.group)
        before = self._seen.pop(name, seconds)
        self._seen[name] = before + (seconds - before) / 4
        if len(self._seen) > _GROUPS:
            self._seen.popitem(last=False)

    def expect(self, program: Program) -> float:
        """Return about how many seconds it will take; unknown ones of compiled languages longer than of Python."""
        if program.likely_s:
            return program.likely_s
        known = self._seen.get((program.language, program.group))
        if known is None:
            known = self._seen.get((program.language, ""), 0.003 if program.language == "python" else 0.5)
        return known


def ordered(programs: Iterable[tuple[int, Program]], costs: Costs) -> list[int]:
    """Return the numbers of `programs` in the order to run them: a group together, the longest group first.

    What begins last then ends soon, so that no core waits long for another at the end.
    """
    rows = [(number, program.language, program.group, costs.expect(program)) for number, program in programs]
    totals: dict[tuple[str, str], float] = {}
    for _, language, group, seconds in rows:
        totals[language, group] = totals.get((language, group), 0.0) + seconds
    rows.sort(key=lambda row: (-totals[row[1], row[2]], row[1], row[2], -row[3], row[0]))
    return [row[0] for row in rows]
