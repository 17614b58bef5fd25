"""An open session with a model in this process: which prompts are computed together, and what if memory is short.

Pure bookkeeping; the model stands behind `Runner`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from magicoder.errors import TeacherError
from magicoder.llms import _local
from magicoder.records import Completion, Failure, Prompt

_WINDOW: Final = 4
"""Batches' worth of prompts that are sorted by length, for little padding; also what Ctrl-C waits for."""
_SPARE: Final = 2
"""Prompts to have at hand for each continuous slot, so that none stays empty."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence to compute: prompt tokens, how many may follow, and what its random draws come from."""

    ids: list[int]
    limit: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote: text without the stop string, `stop` or `length`, and the number of tokens computed."""

    text: str
    reason: str
    tokens: int


class OutOfMemory(Exception):  # noqa: N818 - a condition that is handled
    """The rows did not fit together."""


class Broken(Exception):  # noqa: N818 - a condition that is handled
    """The continuous slots no longer work."""


class Slots(Protocol):
    """A batch that sequences enter and leave one by one."""

    def add(self, key: str, row: Row) -> None:
        """Put a row in the queue."""
        ...

    def finished(self) -> list[tuple[str, Answer]]:
        """Wait a little and return what has finished.

        Raises:
            Broken: they no longer work.
        """
        ...

    def close(self) -> None:
        """Give up what is under way and free the memory."""
        ...


class Runner(Protocol):
    """A loaded model."""

    @property
    def model(self) -> str:
        """Its name."""
        ...

    @property
    def fingerprint(self) -> str:
        """What computes: versions, device, precision."""
        ...

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer together."""
        ...

    @property
    def template(self) -> _local.Template:
        """How a chat becomes tokens."""
        ...

    @property
    def slots(self) -> Callable[[], Slots] | None:
        """How to make continuous slots for greedy rows; None where there are none."""
        ...

    def generate(self, rows: Sequence[Row]) -> list[Answer]:
        """Compute the rows together.

        Raises:
            OutOfMemory: they do not fit.
        """
        ...


@dataclass(eq=False, slots=True)
class _Asked:
    """A prompt under way: its rows, and their answers so far."""

    ticket: int
    order: int
    rows: list[Row]
    answers: dict[int, Answer] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return len(self.rows[0].ids)


