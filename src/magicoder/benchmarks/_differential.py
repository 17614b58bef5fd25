"""A function tested on many inputs against answers that a canonical solution gave, which never enter the sandbox.

The answers of a task lie in two files (`Answers`): digests, inputs and small answers in one, read whole; large ones in
the other, read where a digest differs. They are made by running the canonical solution in the sandbox (`Recorder`).
"""

import ast
import base64
import json
import marshal
import os
import reprlib
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from magicoder.benchmarks import _evalplus_oracles as oracles
from magicoder.benchmarks import _mbpp_inputs, _plain_values
from magicoder.errors import BenchmarkError
from magicoder.protocols import NOT_IDENTITY

FORMAT: Final = 2
ENTRY_POINT: Final = "__ask__"

_DIGEST: Final = 16
_NONE: Final = bytes(_DIGEST)
_SMALL: Final = 1 << 15
_LARGE: Final = 1 << 22  # bytes from which on an answer of texts only is known by its digest alone
_FIRST_BATCH: Final = 4
_LAST_BATCH: Final = 1024


@cache
def _shower() -> reprlib.Repr:
    found = reprlib.Repr()
    found.maxstring, found.maxother, found.maxlong = 80, 80, 40
    return found


def _short(value: Any) -> str:
    """Return how `value` is written, cut where it is long."""
    return _shower().repr(value)


