"""Judge every file: decode it, find out language and licence, keep what can seed a problem, each text once.

Paper, section 2 and appendix: seeds come from a corpus that is already filtered (`starcoderdata`); a corpus of one's
own is not, so this stage applies the same kinds of screens. `Documents(screens=(), secrets="keep",
personal_data="keep", normalise_newlines=False, max_bytes=<huge>)` leaves a table's rows as they are, which the
original's seeds depend on.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, groupby
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from magicoder import languages
from magicoder.errors import CorpusError, StoreError
from magicoder.protocols import Engine
from magicoder.records import Document, RawDocument, Rejection
from magicoder.schema import from_table, schema_of, to_table
from magicoder.store import Writer, account
from magicoder.text import licenses, screens, secrets
from magicoder.text.calm import COUNTED, calm
from magicoder.text.disk_set import DiskMap, key_of, keys_of
from magicoder.text.pieces import Batch, Piece, Tally, batches, cut, ids_of, with_ids
from magicoder.text.redaction import Redactions

STAGE: Final = "documents"
SCREENS: Final = (
    "binary",
    "vendored",
    "blank",
    "too_short",
    "generated",
    "minified",
    "long_line",
    "data",
    "few_letters",
    "duplicate",
)
"""The screens, named after the reasons they give, in the order in which they are asked."""
HEAD_BYTES: Final = 2048
"""How much of a file its language may be told from."""
_SCHEMA: Final = schema_of(Document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Which files become documents.

    Besides the screens, what is not text in a known language cannot pass: `too_large`, `not_utf8`,
    `unknown_language`, `language_not_wanted`, and whatever problem the corpus reports. An id that comes a second time
    (a table may hold a path twice) gets `~2` behind it, and so on.

    screens             names from `SCREENS`; leave one out to switch it off
    max_bytes           larger files are rejected (`too_large`); a corpus reads no more of them
    min_bytes           shorter texts are rejected (`too_short`), surrounding blanks not counted
    max_line_length     a longer line rejects the file (`long_line`), in characters; The Stack's filter has 1,000
    languages           names from `languages/`; empty means all
    licenses            what a file may be under (`license_not_allowed`): SPDX ids or expressions, `permissive`, and
                        `unknown` for files that state nothing; empty means anything. See `licenses.is_allowed`
    license_headers     read what a file's own header says of its licence; False takes the corpus's word for it, in less
                        than half the time, where it gives each file one
    secrets             keys and passwords: `keep`, `redact` (stand-ins are written, lines stay where they are), or
                        `reject` the file (`secret`, with kind and line, never the secret)
    personal_data       e-mail and IP addresses, telephone numbers: likewise (`personal_data`)
    normalise_newlines  CR LF and CR become LF, a byte-order mark goes; False leaves the text as decoded
    limit               stop after so many files of the corpus
    part_documents      files a part
    part_bytes          a part closes early when its files reach so many bytes
    """

    screens: tuple[str, ...] = SCREENS
    max_bytes: int = 1_000_000
    min_bytes: int = 32
    max_line_length: int = 1000
    languages: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    license_headers: bool = True
    secrets: str = "redact"
    personal_data: str = "redact"
    normalise_newlines: bool = True
    limit: int | None = None
    part_documents: int = 1000
    part_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        for name in self.screens:
            if name not in SCREENS:
                raise ValueError(f"screens: there is no screen {name!r}; there are: {', '.join(SCREENS)}")
        for name in self.languages:
            if not languages.get(name).grammar:
                raise ValueError(f"languages: {name} programs can be run, but no source files in it are read")
        licenses.allow_list(self.licenses)
        secrets.check_policies(secrets=self.secrets, personal_data=self.personal_data)
        lowest = {"max_bytes": 1, "min_bytes": 0, "max_line_length": 1, "part_documents": 1, "part_bytes": 1}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be at least 1, or absent for all files")

    def run(self, raws: Iterator[RawDocument | pa.Table], out: Writer[Document], engine: Engine) -> None:
        """Write the documents of `raws`, and why the other files are none.

        A table among `raws` is many files, in the columns of `RawDocument`; what becomes of them is the same.

        Raises:
            CorpusError: there is no file at all.
            StoreError: the corpus is not the one that an interrupted run began with.
        """
        out.progress.expect(self.limit, "files")
        tally, redacted = Tally(), Redactions()
        parts = cut(tally.watch(raws, self.limit), self.part_documents, self.part_bytes)
        with (
            DiskMap.opened(out.folder / "ids.partial") as ids,
            DiskMap.opened(out.folder / "texts.partial") as texts,
        ):
            parts = _named(parts, ids)
            for index in range(out.done):
                _replay(index, next(parts, []), out, texts)
                redacted.take_over(pq.read_schema(out.part_path(index)).metadata)
            judge = functools.partial(_judge_batch, self)
            judged = engine.map(judge, batches(parts, first=out.done))
            for _, answers in groupby(judged, key=lambda answer: answer.part):
                part = self._write_part(list(answers), out, texts)
                redacted.take_over(part.metadata())
        if tally.files == 0:
            raise CorpusError("the corpus holds no files; check its path and patterns")
        out.add_facts({"files": tally.files, "bytes": tally.bytes, "redacted": redacted.facts()})

    def _write_part(self, answers: list["_Judged"], out: Writer[Document], texts: DiskMap) -> Redactions:
        """Reject texts that were seen before, publish the rest as the next part, and return what was replaced in it."""
        documents = pa.concat_tables([answer.documents for answer in answers]).combine_chunks()
        judged = [name for answer in answers for name in answer.ids]
        gone: dict[int, Rejection] = {}  # by place in the part
        replaced: dict[int, tuple[str, ...]] = {}
        start = 0
        for answer in answers:
            gone |= {start + place: rejection for place, rejection in answer.rejected}
            replaced |= {start + place: kinds for place, kinds in answer.replaced.items()}
            start += len(answer.ids)
        keys = [key for answer in answers for key in answer.keys]
        if keys:
            ids: list[str] = documents["id"].to_pylist()
            holders = texts.claim(list(zip(keys, ids, strict=True)))
            places = [place for place in range(len(judged)) if place not in gone]
            copies = [row for row, holder in enumerate(holders) if holder is not None]
            for row in copies:
                language = documents["language"][row].as_py()
                gone[places[row]] = _rejection(ids[row], "duplicate", holders[row] or "", language)
            if copies:
                documents = documents.filter(pa.array([holder is None for holder in holders], pa.bool_()))
        redacted = Redactions()
        for place, kinds in replaced.items():
            if place not in gone:
                redacted.add(kinds)
        rejected = [gone[place] for place in sorted(gone)]
        account(judged, documents["id"].to_pylist(), (r.id for r in rejected))
        out.write_table(documents, rejected, metadata=redacted.metadata())
        out.progress.tick(len(judged))
        return redacted


