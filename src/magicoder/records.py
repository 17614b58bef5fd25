"""The nouns of the system. Records flow one way: RawDocument → Document → Seed → Sample.

All are frozen, slotted, keyword-only dataclasses; `store` derives their Parquet schema from the annotations.
Text fields hold `str`, lines are counted from 1 and split on newline, "" means unknown where a field is `str`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol


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
    """One request to an LLM. `random_seed` reaches the endpoint and keeps equal prompts apart in the journal.

    Where the last message is the assistant's, it is the beginning of an answer that is to be continued.

    raw   the text of the one message is continued as it stands, without a chat template
    """

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    random_seed: int | None = None
    n: int = 1
    raw: bool = False


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
    turns        what was said between instruction and response, by assistant and user in turn; () for one turn
    solutions    how many candidates the response was chosen from, 0 where there was no choice; then `pass_rate` is the
                 share that passes the tests, `agreement` the share that behaves like the chosen one, and `difficulty` a
                 word for it (`text/agreement.py`)
    outcome      of the stage `verify` (see `Outcome`), "" where nothing was run; `outcome_detail` explains in one line
    checked      what the outcome rests on: `tests`, `run` (no tests; it ended by itself) or `compile`
    mutants      how many mutants of the solution were run against the tests, and `test_strength` the share that the
                 tests told from the original, None without mutants
    toolchain    what compiled and ran it, with version
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
    turns: tuple[str, ...] = ()
    solutions: int = 0
    pass_rate: float | None = None
    agreement: float | None = None
    difficulty: str = ""
    outcome: str = ""
    outcome_detail: str = ""
    checked: str = ""
    mutants: int = 0
    test_strength: float | None = None
    toolchain: str = ""

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
        turns: tuple[str, ...] = (),
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
            turns=turns,
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
class Measurement:
    """What running a sample's program took when it was first run: figures that differ from run to run.

    They stand beside the rows of a stage, never in them, so that equal recipes give equal rows.
    """

    id: str
    cpu_s: float
    wall_s: float
    peak_memory_mb: float


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
    reference    the canonical solution, "" if none is published; `more_references` the others, where several are
    """

    id: str
    benchmark: str
    language: str
    prompt: str
    description: str = ""
    reference: str = ""
    tests: str = ""
    entry_point: str = ""
    more_references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use.

    cpu_s        processor time of all its processes together; what decides, since it does not depend on neighbours
    wall_s       a generous backstop against sleeping; 0 derives it from `cpu_s`
    memory_mb    of all its processes together, what it writes to its /tmp included
    """

    cpu_s: float = 10.0
    wall_s: float = 0.0
    memory_mb: int = 1024
    processes: int = 64
    output_kb: int = 1024
    tmp_mb: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a sandbox executes.

    files            name and text; the first is the main one. Names are relative and stay inside the working folder;
                     "" lets the language's toolchain name it
    tests            Python only: code that runs after the main file, in the same process and name space. The program
                     has passed when its end is reached, which a secret token proves
    stdin            what the program reads; `expected_stdout` what it must print (`compare` decides), None if its exit
                     code alone tells
    compare          how output is compared: `exact`, or `tokens` (white space aside, numbers within 1e-9)
    judge            Python only: calls the program's function from outside the sandbox; None for a whole program
    group            what it has in common with others (a benchmark's task), so that they are planned together
    likely_s         about how many seconds it takes, 0 if nobody knows: what takes long begins early; decides nothing
    """

    language: str
    files: tuple[tuple[str, str], ...]
    tests: str = ""
    stdin: str = ""
    expected_stdout: str | None = None
    compare: str = "tokens"
    judge: "Judge | None" = None
    group: str = ""
    limits: Limits = Limits()
    likely_s: float = field(default=0.0, metadata={"identity": False}, compare=False)


class Judge(Protocol):
    """Calls a function that lives in a sandbox and says whether its answers are right. Trusted; never enters it.

    A frozen dataclass, like every component: its fields are part of a verdict's key in the cache.
    """

    @property
    def entry_point(self) -> str:
        """The name of the function that is called."""
        ...

    def __call__(self, call: Callable[..., Any]) -> None:
        """Call `call(*arguments)` as often as it takes.

        What comes back is plain data (`sandboxes/_values.py`). Where the function raised, so does `call`.

        Raises:
            AssertionError: an answer is wrong; its text becomes the verdict's detail.
        """
        ...


class Outcome(StrEnum):
    """What came of a program. `TOOLCHAIN_MISSING` says nothing about it."""

    PASSED = "passed"
    WRONG_ANSWER = "wrong_answer"
    EXCEPTION = "exception"
    COMPILE_ERROR = "compile_error"
    CPU_TIMEOUT = "cpu_timeout"
    WALL_TIMEOUT = "wall_timeout"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    OUTPUT_LIMIT = "output_limit"
    EXITED_EARLY = "exited_early"
    TOOLCHAIN_MISSING = "toolchain_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A sandbox's answer about one program.

    detail           one line for a person: the exception, the failed assert, the signal, the first compile error
    exit_code        of the main process; None if a signal ended it
    stdout, stderr   what was printed, cut at the limit; of a failed compilation, what the compiler said
    cpu_s, wall_s    of the run, without compiling; peak_memory_mb of all its processes, 0 where it cannot be measured
    toolchain        what compiled and ran it, with version (`Python 3.11.7`, `g++ 12.2.0`)
    """

    outcome: Outcome
    detail: str = ""
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_memory_mb: float = 0.0
    toolchain: str = ""


STYLES: Final = ("magicoder", "chat", "completion", "solution")
"""How a model is asked, and so how its answer becomes a program.

magicoder    the paper's template with the beginning of the response given (method of the paper's section 4)
chat         the model's own chat template, one instruction; the answer is prose with code
completion   the raw prompt, continued; the program is the prompt and the completion, cut at a stop sequence
solution     not asked here: the answer is a whole program that another harness made
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said to a task, as it said it.

    style        one of `STYLES`
    index        counts the answers to one task from 0
    """

    task_id: str
    text: str
    style: str
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """The program in an answer, and how it was found.

    code         what runs, "" if the answer has none; never anything that the model did not write, but for a prompt
                 that it was to continue
    rule         a word for a table: `whole` (the answer is the program), `fence`, `prose` (code between lines
                 of text), `completion`, `truncated`, `nothing`
    note         what was left away and why, in one line for a person; "" if nothing was
    """

    code: str
    rule: str
    note: str = ""
