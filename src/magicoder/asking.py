"""Prompts go to a teacher or a student, and answers come back: through the journal, and as many at once as it takes.

An answer is looked up in the journal before it is asked for, and is durable there before anybody sees it. So what was
killed pays again at most for what was in flight, and what is made again pays nothing.
"""

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from magicoder.errors import Interrupted
from magicoder.journal import Journal, key
from magicoder.protocols import LLM, Purse, Session
from magicoder.records import Completion, Failure, Prompt
from magicoder.store import Progress

W = TypeVar("W")

OVER_BUDGET: Final = "over_budget"
NOT_IN_JOURNAL: Final = "not_in_journal"
LOOK_UP: Final = 256
"""How many prompts are looked up in the journal at once."""


def _goes_on() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Who is asked, and what surrounds the asking.

    purse       a cap on spending, None for none
    folder      where a session may keep what must survive a crash
    ask         False: go by the journal alone
    stop        asked now and then; when it answers True, what is in flight is waited for and the work ends
    version     tells apart what a server has under one name at different times; part of the journal's key
    repetition  which asking of the same prompts this is; another one is asked anew
    """

    teacher: LLM
    journal: Journal
    purse: Purse | None = None
    folder: Path | None = None
    ask: bool = True
    stop: Callable[[], bool] = _goes_on
    version: str = ""
    repetition: int = 0


@dataclass(slots=True, kw_only=True)
class _Request(Generic[W]):
    """One request, and those who wait for its answer: equal requests are paid once."""

    key: bytes
    body: bytes
    prompt: Prompt
    waiting: list[W]
    first: bool


class Asker(Generic[W]):
    """Keeps as many prompts in flight as the session wants, for whoever (`W`) waits for their answers.

    Call `ask` for some prompts (at most `LOOK_UP` before the next step), then `step`, and again; each answer is handed
    out by one of the steps.
    """

    def __init__(self, desk: Desk, *, stack: ExitStack, progress: Progress) -> None:
        """`stack` closes the session, which is opened when something has to be asked."""
        self.desk = desk
        self.progress = progress
        self.stack = stack
        self.session: Session | None = None
        self.asking: deque[tuple[Prompt, W, bool]] = deque()  # not yet looked up
        self.waiting: deque[_Request[W]] = deque()  # not in the journal, not yet sent
        self.by_key: dict[bytes, _Request[W]] = {}  # waiting or sent
        self.sent: dict[int, _Request[W]] = {}  # by ticket
        self.next_ticket = 0
        self.asked = self.found = self.paid_tokens = 0
        name = desk.teacher.model
        self._name = f"{name}@{desk.version}" if desk.version else name

    @property
    def capacity(self) -> int:
        """How many prompts the session takes; 0 while there is none."""
        return self.session.capacity if self.session else 0

    def note(self) -> str:
        """Say what a watcher wants to know beside the bar."""
        counts = ((self.asked, " asked"), (self.found, " reused"), (self.paid_tokens // 1000, "k tokens"))
        # 80 columns leave 20 for it, so what is out of the ordinary, an outage, stands first.
        parts = [getattr(teller, "note", "") for teller in (self.session, self.desk.purse)]
        parts += [f"{number:,}{what}" for number, what in counts if number]
        return ", ".join(filter(None, parts))

    def ask(self, prompt: Prompt, who: W, *, first: bool = False) -> None:
        """Take a prompt; `first`: it is sent before those that wait already."""
        self.asking.append((prompt, who, first))

    def send(self) -> list[tuple[W, Completion | Failure]]:
        """Look up what was asked, send what is not found, and return what is answered or given up by that.

        Raises:
            TeacherError: the endpoint fails as a whole.
            Interrupted: `stop()` became true; what was in flight has been waited for and kept.
        """
        if self.desk.stop():
            self._drain()
        return [*self._look_up(), *self._send()]

    def collect(self) -> list[tuple[W, Completion | Failure]]:
        """Wait until something that was sent is answered, and return that; nothing if nothing is under way.

        A session may return nothing now and then.

        Raises:
            TeacherError: the endpoint fails as a whole.
        """
        if not self.sent:
            return []
        assert self.session is not None
        answers = self.session.collect()
        if not answers:
            self.progress.tick(0, self.note())  # a wait of hours goes on, and says so
        entries = [(self.sent[t].key, a, self.sent[t].body) for t, a in answers if isinstance(a, Completion)]
        # Durable when this returns; what another process stored first wins.
        earlier = self.desk.journal.record(entries)
        taken: list[tuple[W, Completion | Failure]] = []
        for ticket, received in answers:
            request = self.sent.pop(ticket)
            self.asked += 1
            self._settle(ticket, received)
            taken += self._answered(request, earlier.get(request.key, received))
        return taken

    def _look_up(self) -> list[tuple[W, Completion | Failure]]:
        asking, self.asking = list(self.asking), deque()
        requests = [self._request(*asked) for asked in asking]
        answers = self.desk.journal.find([request.key for request in requests])
        taken: list[tuple[W, Completion | Failure]] = []
        for request in requests:
            if request.key in answers:
                self.found += 1
                taken += [(who, answers[request.key]) for who in request.waiting]
            elif request.key in self.by_key:
                self.by_key[request.key].waiting += request.waiting
            else:
                self.by_key[request.key] = request
                (self.waiting.appendleft if request.first else self.waiting.append)(request)
        return taken

    def _request(self, prompt: Prompt, who: W, first: bool) -> _Request[W]:  # noqa: FBT001 - as it was queued
        body = self.desk.teacher.body(prompt)
        name = key(self._name, body, self.desk.repetition)
        return _Request(key=name, body=body, prompt=prompt, waiting=[who], first=first)

    def _send(self) -> list[tuple[W, Completion | Failure]]:
        given_up: list[tuple[W, Completion | Failure]] = []
        while self.waiting and not self.desk.ask:
            failure = Failure(reason=NOT_IN_JOURNAL, detail="nothing was to be asked")
            given_up += self._answered(self.waiting.popleft(), failure)
        if self.waiting and self.session is None:
            # Opened at the first miss: what the journal can answer needs neither key nor server.
            self.session = self.stack.enter_context(self.desk.teacher.open(self.desk.purse, self.desk.folder))
        while self.waiting and self.session is not None and len(self.sent) < self.session.capacity:
            request = self.waiting[0]
            if not self._affords(request):
                if self.sent:
                    break  # settling what is on its way will free some of what is set aside for it
                failure = Failure(reason=OVER_BUDGET, detail="no room in the budget for its worst case")
                given_up += self._answered(self.waiting.popleft(), failure)
                continue
            self.waiting.popleft()
            self.sent[self.next_ticket] = request
            self.session.submit(self.next_ticket, request.prompt)
            self.next_ticket += 1
        return given_up

    def _affords(self, request: _Request[W]) -> bool:
        """Set aside what a request may cost, unless it was sent before and counted then."""
        purse, size = self.desk.purse, len(request.body)
        if purse is None:
            return True
        is_under_way = getattr(self.session, "is_under_way", None)
        if is_under_way is not None and is_under_way(request.key):
            purse.adopt(self.next_ticket, request.key, request.prompt, size)
            return True
        return purse.reserve(self.next_ticket, request.prompt, size)

    def _answered(self, request: _Request[W], answer: Completion | Failure) -> list[tuple[W, Completion | Failure]]:
        del self.by_key[request.key]
        return [(who, answer) for who in request.waiting]

    def _settle(self, ticket: int, received: Completion | Failure) -> None:
        paid = received if isinstance(received, Completion) else None
        if paid is not None:
            self.paid_tokens += paid.prompt_tokens + paid.completion_tokens
        if self.desk.purse is not None:
            maybe_paid = isinstance(received, Failure) and received.maybe_paid
            self.desk.purse.settle(ticket, paid, maybe_paid=maybe_paid)

    def _drain(self) -> None:
        in_flight = len(self.sent) - self._take_back()
        if in_flight and getattr(self.session, "resumable", False):
            if self.desk.purse is not None:
                self.desk.purse.leave({ticket: request.key for ticket, request in self.sent.items()})
            raise Interrupted(
                f"stopped as asked; {in_flight} prompts are in batches that go on at the endpoint: "
                "run the same command again to fetch their answers"
            )
        while self.sent:
            self.collect()
            in_flight -= self._take_back()
        raise Interrupted(
            f"stopped as asked; {in_flight} answers in flight were waited for, and all are in the journal: "
            "run the same command again to go on"
        )

    def _take_back(self) -> int:
        """Take back what is not on the wire: it is not worth waiting for."""
        withdrawn: list[tuple[int, Failure]] = getattr(self.session, "withdraw", list)()
        for ticket, failure in withdrawn:
            del self.sent[ticket]
            self._settle(ticket, failure)
        return len(withdrawn)
