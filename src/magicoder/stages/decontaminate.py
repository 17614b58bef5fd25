"""Records that hold a text of a benchmark are taken out: seeds before money is spent on them, samples after.

Two rules. `all` compares letters and digits only, so other white space, line breaks, comment markers, punctuation and
case do not hide a text; it looks for the statement and the canonical solution of every task of every benchmark at
hand. `original` is what Magicoder did (paper section 2.3, method.md 1.10), quirks included: seven sets, lower-cased
substrings, an allow-list of which one entry never matches, MBPP solutions whose CRLF never occurs in text with LF.
"""

import pickle
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from magicoder.errors import BenchmarkError, RecipeError
from magicoder.fingerprint import digest_bytes
from magicoder.plugins import load, names, suggest
from magicoder.protocols import Engine
from magicoder.records import Rejection, Sample, Seed, Task
from magicoder.store import Artifact, Writer, account
from magicoder.text.substrings import Automaton, Match, letters, locate, lowered

R = TypeVar("R", Seed, Sample)

MODES: Final = ("all", "original", "off")

TRIVIAL: Final = ("return x + y", "return len(string)", "return n**2", "return ''.join(strings)")
"""HumanEval solutions that any code may hold: the original's allow-list as it was meant."""

ORIGINAL_ALLOWED: Final = ("return x + y", "return len(string)", "return n**2", "return .join(strings)")
"""The allow-list as Python read it: adjacent literals were joined, so the last entry matches no solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One text that records must not hold.

    name         `<benchmark>_<kind>` (`humaneval_reference`), or the original's key of the set (`mbpp_docstrings`)
    text         as in the benchmark
    form         as it is searched for
    """

    name: str
    benchmark: str
    task: str
    text: str
    form: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """What is searched for, in the order in which a match is reported, and what is not.

    short        texts below the floor, as `<benchmark> <task id> <kind>`
    trivial      texts of the allow-list, likewise
    unsearched   tasks none of whose texts is searched for, as `<benchmark> <task id>`
    """

    searched: tuple[Pattern, ...]
    short: tuple[str, ...] = ()
    trivial: tuple[str, ...] = ()
    unsearched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decontaminate:
    """Settings of the stage.

    mode             `all`, `original` or `off`
    benchmarks       names of benchmarks to search for; empty for all that are at hand (`mode: all` only)
    min_characters   a text with fewer letters and digits is not searched for (`mode: all` only). At 20, none of
                     13,293 texts occurs by chance in 99 MB of real code; below it, `return x + y` and its kind do:
                     docs/benchmarks.md lists them. A task whose statement is shorter is searched for by its prompt.
    """

    mode: str = "all"
    benchmarks: tuple[str, ...] = ()
    min_characters: int = 20

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise RecipeError(
                f"decontaminate.mode is {self.mode!r}{suggest(self.mode, list(MODES))}; it is one of {', '.join(MODES)}"
            )
        if self.min_characters < 1:
            raise RecipeError(f"decontaminate.min_characters is {self.min_characters}; it is at least 1")
        known = names("benchmarks")
        for name in self.benchmarks:
            if name not in known:
                raise RecipeError(
                    f"decontaminate.benchmarks has {name!r}, which is unknown{suggest(name, known)}; "
                    f"there are: {', '.join(known)}"
                )
        if self.benchmarks and self.mode != "all":
            raise RecipeError(f"decontaminate.benchmarks needs mode `all`; mode {self.mode!r} has its own sets")

    def patterns(self, tasks: Iterable[Task]) -> Patterns:
        """Return the patterns that the settings make of `tasks`.

        Raises:
            BenchmarkError: a benchmark that the settings name has no tasks here.
        """
        tasks = list(tasks)
        absent = sorted(set(self.benchmarks) - {t.benchmark for t in tasks})
        if absent:
            raise BenchmarkError(
                f"decontaminate.benchmarks names {', '.join(absent)}, whose files are not at hand; put them under the "
                "--data folder (docs/benchmarks.md), or leave these benchmarks out"
            )
        if self.mode == "original":
            return Patterns(searched=tuple(original_patterns(tasks)))
        if self.mode == "off":
            return Patterns(searched=())
        chosen = [t for t in tasks if not self.benchmarks or t.benchmark in self.benchmarks]
        return patterns_of(chosen, self.min_characters)

    def run(self, records: Artifact[R], out: Writer[R], engine: Engine, tasks: Sequence[Task]) -> None:
        """Write a part of clean records for each part of `records`, and why the others are not.

        A seed's text is searched, a sample's instruction and response, as the original searches problem and solution.

        Raises:
            BenchmarkError: a benchmark that the settings name has no tasks here.
        """
        patterns = self.patterns(tasks)
        form = lowered if self.mode == "original" else letters
        out.progress.expect(records.manifest.rows, "records")
        for index in range(out.done):
            out.progress.tick(len(out.read_part(index)) + len(out.rejections_of_part(index)))
        with _shared([p.form for p in patterns.searched], out.folder) as file:
            scan = _Scan(file=file, exact=self.mode == "original")
            under_way: deque[list[R]] = deque()
            for found in engine.map(scan, _texts(records, range(out.done, records.part_count), under_way)):
                rows = under_way.popleft()
                rejections = [
                    _rejection(row, patterns.searched[match.pattern], locate(search_text(row), match.start, form), out)
                    for row, match in zip(rows, found, strict=True)
                    if match is not None
                ]
                kept = [row for row, match in zip(rows, found, strict=True) if match is None]
                account((r.id for r in rows), (r.id for r in kept), (r.id for r in rejections))
                out.write(kept, rejections)
                out.progress.tick(len(rows))
        out.add_facts(self._facts(patterns, tasks, out))

    def _facts(self, patterns: Patterns, tasks: Sequence[Task], out: Writer[Any]) -> dict[str, Any]:
        """Say what was searched for and found; hits are counted from what is written, so resuming changes nothing."""
        hits: Counter[str] = Counter()
        for index in range(out.done):
            hits.update(orjson.loads(r.detail)["benchmark"] for r in out.rejections_of_part(index))
        sizes = Counter(t.benchmark for t in tasks)
        made = Counter(p.benchmark for p in patterns.searched)
        covered, partly = [], {}
        for name in sorted(made):
            benchmark = load("benchmarks", name)
            covered.append(
                {
                    "benchmark": name,
                    "version": benchmark.version,
                    "license": benchmark.license,
                    "tasks": sizes[name],
                    "patterns": made[name],
                    "hits": hits[name],
                }
            )
            if sizes[name] < benchmark.size:
                partly[name] = f"{sizes[name]:,} of {benchmark.size:,} tasks at hand"
        return {
            "mode": self.mode,
            "methods": [_METHODS[self.mode].format(floor=self.min_characters)] if covered else [],
            "benchmarks": covered,
            "partly_covered": partly,
            "not_covered": [name for name in names("benchmarks") if name not in made],
            "sets": dict(sorted(Counter(p.name for p in patterns.searched).items())),
            "patterns": len({p.form for p in patterns.searched}),
            "patterns_skipped_short": len(patterns.short),
            "skipped_short": list(patterns.short),
            "skipped_trivial": list(patterns.trivial),
            "tasks_not_searched": list(patterns.unsearched),
        }


