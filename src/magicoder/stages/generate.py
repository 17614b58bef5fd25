"""Seeds become samples: each strategy's dialogue is driven to its end, without a barrier between one turn and the next.

An answer is looked up in the journal before it is asked for, and is durable there before a strategy sees it. So a
killed run pays again at most for what was in flight, and a run made again pays nothing.
"""

import itertools
import random
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from magicoder.errors import Interrupted, SandboxError, Unusable
from magicoder.journal import Journal, key
from magicoder.protocols import LLM, NOT_IDENTITY, Engine, Purse, Runner, Session, Strategy
from magicoder.records import Completion, Failure, Program, Prompt, Rejection, Sample, Seed, Verdict
from magicoder.store import Artifact, Progress, Writer, account

STAGE: Final = "samples"
OVER_BUDGET: Final = "over_budget"
NOT_IN_JOURNAL: Final = "not_in_journal"
UNASKED: Final = (OVER_BUDGET, NOT_IN_JOURNAL)
"""The reasons of seeds that were not asked about: the money was spent, or nothing was to be asked."""


Programs = tuple[Program, ...]
Turns = Generator[Prompt | Programs, Any, Sequence[Sample | Rejection]]
"""A strategy at work: prompts are answered by completions, programs by verdicts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one seed: samples, or why there are none. `lost` says which samples it did not give, and why."""

    seed: Seed
    samples: tuple[Sample, ...] = ()
    rejection: Rejection | None = None
    lost: tuple[Rejection, ...] = ()


LOOK_UP: Final = 256
"""How many prompts are looked up in the journal at once."""
TRY_OUT: Final = 64
"""Of how many dialogues programs are run at once; answers in flight wait for them."""


def _goes_on() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Who is asked, and what surrounds the asking.

    purse    a cap on spending, None for none
    folder   where a session may keep what must survive a crash
    sandbox  opens one for strategies that try out programs, None if none is to be had
    ask      False: go by the journal alone
    stop     asked now and then; when it answers True, what is in flight is waited for and the stage ends
    """

    teacher: LLM
    journal: Journal
    purse: Purse | None = None
    folder: Path | None = None
    sandbox: Callable[[], AbstractContextManager[Runner]] | None = None
    ask: bool = True
    stop: Callable[[], bool] = _goes_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Settings of the stage.

    random_seed  from which each strategy's `rng` is drawn, with the seed's id
    window       how many seeds may be under way or wait for an earlier one; bounds memory
    """

    random_seed: int = 976
    window: int = field(default=4096, metadata=NOT_IDENTITY)

    def run(
        self,
        seeds: Artifact[Seed],
        out: Writer[Sample],
        engine: Engine,
        *,
        strategy: Strategy,
        desk: Desk | None = None,
    ) -> None:
        """Write one part of samples for each part of seeds; rows stand in the order of their seeds.

        The manifest's facts count the seeds without an answer: `unasked` because the purse was empty or nothing was to
        be asked (a later run asks about them), `failed` because the endpoint gave none (`magicoder retry` asks again).

        Raises:
            TeacherError: the endpoint fails as a whole; run again to go on.
            Interrupted: `stop()` became true; what was in flight has been waited for and kept.
        """
        if any(r.reason in UNASKED for index in range(out.done) for r in out.rejections_of_part(index)):
            out.restart()  # there may be money now, and what is in the journal costs nothing
        out.progress.expect(seeds.manifest.rows, "seeds")
        indices = range(out.done, seeds.part_count)
        for index in range(out.done):
            out.progress.tick(len(seeds.read_part(index)))
        if desk is None:
            for outcomes in engine.map(partial(self._write_part, seeds, strategy), indices):
                out.progress.tick(len(outcomes))
                _publish(out, [o.seed.id for o in outcomes], outcomes)
            return
        with ExitStack() as stack:
            driver = _Driver(self, strategy, desk, stack=stack, progress=out.progress)
            finished = driver.outcomes(seeds, indices)
            for index in indices:
                ids = [seed.id for seed in seeds.read_part(index)]
                outcomes = []
                for outcome in itertools.islice(finished, len(ids)):
                    outcomes.append(outcome)
                    out.progress.tick(1, driver.note())
                _publish(out, ids, outcomes)
        out.add_facts(_unanswered(out))

    def start(self, strategy: Strategy, seed: Seed) -> Turns:
        """Begin a seed's dialogue."""
        return strategy.write(seed, random.Random(f"{self.random_seed}:{seed.id}"))

    def _write_part(self, seeds: Artifact[Seed], strategy: Strategy, index: int) -> list[Outcome]:
        return [self._write_alone(strategy, seed) for seed in seeds.read_part(index)]

    def _write_alone(self, strategy: Strategy, seed: Seed) -> Outcome:
        dialogue = Dialogue(seed, self.start(strategy, seed))
        step = dialogue.advance(None)
        assert step is None, f"{strategy.name} asks a teacher although it says it needs none"
        assert dialogue.outcome is not None
        return dialogue.outcome


