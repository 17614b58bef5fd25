"""What benchmarks are known by: figures of their texts, made from their files or read from an index of figures alone.

An index file holds names and ids of tasks, hashes, lengths and places, and no text of a benchmark. It is
`MAGICIDX`, a number, the length of a header, the header (zlib, JSON) and columns of unsigned numbers (zlib), all
little-endian; columns stand byte plane by byte plane, which zlib packs better.
"""

import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, TypeVar

import orjson

from magicoder.errors import BenchmarkError
from magicoder.fingerprint import digest_bytes
from magicoder.records import Task
from magicoder.text.fingerprints import WINDOW, Letters, Mark, marks_of
from magicoder.text.identifiers import MIN_TOKENS, spellings
from magicoder.text.ngrams import grams_of
from magicoder.text.patterns import patterns_of

T = TypeVar("T")

_MAGIC: Final = b"MAGICIDX"
FORMAT: Final = 2
FLOOR: Final = 20
"""Letters and digits below which a text is not searched for, unless a recipe says otherwise; see docs/benchmarks.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """A text that records must not hold; `name` is what a match is reported as."""

    name: str
    benchmark: str
    task: str
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A problem's statement, by its grams."""

    benchmark: str
    task: str
    grams: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A benchmark of an index: how many tasks it was made of, and from `files` or from which index."""

    version: str
    tasks: int
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Benchmarks as figures, in the order in which a match is reported.

    floor        letters and digits below which no text is searched for
    texts        statements, references, prompts: as letters and digits
    solutions    references with names numbered and comments stripped
    statements   statements by their word n-grams
    short, trivial, unsearched   as in `patterns.Patterns`
    """

    floor: int
    sources: dict[str, Source]
    texts: tuple[Print, ...] = ()
    solutions: tuple[Print, ...] = ()
    statements: tuple[Statement, ...] = ()
    short: tuple[str, ...] = ()
    trivial: tuple[str, ...] = ()
    unsearched: tuple[str, ...] = ()

    def only(self, chosen: Iterable[str]) -> "Index":
        """Return the part of the index that is about the benchmarks `chosen`."""
        names = set(chosen)
        return replace(
            self,
            sources={name: source for name, source in self.sources.items() if name in names},
            texts=tuple(p for p in self.texts if p.benchmark in names),
            solutions=tuple(p for p in self.solutions if p.benchmark in names),
            statements=tuple(s for s in self.statements if s.benchmark in names),
            short=tuple(e for e in self.short if _first_word(e) in names),
            trivial=tuple(e for e in self.trivial if _first_word(e) in names),
            unsearched=tuple(e for e in self.unsearched if _first_word(e) in names),
        )

    def and_also(self, other: "Index") -> "Index":
        """Return this index with those benchmarks of `other` that it lacks, in alphabetical order.

        Raises:
            ValueError: their floors differ.
        """
        if other.floor != self.floor:
            raise ValueError(f"an index for texts of {other.floor} letters beside one of {self.floor}")
        more = other.only(set(other.sources) - set(self.sources))
        return Index(
            floor=self.floor,
            sources=dict(sorted((self.sources | more.sources).items())),
            texts=_by_benchmark(self.texts + more.texts, lambda p: p.benchmark),
            solutions=_by_benchmark(self.solutions + more.solutions, lambda p: p.benchmark),
            statements=_by_benchmark(self.statements + more.statements, lambda s: s.benchmark),
            short=_by_benchmark(self.short + more.short, _first_word),
            trivial=_by_benchmark(self.trivial + more.trivial, _first_word),
            unsearched=_by_benchmark(self.unsearched + more.unsearched, _first_word),
        )

    @property
    def window(self) -> int:
        """Return the window of the marks of `texts`."""
        return min(WINDOW, self.floor)


def _first_word(entry: str) -> str:
    return entry.split(" ", 1)[0]


