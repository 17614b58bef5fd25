"""Documents become seeds: windows of lines, documented functions or whole instructions, within quotas by language.

By default a seed depends on its document and the random seed alone, whatever the order of documents, the size of
parts and the number of workers. Mode `exact` draws what the original program draws from the same rows.
"""

import heapq
from array import array
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from magicoder import kernels
from magicoder.errors import MagicoderError, RecipeError
from magicoder.fingerprint import number
from magicoder.plugins import names, suggest
from magicoder.protocols import Engine
from magicoder.records import Document, Rejection, Seed
from magicoder.schema import schema_of, to_table
from magicoder.store import Artifact, Writer, account, read_table
from magicoder.summary import count_column
from magicoder.text.functions import Functions
from magicoder.text.permutation import permutation
from magicoder.text.window_tables import window_table
from magicoder.text.windows import ExactWindows, without_metadata

STAGE = "seeds"
WINDOW, FUNCTION, INSTRUCTION = "window", "function", "instruction"
OTHERS = ("*", "other")
"""Keys of `quotas` that stand for every language not named there."""

COMPILED_FROM = 50_000
"""Documents from which loading compiled code takes less time than it saves, where none is yet; decides no result."""

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
    functions                    which functions, see `text.functions.Functions`
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
    functions: Functions = field(default_factory=Functions)
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
            index += read_table(out.part_path(part), ["index"]).num_rows
            out.progress.tick(len(languages))
        for drawn in engine.map(
            partial(_draw_part, self, documents, kind, limits), range(out.done, documents.part_count)
        ):
            _publish(out, drawn.documents, _numbered(drawn.seeds, index, rows), drawn.rejections)
            rows.update(drawn.languages)
            index += drawn.seeds.num_rows

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
                    rejections.append((document.id, _rejection(document.id, document.language, seed)))
                else:
                    seeds.append(seed)
            if part < out.done:
                out.progress.tick(len(ids))
            else:
                _publish(out, ids, to_table(Seed, seeds), rejections)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What one part of documents gave: `Seed` records whose `index` is 0 and `raw_index` counts within the part.

    documents    their ids
    rejections   each with the id of the document it belongs to
    languages    documents of each language
    """

    documents: list[str]
    seeds: pa.Table
    rejections: list[tuple[str, Rejection]]
    languages: Counter[str]


def _publish(out: Writer[Seed], documents: list[str], seeds: pa.Table, rejections: list[tuple[str, Rejection]]) -> None:
    by_seeds = dict.fromkeys(seeds["document_id"].to_pylist())
    by_seeds |= dict.fromkeys(document for document, r in rejections if r.id != document)
    account(documents, list(by_seeds), (document for document, r in rejections if r.id == document))
    out.write_table(seeds, [r for _, r in rejections])
    out.progress.tick(len(documents))


def _numbered(seeds: pa.Table, index: int, rows: Counter[str]) -> pa.Table:
    """Return `seeds` counted on from `index`, and from the `rows` of each language before them."""
    places = zip(seeds["language"].to_pylist(), seeds["raw_index"].to_pylist(), strict=True)
    numbers = {
        "index": pa.array(range(index, index + seeds.num_rows), pa.int64()),
        "raw_index": pa.array([rows[language] + row for language, row in places], pa.int64()),
    }
    return pa.table([numbers.get(name, seeds[name]) for name in seeds.schema.names], schema=seeds.schema)


# --- default mode; these run in the engine's workers ---


def _draw_part(settings: Seeds, documents: Artifact[Document], kind: str, limits: dict[str, int], part: int) -> Drawn:
    drawn = (_windows if kind == WINDOW else _others)(settings, documents, kind, part)
    if not limits:
        return drawn
    alone = kind == INSTRUCTION or (kind == WINDOW and settings.per_document == 1)
    columns = (drawn.seeds[name].to_pylist() for name in ("id", "document_id", "language"))
    kept, over = [], []
    for seed, document, language in zip(*columns, strict=True):
        limit = limits.get(language)
        kept.append(limit is None or _priority(settings, seed) <= limit)
        if not kept[-1]:
            over.append((document, _rejection(document if alone else seed, language, "over_quota")))
    order = {document: place for place, document in enumerate(drawn.documents)}
    rejections = sorted([*drawn.rejections, *over], key=lambda pair: order[pair[0]])
    return replace(drawn, seeds=drawn.seeds.filter(pa.array(kept, pa.bool_())), rejections=rejections)


def _windows(settings: Seeds, documents: Artifact[Document], kind: str, part: int) -> Drawn:
    """Draw windows column by column."""
    table = read_table(documents.part_path(part)).combine_chunks()
    ids, languages = table["id"].to_pylist(), table["language"].to_pylist()
    counts: Counter[str] = Counter()
    places = []
    for language in languages:
        places.append(counts[language])
        counts[language] += 1
    wanted = {language: settings.wants(language) for language in counts}
    rows = [row for row, language in enumerate(languages) if wanted[language]]
    chosen = table if len(rows) == len(ids) else table.take(pa.array(rows, pa.int64()))
    windows = window_table(
        chosen["id"],
        chosen["text"],
        random_seed=settings.random_seed,
        min_lines=settings.min_lines,
        max_lines=settings.max_lines,
        count=settings.per_document,
        strip_metadata=settings.strip_metadata,
        compiled=documents.manifest.rows >= COMPILED_FROM or kernels.loaded(),
    )
    drawn = set(windows["row"].unique().to_pylist())
    bare = {row for place, row in enumerate(rows) if place not in drawn}
    rejections = [
        (ids[row], _rejection(ids[row], languages[row], "language_not_wanted"))
        if not wanted[languages[row]]
        else (ids[row], _unfit(settings, ids[row], languages[row], table["text"][row].as_py()))
        for row in range(len(ids))
        if row in bare or not wanted[languages[row]]
    ]
    places_of_rows = pa.array([places[row] for row in rows], pa.int64())
    seeds = _window_seeds(chosen, windows, kind, places_of_rows)
    return Drawn(documents=ids, seeds=seeds, rejections=rejections, languages=counts)


def _window_seeds(documents: pa.Table, windows: pa.Table, kind: str, places: pa.Array) -> pa.Table:
    """Return the `Seed` records of `windows`, whose `row` counts `documents`; `places` become their `raw_index`."""
    whole = windows.num_rows == documents.num_rows and windows["row"].equals(
        pa.chunked_array([pa.array(range(documents.num_rows), pa.int64())])
    )
    sources = documents if whole else documents.select([n for n in documents.schema.names if n != "text"])
    sources = sources if whole else sources.take(windows["row"])
    lines = windows["first_line"].cast(pa.string())
    columns = {name: sources[name] for name in ("language", "repository", "commit", "path", "license")}
    columns |= {name: windows[name] for name in ("text", "first_line", "last_line")}
    columns["id"] = pc.binary_join_element_wise(sources["id"], lines, "#L")
    columns["document_id"] = sources["id"]
    columns["kind"] = pa.repeat(pa.scalar(kind), windows.num_rows)
    columns["index"] = pa.repeat(pa.scalar(0, pa.int64()), windows.num_rows)
    columns["raw_index"] = places.take(windows["row"].combine_chunks())
    schema = schema_of(Seed)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _others(settings: Seeds, documents: Artifact[Document], kind: str, part: int) -> Drawn:
    """Take functions or whole documents one by one."""
    ids: list[str] = []
    found: list[Seed] = []
    rejections: list[tuple[str, Rejection]] = []
    counts: Counter[str] = Counter()
    for document in documents.read_part(part):
        ids.append(document.id)
        seeds, rejected = _draw(settings, document, kind, counts[document.language])
        counts[document.language] += 1
        found += seeds
        rejections.extend((document.id, rejection) for rejection in rejected)
    return Drawn(documents=ids, seeds=to_table(Seed, found), rejections=rejections, languages=counts)


def _prioritise_part(
    settings: Seeds, documents: Artifact[Document], kind: str, part: int
) -> tuple[int, dict[str, list[int]]]:
    """Return how many documents there are, and the smallest priorities of each language, no more than its quota."""
    drawn = _draw_part(settings, documents, kind, {}, part)
    found: dict[str, list[int]] = {language: [] for language in drawn.languages}
    for language, seed in zip(drawn.seeds["language"].to_pylist(), drawn.seeds["id"].to_pylist(), strict=True):
        found[language].append(_priority(settings, seed))
    return len(drawn.documents), {lang: heapq.nsmallest(settings.quota(lang) or 0, found[lang]) for lang in found}


def _priority(settings: Seeds, seed_id: str) -> int:
    """Return a number that orders seeds at random, whatever the order of documents: quotas keep the smallest."""
    return number(f"{settings.random_seed}:{seed_id}", 63)


def _draw(settings: Seeds, document: Document, kind: str, row: int) -> tuple[list[Seed], list[Rejection]]:
    """Return the functions of one document, or all of it, before quotas; and why there are none or fewer."""
    if not settings.wants(document.language):
        return [], [_rejection(document.id, document.language, "language_not_wanted")]
    body = without_metadata(document.text) if settings.strip_metadata else document.text
    if not body or body.isspace():
        return [], [_unfit(settings, document.id, document.language, document.text)]
    skipped = int(len(body) < len(document.text))
    if kind == INSTRUCTION:
        lines = (skipped + 1, skipped + body.count("\n") + (not body.endswith("\n")))
        return [_seed(document, INSTRUCTION, body, lines=lines, raw_index=row)], []
    return _draw_functions(settings, document, body, skipped, row)


def _unfit(settings: Seeds, identity: str, language: str, text: str) -> Rejection:
    """Say why a document without anything in it gives nothing."""
    body = without_metadata(text) if settings.strip_metadata else text
    return _rejection(identity, language, "blank" if body else "no_lines")


def _draw_functions(
    settings: Seeds, document: Document, body: str, skipped: int, row: int
) -> tuple[list[Seed], list[Rejection]]:
    from magicoder.languages import get
    from magicoder.text.functions import Screen
    from magicoder.text.syntax import find_functions

    try:
        language = get(document.language)
    except MagicoderError as e:
        return [], [_rejection(document.id, document.language, "unknown_language", str(e))]
    wanted = settings.functions
    screen = Screen(wanted, language, name=document.language, path=document.path, text=body)
    seeds: dict[str, Seed] = {}
    rejections: dict[str, Rejection] = {}
    for found in find_functions(body, language, documented=wanted.documented):
        f = found.function
        lines = (f.first_line + skipped, f.last_line + skipped) if f else (found.line + skipped,) * 2
        seed = _seed(document, FUNCTION, f.text if f else "", lines=lines, raw_index=row)
        reason, detail = screen.objection(found)
        if seed.id in seeds:
            reason, detail = "same_line", "begins on a line with another"
        if reason:
            rejections.setdefault(seed.id, _rejection(seed.id, document.language, reason, detail))
        else:
            seeds[seed.id] = seed
    if not seeds and not rejections:
        reason = "no_documented_function" if wanted.documented else "no_function"
        return [], [_rejection(document.id, document.language, reason)]
    chosen = set(
        heapq.nsmallest(settings.max_functions_per_document or len(seeds), seeds, partial(_priority, settings))
    )
    over = [_rejection(i, document.language, "over_document_limit") for i in seeds if i not in chosen]
    return [seed for seed in seeds.values() if seed.id in chosen], [*rejections.values(), *over]


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


def _rejection(identity: str, language: str, reason: str, detail: str = "") -> Rejection:
    return Rejection(id=identity, stage=STAGE, reason=reason, detail=detail, language=language)


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