def _named(parts: Iterator[list[Piece]], ids: DiskMap) -> Iterator[list[Piece]]:
    """Give a file whose id was seen before (a table may hold a path twice) the id with `~2`, `~3`, … behind it."""
    for part in parts:
        names = ids_of(part)
        holders = ids.claim([(key, "") for key in keys_of(pa.chunked_array([pa.array(names, pa.string())]))])
        if not any(held is not None for held in holders):
            yield part
            continue
        names = [name if held is None else _renamed(name, ids) for name, held in zip(names, holders, strict=True)]
        yield with_ids(part, names)


def _renamed(name: str, ids: DiskMap) -> str:
    names = (f"{name}~{n}" for n in count(2))
    return next(name for name in names if ids.claim([(key_of(name), "")]) == [None])


def _replay(index: int, part: list[Piece], out: Writer[Document], texts: DiskMap) -> None:
    """Take over a part that an interrupted run has written, after checking that it came from the same files."""
    kept, rejected = out.read_part(index), out.rejections_of_part(index)
    if Counter(ids_of(part)) != Counter([*(d.id for d in kept), *(r.id for r in rejected)]):
        raise StoreError(
            f"the corpus changed since part {index} of {STAGE} was written in {out.folder}; "
            "delete that folder, or use another --out, and run again"
        )
    texts.claim([(key_of(d.text), d.id) for d in kept])
    out.progress.tick(sum(map(len, part)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What became of a batch of files.

    part        the number of the part it belongs to
    ids         of all its files
    documents   those that passed, as `Document` columns
    rejected    the others, each with its place among the files
    replaced    kinds of secrets and personal data that were replaced, by the file's place
    keys        `key_of` of the documents' texts, none where copies are not looked for
    """

    part: int
    ids: list[str]
    documents: pa.Table
    rejected: list[tuple[int, Rejection]]
    replaced: dict[int, tuple[str, ...]]
    keys: list[bytes]


def _judge_batch(settings: Documents, batch: Batch) -> _Judged:
    part, piece = batch
    if isinstance(piece, list):
        return _judge_each(settings, part, piece)
    return _judge_table(settings, part, piece.combine_chunks())


def _judge_each(settings: Documents, part: int, raws: list[RawDocument]) -> _Judged:
    documents: list[Document] = []
    rejected: list[tuple[int, Rejection]] = []
    replaced: dict[int, tuple[str, ...]] = {}
    for place, raw in enumerate(raws):
        judged, kinds = _judge(settings, raw)
        if isinstance(judged, Rejection):
            rejected.append((place, judged))
        else:
            documents.append(judged)
            if kinds:
                replaced[place] = kinds
    table = to_table(Document, documents)
    return _Judged(
        part=part,
        ids=[raw.id for raw in raws],
        documents=table,
        rejected=rejected,
        replaced=replaced,
        keys=keys_of(table["text"]) if "duplicate" in settings.screens else [],
    )


def _judge_table(settings: Documents, part: int, raws: pa.Table) -> _Judged:
    """Judge many files: at once those that nothing can be wrong with, the others one by one."""
    clear, texts = _clear(settings, raws)
    documents = pa.table({n: texts if n == "text" else raws[n] for n in _SCHEMA.names}, schema=_SCHEMA)
    gone: dict[int, Rejection] = {}
    replaced: dict[int, tuple[str, ...]] = {}
    if clear.false_count:
        found, places = [documents.filter(clear)], pc.indices_nonzero(clear).to_pylist()
        for easier, some in _doubtful(settings, texts, clear):
            judged = _judge_each(easier, part, list(from_table(RawDocument, raws.take(some), STAGE)))
            where = some.to_pylist()
            gone |= {where[place]: rejection for place, rejection in judged.rejected}
            replaced |= {where[place]: kinds for place, kinds in judged.replaced.items()}
            found.append(judged.documents)
            places += [place for place in where if place not in gone]
        documents = pa.concat_tables(found).take(pc.sort_indices(pa.array(places, pa.int64())))
    return _Judged(
        part=part,
        ids=raws["id"].to_pylist(),
        documents=documents,
        rejected=sorted(gone.items()),
        replaced=replaced,
        keys=keys_of(documents["text"]) if "duplicate" in settings.screens else [],
    )


def _doubtful(
    settings: Documents, texts: pa.StringArray, clear: pa.BooleanArray
) -> Iterator[tuple[Documents, pa.Array]]:
    """Yield the rows that are to be judged one by one, with the settings that are left to ask of them."""
    on = [name for name in settings.screens if name != "duplicate"]  # asked of all in the end
    doubtful = pc.invert(clear)
    quick = calm(texts, min_bytes=settings.min_bytes, max_line_length=settings.max_line_length)
    easier = replace(settings, screens=tuple(s for s in on if s not in COUNTED), normalise_newlines=False)
    yield easier, pc.indices_nonzero(pc.and_(doubtful, quick))
    yield replace(settings, screens=tuple(on)), pc.indices_nonzero(pc.and_not(doubtful, quick))


def _clear(settings: Documents, raws: pa.Table) -> tuple[pa.BooleanArray, pa.StringArray]:
    """Return which files `_judge` would pass as they are, as far as that can be told at once, and all texts."""
    is_text, texts = _decoded(raws["content"].combine_chunks())
    clear = pc.and_(is_text, pc.equal(raws["problem"], ""))
    clear = pc.and_(clear, pc.less_equal(raws["size"], settings.max_bytes))
    clear = pc.and_(clear, pc.not_equal(raws["language"], ""))
    if settings.languages:
        clear = pc.and_(clear, pc.is_in(raws["language"], pa.array(settings.languages)))
    if settings.licenses:
        allowed = licenses.allow_list(settings.licenses)
        passing = [name for name in raws["license"].unique().to_pylist() if licenses.is_allowed(name, allowed)]
        clear = pc.and_(clear, pc.is_in(raws["license"], pa.array(passing, pa.string())))
    looked_at = settings.normalise_newlines or settings.license_headers or set(settings.screens) - {"duplicate"}
    if looked_at or settings.secrets != "keep" or settings.personal_data != "keep":
        clear = pc.and_(clear, pa.scalar(value=False))
    return (clear.combine_chunks() if isinstance(clear, pa.ChunkedArray) else clear), texts


def _decoded(content: pa.BinaryArray) -> tuple[pa.BooleanArray, pa.StringArray]:
    """Return whether each file is UTF-8, and the texts of those that are."""
    try:
        return pa.repeat(pa.scalar(value=True), len(content)), content.cast(pa.string())
    except pa.ArrowInvalid:
        found = pa.array([_is_utf8(data) for data in content.to_pylist()])
        return found, pc.if_else(found, content, b"").cast(pa.string())


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _judge(settings: Documents, raw: RawDocument) -> tuple[Document | Rejection, tuple[str, ...]]:
    """Return the document in `raw`, or why there is none; and which kinds of secrets and such were replaced in it."""
    screened = _text_of(settings, raw)
    if isinstance(screened, Rejection):
        return screened, ()
    text, language, license_ = screened
    verdict = secrets.apply((text,), secrets=settings.secrets, personal_data=settings.personal_data)
    if verdict.reason:
        return _rejection(raw.id, verdict.reason, verdict.detail, language), ()
    document = Document(
        id=raw.id,
        text=verdict.texts[0],
        language=language,
        repository=raw.repository,
        commit=raw.commit,
        path=raw.path,
        license=license_,
    )
    return document, verdict.kinds


def _text_of(settings: Documents, raw: RawDocument) -> tuple[str, str, str] | Rejection:
    """Return the text in `raw`, its language and its licence, or which screen holds it back."""
    if raw.problem:
        return _rejection(raw.id, raw.problem, raw.detail, raw.language)
    language = raw.language or languages.detect(raw.path, raw.content[:HEAD_BYTES].decode("utf-8", "replace"))
    if raw.size > settings.max_bytes:
        return _rejection(raw.id, "too_large", f"{raw.size} bytes", language)
    if "binary" in settings.screens and screens.is_binary(raw.content):
        return _rejection(raw.id, "binary", language=language)
    if "vendored" in settings.screens and screens.is_vendored(raw.path):
        return _rejection(raw.id, "vendored", language=language)
    if not language:
        return _rejection(raw.id, "unknown_language")
    if settings.languages and language not in settings.languages:
        return _rejection(raw.id, "language_not_wanted", language=language)
    text = screens.decode(raw.content, is_python=language == "python")
    if text is None:
        return _rejection(raw.id, "not_utf8", language=language)
    if settings.normalise_newlines:
        text = screens.without_mark(text)
    reason, detail = _screened(settings, raw.path, text)
    if reason:
        return _rejection(raw.id, reason, detail, language)
    license_ = _license(raw.license, text) if settings.license_headers else raw.license
    if settings.licenses and not licenses.is_allowed(license_, licenses.allow_list(settings.licenses)):
        return _rejection(raw.id, "license_not_allowed", license_ or "no licence found", language)
    return text, language, license_


def _screened(settings: Documents, path: str, text: str) -> tuple[str, str]:
    """Return the first screen that holds `text` back, and a figure where one explains it; ("", "") if none does."""
    on = settings.screens
    filled = text.strip()
    if "blank" in on and not filled:
        return "blank", ""
    if "too_short" in on and len(filled.encode("utf-8", "replace")) < settings.min_bytes:
        return "too_short", f"{len(filled.encode('utf-8', 'replace'))} bytes"
    if "generated" in on and screens.is_generated(path, text):
        return "generated", ""
    if "minified" in on and screens.is_minified(path, text):
        return "minified", ""
    if (
        "long_line" in on
        and (longest := screens.longest_line(text, settings.max_line_length)) > settings.max_line_length
    ):
        return "long_line", f"{longest} characters"
    if "data" not in on and "few_letters" not in on:
        return "", ""
    signs = screens.Signs.of(text)
    if "data" in on and screens.is_data(text, signs):
        return "data", ""
    if "few_letters" in on and screens.has_few_letters(text, signs):
        return "few_letters", ""
    return "", ""


def _license(repository: str, text: str) -> str:
    """Return the licence a file is under: what it says itself, unless that is vaguer than what its repository says."""
    own = licenses.from_header(text)
    return repository if repository and (not own or own.startswith("LicenseRef-BSD")) else own


def _rejection(id_: str, reason: str, detail: str = "", language: str = "") -> Rejection:
    return Rejection(id=id_, stage=STAGE, reason=reason, detail=detail, language=language)