def _by_benchmark(entries: tuple[T, ...], benchmark: Callable[[T], str]) -> tuple[T, ...]:
    """Sort by benchmark; within one, the order stays that of its tasks."""
    return tuple(sorted(entries, key=benchmark))


def index_of(tasks: Sequence[Task], versions: dict[str, str], floor: int = FLOOR) -> Index:
    """Return the figures of `tasks`, which stand together by benchmark; `versions` of their benchmarks."""
    patterns = patterns_of(tasks, floor)
    forms = list(dict.fromkeys(p.form for p in patterns.searched))
    marks = dict(zip(forms, marks_of([Letters(form) for form in forms], 1, min(WINDOW, floor)), strict=True))
    references = ((t, text) for t in tasks for text in (t.reference, *t.more_references))
    solved = [(t, found) for t, text in references for found in spellings(text) if len(found.tokens) >= MIN_TOKENS]
    solutions = marks_of([found for _, found in solved], 4)
    grams = cache(grams_of)  # one statement often stands for many tasks
    stated = ((t, grams(t.description) or grams(t.prompt)) for t in tasks)
    counts = {name: sum(t.benchmark == name for t in tasks) for name in dict.fromkeys(t.benchmark for t in tasks)}
    return Index(
        floor=floor,
        sources={name: Source(version=versions[name], tasks=count, origin="files") for name, count in counts.items()},
        texts=tuple(
            Print(name=p.name, benchmark=p.benchmark, task=p.task, mark=marks[p.form]) for p in patterns.searched
        ),
        solutions=tuple(
            Print(name=f"{t.benchmark}_identifiers", benchmark=t.benchmark, task=t.id, mark=mark)
            for (t, _), mark in zip(solved, solutions, strict=True)
        ),
        statements=tuple(Statement(benchmark=t.benchmark, task=t.id, grams=found) for t, found in stated if found),
        short=patterns.short,
        trivial=patterns.trivial,
        unsearched=patterns.unsearched,
    )


def encode(index: Index, name: str) -> bytes:
    """Return `index` as a file; `name` says which it is, for reports."""
    prints = (*index.texts, *index.solutions)
    tasks = list(dict.fromkeys((e.benchmark, e.task) for e in prints))
    tasks = list(dict.fromkeys([*tasks, *((s.benchmark, s.task) for s in index.statements)]))
    number = {task: i for i, task in enumerate(tasks)}
    names = sorted({p.name for p in prints})
    marks = list(dict.fromkeys(p.mark for p in prints))
    grams = sorted({gram for s in index.statements for gram in s.grams})
    groups = list(dict.fromkeys(s.grams for s in index.statements))
    mark_number = {mark: i for i, mark in enumerate(marks)}
    name_number = {n: i for i, n in enumerate(names)}
    gram_number = {gram: i for i, gram in enumerate(grams)}
    group_number = {group: i for i, group in enumerate(groups)}

    columns: list[tuple[str, list[int]]] = [
        ("I", [m.window for m in marks]),
        ("I", [m.offset for m in marks]),
        ("I", [m.length for m in marks]),
        ("I", [m.last for m in marks]),
        *(("Q", [int.from_bytes(m.strong[half : half + 8], "little") for m in marks]) for half in (0, 8)),
    ]
    for layer in (index.texts, index.solutions):
        columns += [
            ("I", [number[p.benchmark, p.task] for p in layer]),
            ("I", [name_number[p.name] for p in layer]),
            ("I", [mark_number[p.mark] for p in layer]),
        ]
    columns += [
        ("I", [number[s.benchmark, s.task] for s in index.statements]),
        ("I", [group_number[s.grams] for s in index.statements]),
        ("I", [len(group) for group in groups]),
        ("I", [gram_number[gram] for group in groups for gram in group]),
        ("Q", grams),
    ]
    body = zlib.compress(b"".join(_planes(kind, column) for kind, column in columns), 9)
    header = {
        "name": name,
        "digest": digest_bytes(body),
        "floor": index.floor,
        "sources": {n: [s.version, s.tasks] for n, s in index.sources.items()},
        "tasks": tasks,
        "names": names,
        "columns": [[kind, len(column)] for kind, column in columns],
        "short": index.short,
        "trivial": index.trivial,
        "unsearched": index.unsearched,
    }
    packed = zlib.compress(orjson.dumps(header), 9)
    return _MAGIC + bytes([FORMAT]) + len(packed).to_bytes(4, "little") + packed + body


