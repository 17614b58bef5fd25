"""What becomes of the prompts in batches that have ended: answered, to be asked again, or given up."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Protocol

from magicoder.errors import TeacherError
from magicoder.llms import _batch_lines
from magicoder.llms._batch_book import Book, Entry
from magicoder.llms._replies import Kind, Trouble
from magicoder.llms.openai_batch import OpenAIBatch
from magicoder.protocols import Meter
from magicoder.records import Completion, Failure, Prompt

Answers = list[tuple[int, Completion | Failure]]

_CHUNK: Final = 1000
"""How many answers are handed out at once: bounds memory, and how many the caller records in one transaction."""

_SUSPECTS: Final = 8
"""So many given-up prompts of a batch without a single answer are the endpoint's fault, not theirs."""

_UNUSABLE: Final = {"malformed_answer", "missing_answer"}  # paid, so not asked again as often
_UNUSABLE_RETRIES: Final = 2
_HOPELESS: Final = {Kind.KEY, Kind.CREDIT, Kind.ADDRESS, Kind.MODEL, Kind.SETTING}


@dataclass(slots=True)
class Ask:
    """A prompt and who waits for it. `sent` counts the batches it has been in; `tag` is the last of them."""

    key: bytes
    prompt: Prompt
    tickets: list[int]
    sent: int = 0
    tag: str = ""


@dataclass(slots=True)
class Flight:
    """A batch that prompts of this session wait for. `done` is the vendor's count of its requests, ours or not."""

    entry: Entry
    asks: dict[bytes, Ask] = field(default_factory=dict)
    look_at: float = 0.0
    looks: int = 0
    done: int = 0
    status: str = ""
    answered: int = 0
    given_up: list[tuple[Ask, Trouble]] = field(default_factory=list)


class Ground(Protocol):
    """Where an ended batch comes down: the session."""

    def gather(self, ask: Ask) -> None:
        """Put a prompt among those that are to be sent."""

    def error(self, trouble: Trouble) -> TeacherError:
        """Say what is wrong with every request."""
        ...


class Landing:
    """Reads the files of ended batches, as fast as the caller takes the answers. `fatal` is what ends the run."""

    def __init__(self, settings: OpenAIBatch, book: Book, meter: Meter | None, ground: Ground) -> None:
        self.fatal: Exception | None = None
        self._settings = settings
        self._book = book
        self._meter = meter
        self._ground = ground
        self._ended: deque[tuple[Flight, _Lines]] = deque()
        self._ready: Answers = []
        self._handed: list[
            tuple[bytes, str]
        ] = []  # keys and tags of what the caller has, and records before it calls again
        self._read: list[str] = []  # tags of batches read to their end
        self.open: dict[bytes, Ask] = {}  # all prompts without an answer

    @property
    def has_news(self) -> bool:
        """Tell whether there may be something to hand out."""
        return bool(self._ended or self._ready)

    def land(self, flight: Flight, files: Sequence[BinaryIO]) -> None:
        """Take a batch that has ended and its files, which are closed when they have been read."""
        self._ended.append((flight, _Lines(files)))

    def forget(self) -> None:
        """Forget what the caller has recorded by now."""
        if self._handed or self._read:
            self._book.forget(self._handed, self._read)
            self._handed.clear()
            self._read.clear()

    def close(self) -> None:
        """Close the files."""
        for _, lines in self._ended:
            lines.close()
        self._ended.clear()

    def answers(self) -> Answers:
        """Return what there is to hand out, reading on."""
        while self._ended and len(self._ready) < _CHUNK:
            flight, lines = self._ended[0]
            line = lines.next()
            if not line:
                self._ended.popleft()
                self._finish(flight)
                continue
            result = _batch_lines.result_of(line, self._settings.model)
            ask = flight.asks.pop(result[0], None) if result else None
            if result is not None and ask is not None:  # else somebody else's line, or a second one of ours
                self._settle(flight, ask, result[1])
        answers, self._ready = self._ready, []
        return answers

    def hand(self, ask: Ask, answer: Completion | Failure) -> None:
        """Hand out what came of a prompt."""
        self._ready += ((ticket, answer) for ticket in ask.tickets)
        self._handed.append((ask.key, ask.tag))
        del self.open[ask.key]

    def _finish(self, flight: Flight) -> None:
        """Deal with the prompts that a batch said nothing about, and with those that have failed too often."""
        for ask in list(flight.asks.values()):
            self._settle(flight, ask, _batch_lines.UNANSWERED.get(f"batch_{flight.status}", _batch_lines.MISSING))
        if not flight.answered and len(flight.given_up) >= _SUSPECTS:
            self.fatal = self.fatal or TeacherError(
                f"{self._settings.base_url} failed all {len(flight.given_up):,} requests of a batch "
                f"({flight.given_up[0][1].detail}); see what it says there, then run the same command again: "
                "every answer so far is in the journal"
            )
            self._abandon([ask for ask, _ in flight.given_up])
        else:
            for ask, trouble in flight.given_up:
                detail = f"in {ask.sent} batches; {trouble.detail}" if ask.sent > 1 else trouble.detail
                self.hand(ask, Failure(reason=trouble.reason, detail=detail, maybe_paid=trouble.paid))
        self._read.append(flight.entry.tag)

    def _settle(self, flight: Flight, ask: Ask, outcome: Completion | Trouble) -> None:
        if isinstance(outcome, Completion):
            flight.answered += 1
            self.hand(ask, outcome)
        elif outcome.reason == "batch_cancelled":
            self._abandon([ask])
            self.fatal = self.fatal or TeacherError(
                f"the batch {flight.entry.batch} was cancelled at {self._settings.base_url}; what it had answered is "
                "in the journal: run the same command again to send the rest once more"
            )
        elif outcome.kind in _HOPELESS:
            self._abandon([ask])
            self.fatal = self.fatal or self._ground.error(outcome)
        elif outcome.kind is Kind.PROMPT and outcome.reason != "bad_request":
            self.hand(ask, Failure(reason=outcome.reason, detail=outcome.detail, maybe_paid=outcome.paid))
        elif ask.sent > self._retries(outcome):  # decided when it is known how the others of the batch fared
            flight.given_up.append((ask, outcome))
        elif outcome.paid and self._meter is not None and not self._meter.again(ask.tickets[0]):
            self.hand(ask, Failure(reason="over_budget", detail=f"not asked again after: {outcome.detail}"))
        else:
            self._ground.gather(ask)

    def _retries(self, trouble: Trouble) -> int:
        """Return how often to ask once more after this."""
        if trouble.kind is Kind.PROMPT:
            return 0
        most = self._settings.max_retries
        return min(_UNUSABLE_RETRIES, most) if trouble.reason in _UNUSABLE else most

    def _abandon(self, asks: list[Ask]) -> None:
        """Leave prompts without an answer to the next run, which sends them anew."""
        for ask in asks:
            del self.open[ask.key]
        self._book.forget([(ask.key, ask.tag) for ask in asks], [])


class _Lines:
    """The lines of some files, one after another."""

    def __init__(self, files: Sequence[BinaryIO]) -> None:
        self._files = deque(files)

    def next(self) -> bytes:
        """Return a line, an empty one at the end."""
        while self._files:
            line = self._files[0].readline()
            if line:
                return line
            self._files.popleft().close()
        return b""

    def close(self) -> None:
        """Close what is not read to its end."""
        while self._files:
            self._files.popleft().close()