class LocalSession:
    """Prompts wait until a batch is computed, in `collect`; or flow through continuous slots, where there are any."""

    def __init__(self, runner: Runner, *, batch_size: int, insist: bool = False) -> None:
        self._runner = runner
        self._batch_size = batch_size
        self._budget: int | None = None  # tokens of a batch, padding included, once memory has been short
        self._insist = insist
        self._make_slots = runner.slots
        self._slots: Slots | None = None
        self._waiting: list[_Asked] = []
        self._window: list[_Asked] = []  # those of which batches are made now, by length
        self._flowing: dict[str, tuple[_Asked, int]] = {}
        self._done: list[tuple[int, Completion | Failure]] = []
        self._broken: TeacherError | None = None
        self._too_large: tuple[Row, OutOfMemory] | None = None
        self._submitted = 0
        self._longest_fit = 0

    @property
    def capacity(self) -> int:
        """How many prompts to have in flight."""
        return self._batch_size * (_SPARE if self._make_slots else _WINDOW)

    def submit(self, ticket: int, prompt: Prompt) -> None:
        """Take one prompt; it is turned into tokens at once and computed in `collect`."""
        encoded = _local.encode(self._runner.template, prompt, self._runner.context)
        if isinstance(encoded, Failure):
            self._done.append((ticket, encoded))
            return
        rows = [
            Row(encoded.ids, encoded.limit, prompt.stop, prompt.temperature, prompt.top_p, f"{prompt.random_seed}:{k}")
            for k in range(prompt.n)
        ]
        self._submitted += 1
        asked = _Asked(ticket, self._submitted, rows)
        if self._make_slots and prompt.temperature <= 0:
            self._flow(asked)
        else:
            self._waiting.append(asked)

    def collect(self) -> list[tuple[int, Completion | Failure]]:
        """Compute until there is an answer.

        Raises:
            TeacherError: a single prompt does not fit into memory, or the library fails.
        """
        while not self._done and self._broken is None and self._has_work():
            if self._flowing:
                self._flow_on()
            else:
                self._close_slots()  # they hold most of the memory
                self._compute(self._next_batch())
        if not self._done and self._too_large:
            raise self._memory_error(*self._too_large)
        if not self._done and self._broken:
            raise self._broken
        done, self._done = self._done, []
        return done

    def _has_work(self) -> bool:
        return bool(self._flowing or self._window or (self._waiting and not self._too_large))

    def close(self) -> None:
        """Give up what is under way."""
        self._flowing.clear()
        self._close_slots()

    # In batches.

    def _next_batch(self) -> list[_Asked]:
        """Take the longest of the window; a new window begins when all of it is computed, so that none starves.

        The longest come first because they show early what fits into memory.
        """
        if not self._window:
            self._window = sorted(self._waiting, key=lambda a: (-a.length, a.order))
            self._waiting = []
        count = max(1, self._batch_size // len(self._window[0].rows))
        batch, self._window = self._window[:count], self._window[count:]
        return batch

    def _compute(self, batch: list[_Asked]) -> None:
        rows = [(asked, index) for asked in batch for index in range(len(asked.rows))]
        while rows:
            together = rows[: self._fitting([asked.rows[index] for asked, index in rows])]
            computed = [asked.rows[index] for asked, index in together]
            try:
                answers = self._runner.generate(computed)
            except OutOfMemory as e:
                self._budget = _size(computed) // 2
                if len(together) == 1:  # the run cannot go on, but the rest of the window can still be answered
                    self._too_large = (computed[0], e)
                    rows = [(asked, index) for asked, index in rows if asked is not together[0][0]]
                continue
            except TeacherError as e:  # raised when what is done has been handed out
                self._broken = e
                return
            for (asked, index), answer in zip(together, answers, strict=True):
                self._take(asked, index, answer)
            self._longest_fit = max(self._longest_fit, *(len(row.ids) + row.limit for row in computed))
            rows = rows[len(together) :]

    def _fitting(self, rows: list[Row]) -> int:
        """Return how many of the first rows to compute together."""
        count = min(self._batch_size, len(rows))
        while self._budget is not None and count > 1 and _size(rows[:count]) > self._budget:
            count -= 1
        return count

    def _take(self, asked: _Asked, index: int, answer: Answer) -> None:
        asked.answers[index] = answer
        if len(asked.answers) < len(asked.rows):
            return
        answers = [asked.answers[i] for i in range(len(asked.rows))]
        completion = Completion(
            texts=tuple(a.text for a in answers),
            finish_reasons=tuple(a.reason for a in answers),
            model=self._runner.model,
            prompt_tokens=asked.length,
            completion_tokens=sum(a.tokens for a in answers),
            fingerprint=self._runner.fingerprint,
        )
        self._done.append((asked.ticket, completion))

    def _memory_error(self, row: Row, error: OutOfMemory) -> TeacherError:
        total = len(row.ids) + row.limit
        if 0 < self._longest_fit < total:
            advice = f"{self._longest_fit} tokens have fitted, so set max_context: {self._longest_fit}"
        else:
            advice = "set a smaller max_context, dtype: bfloat16, or take a smaller model"
        return TeacherError(
            f"{self._runner.model} ran out of memory with a single prompt of {len(row.ids)} tokens and up to "
            f"{row.limit} of answer ({error}); {advice}; every answer so far is in the journal"
        )

    # Continuously.

    def _flow(self, asked: _Asked) -> None:
        assert self._make_slots is not None
        keys = [f"{asked.order}:{index}" for index in range(len(asked.rows))]
        self._flowing.update((key, (asked, index)) for index, key in enumerate(keys))
        try:
            if self._slots is None:
                self._slots = self._make_slots()
            for key, row in zip(keys, asked.rows, strict=True):
                self._slots.add(key, row)
        except Broken as e:
            self._without_slots(e)

    def _flow_on(self) -> None:
        assert self._slots is not None
        try:
            finished = self._slots.finished()
        except Broken as e:
            self._without_slots(e)
            return
        for key, answer in finished:
            asked, index = self._flowing.pop(key)
            self._take(asked, index, answer)

    def _without_slots(self, error: Broken) -> None:
        """Go on in batches with what the slots no longer answer."""
        if self._insist:
            self._broken = TeacherError(
                f"continuous batching of {self._runner.model} failed ({error}); "
                "set continuous_batching: false; every answer so far is in the journal"
            )
        unanswered = {asked.order: asked for asked, _ in self._flowing.values()}
        self._flowing.clear()
        for asked in unanswered.values():
            asked.answers.clear()
        self._waiting.extend(unanswered.values())
        self._make_slots = None
        self._close_slots()

    def _close_slots(self) -> None:
        if self._slots is not None:
            self._slots.close()
            self._slots = None


def _size(rows: Sequence[Row]) -> int:
    """Return the tokens for which memory is needed when rows are computed together."""
    return len(rows) * max(len(row.ids) + row.limit for row in rows)
