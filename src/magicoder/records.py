"""The nouns of the system. Records flow one way: RawDocument → Document → Seed → Sample.

All are frozen, slotted, keyword-only dataclasses; `store` derives their Parquet schema from the annotations.
Text fields hold `str`, lines are counted from 1 and split on newline, "" means unknown where a field is `str`.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class RawDocument:
    """One file as a corpus found it: bytes, not yet judged.

    id           `repository@commit:path` (`repository:path` without a commit), with `#…` behind it for a part of a
                 file; unique within a corpus
    content      at most `max_bytes + 1` bytes of the file (see `Corpus.documents`)
    size         the file's true size in bytes
    language     the name in `languages/` if the source states it, else "" (detected later)
    license      SPDX expression of the repository or of a column, else ""; a header in the file overrules it
    problem      "" or why the file could not be read (`unreadable`, `broken_link`, …); `detail` explains
    """

    id: str
    content: bytes
    size: int
    repository: str
    commit: str
    path: str
    language: str = ""
    license: str = ""
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One source file that passed the screens, decoded, with its provenance."""

    id: str
    text: str
    language: str
    repository: str
    commit: str
    path: str
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A snippet of a document, the inspiration for one sample.

    id           `<document id>#L<first_line>`
    kind         `window` (random lines), `function` (a documented function, comment included) or `instruction` (the
                 whole document)
    index        position in this run's list of seeds (the original's `index` in exact mode)
    raw_index    row number of the document within its language (the original's `raw_index`)
    """

    id: str
    text: str
    language: str
    document_id: str
    repository: str
    commit: str
    path: str
    license: str
    first_line: int
    last_line: int
    kind: str
    index: int
    raw_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One request to an LLM. `random_seed` reaches the endpoint and keeps equal prompts apart in the journal."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    random_seed: int | None = None
    n: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model returned: `n` texts and why each ended (`stop`, `length`, `content_filter`, …)."""

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What came instead of a completion, for this prompt only (asking again would fail again).

    reason       a word for a table: `prompt_too_long`, `bad_request`, `refused_by_server`, `no_recording`, …
    maybe_paid   the last attempt may have been billed although no usable answer came (timeout, cut connection, …)
    """

    reason: str
    detail: str
    maybe_paid: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An instruction–response pair with everything needed to walk back to the line of code behind it.

    id           `<seed id>/<strategy>[k]`
    language     the language of the seed (the original's `lang`)
    tests        what checks the response, in `test_format`: `doctest`, `assert`, or "" for none
    parser       which rule accepted the teacher's answer (`original`, `tolerant`, …), "" without a teacher
    teacher      the model that answered, "" without one; `fingerprint` is the server's, if it sends one
    """

    id: str
    seed_id: str
    strategy: str
    language: str
    instruction: str
    response: str
    tests: str
    test_format: str
    parser: str
    teacher: str
    fingerprint: str
    prompt_tokens: int
    completion_tokens: int
    seed: str
    document_id: str
    repository: str
    commit: str
    path: str
    license: str
    first_line: int
    last_line: int
    index: int
    raw_index: int

    @classmethod
    def from_seed(
        cls,
        seed: Seed,
        *,
        strategy: str,
        instruction: str,
        response: str,
        tests: str = "",
        test_format: str = "",
        parser: str = "",
        completion: Completion | None = None,
        ordinal: int = 0,
    ) -> "Sample":
        """Make the `ordinal`-th sample of `strategy` from `seed`, provenance carried over."""
        return cls(
            id=f"{seed.id}/{strategy}[{ordinal}]",
            seed_id=seed.id,
            strategy=strategy,
            language=seed.language,
            instruction=instruction,
            response=response,
            tests=tests,
            test_format=test_format,
            parser=parser,
            teacher=completion.model if completion else "",
            fingerprint=completion.fingerprint if completion else "",
            prompt_tokens=completion.prompt_tokens if completion else 0,
            completion_tokens=completion.completion_tokens if completion else 0,
            seed=seed.text,
            document_id=seed.document_id,
            repository=seed.repository,
            commit=seed.commit,
            path=seed.path,
            license=seed.license,
            first_line=seed.first_line,
            last_line=seed.last_line,
            index=seed.index,
            raw_index=seed.raw_index,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A record that a stage did not pass on. `reason` is a word for a table; `text` keeps raw teacher answers.

    id           what was rejected; of a seed that gave some samples but not all: what the missing one would be called
    The tokens are what was paid for nothing. `retryable`: no answer came, so that asking again may help.
    """

    id: str
    stage: str
    reason: str
    detail: str = ""
    language: str = ""
    text: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retryable: bool = False

    @classmethod
    def from_seed(
        cls,
        seed: Seed,
        *,
        strategy: str,
        ordinal: int,
        reason: str,
        detail: str = "",
        text: str = "",
        retryable: bool = False,
    ) -> "Rejection":
        """Say why the `ordinal`-th sample of `strategy` was not made from `seed`; see `Sample.from_seed`."""
        return cls(
            id=f"{seed.id}/{strategy}[{ordinal}]",
            stage="samples",
            reason=reason,
            detail=detail,
            language=seed.language,
            text=text,
            retryable=retryable,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A benchmark's problem: what a model is asked, and what training data must not contain.

    id           as its benchmark names it, e.g. `HumanEval/0`
    benchmark    the module in `benchmarks/`
    prompt       what a model is given; `description` the natural-language part alone, if the file separates it
    reference    the canonical solution, "" if none is published
    """

    id: str
    benchmark: str
    language: str
    prompt: str
    description: str = ""
    reference: str = ""
    tests: str = ""
    entry_point: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a sandbox executes."""

    language: str
    files: tuple[tuple[str, str], ...]
    entry: str
    stdin: str = ""
    timeout_s: float = 10.0
    memory_mb: int = 1024


class Outcome(StrEnum):
    """What came of a program."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_COMPILED = "not_compiled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A sandbox's answer about one program."""

    outcome: Outcome
    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    peak_memory_mb: float
