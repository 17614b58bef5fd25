"""Whose fault a failure is: the prompt's, which is given up, or the endpoint's, which is waited for.

One failure says little. So every failure that may be the endpoint's is a *doubt* until the next answer clears the
endpoint. When enough prompts in a row have failed, or nothing could even be sent, the endpoint gets no more prompts
and is examined: is it there (`GET /models`), and, if it is, does it answer a question that any endpoint can answer?
If not, the breaker opens: what failed is forgiven, and the endpoint is looked at again and again until it is back.
"""

import asyncio
import random
from dataclasses import replace
from enum import Enum, auto
from typing import Final, Protocol

from magicoder.errors import TeacherError
from magicoder.llms._endpoint import Endpoint
from magicoder.llms._replies import Kind, Trouble
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.records import Completion, Message, Prompt

BLAMES_ENDPOINT: Final = {Kind.OVERLOADED, Kind.BROKEN, Kind.EMPTY, Kind.UNREACHABLE}
SUSPECTS: Final = 8
"""After so many prompts have failed, with not one answer between them, the endpoint is examined."""
LONGEST_DELAY_S: Final = 30.0
_SHORTEST_DELAY_S: Final = 0.05
_MOST_SUSPECTS: Final = 1024
_MEMORY: Final = 0.95
_CANARY: Final = 'Reply with the JSON {"ok": true}.'
_CANARY_TOKENS: Final = 16
_CANARIES: Final = 3


class State(Enum):
    """Of an endpoint; only one that is up gets prompts."""

    UP = auto()
    DOUBTED = auto()  # being examined
    DOWN = auto()
    GONE = auto()  # its key or account is refused: not looked at again


class Ask:
    """One prompt on its way to an answer."""

    __slots__ = (
        *("ticket", "prompt", "wire", "need", "task"),
        *("failed", "emptied", "refused", "paid", "broke", "sending", "began", "deadline", "outages"),
    )

    def __init__(self, ticket: int, prompt: Prompt, wire: bytes, need: int) -> None:
        self.ticket = ticket
        self.prompt = prompt
        self.wire = wire
        self.need = need  # tokens, at most
        self.task: asyncio.Task[None] | None = None
        self.failed = self.emptied = self.refused = 0
        self.paid = False  # the last attempt may be billed
        self.broke = False  # no budget for another attempt
        self.sending = False
        self.began = self.deadline = 0.0
        self.outages = -1  # how many there had been when the deadline was set


class Ward(Protocol):
    """Who looks after all the endpoints; called by their breakers."""

    @property
    def has_answered(self) -> bool:
        """Whether any endpoint has."""
        ...

    def opened(self, breaker: "Breaker") -> None:
        """Hear that an endpoint is down; raises TeacherError if there is no point in waiting for it."""
        ...

    def changed(self) -> None:
        """Hear that an endpoint may take prompts again, or that a prompt is held."""
        ...

    def failed(self, breaker: "Breaker", error: Exception) -> None:
        """Hear that an endpoint will not come back, or of an error of the program."""
        ...

    def buy_canaries(self) -> int:
        """Pay for canaries out of what is set aside for some prompt in flight; return for how many that is enough."""
        ...


