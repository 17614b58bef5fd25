"""Seeds become samples: each strategy's dialogue is driven to its end, without a barrier between one turn and the next.

Prompts are asked through `asking`: an answer is durable in the journal before a strategy sees it.
"""

import itertools
import random
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from magicoder import asking
from magicoder.asking import LOOK_UP, NOT_IN_JOURNAL, OVER_BUDGET, Asker
from magicoder.errors import SandboxError, Unusable
from magicoder.protocols import NOT_IDENTITY, Engine, Runner, Strategy
from magicoder.records import Completion, Failure, Program, Prompt, Rejection, Sample, Seed, Verdict
from magicoder.store import Artifact, Progress, Writer, account

STAGE: Final = "samples"
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


TRY_OUT: Final = 64
"""Of how many dialogues programs are run at once; answers in flight wait for them."""


@dataclass(frozen=True, kw_only=True)
class Desk(asking.Desk):
    """Who is asked, and where strategies try out programs.

    sandbox  opens one, None if none is to be had
    """

    sandbox: Callable[[], AbstractContextManager[Runner]] | None = None


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


def _programs(dialogue: Dialogue) -> Programs:
    assert isinstance(dialogue.step, tuple)
    return dialogue.step


class _Driver:
    """Drives the dialogues, whatever turn they are at."""

    def __init__(
        self, settings: Generate, strategy: Strategy, desk: Desk, *, stack: ExitStack, progress: Progress
    ) -> None:
        self.settings = settings
        self.strategy = strategy
        self.desk = desk
        self.stack = stack
        self.asker: Asker[Dialogue] = Asker(desk, stack=stack, progress=progress)
        self.runner: Runner | None = None
        self.trying: deque[Dialogue] = deque()  # have programs, not yet run

    def note(self) -> str:
        """Say what a watcher wants to know beside the bar."""
        return self.asker.note()

    def outcomes(self, seeds: Artifact[Seed], indices: range) -> Iterator[Outcome]:
        """Yield one outcome a seed, in order."""
        incoming = (seed for index in indices for seed in seeds.read_part(index))
        started: deque[Dialogue] = deque()
        exhausted = False
        while True:
            while started and (outcome := started[0].outcome) is not None:
                started.popleft()
                yield outcome
            while not exhausted and len(started) < self._window() and len(self.asker.asking) < LOOK_UP:
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
        return max(self.settings.window, self.asker.capacity)

    def _advance(self, dialogue: Dialogue, answer: Completion | tuple[Verdict, ...] | None) -> None:
        self._enqueue(dialogue, dialogue.advance(answer))

    def _enqueue(self, dialogue: Dialogue, step: Prompt | Programs | None) -> None:
        if isinstance(step, Prompt):
            # What has begun is finished first: fewer half-paid dialogues, and parts are written sooner.
            self.asker.ask(step, dialogue, first=dialogue.begun)
        elif step is not None:
            self.trying.append(dialogue)

    def _step(self) -> None:
        """Ask, and take in answers when there is nothing else to do."""
        self._take(self.asker.send())
        if self.trying:
            self._try_out()
        elif not self.asker.asking:
            self._take(self.asker.collect())

    def _take(self, answers: list[tuple[Dialogue, Completion | Failure]]) -> None:
        for dialogue, answer in answers:
            if isinstance(answer, Failure):
                self._enqueue(dialogue, dialogue.give_up(answer))
            else:
                self._advance(dialogue, answer)

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