_METHODS: Final = {
    "all": "statement and canonical solution of every task, as substrings of what remains when only letters and "
    "digits are kept and case is ignored; texts of fewer than {floor} letters and digits are not searched for",
    "original": "Magicoder's own sets, as lower-cased substrings",
    "off": "",
}


def patterns_of(tasks: Iterable[Task], min_characters: int) -> Patterns:
    """Return the statement and the reference of each task, and its prompt where the statement does not do.

    The prompt is searched for where the statement is below the floor or is not part of the prompt, and prompt and
    reference as one text where each is below the floor.
    """
    searched: list[Pattern] = []
    short: list[str] = []
    trivial: list[str] = []
    unsearched: list[str] = []
    allowed = {letters(text) for text in TRIVIAL}
    for task in tasks:
        before = len(searched)
        description, prompt = letters(task.description), letters(task.prompt)
        covered = len(description) >= min_characters and description in prompt
        texts = [("description", task.description, description), ("reference", task.reference, letters(task.reference))]
        if not covered:
            texts.append(("prompt", task.prompt, prompt))
        for kind, text, form in texts:
            if form in allowed:
                trivial.append(f"{task.benchmark} {task.id} {kind}")
            elif len(form) >= min_characters:
                name = f"{task.benchmark}_{kind}"
                searched.append(Pattern(name=name, benchmark=task.benchmark, task=task.id, text=text, form=form))
            elif text.strip():
                short.append(f"{task.benchmark} {task.id} {kind}")
        if len(searched) == before:
            whole = Pattern(
                name=f"{task.benchmark}_whole",
                benchmark=task.benchmark,
                task=task.id,
                text=f"{task.prompt}{task.reference}",
                form=letters(task.prompt + task.reference),
            )
            if len(whole.form) >= min_characters:
                searched.append(whole)
            else:
                unsearched.append(f"{task.benchmark} {task.id}")
    return Patterns(searched=tuple(searched), short=tuple(short), trivial=tuple(trivial), unsearched=tuple(unsearched))


