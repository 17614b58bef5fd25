"""Every prompt's way to its answer: sent, sent again as its failures call for, moved between endpoints, given up."""

import asyncio
import random
import time
from typing import Final

from magicoder.errors import TeacherError
from magicoder.llms._breaker import BLAMES_ENDPOINT, LONGEST_DELAY_S, Ask, Breaker, State
from magicoder.llms._endpoint import Endpoint
from magicoder.llms._pool import Pool
from magicoder.llms._replies import Kind, Trouble
from magicoder.llms._throttle import Throttle
from magicoder.llms.openai_chat import Address, OpenAIChat
from magicoder.protocols import Meter
from magicoder.records import Completion, Failure, Prompt

WITHDRAWN: Final = "withdrawn"
_EMPTY_RETRIES: Final = 2
_CHARACTERS_PER_TOKEN: Final = 4
_UNKNOWN_LENGTH: Final = 1000
"""Tokens that an answer without `max_tokens` is taken to use until it is there."""
_CANARY_COST: Final = 256
"""Tokens, prompt and answer, at ten times what it is, since the two are not priced alike."""
_HOPELESS: Final = 32
"""After so many prompts given up for answers that never came whole, and may all be paid, none more is sent."""


class Dispatcher:
    """All that happens on the event loop; `done` and `fatal` are for the session to take."""

    def __init__(self, settings: OpenAIChat, meter: Meter | None) -> None:
        self.done: list[tuple[int, Completion | Failure]] = []
        self.fatal: Exception | None = None
        self.news = asyncio.Event()
        self.asks: set[Ask] = set()
        self.sending = 0
        self.has_answered = False
        self._settings = settings
        self._meter = meter
        self._jitter = random.Random()  # spreads the retries of many processes; decides no result
        self._pool = Pool()
        self._breakers = [self._breaker(address) for address in settings.addresses()]
        self._pool.breakers = self._breakers
        self._answered_at = 0.0
        self._dark_since: float | None = None  # since when no endpoint is up
        self._wasted = 0  # prompts in a row whose answers never came whole
        self._is_met = False

    @property
    def capacity(self) -> int:
        """How many prompts to keep in flight."""
        return self._pool.capacity

    @property
    def is_paused(self) -> bool:
        """Whether every endpoint is down."""
        return all(b.state in (State.DOWN, State.GONE) for b in self._breakers)

    @property
    def note(self) -> str:
        """What a watcher should know: an outage, or a wait for a rate limit; "" if all is well."""
        now = time.monotonic()  # the loop's clock
        out = [b for b in self._breakers if b.state in (State.DOWN, State.GONE)]
        if self.is_paused:
            cause = out[0].cause.detail if out[0].cause else "no answer"
            since = f" for {now - self._dark_since:.0f} s" if self._dark_since is not None else ""
            return f"paused{since}: {out[0].endpoint.url} is down ({cause}); goes on by itself when it is back"
        parts = [f"{len(out)} of {len(self._breakers)} endpoints down"] if out else []
        wait_s = min(b.endpoint.pace.held_until - now for b in self._breakers if b not in out)
        return ", ".join(parts + ([f"rate limit reached, {wait_s:.0f} s to wait"] if wait_s >= 1 else []))

    async def meet(self) -> None:
        """Look whether the endpoints are what we think, before anything is paid. One of several may be down.

        Raises:
            TeacherError: unreachable, key missing or refused, or another model.
        """
        if self._is_met:
            return
        errors: list[TeacherError] = []
        try:
            for breaker in self._breakers:
                breaker.endpoint.start()
            looks = await asyncio.gather(*(self._look(b.endpoint) for b in self._breakers))
            for breaker, (served, trouble) in zip(self._breakers, looks, strict=True):
                try:
                    breaker.endpoint.meet(served, trouble)
                except TeacherError as e:
                    if trouble is None or trouble.kind is not Kind.UNREACHABLE:
                        raise
                    errors.append(e)
            if len(errors) == len(self._breakers):
                raise errors[0]
        except BaseException:
            await self.shut()
            raise
        for breaker in self._breakers:
            if not breaker.endpoint.is_met:
                breaker.examine()
        self._is_met = True

    async def _look(self, endpoint: Endpoint) -> tuple[list[str], Trouble | None]:
        for retry in range(self._settings.max_retries + 1):
            served, trouble = await endpoint.look()
            if trouble is None or trouble.kind is not Kind.OVERLOADED:
                break
            await asyncio.sleep(self._delay(retry, trouble.wait_s))  # a local server that is still loading its model
        return served, trouble

    def start(self, ticket: int, prompt: Prompt) -> None:
        """Begin with one prompt."""
        wire = self._settings.wire(prompt)
        answer = (prompt.max_tokens or _UNKNOWN_LENGTH) * prompt.n
        ask = Ask(ticket, prompt, wire, len(wire) // _CHARACTERS_PER_TOKEN + answer)
        self.asks.add(ask)
        ask.task = asyncio.create_task(self._run(ask))

    def withdraw(self) -> list[tuple[int, Failure]]:
        """Give up the prompts that are not on the wire; call it between two runs of the loop."""
        withdrawn = []
        for ask in [a for a in self.asks if not a.sending]:
            assert ask.task is not None
            ask.task.cancel()
            self.asks.discard(ask)
            withdrawn.append((ask.ticket, Failure(reason=WITHDRAWN, detail="not sent", maybe_paid=ask.paid)))
        return withdrawn

    async def shut(self) -> None:
        """Give up everything and close every connection."""
        if self._is_met:
            self._pool.close()
        tasks = [ask.task for ask in self.asks if ask.task is not None]
        for task in tasks:
            task.cancel()
        for breaker in self._breakers:
            breaker.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        for breaker in self._breakers:
            await breaker.endpoint.close()
        await asyncio.sleep(0)  # transports close one step later

    async def _run(self, ask: Ask) -> None:
        try:
            outcome = await self._ask(ask)
            self.done.append((ask.ticket, outcome))
            if isinstance(outcome, Failure):
                self._count_waste(outcome)
        except Exception as e:  # raised again by `collect`
            self._end(e)
        finally:
            self.asks.discard(ask)
            self._judge_if_idle()
            self.news.set()

    async def _ask(self, ask: Ask) -> Completion | Failure:
        """Ask until there is an answer, or until asking again makes no sense."""
        while True:
            breaker = await self._pool.enter(ask.need)
            throttle = breaker.endpoint.throttle
            now = asyncio.get_running_loop().time()
            failure = self._bar(ask, now)
            if failure is not None:
                throttle.leave()
                breaker.endpoint.pace.correct(ask.need, 0)
                self._pool.wake()
                return failure
            sent_in = throttle.round
            left_s = ask.deadline - now if self._settings.deadline_s is not None else None
            ask.sending = True
            self.sending += 1
            try:
                outcome = await breaker.endpoint.post(self._settings.path(ask.prompt), ask.wire, ask.need, now, left_s)
            finally:
                ask.sending = False
                self.sending -= 1
                throttle.leave()
            if isinstance(outcome, Completion):
                throttle.grow()
                self._pool.wake()
                self._heed(breaker)
                return outcome
            ask.paid = outcome.paid
            delay_s = self._delay(ask.failed + ask.refused, outcome.wait_s)
            failure = self._weigh(ask, breaker, outcome, sent_in, delay_s)
            self._pool.wake()
            if failure is not None and (not self._is_doubtful(outcome) or await breaker.hold()):
                return failure
            if failure is None and breaker.state is not State.GONE:
                await throttle.sleep(delay_s)

    def _bar(self, ask: Ask, now: float) -> Failure | None:
        """Say why a prompt may not be sent now: no time left, or no money."""
        if ask.outages < 0:
            ask.began = now
        if self._settings.deadline_s is not None:
            outages = sum(b.openings for b in self._breakers)
            if ask.outages != outages:  # the clock stands still while there is nobody to ask
                ask.deadline = now + self._settings.deadline_s
                ask.outages = outages
            elif now >= ask.deadline:
                return self._overdue(ask, "waiting for its turn")
        else:
            ask.outages = 0
        if ask.broke or (ask.paid and self._meter is not None and not self._meter.again(ask.ticket)):
            return Failure(
                reason="over_budget",
                detail="an attempt without an answer may have been paid; the budget has no room for another",
                maybe_paid=True,
            )
        return None

    def _overdue(self, ask: Ask, detail: str) -> Failure:
        return Failure(
            reason="deadline", detail=f"no answer within {self._settings.deadline_s:g} s; {detail}", maybe_paid=ask.paid
        )

    def _weigh(self, ask: Ask, breaker: Breaker, trouble: Trouble, sent_in: int, delay_s: float) -> Failure | None:
        """Count a failed attempt against whom it concerns; return a Failure if it was the prompt's last.

        Raises:
            TeacherError: every request will fail.
        """
        s = self._settings
        if trouble.kind is Kind.PROMPT:
            if self._is_doubtful(trouble):
                breaker.doubt(ask, trouble)
            return Failure(reason=trouble.reason, detail=trouble.detail, maybe_paid=trouble.paid)
        if trouble.kind in (Kind.THROTTLED, Kind.UNREACHABLE):
            ask.refused += 1
            if trouble.kind is Kind.THROTTLED:
                breaker.endpoint.throttle.shrink(sent_in, 0.75, delay_s)
            else:
                breaker.doubt(ask, trouble)
            self._check_patience(ask, breaker, trouble)
        elif self._is_doubtful(trouble):
            if breaker.state in (State.DOWN, State.GONE):
                return None  # sent before it went down
            ask.failed += 1
            if trouble.kind is Kind.OVERLOADED:
                breaker.endpoint.throttle.shrink(sent_in, 0.5, delay_s)
            breaker.doubt(ask, trouble)
            ask.emptied += trouble.kind is Kind.EMPTY
            if ask.failed > s.max_retries or ask.emptied > _EMPTY_RETRIES:
                detail = f"{ask.failed} attempts; {trouble.detail}"
                return Failure(reason=trouble.reason, detail=detail, maybe_paid=trouble.paid)
        else:
            self._lose(breaker, breaker.endpoint.error(trouble))
            return None
        if s.deadline_s is not None and asyncio.get_running_loop().time() + delay_s >= ask.deadline:
            return self._overdue(ask, trouble.detail)
        return None

    def _is_doubtful(self, trouble: Trouble) -> bool:
        """Whether it may be the endpoint's fault and not the prompt's."""
        if trouble.kind in BLAMES_ENDPOINT:
            return True
        if trouble.kind is Kind.ADDRESS:
            return self.has_answered  # a proxy whose server is down
        return trouble.reason == "bad_request" and not self.has_answered

    def _heed(self, breaker: Breaker) -> None:
        self._answered_at = asyncio.get_running_loop().time()
        self._dark_since = None
        self._wasted = 0
        self.has_answered = True
        breaker.clear()

    def _delay(self, retries: int, wait_s: float | None) -> float:
        backoff = self._settings.retry_delay_s * 2.0 ** min(retries, 10) * self._jitter.uniform(0.5, 1.0)
        if wait_s is None:
            return min(LONGEST_DELAY_S, backoff)
        # Jitter comes on top: those who are told the same moment shall not all come at once.
        return wait_s + self._jitter.uniform(0.0, 0.25) * min(wait_s, 1.0)

    def _count_waste(self, failure: Failure) -> None:
        """End before money is thrown away prompt by prompt."""
        self._wasted += failure.reason in ("timed_out", "malformed_answer")
        if self._wasted >= _HOPELESS:
            raise TeacherError(
                f"{self._wasted} prompts in a row got no whole answer although the endpoint answers short questions "
                f"({failure.detail}); see timeout_s and max_tokens, then run the same command again: "
                "every answer so far is in the journal"
            )

    def _check_patience(self, ask: Ask, breaker: Breaker, trouble: Trouble) -> None:
        waited_s = asyncio.get_running_loop().time() - max(ask.began, self._answered_at)
        if trouble.kind is Kind.THROTTLED and waited_s > self._settings.patience_s:
            raise TeacherError(
                f"{breaker.endpoint.url} has refused everything for {waited_s:.0f} s ({trouble.detail}); "
                "run the same command again later: every answer so far is in the journal"
            )

    # What the breakers say.

    def opened(self, breaker: Breaker) -> None:
        """Decide whether to wait for an endpoint that is down.

        Raises:
            TeacherError: it has never answered, or it has been down for too long.
        """
        if any(b.state in (State.UP, State.DOUBTED) for b in self._breakers):
            return
        if breaker.has_asked and not self.has_answered:
            if breaker.looks > self._settings.max_retries:
                raise breaker.hopeless()
            return
        now = asyncio.get_running_loop().time()
        if self._dark_since is None:
            self._dark_since = now
            self.news.set()
        if now - self._dark_since > self._settings.outage_patience_s:
            cause = breaker.cause.detail if breaker.cause else "no answer"
            raise TeacherError(
                f"{breaker.endpoint.url} has been down for {now - self._dark_since:.0f} s ({cause}); "
                "run the same command again when it is back: every answer so far is in the journal"
            )

    def changed(self) -> None:
        """Let prompts go to an endpoint that is up again, and see to those that are held."""
        self._pool.wake()
        self._judge_if_idle()
        self.news.set()

    def failed(self, breaker: Breaker, error: Exception) -> None:
        """Do without an endpoint, or end."""
        try:
            self._lose(breaker, error)
        except Exception as e:
            self._end(e)
        self.news.set()

    def buy_canaries(self) -> int:
        """Let the reservation of a prompt in flight pay for canaries: as if an attempt of it had been billed."""
        ask = next(iter(self.asks), None)
        if ask is None or self._meter is None:
            return 1
        if self._meter.again(ask.ticket):
            return max(1, ask.need // _CANARY_COST)
        ask.broke = True
        return 0

    def _end(self, error: Exception) -> None:
        """Send nothing more; what is on the wire is paid, and waited for."""
        self.fatal = self.fatal or error
        self._pool.close()

    def _lose(self, breaker: Breaker, error: Exception) -> None:
        others = any(b is not breaker and b.state is not State.GONE for b in self._breakers)
        # Something wrong from the start is a mistake to mend; an endpoint lost on the way can be done without.
        if not (isinstance(error, TeacherError) and self.has_answered and others):
            raise error
        breaker.retire()
        self.changed()

    def _judge_if_idle(self) -> None:
        """Examine the endpoints when all that is left are prompts that wait for a verdict."""
        held = sum(len(b.held) for b in self._breakers)
        if held and held == len(self.asks):
            for breaker in self._breakers:
                if breaker.held:
                    breaker.examine()

    def _breaker(self, address: Address) -> Breaker:
        ceiling = max(1, round(self._settings.concurrency * address.share))
        endpoint = Endpoint(self._settings, address, Throttle(ceiling, self._pool.wake))
        return Breaker(self._settings, endpoint, self, self._jitter)