class Breaker:
    """The doubts about one endpoint."""

    def __init__(self, settings: OpenAIChat, endpoint: Endpoint, ward: Ward, jitter: random.Random) -> None:
        self.endpoint = endpoint
        self.state = State.UP
        self.cause: Trouble | None = None
        self.held: list[asyncio.Future[bool]] = []
        self.openings = 0
        self.looks = 0  # in this examination
        self.has_asked = False  # a canary, likewise
        self._settings = settings
        self._ward = ward
        self._jitter = jitter
        self._doubts: dict[Ask, int] = {}
        self._tally = 0  # prompts that have failed since the last answer
        self._enough = SUSPECTS
        self._score = 1.0  # the share of attempts that were answered lately
        self._sample: Prompt | None = None
        self._was_absent = False
        self._bought = 0  # canaries that are paid and not yet asked
        self._examiner: asyncio.Task[None] | None = None

    def doubt(self, ask: Ask, trouble: Trouble) -> None:
        """Note a failure that may be the endpoint's; of a request that was not even sent it surely is."""
        self._sample = ask.prompt
        self.cause = trouble
        if trouble.kind is not Kind.UNREACHABLE:
            self._score *= _MEMORY
            self._tally += ask not in self._doubts
            self._doubts[ask] = self._doubts.get(ask, 0) + 1
        if trouble.kind is Kind.UNREACHABLE or len(self._doubts) >= self._enough:
            self.examine()

    async def hold(self) -> bool:
        """Wait for the verdict on a prompt that has failed for good: True if it is given up, False if it goes on."""
        verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.held.append(verdict)
        self._ward.changed()
        try:
            return await verdict
        finally:
            if verdict in self.held:
                self.held.remove(verdict)

    def clear(self) -> None:
        """Heed an answer: the endpoint is well, so what failed before was the prompts'.

        Not while most attempts fail: then a lucky one says nothing about the others.
        """
        self._score = 1.0 - _MEMORY * (1.0 - self._score)
        if self._doubts or self.held:
            self._doubts.clear()
            if self._score > 0.5:
                self._release(give_up=True)
        self._enough = SUSPECTS
        self._tally = 0
        if self.state in (State.DOUBTED, State.DOWN):
            self.stop()
            self._close()

    def examine(self) -> None:
        """Find out whether the endpoint is well; it gets no prompts meanwhile."""
        if self.state is State.UP:
            self.state = State.DOUBTED
            self._was_absent = self.has_asked = False
            self.looks = 0
            self._examiner = asyncio.create_task(self._examine())

    def retire(self) -> None:
        """Send nothing any more."""
        self.stop()
        self.state = State.GONE
        self._forgive()

    def stop(self) -> None:
        """Stop looking."""
        if self._examiner is not None:
            self._examiner.cancel()
            self._examiner = None

    async def _examine(self) -> None:
        delay_s = max(_SHORTEST_DELAY_S, self._settings.retry_delay_s)
        try:
            while not await self._is_well():
                self.openings += self.state is State.DOUBTED
                self.state = State.DOWN
                self._ward.opened(self)
                self._forgive()
                asked_s = self.cause.wait_s if self.cause is not None else None
                await self._rest(max(delay_s, min(LONGEST_DELAY_S, asked_s or 0.0)))
                delay_s = min(LONGEST_DELAY_S, 2 * delay_s)
        except Exception as e:  # raised again by `collect`
            self._ward.failed(self, e)
            return
        self._examiner = None
        self._close()

    async def _rest(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s * self._jitter.uniform(0.5, 1.0))

    def _forgive(self) -> None:
        """Count no failure against a prompt; those that had failed for good go on."""
        for ask, count in self._doubts.items():
            ask.failed = max(0, ask.failed - count)
            ask.emptied = 0
        self._doubts.clear()
        self._release(give_up=False)

    def _release(self, *, give_up: bool) -> None:
        held, self.held = self.held, []
        for verdict in held:
            if not verdict.done():
                verdict.set_result(give_up)

    def _close(self) -> None:
        if self.state is State.DOWN:
            self.endpoint.throttle.restart()
        self.state = State.UP
        self._ward.changed()

    async def _is_well(self) -> bool:
        self.looks += 1
        absence = await self.endpoint.absence()
        if absence is not None:
            self.cause = absence
            self._was_absent = True
            return False
        if self._was_absent and self.endpoint.lists_models:
            return True  # it was away and is back
        if self.state is State.DOUBTED and len(self._doubts) < self._enough and not self.held:
            return True  # a single connection was lost
        return await self._sings()

    async def _sings(self) -> bool:
        """Ask something short, in the manner of the prompt that failed last; a few tokens each time.

        This alone tells an endpoint that fails whatever it is asked from one whose last prompts are all poison. It
        must answer several times: a single answer may be luck.
        """
        for _ in range(_CANARIES):
            if self._sample is None:
                return True
            if self._bought <= 0:
                self._bought = self._ward.buy_canaries()
            if self._bought <= 0:
                return self._exonerate()
            self._bought -= 1
            self.has_asked = True
            outcome = await self._ask_canary(self._sample)
            if isinstance(outcome, Completion):
                continue
            if outcome.kind is Kind.PROMPT:
                if not self._ward.has_answered and self._tally >= SUSPECTS:
                    self.cause = outcome
                    raise self.hopeless()
                return self._exonerate()
            if outcome.kind in BLAMES_ENDPOINT or (outcome.kind is Kind.ADDRESS and self._ward.has_answered):
                self.cause = outcome
                return False
            raise self.endpoint.error(outcome)
        self._tally = 0
        return self._exonerate()

    async def _ask_canary(self, prompt: Prompt) -> Completion | Trouble:
        wire = self._settings.wire(_canary(prompt))
        while True:
            now = asyncio.get_running_loop().time()
            path = self._settings.path(prompt)
            outcome = await self.endpoint.post(path, wire, _CANARY_TOKENS, now, LONGEST_DELAY_S)
            if isinstance(outcome, Completion) or outcome.kind is not Kind.THROTTLED:
                return outcome
            await self._rest(outcome.wait_s or LONGEST_DELAY_S / 10)

    def hopeless(self) -> TeacherError:
        """Say that the endpoint has never answered anything: there is nothing to wait for."""
        count = f"{self._tally} requests" if self._tally > 1 else "a request"
        return TeacherError(
            f"{self.endpoint.url} failed {count} and then a test question "
            f"({self.cause.detail if self.cause else ''}); see what the server says, then run the same command again: "
            "every answer so far is in the journal"
        )

    def _exonerate(self) -> bool:
        """Count what failed against the prompts; look again only after twice as many."""
        self._doubts.clear()
        self._release(give_up=True)
        self._enough = min(_MOST_SUSPECTS, 2 * self._enough)
        return True


def _canary(prompt: Prompt) -> Prompt:
    """Return a prompt of the same shape and settings that is quickly answered; it names JSON, as JSON mode demands."""
    *before, last = prompt.messages
    begun = [last] if last.role == "assistant" else []
    before = before[:-1] if begun else before
    messages = (*(replace(m, content="Be brief.") for m in before), Message(role="user", content=_CANARY), *begun)
    tokens = min(_CANARY_TOKENS, prompt.max_tokens or _CANARY_TOKENS)
    return replace(prompt, messages=messages, max_tokens=tokens, n=1)