@cache
def questions() -> str:
    """Return what stands behind a program, without its comments."""
    tree = ast.parse((files("magicoder.benchmarks") / "_differential_inside.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    return ast.unparse(tree)


@cache
def _behind() -> str:
    """Return the same as a program can carry it, compiled for an interpreter like this one, and as text for others."""
    text = questions()
    # Version 2: the same bytes in every process, since they are part of what a verdict is found by in the cache.
    code = marshal.dumps(compile(text, "<questions>", "exec", dont_inherit=True), 2)
    packed = base64.b64encode(zlib.compress(code, 9)).decode()
    # A name space of its own: programs call their own functions `sum` or `list`.
    return (
        "\n\n__import__('builtins').exec(__import__('marshal').loads(__import__('zlib').decompress("
        f"__import__('binascii').a2b_base64('{packed}'))) "
        f"if __import__('sys').hexversion == {sys.hexversion} else {text!r}, "
        "{'target': __import__('builtins').globals(), '__name__': 'questions'})\n"
    )


def with_questions(code: str) -> str:
    """Return a program whose `ENTRY_POINT` a judge of this module can call."""
    return f"{code}{_behind()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A task's tests: inputs as they stand in the benchmark's file, and what the canonical solution answered.

    digests     16 bytes each; zeros where an answer has none
    seconds     of processor time that each took
    values      `_plain_values` of small answers, else None; `large` is then where it stands in the second file, or None
                where the digest alone decides
    floats      whether the answer asks for a tolerance
    """

    inputs: list[list[Any]]
    digests: list[bytes]
    seconds: list[float]
    values: list[Any]
    large: list[tuple[int, int] | None]
    floats: list[bool]
    place: Path

    def expected(self, test: int) -> Any:
        """Return an answer. Where the digest alone decides there is none: see `decides`."""
        where = self.large[test]
        if where is None:
            return _plain_values.loads(json.dumps(self.values[test]).encode())
        with _second(self.place).open("rb") as file:
            file.seek(where[0])
            return _plain_values.loads(zlib.decompress(file.read(where[1])))

    def decides(self, test: int) -> bool:
        """Whether an answer with another digest is wrong."""
        return bool(self.values[test] == _UNKEPT)


_UNKEPT: Final = {"unkept": True}


def _second(place: Path) -> Path:
    return place.with_suffix(".large")


@lru_cache(maxsize=2)
def load(place: str, benchmark: str, number: int) -> Answers:
    """Read the answers to a task.

    Raises:
        BenchmarkError: they are not there or damaged.
    """
    try:
        found = json.loads(zlib.decompress(Path(place).read_bytes()))
        whole = bytes.fromhex(found["digests"])
        return Answers(
            inputs=_mbpp_inputs.converted(number, found["inputs"]) if benchmark == "mbpp_plus" else found["inputs"],
            digests=[whole[i : i + _DIGEST] for i in range(0, len(whole), _DIGEST)],
            seconds=found["seconds"],
            values=found["values"],
            large=[where and (where[0], where[1]) for where in found["large"]],
            floats=found["floats"],
            place=Path(place),
        )
    except (OSError, zlib.error, ValueError, KeyError) as e:
        raise BenchmarkError(f"{place}: the canonical answers cannot be read ({e}); delete the file") from e


@dataclass(frozen=True, slots=True, kw_only=True)
class Differential:
    """A judge that compares with the answers in a file.

    answers     a digest of that file, so that verdicts hang on what it says and not on where it lies
    first, last     which of the tests
    rule        how answers are compared, see `_evalplus_oracles`
    faults      of the harness that are followed, see there
    """

    benchmark: str
    number: int
    function: str
    answers: str
    first: int
    last: int
    rule: str
    atol: float
    faults: tuple[str, ...]
    least_cpu_s: float
    place: str = field(metadata=NOT_IDENTITY)

    @property
    def entry_point(self) -> str:
        """As in the protocol."""
        return ENTRY_POINT

    def __call__(self, call: Callable[..., Any]) -> None:
        """Ask for more and more answers at a time, and look at those whose digests differ.

        Raises:
            AssertionError: one is wrong.
        """
        known = load(self.place, self.benchmark, self.number)
        test, size = self.first, _FIRST_BATCH
        while test < self.last:
            stop = min(test + size, self.last)
            cpu_s = [max(self.least_cpu_s, 4 * s) for s in known.seconds[test:stop]]
            digests, _, _, raised = call("run", self.function, known.inputs[test:stop], cpu_s)
            count = len(digests) // _DIGEST
            differing = [
                i
                for i in range(count)
                if (found := digests[_DIGEST * i : _DIGEST * i + _DIGEST]) == _NONE or found != known.digests[test + i]
            ]
            self._look(call, known, test, differing)
            if raised:
                call("raise")
            assert count or raised, "no answer"
            test, size = test + count, min(4 * size, _LAST_BATCH)

    def _look(self, call: Callable[..., Any], known: Answers, first: int, differing: Sequence[int]) -> None:
        at, size = 0, 8
        while at < len(differing):
            some = differing[at : at + size]
            decided = next((i for i in some if known.decides(first + i)), None)
            some = [i for i in some if decided is None or i < decided]
            answers = call("give", some) if some else []
            for i, answer in zip(some, answers, strict=True):
                test = first + i
                expected, arguments = known.expected(test), known.inputs[test]
                atol = self._atol(known, test)
                if not oracles.right(self.rule, answer, expected, arguments, atol, faults=self.faults):
                    raise AssertionError(self._shown(test, arguments, answer, expected))
            if decided is not None:
                raise AssertionError(f"test {first + decided - self.first}: another text than expected")
            at, size = at + size, 2 * size

    def _atol(self, known: Answers, test: int) -> float:
        if self.atol:
            return self.atol
        begin, end = (self.first, test + 1) if oracles.LATE in self.faults else (0, len(known.floats))
        return oracles.FLOAT_ATOL if any(known.floats[begin:end]) else 0.0

    def _shown(self, test: int, arguments: Sequence[Any], answer: Any, expected: Any) -> str:
        words = ", ".join(map(_short, arguments))
        return f"test {test - self.first}: {self.function}({words}) is {_short(answer)}, expected {_short(expected)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """A judge that finds every answer right and writes it down.

    inputs      JSON
    """

    benchmark: str
    number: int
    function: str
    inputs: str
    place: str = field(metadata=NOT_IDENTITY)

    @property
    def entry_point(self) -> str:
        """As in the protocol."""
        return ENTRY_POINT

    def __call__(self, call: Callable[..., Any]) -> None:
        """Ask for all answers and write the two files.

        Raises:
            AssertionError: an answer is no plain data.
        """
        plain = json.loads(self.inputs)
        inputs = (
            _mbpp_inputs.converted(self.number, json.loads(self.inputs)) if self.benchmark == "mbpp_plus" else plain
        )
        record = _Record(rule=oracles.rule(self.benchmark, self.function))
        while len(record.digests) < len(inputs):
            first = len(record.digests)
            some = inputs[first : first + 64]
            digests, sizes, seconds, raised = call("run", self.function, some, [120.0] * len(some))
            for i in range(len(sizes)):
                record.seconds.append(round(seconds[i], 6))
                unkept = sizes[i] > _LARGE and call("exact", i)
                record.add(
                    digests[_DIGEST * i : _DIGEST * i + _DIGEST], None if unkept else call("give", [i]), first + i
                )
            if raised:
                call("raise")
        record.write(plain, Path(self.place))


@dataclass(slots=True)
class _Record:
    rule: str
    digests: list[bytes] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    large: list[tuple[int, int] | None] = field(default_factory=list)
    floats: list[bool] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)

    def add(self, digest: bytes, given: list[Any] | None, test: int) -> None:
        """Take one answer, or None where the digest is to decide."""
        value: Any = None
        if given is not None:
            value = given[0]
            if self.rule == "not_none" and not isinstance(value, bool):
                value, digest = value is not None, _NONE
            try:
                data = _plain_values.dumps(value)
            except _plain_values.Unwritable as e:
                raise AssertionError(f"test {test}: the canonical answer is a {e}") from None
        self.digests.append(digest)
        self.floats.append(given is not None and oracles.is_floats(value))
        if given is None:
            self.values.append(_UNKEPT)
            self.large.append(None)
        elif len(data) <= _SMALL:
            self.values.append(json.loads(data))
            self.large.append(None)
        else:
            packed = zlib.compress(data, 1)
            self.values.append(None)
            self.large.append((sum(map(len, self.blobs)), len(packed)))
            self.blobs.append(packed)

    def write(self, inputs: Any, place: Path) -> None:
        """Write the second file, then the first, each whole or not at all."""
        text = {
            "inputs": inputs,
            "digests": b"".join(self.digests).hex(),
            **{name: getattr(self, name) for name in ("seconds", "values", "large", "floats")},
        }
        packed = zlib.compress(json.dumps(text, separators=(",", ":")).encode(), 6)
        for path, data in ((_second(place), b"".join(self.blobs)), (place, packed)):
            if not data:
                continue
            partial = path.with_name(f"{path.name}.{os.getpid()}")
            partial.write_bytes(data)
            partial.replace(path)