def original_patterns(tasks: Iterable[Task]) -> Iterator[Pattern]:
    """Yield the original's patterns, set by set in its order, as far as their benchmarks are among `tasks`.

    Raises:
        BenchmarkError: a DS-1000 prompt without its marker, or with two.
    """
    by_benchmark: dict[str, list[Task]] = {}
    for task in tasks:
        by_benchmark.setdefault(task.benchmark, []).append(task)
    mbpp = [t for t in by_benchmark.get("mbpp", ()) if t.id in _MBPP_TEST]
    human_eval = by_benchmark.get("humaneval", [])
    apps = [t for t in by_benchmark.get("apps", ()) if t.id.startswith("apps/test/")]
    sets: dict[str, list[tuple[Task, str]]] = {
        "mbpp_docstrings": [(t, t.prompt) for t in mbpp],
        "mbpp_solutions": [(t, t.reference) for t in mbpp],
        "human_eval_docstrings": [(t, t.description) for t in human_eval],
        "human_eval_solutions": [(t, s) for t in human_eval if (s := t.reference.strip()) not in ORIGINAL_ALLOWED],
        "apps_docstrings": [(t, t.prompt.strip()) for t in apps],
        "gsm8k_questions": [(t, t.prompt.strip()) for t in by_benchmark.get("gsm8k", ())],
        "ds_1000_prompts": [(t, _before_solution(t)) for t in by_benchmark.get("ds1000", ())],
    }
    for name, members in sets.items():
        for task, text in members:
            if text:
                yield Pattern(name=name, benchmark=task.benchmark, task=task.id, text=text, form=lowered(text))


_MBPP_TEST: Final = frozenset(f"MBPP/{number}" for number in range(11, 511))


def _before_solution(task: Task) -> str:
    for marker in ("SOLUTION START", "BEGIN SOLUTION"):
        if marker in task.prompt:
            before, *after = task.prompt.split(marker)
            if len(after) == 1:
                return before
    raise BenchmarkError(f"{task.id}: the prompt has no single solution marker; replace the DS-1000 files")


def search_text(record: Seed | Sample) -> str:
    """Return what is searched of a record: a seed's text, or a sample's instruction and response."""
    return record.text if isinstance(record, Seed) else f"{record.instruction}\n\n{record.response}"


def _texts(records: Artifact[R], indices: range, under_way: deque[list[R]]) -> Iterator[list[str]]:
    """Yield the search texts of each part, and leave its rows in `under_way` until its matches are back."""
    for index in indices:
        rows = records.read_part(index)
        under_way.append(rows)
        yield [search_text(row) for row in rows]


def _rejection(record: Seed | Sample, pattern: Pattern, position: int, out: Writer[Any]) -> Rejection:
    """Return the rejection; `position` counts characters in the search text from 0."""
    detail = {
        "benchmark": pattern.benchmark,
        "task": pattern.task,
        "matched": pattern.text[:200],
        "position": position,
    }
    return Rejection(
        id=record.id,
        stage=out.stage,
        reason=f"{pattern.name}_match",
        detail=orjson.dumps(detail).decode(),
        language=record.language,
    )


@dataclass(frozen=True, slots=True)
class _PatternFile:
    """Where worker processes find the patterns; equal digests share one automaton in a process."""

    digest: str
    path: Path = field(compare=False)


@contextmanager
def _shared(forms: list[bytes], folder: Path) -> Iterator[_PatternFile]:
    """Keep the patterns in a file, so that each worker reads them once and not with every part.

    It ends in `.partial`: the store clears that away where a run was killed.
    """
    data = pickle.dumps(forms)
    path = folder / "patterns.partial"
    path.write_bytes(data)
    try:
        yield _PatternFile(digest_bytes(data), path)
    finally:
        path.unlink(missing_ok=True)


@lru_cache(maxsize=2)
def _automaton(file: _PatternFile) -> Automaton:
    return Automaton(pickle.loads(file.path.read_bytes()))  # noqa: S301 - our own file, written a moment ago


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scan:
    """The search as a value that worker processes can be sent; `exact` compares as the original does."""

    file: _PatternFile
    exact: bool

    def __call__(self, texts: list[str]) -> list[Match | None]:
        """Return the first match of each text."""
        automaton = _automaton(self.file)
        form = lowered if self.exact else letters
        return [automaton.first(form(text)) for text in texts]