def _publish(out: Writer[Sample], seeds: list[str], outcomes: list[Outcome]) -> None:
    rows = [s for o in outcomes for s in o.samples]
    rejections = [o.rejection for o in outcomes if o.rejection is not None]
    kept = dict.fromkeys(s.seed_id for s in rows)
    account(seeds, kept, (r.id for r in rejections))
    made = [*(s.id for s in rows), *(r.id for o in outcomes for r in o.lost)]
    account(dict.fromkeys(made), made, ())  # no id twice
    out.write(rows, [r for o in outcomes for r in (*o.lost, o.rejection) if r is not None])


def _unanswered(out: Writer[Sample]) -> dict[str, int]:
    """Count the seeds without an answer, from what is written, so that resuming changes nothing."""
    reasons = [r.reason for i in range(out.done) for r in out.rejections_of_part(i) if r.retryable]
    unasked = sum(reason in UNASKED for reason in reasons)
    return {"unasked": unasked, "failed": len(reasons) - unasked}


class Dialogue:
    """One seed's conversation: its strategy's generator, the tokens it has used, and what came of it."""

    def __init__(self, seed: Seed, turns: Turns) -> None:
        self.seed = seed
        self.turns = turns
        self.step: Prompt | Programs | None = None
        self.outcome: Outcome | None = None
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.begun = False  # an answer was taken in

    def advance(self, answer: Completion | tuple[Verdict, ...] | None) -> Prompt | Programs | None:
        """Resume the strategy; return its next prompt or programs, or None when `outcome` is there."""
        if isinstance(answer, Completion):
            self.begun = True
            self.prompt_tokens += answer.prompt_tokens
            self.completion_tokens += answer.completion_tokens
        return self._resume(lambda: next(self.turns) if answer is None else self.turns.send(answer))

    def give_up(self, failure: Failure) -> Prompt | Programs | None:
        """Tell the strategy what came instead of an answer: it ends with what it has, or goes on."""
        unanswered = Unusable(failure.reason, failure.detail, retryable=True)
        return self._resume(lambda: self.turns.throw(unanswered))

    def _resume(self, resume: Callable[[], Prompt | Programs]) -> Prompt | Programs | None:
        try:
            self.step = resume()
        except StopIteration as end:
            self.step = None
            self.outcome = self._finished(end.value)
        except Unusable as e:
            self.step = None
            self.outcome = self._rejected(e.reason, e.detail, e.text, retryable=e.retryable)
        return self.step

    def _finished(self, made: Sequence[Sample | Rejection]) -> Outcome:
        samples = [one for one in made if isinstance(one, Sample)]
        lost = [one for one in made if isinstance(one, Rejection)]
        if not made:
            return self._rejected("no_samples", "the strategy returned no sample")
        if not samples:  # the last thing that went wrong stands for the seed
            last = lost.pop()
            outcome = self._rejected(last.reason, last.detail, last.text, retryable=last.retryable)
            return replace(outcome, lost=tuple(lost))
        # A dialogue is paid for once, however many samples it gives: the first one carries its tokens.
        first = replace(samples[0], prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens)
        rest = (replace(s, prompt_tokens=0, completion_tokens=0) for s in samples[1:])
        return Outcome(seed=self.seed, samples=(first, *rest), lost=tuple(lost))

    def _rejected(self, reason: str, detail: str, text: str = "", *, retryable: bool = False) -> Outcome:
        rejection = Rejection(
            id=self.seed.id,
            stage=STAGE,
            reason=reason,
            detail=detail,
            language=self.seed.language,
            text=text,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            retryable=retryable,
        )
        return Outcome(seed=self.seed, rejection=rejection)


