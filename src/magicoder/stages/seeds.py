"""Documents become seeds: windows of lines, documented functions or whole instructions, within quotas by language.

By default a seed depends on its document and the random seed alone, whatever the order of documents, the size of
parts and the number of workers. Mode `exact` draws what the original program draws from the same rows.
"""

import heapq
from array import array
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from functools import partial
from random import Random
from typing import Any

from magicoder.errors import MagicoderError, RecipeError
from magicoder.fingerprint import number
from magicoder.plugins import names, suggest
from magicoder.protocols import Engine
from magicoder.records import Document, Rejection, Seed
from magicoder.store import Artifact, Writer, account, read_table
from magicoder.summary import count_column
from magicoder.text.permutation import permutation
from magicoder.text.windows import ExactWindows, draw_windows, without_metadata

STAGE = "seeds"
WINDOW, FUNCTION, INSTRUCTION = "window", "function", "instruction"
OTHERS = ("*", "other")
"""Keys of `quotas` that stand for every language not named there."""

_EXACT_ONLY = ("start_index", "max_new_data", "chunk_size", "max_considered_data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """Settings of the stage; the defaults are the paper's.

    kind           `window`, `function`, `instruction` (the whole document), or "" for what the strategy wants
    mode           `default`, or `exact` for the original's windows (method of its `generate_data.py`)
    random_seed    decides windows, and which seeds a quota keeps
    min_lines, max_lines         lines of a window, both included
    per_document                 windows of one document; they do not overlap
    max_functions_per_document   functions of one document, all if None
    quotas         most seeds of each language; `*` stands for each language not named. Without quotas every language
                   is wanted without limit; with quotas one that has none is not wanted
    strip_metadata   leave out the line of tags (`<reponame>…`) that starcoderdata puts before some files

    Mode `exact` alone: of the first `max_considered_data` documents of each language, drawn in batches of `chunk_size`
    and shuffled, the ones from `start_index` on, at most `max_new_data` (or the language's quota) of them.
    """

    kind: str = ""
    mode: str = "default"
    random_seed: int = 976
    min_lines: int = 1
    max_lines: int = 15
    per_document: int = 1
    max_functions_per_document: int | None = None
    quotas: dict[str, int] = field(default_factory=dict)
    strip_metadata: bool = False
    start_index: int = 0
    max_new_data: int | None = None
    chunk_size: int = 1000
    max_considered_data: int = 150_000

    def __post_init__(self) -> None:
        _one_of("mode", self.mode, ["default", "exact"])
        _one_of("kind", self.kind, ["", WINDOW, FUNCTION, INSTRUCTION])
        self._check_numbers()
        for language in self.quotas:
            known = names("languages")
            if language not in (*known, *OTHERS):
                raise RecipeError(f"seeds.quotas names {language!r}, which is no language{suggest(language, known)}")
        if self.mode == "exact":
            if self.per_document != 1 or self.strip_metadata:
                raise RecipeError(
                    "seeds: the original draws one window a document and strips nothing; "
                    "leave out per_document and strip_metadata, or mode: exact"
                )
            return
        defaults = {f.name: f.default for f in fields(self)}
        extra = [name for name in _EXACT_ONLY if getattr(self, name) != defaults[name]]
        if extra:
            raise RecipeError(f"seeds: {', '.join(extra)} belong to mode: exact; add it, or use quotas to limit seeds")

    def _check_numbers(self) -> None:
        if not 1 <= self.min_lines <= self.max_lines:
            raise RecipeError(
                f"seeds: min_lines {self.min_lines} and max_lines {self.max_lines} must be 1 <= min_lines <= max_lines"
            )
        least = {"random_seed": 0, "per_document": 1, "max_functions_per_document": 1, "start_index": 0}
        least |= {"max_new_data": 0, "chunk_size": 1, "max_considered_data": 0}
        values = {name: getattr(self, name) for name in least}
        values |= {f"quotas.{language}": quota for language, quota in self.quotas.items()}
        for name, value in values.items():
            if value is not None and value < least.get(name, 0):
                raise RecipeError(f"seeds: {name} is {value}; it must be at least {least.get(name, 0)}")

    def quota(self, language: str) -> int | None:
        """Return the most seeds wanted of `language`, None for any number."""
        if not self.quotas:
            return None
        others = next((self.quotas[key] for key in OTHERS if key in self.quotas), 0)
        return self.quotas.get(language, others)

    def wants(self, language: str) -> bool:
        """Return whether seeds of `language` are wanted at all."""
        return not self.quotas or language in self.quotas or any(key in self.quotas for key in OTHERS)

    def run(self, documents: Artifact[Document], out: Writer[Seed], engine: Engine, kind: str) -> None:
        """Write one part of seeds for each part of documents; `kind` is what the strategy wants.

        Every document is accounted for by a seed of it, kept or rejected, or by a rejection with its own id.

        Raises:
            RecipeError: mode `exact` with a strategy that wants something else than windows.
        """
        kind = self.kind or kind
        assert kind in (WINDOW, FUNCTION, INSTRUCTION)
        out.add_facts({"kind": kind, "mode": self.mode})
        if self.mode == "default":
            self._run_default(documents, out, engine, kind)
        elif kind == WINDOW:
            self._run_exact(documents, out)
        else:
            raise RecipeError(f"seeds: mode exact draws windows, and this strategy wants {kind}s; use mode: default")

    def _run_default(self, documents: Artifact[Document], out: Writer[Seed], engine: Engine, kind: str) -> None:
        passes = 2 if self.quotas else 1
        out.progress.expect(passes * documents.manifest.rows, "documents")
        limits = self._limits(documents, out, engine, kind) if self.quotas else {}
        rows: Counter[str] = Counter()
        index = 0
        for part in range(out.done):
            languages = _languages(documents, part)
            rows.update(languages)
            index += len(out.read_part(part))
            out.progress.tick(len(languages))
        for drawn in engine.map(
            partial(_draw_part, self, documents, kind, limits), range(out.done, documents.part_count)
        ):
            seeds = [
                replace(seed, index=position, raw_index=rows[seed.language] + seed.raw_index)
                for position, seed in enumerate(drawn.seeds, index)
            ]
            rows.update(drawn.languages)
            index += len(seeds)
            _publish(out, drawn.documents, seeds, drawn.rejections)

    def _limits(self, documents: Artifact[Document], out: Writer[Seed], engine: Engine, kind: str) -> dict[str, int]:
        """Return the greatest priority that a language's quota has room for; nothing where there is room for all.

        Takes about 50 bytes for each seed that a quota has room for.
        """
        smallest: dict[str, list[int]] = {}  # negative priorities, a heap whose top is the greatest of those kept
        for count, found in engine.map(partial(_prioritise_part, self, documents, kind), range(documents.part_count)):
            out.progress.tick(count)
            for language, priorities in found.items():
                heap, quota = smallest.setdefault(language, []), self.quota(language) or 0
                for priority in priorities:
                    if len(heap) < quota:
                        heapq.heappush(heap, -priority)
                    elif quota and priority < -heap[0]:
                        heapq.heapreplace(heap, -priority)
        full = {language: heap for language, heap in smallest.items() if len(heap) == self.quota(language)}
        return {language: -heap[0] if heap else -1 for language, heap in full.items()}

    def _run_exact(self, documents: Artifact[Document], out: Writer[Seed]) -> None:
        out.progress.expect(documents.manifest.rows, "documents")
        rows = count_column(documents, "language")
        plans = {language: _Plan(self, language, count) for language, count in rows.items() if self.wants(language)}
        for part in range(documents.part_count):
            # Parts that are already written are drawn again: the generators of unfinished batches go on from there.
            rejections: list[tuple[str, Rejection]] = []
            seeds = []
            ids = []
            for document in documents.read_part(part):
                ids.append(document.id)
                plan = plans.get(document.language)
                seed = plan.draw(document) if plan else "language_not_wanted"
                if isinstance(seed, str):
                    rejections.append((document.id, _rejection(document.id, document, seed)))
                else:
                    seeds.append(seed)
            if part < out.done:
                out.progress.tick(len(ids))
            else:
                _publish(out, ids, seeds, rejections)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What one part of documents gave: seeds without an `index`, whose `raw_index` counts from the part's beginning.

    rejections   each with the id of the document it belongs to
    languages    documents of each language
    """

    documents: list[str]
    seeds: list[Seed]
    rejections: list[tuple[str, Rejection]]
    languages: Counter[str]


def _publish(
    out: Writer[Seed], documents: list[str], seeds: list[Seed], rejections: list[tuple[str, Rejection]]
) -> None:
    by_seeds = dict.fromkeys(seed.document_id for seed in seeds)
    by_seeds |= dict.fromkeys(document for document, r in rejections if r.id != document)
    account(documents, list(by_seeds), (document for document, r in rejections if r.id == document))
    out.write(seeds, [r for _, r in rejections])
    out.progress.tick(len(documents))


# --- default mode; these run in the engine's workers ---


def _draw_part(settings: Seeds, documents: Artifact[Document], kind: str, limits: dict[str, int], part: int) -> Drawn:
    drawn = Drawn(documents=[], seeds=[], rejections=[], languages=Counter())
    for document in documents.read_part(part):
        drawn.documents.append(document.id)
        row = drawn.languages[document.language]
        drawn.languages[document.language] += 1
        seeds, rejections = _draw(settings, document, kind, row)
        limit = limits.get(document.language)
        for seed in seeds:
            if limit is None or _priority(settings, seed.id) <= limit:
                drawn.seeds.append(seed)
            else:
                alone = kind == INSTRUCTION or (kind == WINDOW and settings.per_document == 1)
                rejections.append(_rejection(document.id if alone else seed.id, document, "over_quota"))
        drawn.rejections.extend((document.id, rejection) for rejection in rejections)
    return drawn


def _prioritise_part(
    settings: Seeds, documents: Artifact[Document], kind: str, part: int
) -> tuple[int, dict[str, list[int]]]:
    """Return how many documents there are, and the smallest priorities of each language, no more than its quota."""
    found: dict[str, list[int]] = {}
    count = 0
    for document in documents.read_part(part):
        count += 1
        seeds, _ = _draw(settings, document, kind, 0)
        found.setdefault(document.language, []).extend(_priority(settings, seed.id) for seed in seeds)
    return count, {lang: heapq.nsmallest(settings.quota(lang) or 0, found[lang]) for lang in found}


def _priority(settings: Seeds, seed_id: str) -> int:
    """Return a number that orders seeds at random, whatever the order of documents: quotas keep the smallest."""
    return number(f"{settings.random_seed}:{seed_id}", 63)


def _draw(settings: Seeds, document: Document, kind: str, row: int) -> tuple[list[Seed], list[Rejection]]:
    """Return the seeds of one document before quotas, and why there are none or fewer."""
    if not settings.wants(document.language):
        return [], [_rejection(document.id, document, "language_not_wanted")]
    body = without_metadata(document.text) if settings.strip_metadata else document.text
    if not body or body.isspace():
        return [], [_rejection(document.id, document, "blank" if body else "no_lines")]
    skipped = document.text.count("\n", 0, len(document.text) - len(body))
    if kind == INSTRUCTION:
        lines = (skipped + 1, skipped + body.count("\n") + (not body.endswith("\n")))
        return [_seed(document, INSTRUCTION, body, lines=lines, raw_index=row)], []
    if kind == FUNCTION:
        return _draw_functions(settings, document, body, skipped, row)
    windows = draw_windows(
        body,
        Random(f"{settings.random_seed}:{document.id}"),
        min_lines=settings.min_lines,
        max_lines=settings.max_lines,
        count=settings.per_document,
    )
    return [
        _seed(document, WINDOW, w.text, lines=(w.first_line + skipped, w.last_line + skipped), raw_index=row)
        for w in windows
    ], []


def _draw_functions(
    settings: Seeds, document: Document, body: str, skipped: int, row: int
) -> tuple[list[Seed], list[Rejection]]:
    from magicoder.languages import get
    from magicoder.text.syntax import documented_functions

    try:
        language = get(document.language)
    except MagicoderError as e:
        return [], [_rejection(document.id, document, "unknown_language", str(e))]
    seeds: dict[str, Seed] = {}
    rejections = []
    for f in documented_functions(body, language):
        lines = (f.first_line + skipped, f.last_line + skipped)
        seed = _seed(document, FUNCTION, f.text, lines=lines, raw_index=row)
        if seed.id in seeds:
            rejections.append(_rejection(seed.id, document, "same_line", f"{f.name} begins on a line with another"))
        else:
            seeds[seed.id] = seed
    if not seeds:
        return [], [_rejection(document.id, document, "no_documented_function")]
    chosen = set(
        heapq.nsmallest(settings.max_functions_per_document or len(seeds), seeds, partial(_priority, settings))
    )
    rejections += [_rejection(i, document, "over_document_limit") for i in seeds if i not in chosen]
    return [seed for seed in seeds.values() if seed.id in chosen], rejections


# --- exact mode ---


class _Plan:
    """The original's choice among the documents of one language, taken in order: which windows, and which are used.

    Takes 8 bytes for each of at most `max_considered_data` documents, twice that while it is made.
    """

    def __init__(self, settings: Seeds, language: str, count: int) -> None:
        self.considered = min(count, settings.max_considered_data)
        most = settings.max_new_data if not settings.quotas else settings.quota(language)
        self.start = settings.start_index
        self.stop = self.considered if most is None else min(self.start + most, self.considered)
        self.positions = array("q", bytes(8 * self.considered))  # of each row after the shuffle
        for position, row in enumerate(permutation(self.considered, settings.random_seed)):
            self.positions[row] = position
        self.windows = ExactWindows(
            seed=settings.random_seed,
            min_lines=settings.min_lines,
            max_lines=settings.max_lines,
            chunk_size=settings.chunk_size,
        )

    def draw(self, document: Document) -> Seed | str:
        """Return the seed of the next document, or why there is none."""
        row = self.windows.row
        if row >= self.considered:
            return "not_considered"
        window = self.windows.draw(document.text)
        index = self.positions[row]
        if window is None:
            return "no_lines"
        if not self.start <= index < self.stop:
            return "not_selected"
        lines = (window.first_line, window.last_line)
        return _seed(document, WINDOW, window.text, lines=lines, raw_index=row, index=index)


# --- records ---


def _seed(document: Document, kind: str, text: str, *, lines: tuple[int, int], raw_index: int, index: int = 0) -> Seed:
    return Seed(
        id=f"{document.id}#L{lines[0]}",
        text=text,
        language=document.language,
        document_id=document.id,
        repository=document.repository,
        commit=document.commit,
        path=document.path,
        license=document.license,
        first_line=lines[0],
        last_line=lines[1],
        kind=kind,
        index=index,
        raw_index=raw_index,
    )


def _rejection(identity: str, document: Document, reason: str, detail: str = "") -> Rejection:
    return Rejection(id=identity, stage=STAGE, reason=reason, detail=detail, language=document.language)


def _languages(documents: Artifact[Document], part: int) -> list[str]:
    """Return the language of each document of a part, reading no text."""
    table = read_table(documents.folder / documents.manifest.parts[part], ["language"])
    languages: list[str] = table["language"].to_pylist()
    return languages


def _one_of(name: str, value: Any, known: list[str]) -> None:
    if value not in known:
        raise RecipeError(
            f"seeds: {name} has no {value!r}{suggest(str(value), known)}; there are: {', '.join(filter(None, known))}"
        )
