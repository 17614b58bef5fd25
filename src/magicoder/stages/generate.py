"""Seeds become samples: each strategy's dialogue is driven to its end, without a barrier between one turn and the next.

An answer is looked up in the journal before it is asked for, and is durable there before a strategy sees it. So a
killed run pays again at most for what was in flight, and a run made again pays nothing.
"""

import itertools
import random
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from magicoder.errors import Interrupted, Unusable
from magicoder.journal import Journal, key
from magicoder.protocols import LLM, NOT_IDENTITY, Engine, Session, Strategy
from magicoder.records import Completion, Failure, Prompt, Rejection, Sample, Seed
from magicoder.store import Artifact, Writer, account

STAGE = "samples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one seed: samples, or why there are none."""

    seed: Seed
    samples: tuple[Sample, ...] = ()
    rejection: Rejection | None = None


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
        teacher: LLM | None,
        journal: Journal | None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Write one part of samples for each part of seeds; rows stand in the order of their seeds.

        Raises:
            TeacherError: the endpoint fails as a whole; run again to go on.
            Interrupted: `stop()` became true; what was in flight has been waited for and kept.
        """
        out.progress.expect(seeds.manifest.rows, "seeds")
        indices = range(out.done, seeds.part_count)
        for index in range(out.done):
            out.progress.tick(len(seeds.read_part(index)))
        if teacher is None:
            for outcomes in engine.map(partial(self._write_part, seeds, strategy), indices):
                out.progress.tick(len(outcomes))
                _publish(out, outcomes)
            return
        assert journal is not None, "a teacher's answers are always journaled"
        with ExitStack() as stack:
            driver = _Driver(settings=self, strategy=strategy, teacher=teacher, journal=journal, stack=stack, stop=stop)
            finished = driver.outcomes(seeds, indices)
            for index in indices:
                count = len(seeds.read_part(index))
                outcomes = []
                for outcome in itertools.islice(finished, count):
                    outcomes.append(outcome)
                    out.progress.tick(1, driver.note())
                assert len(outcomes) == count
                _publish(out, outcomes)

    def start(self, strategy: Strategy, seed: Seed) -> Generator[Prompt, Completion, list[Sample]]:
        """Begin a seed's dialogue."""
        return strategy.write(seed, random.Random(f"{self.random_seed}:{seed.id}"))

    def _write_part(self, seeds: Artifact[Seed], strategy: Strategy, index: int) -> list[Outcome]:
        return [self._write_alone(strategy, seed) for seed in seeds.read_part(index)]

    def _write_alone(self, strategy: Strategy, seed: Seed) -> Outcome:
        dialogue = Dialogue(seed, self.start(strategy, seed))
        prompt = dialogue.advance(None)
        assert prompt is None, f"{strategy.name} asks a teacher although it says it needs none"
        assert dialogue.outcome is not None
        return dialogue.outcome


def _publish(out: Writer[Sample], outcomes: list[Outcome]) -> None:
    rows = [s for o in outcomes for s in o.samples]
    rejections = [o.rejection for o in outcomes if o.rejection is not None]
    kept = dict.fromkeys(s.seed_id for s in rows)
    account((o.seed.id for o in outcomes), list(kept), (r.id for r in rejections))
    out.write(rows, rejections)


class Dialogue:
    """One seed's conversation: its strategy's generator, the tokens it has used, and what came of it."""

    def __init__(self, seed: Seed, turns: Generator[Prompt, Completion, list[Sample]]) -> None:
        self.seed = seed
        self.turns = turns
        self.prompt: Prompt | None = None
        self.outcome: Outcome | None = None
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def advance(self, completion: Completion | None) -> Prompt | None:
        """Resume the strategy; return its next prompt, or None when `outcome` is there."""
        if completion is not None:
            self.prompt_tokens += completion.prompt_tokens
            self.completion_tokens += completion.completion_tokens
        try:
            self.prompt = next(self.turns) if completion is None else self.turns.send(completion)
        except StopIteration as end:
            self.prompt = None
            self.outcome = self._finished(end.value)
        except Unusable as e:
            self.prompt = None
            self.outcome = self._rejected(e.reason, e.detail, e.text)
        return self.prompt

    def give_up(self, failure: Failure) -> None:
        """End with what came instead of an answer."""
        self.turns.close()
        self.outcome = self._rejected(failure.reason, failure.detail)

    def _finished(self, samples: list[Sample]) -> Outcome:
        if not samples:
            return self._rejected("no_samples", "the strategy returned no sample")
        # A dialogue is paid for once, however many samples it gives: the first one carries its tokens.
        first = replace(samples[0], prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens)
        rest = (replace(s, prompt_tokens=0, completion_tokens=0) for s in samples[1:])
        return Outcome(seed=self.seed, samples=(first, *rest))

    def _rejected(self, reason: str, detail: str, text: str = "") -> Outcome:
        rejection = Rejection(
            id=self.seed.id,
            stage=STAGE,
            reason=reason,
            detail=detail,
            language=self.seed.language,
            text=text,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
        )
        return Outcome(seed=self.seed, rejection=rejection)


