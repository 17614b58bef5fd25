"""Judge every file: decode it, find out language and licence, keep what can seed a problem, each text once.

Paper, section 2 and appendix: seeds come from a corpus that is already filtered (`starcoderdata`); a corpus of one's
own is not, so this stage applies the same kinds of screens. `Documents(screens=(), secrets="keep",
personal_data="keep", normalise_newlines=False, max_bytes=<huge>)` leaves a table's rows as they are, which the
original's seeds depend on.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, groupby, islice
from typing import Final

import pyarrow.parquet as pq

from magicoder import languages
from magicoder.errors import CorpusError, StoreError
from magicoder.protocols import Engine
from magicoder.records import Document, RawDocument, Rejection
from magicoder.schema import to_table
from magicoder.store import Writer, account
from magicoder.text import licenses, screens, secrets
from magicoder.text.disk_set import DiskMap, key_of
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
BATCH_DOCUMENTS: Final = 250
BATCH_BYTES: Final = 4 * 2**20
"""What goes to a worker at once; smaller than a part, so that little waits in memory. Decides no result."""

Batch = tuple[int, list[RawDocument]]
Judged = tuple[Document | Rejection, tuple[str, ...]]
"""What became of a file, and which kinds of secrets and personal data were replaced in it."""


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

    def run(self, raws: Iterator[RawDocument], out: Writer[Document], engine: Engine) -> None:
        """Write the documents of `raws`, and why the other files are none.

        Raises:
            CorpusError: there is no file at all.
            StoreError: the corpus is not the one that an interrupted run began with.
        """
        out.progress.expect(self.limit, "files")
        tally, redacted = _Tally(), Redactions()
        parts = _parts(tally.watch(islice(raws, self.limit)), self.part_documents, self.part_bytes)
        with (
            DiskMap.opened(out.folder / "ids.partial") as ids,
            DiskMap.opened(out.folder / "texts.partial") as texts,
        ):
            parts = _named(parts, ids)
            for index in range(out.done):
                _replay(index, next(parts, []), out, texts)
                redacted.take_over(pq.read_schema(out.part_path(index)).metadata)
            judge = functools.partial(_judge_batch, self)
            judged = engine.map(judge, _batches(parts, first=out.done))
            for _, answers in groupby(judged, key=lambda answer: answer[0]):
                part = self._write_part([one for _, batch in answers for one in batch], out, texts)
                redacted.take_over(part.metadata())
        if tally.files == 0:
            raise CorpusError("the corpus holds no files; check its path and patterns")
        out.add_facts({"files": tally.files, "bytes": tally.bytes, "redacted": redacted.facts()})

    def _write_part(self, answers: list[Judged], out: Writer[Document], texts: DiskMap) -> Redactions:
        """Reject texts that were seen before, publish the rest as the next part, and return what was replaced in it."""
        judged = [one for one, _ in answers]
        documents = [one for one in judged if isinstance(one, Document)] if "duplicate" in self.screens else []
        holders = texts.claim([(key_of(d.text), d.id) for d in documents])
        copies = {d.id: holder for d, holder in zip(documents, holders, strict=True) if holder is not None}
        kept: list[Document] = []
        rejected: list[Rejection] = []
        redacted = Redactions()
        for one, kinds in answers:
            if isinstance(one, Rejection):
                rejected.append(one)
            elif one.id in copies:
                rejected.append(_rejection(one.id, "duplicate", copies[one.id], one.language))
            else:
                kept.append(one)
                redacted.add(kinds)
        account((one.id for one in judged), (d.id for d in kept), (r.id for r in rejected))
        out.write_table(to_table(Document, kept), rejected, metadata=redacted.metadata())
        out.progress.tick(len(judged))
        return redacted


class _Tally:
    """Counts what is read, whichever way it goes."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0

    def watch(self, raws: Iterable[RawDocument]) -> Iterator[RawDocument]:
        for raw in raws:
            self.files += 1
            self.bytes += raw.size
            yield raw


def _parts(raws: Iterator[RawDocument], documents: int, size: int) -> Iterator[list[RawDocument]]:
    """Cut the corpus into parts; where, depends on the corpus and the two settings alone."""
    part: list[RawDocument] = []
    held = 0
    for raw in raws:
        part.append(raw)
        held += len(raw.content)
        if len(part) >= documents or held >= size:
            yield part
            part, held = [], 0
    if part:
        yield part


def _batches(parts: Iterator[list[RawDocument]], first: int) -> Iterator[Batch]:
    for index, part in enumerate(parts, first):
        batches = _parts(iter(part), BATCH_DOCUMENTS, BATCH_BYTES)
        for batch in batches:
            yield index, batch


def _named(parts: Iterator[list[RawDocument]], ids: DiskMap) -> Iterator[list[RawDocument]]:
    """Give a file whose id was seen before (a table may hold a path twice) the id with `~2`, `~3`, … behind it."""
    for part in parts:
        holders = ids.claim([(key_of(raw.id), "") for raw in part])
        yield [raw if held is None else _renamed(raw, ids) for raw, held in zip(part, holders, strict=True)]


def _renamed(raw: RawDocument, ids: DiskMap) -> RawDocument:
    names = (f"{raw.id}~{n}" for n in count(2))
    return replace(raw, id=next(name for name in names if ids.claim([(key_of(name), "")]) == [None]))


def _replay(index: int, part: list[RawDocument], out: Writer[Document], texts: DiskMap) -> None:
    """Take over a part that an interrupted run has written, after checking that it came from the same files."""
    kept, rejected = out.read_part(index), out.rejections_of_part(index)
    if Counter(raw.id for raw in part) != Counter([*(d.id for d in kept), *(r.id for r in rejected)]):
        raise StoreError(
            f"the corpus changed since part {index} of {STAGE} was written in {out.folder}; "
            "delete that folder, or use another --out, and run again"
        )
    texts.claim([(key_of(d.text), d.id) for d in kept])
    out.progress.tick(len(part))


def _judge_batch(settings: Documents, batch: Batch) -> tuple[int, list[Judged]]:
    index, raws = batch
    return index, [_judge(settings, raw) for raw in raws]


def _judge(settings: Documents, raw: RawDocument) -> Judged:
    """Return the document in `raw`, or why there is none."""
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
