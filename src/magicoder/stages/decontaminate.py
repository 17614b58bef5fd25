"""Records that hold a text of a benchmark are taken out: seeds before money is spent on them, samples after.

Two rules. `all` looks for the statement and the canonical solution of every task of every benchmark at hand, in three
layers (`text/contamination.py`), by figures: of local files where there are any, of an index where there are none.
`original` is what Magicoder did (paper section 2.3), quirks included: seven sets, lower-cased
substrings, an allow-list of which one entry never matches, MBPP solutions whose CRLF never occurs in text with LF.
"""

import pickle
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from magicoder.errors import BenchmarkError, RecipeError
from magicoder.fingerprint import digest_bytes
from magicoder.plugins import load, names, suggest
from magicoder.protocols import Engine
from magicoder.records import Rejection, Sample, Seed, Task
from magicoder.store import Artifact, Writer, account, read_table
from magicoder.text.benchmark_index import FLOOR, Index, Source, index_of
from magicoder.text.contamination import LAYERS, Found, Layered, Search, Whole
from magicoder.text.identifiers import MIN_TOKENS
from magicoder.text.patterns import Pattern, original_patterns

R = TypeVar("R", Seed, Sample)

MODES: Final = ("all", "original", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decontaminate:
    """Settings of the stage. All but `mode` are of `mode: all` only.

    mode             `all`, `original` or `off`
    benchmarks       names of benchmarks to search for; empty for all that are at hand
    min_characters   a text with fewer letters and digits is not searched for by layer `text`. At 20, none of
                     13,293 texts occurs by chance in 99 MB of real code; below it, `return x + y` and its kind do:
                     docs/benchmarks.md lists them. A task whose statement is shorter is searched for by its prompt.
                     An index of figures holds for the floor it was made with (20 for the one that is shipped).
    layers           what is searched in: `text`, `identifiers`, `ngrams`
    ngram_share      the share of a statement's sequences of ten words, above 0 and at most 1, that makes a match. Any
                     one of them, as Qwen2.5-Coder and OpenCoder have it, rejects 142 files of the 99 MB (number
                     tables, imports); a quarter 3, a half 1, which quotes a problem.
    """

    mode: str = "all"
    benchmarks: tuple[str, ...] = ()
    min_characters: int = FLOOR
    layers: tuple[str, ...] = LAYERS
    ngram_share: float = 0.5

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise RecipeError(
                f"decontaminate.mode is {self.mode!r}{suggest(self.mode, list(MODES))}; it is one of {', '.join(MODES)}"
            )
        if self.min_characters < 1:
            raise RecipeError(f"decontaminate.min_characters is {self.min_characters}; it is at least 1")
        if not 0 < self.ngram_share <= 1:
            raise RecipeError(f"decontaminate.ngram_share is {self.ngram_share}; it is above 0 and at most 1")
        if not self.layers:
            raise RecipeError("decontaminate.layers is empty; `mode: off` searches for nothing")
        _check_names("layers", self.layers, LAYERS)
        _check_names("benchmarks", self.benchmarks, names("benchmarks"))
        if self.benchmarks and self.mode != "all":
            raise RecipeError(f"decontaminate.benchmarks needs mode `all`; mode {self.mode!r} has its own sets")

    def known(self, tasks: Sequence[Task], index: Index | None = None) -> Index:
        """Return what `mode: all` searches for: `tasks`, and of `index` the benchmarks that are not among them.

        Raises:
            BenchmarkError: a benchmark that the settings name is not at hand, or only an index for another floor is.
        """
        found = _of_tasks(tuple(tasks), self.min_characters)
        if index is not None and index.floor == self.min_characters:
            found = found.and_also(index)
        elif index is not None and not tasks:
            raise BenchmarkError(
                f"decontaminate.min_characters is {self.min_characters}, and what there is of benchmarks is an index "
                f"for {index.floor}; leave the setting away, or give benchmark files with --data (docs/benchmarks.md)"
            )
        absent = sorted(set(self.benchmarks) - set(found.sources))
        if absent:
            raise BenchmarkError(
                f"decontaminate.benchmarks names {', '.join(absent)}, whose files are not at hand; put them under the "
                "--data folder (docs/benchmarks.md), or leave these benchmarks out"
            )
        return found.only(self.benchmarks) if self.benchmarks else found

    def run(
        self, records: Artifact[R], out: Writer[R], engine: Engine, tasks: Sequence[Task], index: Index | None = None
    ) -> None:
        """Write a part of clean records for each part of `records`, and why the others are not.

        A seed's text is searched, a sample's instruction and response, as the original searches problem and solution.
        `tasks` are those of local files; `index` says what is known of other benchmarks.

        Raises:
            BenchmarkError: see `known`.
        """
        searched: Index | list[Pattern] = []
        if self.mode == "all":
            searched = self.known(tasks, index)
        elif self.mode == "original":
            searched = list(original_patterns(tasks))
        out.progress.expect(records.manifest.rows, "records")
        for part in range(out.done):
            out.progress.tick(len(out.read_part(part)) + len(out.rejections_of_part(part)))
        with _shared(searched, out.folder) as file:
            scan = _Scan(file=file, layers=self.layers, ngram_share=self.ngram_share)
            under_way: deque[pa.Table] = deque()
            for found in engine.map(scan, _texts(records, range(out.done, records.part_count), under_way)):
                _write_part(under_way.popleft(), found, out)
        out.add_facts(self._facts(searched, tasks, out))

    def _facts(self, searched: Index | list[Pattern], tasks: Sequence[Task], out: Writer[Any]) -> dict[str, Any]:
        """Say what was searched for and found; hits are counted from what is written, so resuming changes nothing."""
        hits: Counter[str] = Counter()
        for part in range(out.done):
            hits.update(orjson.loads(r.detail)["benchmark"] for r in out.rejections_of_part(part))
        index = searched if isinstance(searched, Index) else _of_patterns(searched, tasks)
        by_layer = _by_layer(searched, self.layers)
        made = Counter(benchmark for entries in by_layer.values() for _, benchmark, _ in entries)
        covered, partly = [], {}
        for name in sorted(made):
            benchmark, source = load("benchmarks", name), index.sources[name]
            covered.append(
                {
                    "benchmark": name,
                    "version": source.version,
                    "license": benchmark.license,
                    "tasks": source.tasks,
                    "patterns": made[name],
                    "hits": hits[name],
                    "origin": source.origin,
                }
            )
            if source.tasks < benchmark.size:
                partly[name] = f"{source.tasks:,} of {benchmark.size:,} tasks at hand"
        return {
            "mode": self.mode,
            "methods": self._methods(covered) if covered else [],
            "benchmarks": covered,
            "partly_covered": partly,
            "not_covered": [name for name in names("benchmarks") if name not in made],
            "sets": dict(sorted(Counter(name for entries in by_layer.values() for name, _, _ in entries).items())),
            "layers": {
                layer: {"patterns": len(entries), "tasks": len({entry[1:] for entry in entries})}
                for layer, entries in by_layer.items()
            },
            "patterns_skipped_short": len(index.short),
            "skipped_short": list(index.short),
            "skipped_trivial": list(index.trivial),
            "tasks_not_searched": list(index.unsearched),
            "not_seen": list(_NOT_SEEN[self.mode]),
        }

    def _methods(self, covered: list[dict[str, Any]]) -> list[str]:
        """Return phrases that say how was searched, and for what there were figures instead of files."""
        if self.mode == "original":
            return ["Magicoder's own sets, as lower-cased substrings"]
        said = {
            "text": "statement and canonical solution of every task, as substrings of what remains when only letters "
            f"and digits are kept and case is ignored; texts of fewer than {self.min_characters} letters and digits "
            "are not searched for",
            "identifiers": f"canonical solutions of at least {MIN_TOKENS} tokens, comments left out and names numbered "
            "by first use, so that renaming hides nothing",
            "ngrams": f"statements of which a record holds {self.ngram_share:.0%} of the sequences of ten words",
        }
        origins: dict[str, list[str]] = {}
        for entry in covered:
            if entry["origin"] != "files":
                origins.setdefault(entry["origin"], []).append(entry["benchmark"])
        return [
            *(said[layer] for layer in LAYERS if layer in self.layers),
            *(f"{', '.join(there)} by the fingerprints of {origin}" for origin, there in origins.items()),
        ]


_NOT_SEEN: Final = {
    "all": (
        "statements told in other words, or in another natural language",
        "solutions moved to another programming language, or that solve a problem in another way",
        "solutions whose lines were put in another order or whose operators were changed",
        f"renamed solutions of fewer than {MIN_TOKENS} tokens",
        "tests, and examples of input and output",
    ),
    "original": ("anything but the sets' texts, case aside: white space, renamed variables and other words hide them",),
    "off": (),
}


@lru_cache(maxsize=1)  # seeds and samples are held against the same tasks
def _of_tasks(tasks: tuple[Task, ...], floor: int) -> Index:
    return index_of(tasks, {name: load("benchmarks", name).version for name in {t.benchmark for t in tasks}}, floor)


def _check_names(setting: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise RecipeError(
                f"decontaminate.{setting} has {name!r}, which is unknown{suggest(name, list(known))}; "
                f"there are: {', '.join(known)}"
            )


def _by_layer(searched: Index | list[Pattern], layers: Sequence[str]) -> dict[str, list[tuple[str, str, str]]]:
    """Return for each layer what it searches for, as name, benchmark and task."""
    if not isinstance(searched, Index):
        return {"text": [(p.name, p.benchmark, p.task) for p in searched]} if searched else {}
    every = {
        "text": [(p.name, p.benchmark, p.task) for p in searched.texts],
        "identifiers": [(p.name, p.benchmark, p.task) for p in searched.solutions],
        "ngrams": [(f"{s.benchmark}_ngrams", s.benchmark, s.task) for s in searched.statements],
    }
    return {layer: every[layer] for layer in LAYERS if layer in layers}


def _of_patterns(patterns: list[Pattern], tasks: Sequence[Task]) -> Index:
    """Return the bookkeeping of the original's sets in the form of an index."""
    counts = Counter(t.benchmark for t in tasks)
    return Index(
        floor=1,
        sources={
            name: Source(version=load("benchmarks", name).version, tasks=counts[name], origin="files")
            for name in {p.benchmark for p in patterns}
        },
    )


def _texts(records: Artifact[R], indices: range, under_way: deque[pa.Table]) -> Iterator[list[str]]:
    """Yield what is searched of each part, and leave its table in `under_way` until its matches are back.

    Of a seed that is its text, of a sample its instruction and response.
    """
    columns = ["text"] if records.record is Seed else ["instruction", "response"]
    for index in indices:
        table = read_table(records.part_path(index))
        under_way.append(table)
        yield pc.binary_join_element_wise(*(table[column] for column in columns), "\n\n").to_pylist()


def _write_part(table: pa.Table, found: list[Found | None], out: Writer[Any]) -> None:
    """Write the records in which nothing was found, and of the others what."""
    ids, languages = table["id"].to_pylist(), table["language"].to_pylist()
    rejections = [
        _rejection(name, language, match, out)
        for name, language, match in zip(ids, languages, found, strict=True)
        if match is not None
    ]
    kept = table.filter(pa.array([match is None for match in found], pa.bool_())) if rejections else table
    account(ids, kept["id"].to_pylist(), (r.id for r in rejections))
    out.write_table(kept, rejections)
    out.progress.tick(len(ids))


def _rejection(name: str, language: str, found: Found, out: Writer[Any]) -> Rejection:
    """Return the rejection; its position counts characters in the search text from 0."""
    detail: dict[str, Any] = {
        "benchmark": found.benchmark,
        "task": found.task,
        "layer": found.layer,
        "matched": found.matched,
        "position": found.position,
    }
    if found.grams is not None:
        detail["found"], detail["of"] = found.grams
    return Rejection(
        id=name,
        stage=out.stage,
        reason=f"{found.name}_match",
        detail=orjson.dumps(detail).decode(),
        language=language,
    )


@dataclass(frozen=True, slots=True)
class _SearchFile:
    """Where worker processes find what to search for; equal digests share one search in a process."""

    digest: str
    path: Path = field(compare=False)


@contextmanager
def _shared(searched: Index | list[Pattern], folder: Path) -> Iterator[_SearchFile]:
    """Keep what is searched for in a file, so that each worker reads it once and not with every part.

    It ends in `.partial`: the store clears that away where a run was killed.
    """
    data = pickle.dumps(searched)
    path = folder / "patterns.partial"
    path.write_bytes(data)
    try:
        yield _SearchFile(digest_bytes(data), path)
    finally:
        path.unlink(missing_ok=True)


@lru_cache(maxsize=2)
def _search(file: _SearchFile, layers: tuple[str, ...], ngram_share: float) -> Search:
    searched = pickle.loads(file.path.read_bytes())  # noqa: S301 - our own file, written a moment ago
    return Layered(searched, layers, ngram_share) if isinstance(searched, Index) else Whole(searched)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scan:
    """The search as a value that worker processes can be sent."""

    file: _SearchFile
    layers: tuple[str, ...]
    ngram_share: float

    def __call__(self, texts: list[str]) -> list[Found | None]:
        """Return the first match of each text."""
        return _search(self.file, self.layers, self.ngram_share)(texts)