class _Driver:
    """Keeps as many prompts in flight as the session wants, whatever turn their dialogues are at."""

    def __init__(
        self,
        *,
        settings: Generate,
        strategy: Strategy,
        teacher: LLM,
        journal: Journal,
        stack: ExitStack,
        stop: Callable[[], bool],
    ) -> None:
        self.settings = settings
        self.strategy = strategy
        self.teacher = teacher
        self.journal = journal
        self.stack = stack
        self.stop = stop
        self.session: Session | None = None
        self.asking: deque[Dialogue] = deque()  # have a prompt, not yet looked up
        self.waiting: deque[tuple[bytes, list[Dialogue]]] = deque()  # not in the journal, not yet sent
        self.by_key: dict[bytes, list[Dialogue]] = {}  # sent or waiting to be; equal requests are paid once
        self.tickets: dict[int, bytes] = {}
        self.next_ticket = 0
        self.asked = self.found = self.paid_tokens = 0

    def note(self) -> str:
        """Say what a watcher wants to know beside the bar."""
        return f"{self.asked} asked, {self.found} from the journal, {self.paid_tokens:,} tokens paid"

    def outcomes(self, seeds: Artifact[Seed], indices: range) -> Iterator[Outcome]:
        """Yield one outcome a seed, in order."""
        incoming = (seed for index in indices for seed in seeds.read_part(index))
        started: deque[Dialogue] = deque()
        exhausted = False
        while True:
            while started and (outcome := started[0].outcome) is not None:
                started.popleft()
                yield outcome
            while not exhausted and len(started) < self.settings.window and len(self.asking) < 256:
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

    def _advance(self, dialogue: Dialogue, completion: Completion | None) -> None:
        if dialogue.advance(completion) is not None:
            self.asking.append(dialogue)

    def _step(self) -> None:
        """Look up what is asked, send what is not found, and take in answers when there is nothing else to do."""
        if self.stop():
            self._drain()
        self._look_up()
        self._send()
        if self.tickets and not self.asking:
            self._collect()

    def _look_up(self) -> None:
        asking, self.asking = list(self.asking), deque()
        keyed = [(key(self.teacher.model, self.teacher.body(d.prompt)), d) for d in asking if d.prompt is not None]
        answers = self.journal.find([k for k, _ in keyed])
        for k, dialogue in keyed:
            if k in answers:
                self.found += 1
                self._advance(dialogue, answers[k])
            elif k in self.by_key:
                self.by_key[k].append(dialogue)
            else:
                self.by_key[k] = [dialogue]
                self.waiting.append((k, self.by_key[k]))

    def _send(self) -> None:
        if self.waiting and self.session is None:
            # Opened at the first miss: a run that the journal can answer needs neither key nor server.
            self.session = self.stack.enter_context(self.teacher.open())
        while self.waiting and self.session is not None and len(self.tickets) < self.session.capacity:
            k, dialogues = self.waiting.popleft()
            prompt = dialogues[0].prompt
            assert prompt is not None
            self.tickets[self.next_ticket] = k
            self.session.submit(self.next_ticket, prompt)
            self.next_ticket += 1

    def _collect(self) -> None:
        assert self.session is not None
        answers = [(self.tickets.pop(ticket), answer) for ticket, answer in self.session.collect()]
        entries = []
        for k, answer in answers:
            if isinstance(answer, Completion):
                prompt = self.by_key[k][0].prompt
                assert prompt is not None
                entries.append((k, answer, self.teacher.body(prompt)))
        earlier = self.journal.record(entries)  # durable when this returns; what another process stored first wins
        for k, received in answers:
            answer = earlier.get(k, received)
            self.asked += 1
            for dialogue in self.by_key.pop(k):
                if isinstance(answer, Completion):
                    self._advance(dialogue, answer)
                else:
                    dialogue.give_up(answer)
            if isinstance(answer, Completion):
                self.paid_tokens += answer.prompt_tokens + answer.completion_tokens

    def _drain(self) -> None:
        in_flight = len(self.tickets)
        while self.tickets:
            self._collect()
        raise Interrupted(
            f"stopped as asked; {in_flight} answers in flight were waited for, and all are in the journal: "
            "run the same command again to go on"
        )