def decode(data: bytes, where: str) -> Index:
    """Return the index in a file.

    Raises:
        BenchmarkError: no index, damaged, or of another format; `where` is what the message calls it.
    """
    if data[:8] != _MAGIC or len(data) < 13:
        raise BenchmarkError(f"{where} is no index of benchmarks; make it with: magicoder index build")
    if data[8] != FORMAT:
        raise BenchmarkError(
            f"{where} has format {data[8]}, this magicoder reads {FORMAT}; make it again: magicoder index build"
        )
    length = int.from_bytes(data[9:13], "little")
    body = data[13 + length :]
    try:
        header = orjson.loads(zlib.decompress(data[13 : 13 + length]))
        if header["digest"] != digest_bytes(body):
            raise ValueError("its digest is another")
        return _index(header, _columns(header["columns"], zlib.decompress(body)))
    except (zlib.error, ValueError, KeyError, IndexError, TypeError) as e:
        raise BenchmarkError(f"{where} is damaged ({e}); make it again: magicoder index build") from e


def _index(header: dict[str, Any], columns: list["array[int]"]) -> Index:
    windows, offsets, lengths, lasts, low, high, *rest = columns
    marks = [
        Mark(window, offset, size, a.to_bytes(8, "little") + b.to_bytes(8, "little"), last)
        for window, offset, size, last, a, b in zip(windows, offsets, lengths, lasts, low, high, strict=True)
    ]
    tasks, names = header["tasks"], header["names"]

    def prints(of: Sequence[int], called: Sequence[int], marked: Sequence[int]) -> tuple[Print, ...]:
        return tuple(
            Print(name=names[n], benchmark=tasks[t][0], task=tasks[t][1], mark=marks[m])
            for t, n, m in zip(of, called, marked, strict=True)
        )

    stated, grouped, sizes, members, grams = rest[6:]
    groups, start = [], 0
    for size in sizes:
        groups.append(tuple(grams[m] for m in members[start : start + size]))
        start += size
    origin = f"{header['name']} ({header['digest'][:8]})"
    return Index(
        floor=header["floor"],
        sources={
            name: Source(version=version, tasks=count, origin=origin)
            for name, (version, count) in header["sources"].items()
        },
        texts=prints(*rest[0:3]),
        solutions=prints(*rest[3:6]),
        statements=tuple(
            Statement(benchmark=tasks[t][0], task=tasks[t][1], grams=groups[g])
            for t, g in zip(stated, grouped, strict=True)
        ),
        short=tuple(header["short"]),
        trivial=tuple(header["trivial"]),
        unsearched=tuple(header["unsearched"]),
    )


def _planes(kind: str, column: Sequence[int]) -> bytes:
    values = array(kind, column)
    if sys.byteorder == "big":
        values.byteswap()
    data, size = values.tobytes(), values.itemsize
    return b"".join(data[i::size] for i in range(size))


def _columns(kinds: list[tuple[str, int]], data: bytes) -> list["array[int]"]:
    columns, start = [], 0
    for kind, count in kinds:
        values = array(kind)
        planes = data[start : start + count * values.itemsize]
        start += len(planes)
        mixed = bytearray(len(planes))
        for i in range(values.itemsize):
            mixed[i :: values.itemsize] = planes[i * count : (i + 1) * count]
        values.frombytes(bytes(mixed))
        if sys.byteorder == "big":
            values.byteswap()
        columns.append(values)
    return columns
