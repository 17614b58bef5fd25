"""Repeated and broken samples are taken out; those that resemble others are `stages/deduplicate.py`'s business.

The original's policy is the first three rules alone, in the order of its shuffle (`clean_data.py`): `shuffle_seed: 666,
solution_parses: false, secrets: keep, personal_data: keep`. The paper keeps noisy samples such
as incomplete solutions on purpose, and found that dropping them helped nothing; so what others filter
by (`text/answers.py`) is a switch here, off by default.
"""

import hashlib
import random
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import pyarrow.parquet as pq

from magicoder.errors import RecipeError
from magicoder.languages import Language, all_languages
from magicoder.protocols import Engine
from magicoder.records import Rejection, Sample
from magicoder.schema import to_table
from magicoder.store import Artifact, Writer, account
from magicoder.text import answers, secrets
from magicoder.text.codeblocks import CodeBlock, code_blocks
from magicoder.text.redaction import Redactions
from magicoder.text.syntax import parses

DUPLICATES: Final = ("duplicate_seed", "duplicate_instruction", "duplicate_response")
"""Reasons in the order in which the original reports them (it says problems and solutions)."""

LIMITS: Final = (
    *("instruction_words", "instruction_characters", "response_words", "response_characters"),
    *("code_lines", "words_before_code"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """Settings of the stage. A sample that one rule rejects does not count as seen for the others.

    duplicate_seeds          reject where a kept sample of another seed has the same seed, all white space removed
    duplicate_instructions   likewise the same instruction (the original's duplicate problems)
    duplicate_responses      likewise the same response (the original's duplicate solutions)
    shuffle_seed             which of several duplicates stays: the first in the order of the samples (None), or in
                             the order of `random.Random(shuffle_seed).shuffle` as in the original, whose seed is 666
    solution_parses          reject where a code block of the response has a syntax error (reason `does_not_parse`)
    require_code             reject where the response has no code block (reason `no_code`)
    copied_from_problem      reject where a code block of the response is one of the instruction's, all white space
                             removed; the original has this rule and leaves it off ("does not help much")
    secrets, personal_data   `keep`, `redact` or `reject` what `text/secrets.py` finds in instruction, response, tests
                             and seed (reasons `secret`, `personal_data`); what is redacted is judged afterwards
    instruction_words, instruction_characters, response_words, response_characters
                             the least and the most, e.g. `[10, 1000]`; `[]` for any (`too_short`, `too_long`)
    code_lines               likewise the lines of all the response's code blocks, blank ones not counted
    words_before_code        likewise the words before the response's first code block
    refused                  reject where the response begins or ends with an apology, or asks for more details
    prose_only               reject where the response holds no code, fenced or not
    several_fences           reject where the response has more than one code block
    wrong_language           reject where its code blocks name languages, and none is the seed's
    unfinished               reject where the code has a TODO, an empty body or is cut off (`answers.unfinished`)

    Of several reasons the first is given, in this order: lengths, `refused`, `prose_only`, `no_code`, `several_fences`,
    `copied_from_problem`, `wrong_language`, `unfinished`, `does_not_parse`, `secret`, `personal_data`, then the
    duplicates. Samples of `comment_pairs`, functions cut in two, are asked for lengths, parsing and secrets only.
    """

    duplicate_seeds: bool = True
    duplicate_instructions: bool = True
    duplicate_responses: bool = True
    shuffle_seed: int | None = None
    solution_parses: bool = True
    require_code: bool = False
    copied_from_problem: bool = False
    secrets: str = "redact"
    personal_data: str = "redact"
    instruction_words: tuple[int, ...] = ()
    instruction_characters: tuple[int, ...] = ()
    response_words: tuple[int, ...] = ()
    response_characters: tuple[int, ...] = ()
    code_lines: tuple[int, ...] = ()
    words_before_code: tuple[int, ...] = ()
    refused: bool = False
    prose_only: bool = False
    several_fences: bool = False
    wrong_language: bool = False
    unfinished: bool = False

    def __post_init__(self) -> None:
        for name in LIMITS:
            limits = getattr(self, name)
            if limits and not (len(limits) == 2 and 0 <= limits[0] <= limits[1]):
                raise RecipeError(f"clean.{name} is {list(limits)}; it is the least and the most, such as [10, 1000]")
        secrets.check_policies(secrets=self.secrets, personal_data=self.personal_data)

    def run(self, samples: Artifact[Sample], out: Writer[Sample], engine: Engine) -> None:
        """Write a part of kept samples for each part of `samples`, and why the others are not kept."""
        out.progress.expect(samples.manifest.rows, "samples")
        verdicts = self._in_shuffled_order(samples, engine) if self.shuffle_seed is not None else None
        keeper = _Keeper(self, verdicts)
        self._replay(out, engine, keeper)
        for rows, found in _examined(self, (samples.read_part(i) for i in range(out.done, samples.part_count)), engine):
            kept, rejections, redacted = [], [], Redactions()
            for row, examined in zip(rows, found, strict=True):
                reason, detail = keeper.judge(examined)
                if reason:
                    rejections.append(
                        Rejection(id=row.id, stage=out.stage, reason=reason, detail=detail, language=row.language)
                    )
                else:
                    kept.append(examined.redacted or row)
                    redacted.add(examined.kinds)
            account((r.id for r in rows), (r.id for r in kept), (r.id for r in rejections))
            out.write_table(to_table(Sample, kept), rejections, metadata=redacted.metadata())
            out.progress.tick(len(rows))
        total = Redactions()
        for index in range(out.done):
            total.take_over(pq.read_schema(out.part_path(index)).metadata)
        out.add_facts({"redacted": total.facts()})

    def _replay(self, out: Writer[Sample], engine: Engine, keeper: "_Keeper") -> None:
        """Take in what an interrupted run kept, so that the rest is judged as if it had gone on."""
        written = range(out.done)
        for index, (rows, found) in enumerate(_examined(self, (out.read_part(i) for i in written), engine)):
            for examined in found:
                keeper.keep(examined)
            count = len(rows) + len(out.rejections_of_part(index))
            keeper.passed += count
            out.progress.tick(count)

    def _in_shuffled_order(self, samples: Artifact[Sample], engine: Engine) -> bytearray:
        """Return for each sample 1 + the number of its reason in `DUPLICATES`, 0 for none.

        Holds three 16-byte digests a sample instead of texts.
        """
        digests = bytearray()
        origins = array("Q")
        broken = bytearray()
        for _, found in _examined(self, (samples.read_part(i) for i in range(samples.part_count)), engine):
            for examined in found:
                digests += b"".join(examined.keys)
                origins.append(examined.origin)
                broken.append(bool(examined.reason))
        order = array("Q", range(len(origins)))
        random.Random(self.shuffle_seed).shuffle(order)
        seen = _Seen(self)
        verdicts = bytearray(len(order))
        for number in order:
            if broken[number]:
                continue
            start = number * 3 * _DIGEST
            keys = tuple(bytes(digests[start + i * _DIGEST : start + (i + 1) * _DIGEST]) for i in range(3))
            found_in = seen.where(keys, origins[number])
            if found_in is None:
                seen.add(keys, origins[number])
            else:
                verdicts[number] = found_in + 1
        return verdicts


_DIGEST: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What can be said of a sample without knowing the others; made in worker processes.

    keys         digests of seed, instruction and response, all white space removed
    origin       stands for the seed's id: samples of one seed share their seed by design
    reason       "" or why the sample is rejected whatever the others are
    redacted     the sample with stand-ins for secrets, None if it holds none; `kinds` says which kinds
    """

    keys: tuple[bytes, ...]
    origin: int
    reason: str = ""
    detail: str = ""
    redacted: Sample | None = None
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Examination:
    """The examination as a value that worker processes can be sent."""

    clean: Clean

    def __call__(self, samples: list[Sample]) -> list[Examined]:
        return [_examine(_judged(sample, self.clean)) for sample in samples]


def _examined(
    clean: Clean, parts: Iterable[list[Sample]], engine: Engine
) -> Iterator[tuple[list[Sample], list[Examined]]]:
    """Yield the rows of each part with what was found of them; few parts are in memory at a time."""
    under_way: deque[list[Sample]] = deque()

    def passing() -> Iterator[list[Sample]]:
        for rows in parts:
            under_way.append(rows)
            yield rows

    for found in engine.map(_Examination(clean), passing()):
        yield under_way.popleft(), found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A sample as it may be used, and "" or why it may not."""

    sample: Sample
    is_redacted: bool = False
    kinds: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""


def _judged(sample: Sample, clean: Clean) -> _Judged:
    reason, detail = _fault(sample, clean)
    if reason:
        return _Judged(sample=sample, reason=reason, detail=detail)
    texts = (sample.instruction, sample.response, sample.tests, sample.seed, *sample.turns)
    titles: tuple[str, ...] = (" of the instruction", " of the response", " of the tests", " of the seed")
    titles += (" of a turn in between",) * len(sample.turns)
    found = secrets.apply(texts, secrets=clean.secrets, personal_data=clean.personal_data, titles=titles)
    if found.reason or found.texts == texts:
        return _Judged(sample=sample, reason=found.reason, detail=found.detail)
    instruction, response, tests, seed, *turns = found.texts
    sample = replace(sample, instruction=instruction, response=response, tests=tests, seed=seed, turns=tuple(turns))
    return _Judged(sample=sample, is_redacted=True, kinds=found.kinds)


def _examine(judged: _Judged) -> Examined:
    sample = judged.sample
    return Examined(
        keys=tuple(map(_key, (sample.seed, sample.instruction, sample.response))),
        origin=int.from_bytes(_key(sample.seed_id)[:8], "big"),
        reason=judged.reason,
        detail=judged.detail,
        redacted=sample if judged.is_redacted else None,
        kinds=judged.kinds,
    )


def _key(text: str) -> bytes:
    """Return a digest of `text` without any white space."""
    return hashlib.blake2b("".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()


class _Seen:
    """The digests of kept samples: about 0.4 KB a sample."""

    def __init__(self, clean: Clean) -> None:
        self._switches = (clean.duplicate_seeds, clean.duplicate_instructions, clean.duplicate_responses)
        self._origins: dict[bytes, int] = {}
        self._texts: tuple[set[bytes], set[bytes]] = (set(), set())

    def where(self, keys: tuple[bytes, ...], origin: int) -> int | None:
        """Return the number in `DUPLICATES` of the first key that was seen, None if none was."""
        seed, *texts = keys
        if self._switches[0] and self._origins.get(seed, origin) != origin:
            return 0
        for number, (key, seen) in enumerate(zip(texts, self._texts, strict=True), start=1):
            if self._switches[number] and key in seen:
                return number
        return None

    def add(self, keys: tuple[bytes, ...], origin: int) -> None:
        """Take in a kept sample."""
        seed, *texts = keys
        self._origins.setdefault(seed, origin)
        for key, seen in zip(texts, self._texts, strict=True):
            seen.add(key)


class _Keeper:
    """Judges samples one after the other against those kept before."""

    def __init__(self, clean: Clean, verdicts: bytearray | None) -> None:
        self._verdicts = verdicts
        self._seen = _Seen(clean)
        self.passed = 0

    def judge(self, examined: Examined) -> tuple[str, str]:
        """Return why a sample is rejected, and details; ("", "") if it is kept."""
        number = self.passed
        self.passed += 1
        if examined.reason:
            return examined.reason, examined.detail
        if self._verdicts is None:
            found = self._seen.where(examined.keys, examined.origin)
        else:
            found = self._verdicts[number] - 1 if self._verdicts[number] else None
        if found is not None:
            return DUPLICATES[found], ""
        self.keep(examined)
        return "", ""

    def keep(self, examined: Examined) -> None:
        """Take in a kept sample."""
        if self._verdicts is None:
            self._seen.add(examined.keys, examined.origin)


def _fault(sample: Sample, clean: Clean) -> tuple[str, str]:
    """Return why `sample` is rejected whatever the others are, and details; ("", "") if it is not."""
    blocks = [b for b in code_blocks(sample.response) if b.code.strip()] if _needs_blocks(clean) else []
    reason, detail = _misfit(sample, clean, blocks)
    if reason:
        return reason, detail
    if sample.strategy == "comment_pairs" and not sample.response.startswith("```"):  # a function cut in two
        language = _known().get(sample.language)
        code = sample.instruction + sample.response
        if clean.solution_parses and language is not None and not _parses(code, language):
            return "does_not_parse", sample.language
        return "", ""
    reason, detail = _poor(sample, clean, blocks)
    if reason:
        return reason, detail
    if clean.solution_parses:
        for block, language in _programs(blocks, sample.language):
            if not _parses(block.code, language):
                return "does_not_parse", f"the {language.title} block at line {block.first_line} of the response"
    return "", ""


def _needs_blocks(clean: Clean) -> bool:
    return bool(
        clean.solution_parses
        or clean.require_code
        or clean.copied_from_problem
        or clean.code_lines
        or clean.words_before_code
        or clean.refused
        or clean.prose_only
        or clean.several_fences
        or clean.wrong_language
        or clean.unfinished
    )


def _misfit(sample: Sample, clean: Clean, blocks: list[CodeBlock]) -> tuple[str, str]:
    """Return `too_short` or `too_long` and of what; ("", "") if every length is within its limits."""
    counts: list[tuple[str, Sequence[int], Callable[[], int]]] = [
        ("words of instruction", clean.instruction_words, lambda: answers.words(sample.instruction)),
        ("characters of instruction", clean.instruction_characters, lambda: len(sample.instruction)),
        ("words of response", clean.response_words, lambda: answers.words(sample.response)),
        ("characters of response", clean.response_characters, lambda: len(sample.response)),
    ]
    if blocks:
        counts += [
            ("lines of code", clean.code_lines, lambda: answers.lines_of_code(blocks)),
            (
                "words before the code",
                clean.words_before_code,
                lambda: answers.words_before(sample.response, blocks[0]),
            ),
        ]
    for unit, limits, count in counts:
        if limits and (reason := answers.outside(count(), limits)):
            return reason, f"{count()} {unit}"
    return "", ""


def _poor(sample: Sample, clean: Clean, blocks: list[CodeBlock]) -> tuple[str, str]:
    """Return the first of the answer's faults that `clean` asks for, and details; ("", "") if there is none."""
    if clean.refused and answers.is_refusal(sample.response, blocks):
        return "refused", ""
    if clean.prose_only and answers.is_prose(sample.response, blocks):
        return "prose_only", ""
    if clean.require_code and not blocks:
        return "no_code", ""
    if clean.several_fences and len(blocks) > 1:
        return "several_fences", f"{len(blocks)} code blocks"
    if clean.copied_from_problem:
        asked = {"".join(b.code.split()) for b in code_blocks(sample.instruction)}
        if any("".join(b.code.split()) in asked for b in blocks):
            return "copied_from_problem", ""
    if clean.wrong_language:
        named = [language.name for b in blocks if (language := _fences().get(b.name)) is not None]
        if named and sample.language in _known() and sample.language not in named:
            return "wrong_language", f"{', '.join(dict.fromkeys(named))} for {sample.language}"
    if clean.unfinished and (why := answers.unfinished(blocks, is_python=sample.language == "python")):
        return "unfinished", why
    return "", ""


def _programs(blocks: list[CodeBlock], language: str) -> Iterator[tuple[CodeBlock, Language]]:
    """Yield the blocks that can be parsed, and their languages.

    A block without a name is in the sample's language, unless others name theirs: then it is rather some output.
    """
    named = [(b, found) for b in blocks if (found := _fences().get(b.name)) is not None]
    own = _known().get(language)
    if named:
        yield from named
    elif own is not None:
        yield from ((b, own) for b in blocks if not b.name)


def _parses(code: str, language: Language) -> bool:
    """Whether `code` parses, by itself or as a member of a class."""
    before, after = language.member_context
    return parses(code, language) or (bool(before) and parses(f"{before}\n{code}\n{after}", language))


@cache
def _known() -> dict[str, Language]:
    return {language.name: language for language in all_languages()}


@cache
def _fences() -> dict[str, Language]:
    return {name: language for language in all_languages() for name in language.fences}