@dataclass(slots=True, kw_only=True)
class _Request:
    """One request, and the dialogues that wait for its answer: equal requests are paid once."""

    key: bytes
    body: bytes
    prompt: Prompt
    dialogues: list[Dialogue]


def _programs(dialogue: Dialogue) -> Programs:
    assert isinstance(dialogue.step, tuple)
    return dialogue.step


class _Driver:
    """Keeps as many prompts in flight as the session wants, whatever turn their dialogues are at."""

    def __init__(
        self, settings: Generate, strategy: Strategy, desk: Desk, *, stack: ExitStack, progress: Progress
    ) -> None:
        self.settings = settings
        self.progress = progress
        self.strategy = strategy
        self.desk = desk
        self.stack = stack
        self.session: Session | None = None
        self.runner: Runner | None = None
        self.trying: deque[Dialogue] = deque()  # have programs, not yet run
        self.asking: deque[Dialogue] = deque()  # have a prompt, not yet looked up
        self.waiting: deque[_Request] = deque()  # not in the journal, not yet sent
        self.by_key: dict[bytes, _Request] = {}  # waiting or sent
        self.sent: dict[int, _Request] = {}  # by ticket
        self.next_ticket = 0
        self.asked = self.found = self.paid_tokens = 0

    def note(self) -> str:
        """Say what a watcher wants to know beside the bar."""
        counts = ((self.asked, " asked"), (self.found, " reused"), (self.paid_tokens // 1000, "k tokens"))
        # 80 columns leave 20 for it, so what is out of the ordinary, an outage, stands first.
        parts = [getattr(teller, "note", "") for teller in (self.session, self.desk.purse)]
        parts += [f"{number:,}{what}" for number, what in counts if number]
        return ", ".join(filter(None, parts))

    def outcomes(self, seeds: Artifact[Seed], indices: range) -> Iterator[Outcome]:
        """Yield one outcome a seed, in order."""
        incoming = (seed for index in indices for seed in seeds.read_part(index))
        started: deque[Dialogue] = deque()
        exhausted = False
        while True:
            while started and (outcome := started[0].outcome) is not None:
                started.popleft()
                yield outcome
            while not exhausted and len(started) < self._window() and len(self.asking) < LOOK_UP:
                seed = next(incoming, None)
                if seed is None:
                    exhausted = True
                    break
                dialogue = Dialogue(seed, self.settings.start(self.strategy, seed))
                started.append(dialogue)
                self._advance(dialogue, None)
            if exhausted and not started:
                return
            self._step()

    def _window(self) -> int:
        # A session that takes more (a batch) decides how much is gathered for it.
        return max(self.settings.window, self.session.capacity if self.session else 0)

    def _advance(self, dialogue: Dialogue, answer: Completion | tuple[Verdict, ...] | None) -> None:
        self._enqueue(dialogue, dialogue.advance(answer))

    def _enqueue(self, dialogue: Dialogue, step: Prompt | Programs | None) -> None:
        if step is not None:
            (self.asking if isinstance(step, Prompt) else self.trying).append(dialogue)

    def _step(self) -> None:
        """Look up what is asked, send what is not found, and take in answers when there is nothing else to do."""
        if self.desk.stop():
            self._drain()
        self._look_up()
        self._send()
        if self.trying:
            self._try_out()
        elif self.sent and not self.asking:
            self._collect()

    def _try_out(self) -> None:
        """Run the programs of some dialogues; the cache of verdicts makes a resumed run go the same way."""
        if self.runner is None:
            if self.desk.sandbox is None:
                raise SandboxError(f"{self.strategy.name} tries out programs, and there is no sandbox to run them in")
            self.runner = self.stack.enter_context(self.desk.sandbox())
        some = [self.trying.popleft() for _ in range(min(TRY_OUT, len(self.trying)))]
        verdicts = iter(list(self.runner.run(program for dialogue in some for program in _programs(dialogue))))
        for dialogue in some:
            self._advance(dialogue, tuple(itertools.islice(verdicts, len(_programs(dialogue)))))

    def _look_up(self) -> None:
        asking, self.asking = list(self.asking), deque()
        keyed = [(self._request(d), d) for d in asking]
        answers = self.desk.journal.find([request.key for request, _ in keyed])
        for request, dialogue in keyed:
            if request.key in answers:
                self.found += 1
                self._advance(dialogue, answers[request.key])
            elif request.key in self.by_key:
                self.by_key[request.key].dialogues.append(dialogue)
            else:
                self.by_key[request.key] = request
                # What has begun is finished first: fewer half-paid dialogues, and parts are written sooner.
                (self.waiting.appendleft if dialogue.begun else self.waiting.append)(request)

    def _request(self, dialogue: Dialogue) -> _Request:
        assert isinstance(dialogue.step, Prompt)
        body = self.desk.teacher.body(dialogue.step)
        name = key(self.desk.teacher.model, body)
        return _Request(key=name, body=body, prompt=dialogue.step, dialogues=[dialogue])

    def _send(self) -> None:
        while self.waiting and not self.desk.ask:
            self._give_up(self.waiting[0], Failure(reason=NOT_IN_JOURNAL, detail="nothing was to be asked"))
        if self.waiting and self.session is None:
            # Opened at the first miss: a run that the journal can answer needs neither key nor server.
            self.session = self.stack.enter_context(self.desk.teacher.open(self.desk.purse, self.desk.folder))
        while self.waiting and self.session is not None and len(self.sent) < self.session.capacity:
            request = self.waiting[0]
            if not self._affords(request):
                if self.sent:
                    return  # settling what is on its way will free some of what is set aside for it
                self._give_up(request, Failure(reason=OVER_BUDGET, detail="no room in the budget for its worst case"))
                continue
            self.waiting.popleft()
            self.sent[self.next_ticket] = request
            self.session.submit(self.next_ticket, request.prompt)
            self.next_ticket += 1

    def _affords(self, request: _Request) -> bool:
        """Set aside what a request may cost, unless it was sent before and counted then."""
        purse, size = self.desk.purse, len(request.body)
        if purse is None:
            return True
        is_under_way = getattr(self.session, "is_under_way", None)
        if is_under_way is not None and is_under_way(request.key):
            purse.adopt(self.next_ticket, request.key, request.prompt, size)
            return True
        return purse.reserve(self.next_ticket, request.prompt, size)

    def _give_up(self, request: _Request, failure: Failure) -> None:
        if self.waiting and self.waiting[0] is request:
            self.waiting.popleft()
        del self.by_key[request.key]
        for dialogue in request.dialogues:
            self._enqueue(dialogue, dialogue.give_up(failure))

    def _collect(self) -> None:
        assert self.session is not None
        answers = self.session.collect()
        if not answers:
            self.progress.tick(0, self.note())  # a wait of hours goes on, and says so
        entries = [(self.sent[t].key, a, self.sent[t].body) for t, a in answers if isinstance(a, Completion)]
        # Durable when this returns; what another process stored first wins.
        earlier = self.desk.journal.record(entries)
        for ticket, received in answers:
            request = self.sent.pop(ticket)
            self.asked += 1
            self._settle(ticket, received)
            answer = earlier.get(request.key, received)
            if isinstance(answer, Failure):
                self._give_up(request, answer)
                continue
            del self.by_key[request.key]
            for dialogue in request.dialogues:
                self._advance(dialogue, answer)

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
            self._collect()
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
