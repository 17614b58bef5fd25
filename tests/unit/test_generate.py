"""The driver of dialogues: order, the journal before the teacher, equal requests paid once, failures with reasons."""

import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from magicoder.engines.local import Local
from magicoder.errors import Interrupted, TeacherError, Unusable
from magicoder.journal import Journal
from magicoder.records import Completion, Failure, Message, Prompt, Rejection, Sample, Seed
from magicoder.stages.generate import Desk, Generate
from magicoder.store import Artifact, RunFolder


def seed(number: int) -> Seed:
    return Seed(
        id=f"d{number}#L1", text=f"line {number}", language="python", document_id=f"d{number}", repository="r",
        commit="c", path=f"{number}.py", license="MIT", first_line=1, last_line=1, kind="window",
        index=number, raw_index=number,
    )  # fmt: skip


def prompt(text: str) -> Prompt:
    return Prompt(messages=(Message(role="user", content=text),))


@dataclass(frozen=True, kw_only=True)
class TwoTurns:
    """Asks twice, the second time with the first answer in the prompt."""

    name: ClassVar[str] = "two_turns"
    seed_kind: ClassVar[str] = "window"
    needs_teacher: ClassVar[bool] = True

    def write(self, seed: Seed, rng: random.Random) -> Generator[Prompt, Completion, list[Sample]]:
        first = yield prompt(seed.text)
        if first.finish_reasons[0] == "length":
            raise Unusable("truncated", "too long", text=first.texts[0])
        second = yield prompt(f"again: {first.texts[0]}")
        return [
            Sample.from_seed(
                seed,
                strategy=self.name,
                instruction=seed.text,
                response=f"{second.texts[0]} {rng.random()}",
                completion=second,
            )
        ]


@dataclass
class Teacher:
    """Answers by echo, a few at a time and newest first; counts what is paid."""

    capacity: int = 4
    model: str = "echo"
    fail: dict[str, str] = field(default_factory=dict)
    truncate: frozenset[str] = frozenset()
    breaks_after: int | None = None
    paid: list[str] = field(default_factory=list)
    most_in_flight: int = 0

    def body(self, p: Prompt) -> bytes:
        return p.messages[0].content.encode()

    @contextmanager
    def open(self, meter: object = None, folder: object = None) -> Iterator["Teacher"]:
        self.flying: list[tuple[int, Prompt]] = []
        yield self

    def submit(self, ticket: int, p: Prompt) -> None:
        self.flying.append((ticket, p))
        self.most_in_flight = max(self.most_in_flight, len(self.flying))

    def collect(self) -> list[tuple[int, Completion | Failure]]:
        if self.breaks_after is not None and len(self.paid) >= self.breaks_after:
            raise TeacherError("down")
        done = [self.flying.pop() for _ in range(min(2, len(self.flying)))]
        return [(ticket, self.answer(p.messages[0].content)) for ticket, p in done]

    def answer(self, text: str) -> Completion | Failure:
        if text in self.fail:
            return Failure(reason=self.fail[text], detail="no")
        self.paid.append(text)
        reason = "length" if text in self.truncate else "stop"
        return Completion(
            texts=(text.upper(),), finish_reasons=(reason,), model="echo", prompt_tokens=2, completion_tokens=3
        )


@pytest.fixture
def runs(tmp_path: Path):
    return Runs(tmp_path)


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def seeds(self, folder: RunFolder, numbers: list[int], per_part: int = 5) -> Artifact[Seed]:
        def build(out) -> None:
            for start in range(per_part * out.done, len(numbers), per_part):
                out.write([seed(n) for n in numbers[start : start + per_part]], [])

        return folder.publish("seeds", Seed, build, settings=numbers, inputs=[])[0]

    def __call__(
        self,
        teacher,
        numbers=tuple(range(23)),
        name="run",
        strategy=None,
        stop=lambda: False,
        purse=None,
        progress=None,
        **settings,
    ):
        with RunFolder.locked(self.path / name) as folder, Journal.open(self.path / "journal.sqlite") as journal:
            seeds = self.seeds(folder, list(numbers))
            stage = Generate(**settings)
            artifact, _ = folder.publish(
                "samples",
                Sample,
                lambda out: stage.run(
                    seeds,
                    out,
                    Local(),
                    strategy=strategy or TwoTurns(),
                    desk=Desk(teacher=teacher, journal=journal, purse=purse, stop=stop),
                ),
                settings=[stage, list(numbers)],
                inputs=[],
                progress=progress,
            )
            return artifact


def test_samples_stand_in_the_order_of_their_seeds_whatever_order_answers_come_in(runs: Runs) -> None:
    rows = list(runs(Teacher()))
    assert [r.seed_id for r in rows] == [f"d{n}#L1" for n in range(23)]
    assert rows[3].response.startswith("AGAIN: LINE 3")


def test_the_capacity_is_used_and_never_exceeded(runs: Runs) -> None:
    teacher = Teacher(capacity=7)
    runs(teacher)
    assert teacher.most_in_flight == 7


def test_second_turns_start_before_all_first_turns_are_answered(runs: Runs) -> None:
    teacher = Teacher()
    runs(teacher)
    first_second_turn = next(i for i, text in enumerate(teacher.paid) if text.startswith("again"))
    assert first_second_turn < 22


def test_a_run_made_again_pays_nothing_and_needs_no_teacher(runs: Runs) -> None:
    first = list(runs(Teacher(), name="one"))
    assert list(runs(Teacher(breaks_after=0), name="two")) == first


def test_one_more_seed_is_one_more_dialogue(runs: Runs) -> None:
    runs(Teacher(), numbers=range(10), name="ten")
    teacher = Teacher()
    runs(teacher, numbers=range(11), name="eleven")
    assert teacher.paid == ["line 10", "again: LINE 10"]


def test_a_teacher_that_goes_down_loses_only_what_was_in_flight(runs: Runs) -> None:
    broken = Teacher(breaks_after=11)
    with pytest.raises(TeacherError):
        runs(broken)
    healthy = Teacher()
    rows = list(runs(healthy))
    assert len(rows) == 23
    assert len(broken.paid) + len(healthy.paid) == 46
    assert not set(broken.paid) & set(healthy.paid)


def test_failures_and_unusable_answers_are_rejections_that_keep_the_raw_text_and_the_tokens(runs: Runs) -> None:
    teacher = Teacher(fail={"line 2": "prompt_too_long"}, truncate=frozenset({"line 5"}))
    artifact = runs(teacher)
    rejected = {r.id: r for r in artifact.rejections()}
    assert rejected["d2#L1"].reason == "prompt_too_long"
    assert (rejected["d5#L1"].reason, rejected["d5#L1"].text) == ("truncated", "LINE 5")
    assert rejected["d5#L1"].completion_tokens == 3
    assert artifact.manifest.rows == 21


def test_tokens_of_all_turns_are_counted_once(runs: Runs) -> None:
    rows = list(runs(Teacher()))
    assert {(r.prompt_tokens, r.completion_tokens) for r in rows} == {(4, 6)}


def test_equal_requests_are_paid_once(runs: Runs) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Same(TwoTurns):
        def write(self, seed: Seed, rng: random.Random) -> Generator[Prompt, Completion, list[Sample]]:
            answer = yield prompt("the same question")
            return [Sample.from_seed(seed, strategy="same", instruction="q", response=answer.texts[0])]

    teacher = Teacher()
    assert len(list(runs(teacher, strategy=Same()))) == 23
    assert teacher.paid == ["the same question"]


def test_a_small_window_gives_the_same_rows(runs: Runs) -> None:
    assert list(runs(Teacher(), name="wide")) == list(runs(Teacher(), name="narrow", window=3))


def test_asked_to_stop_it_waits_for_what_is_in_flight_and_keeps_it(runs: Runs) -> None:
    teacher = Teacher()
    with pytest.raises(Interrupted, match="in the journal"):
        runs(teacher, stop=lambda: len(teacher.paid) > 9)
    paid_before = list(teacher.paid)
    after = Teacher()
    runs(after)
    assert not set(paid_before) & set(after.paid), "nothing is paid twice after a graceful stop"
    assert len(paid_before) + len(after.paid) == 46


def test_a_strategy_that_returns_nothing_is_a_rejection(runs: Runs) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Nothing(TwoTurns):
        def write(self, seed: Seed, rng: random.Random) -> Generator[Prompt, Completion, list[Sample]]:
            yield prompt(seed.text)
            return []

    artifact = runs(Teacher(), strategy=Nothing())
    assert artifact.manifest.rows == 0
    assert {r.reason for r in artifact.rejections()} == {"no_samples"}


@dataclass
class Purse:
    """Room for so many answers; one is set aside for each that is asked for."""

    room: int
    spent: int = 0
    set_aside: set[int] = field(default_factory=set)
    most: int = 0

    def reserve(self, ticket: int, p: Prompt, body_bytes: int) -> bool:
        if self.spent + len(self.set_aside) >= self.room:
            return False
        self.set_aside.add(ticket)
        self.most = max(self.most, self.spent + len(self.set_aside))
        return True

    def settle(self, ticket: int, completion: Completion | None, *, maybe_paid: bool = False) -> None:
        self.set_aside.remove(ticket)
        self.spent += completion is not None or maybe_paid

    def again(self, ticket: int) -> bool:
        return False


def test_an_empty_purse_ends_the_asking_and_names_those_not_asked(runs: Runs) -> None:
    teacher, purse = Teacher(), Purse(room=10)
    artifact = runs(teacher, purse=purse)
    assert len(teacher.paid) == purse.most == 10
    reasons = [r.reason for r in artifact.rejections()]
    assert set(reasons) == {"over_budget"}
    assert artifact.manifest.facts == {"unasked": len(reasons), "failed": 0}
    assert all(r.retryable for r in artifact.rejections())


def test_what_settling_frees_is_used_before_anybody_is_turned_away(runs: Runs) -> None:
    class Refunding(Purse):
        def settle(self, ticket: int, completion: Completion | None, *, maybe_paid: bool = False) -> None:
            self.set_aside.remove(ticket)  # the answers turn out to cost nothing

    artifact = runs(Teacher(), purse=Refunding(room=3))
    assert artifact.manifest.rejected == 0


def test_failed_seeds_are_counted_for_retry(runs: Runs) -> None:
    artifact = runs(Teacher(fail={"line 2": "server_error"}, truncate=frozenset({"line 5"})))
    assert artifact.manifest.facts == {"unasked": 0, "failed": 1}


@dataclass(frozen=True, kw_only=True)
class ThreeRounds(TwoTurns):
    """Makes a sample of each of three answers, and keeps what it has when one does not come."""

    def write(self, seed: Seed, rng: random.Random) -> Generator[Prompt, Completion, list[Sample | Rejection]]:
        made: list[Sample | Rejection] = []
        for ordinal in range(3):
            name = {"strategy": self.name, "ordinal": ordinal}
            try:
                answer = yield prompt(f"{seed.text} round {ordinal}")
                if answer.finish_reasons[0] == "length":
                    raise Unusable("truncated", text=answer.texts[0])
                made.append(Sample.from_seed(seed, instruction="q", response="a", completion=answer, **name))
            except Unusable as e:
                made.append(Rejection.from_seed(seed, reason=e.reason, text=e.text, retryable=e.retryable, **name))
        return made


def test_a_seed_keeps_its_good_rounds_and_each_lost_one_has_an_id_and_a_reason(runs: Runs) -> None:
    teacher = Teacher(fail={"line 2 round 0": "timeout"}, truncate=frozenset({"line 5 round 2"}))
    artifact = runs(teacher, strategy=ThreeRounds())
    assert artifact.manifest.rows == 23 * 3 - 2
    lost = {r.id: r for r in artifact.rejections()}
    assert set(lost) == {"d2#L1/two_turns[0]", "d5#L1/two_turns[2]"}
    assert (lost["d2#L1/two_turns[0]"].reason, lost["d2#L1/two_turns[0]"].retryable) == ("timeout", True)
    assert (lost["d5#L1/two_turns[2]"].text, lost["d5#L1/two_turns[2]"].retryable) == ("LINE 5 ROUND 2", False)
    paid = sum(r.completion_tokens for r in artifact) + sum(r.completion_tokens for r in lost.values())
    assert paid == 3 * len(teacher.paid)


def test_a_seed_without_any_sample_is_rejected_once_under_its_own_id_and_keeps_every_reason(runs: Runs) -> None:
    teacher = Teacher(fail={"line 4 round 0": "timeout"}, truncate=frozenset({"line 4 round 1", "line 4 round 2"}))
    artifact = runs(teacher, strategy=ThreeRounds())
    lost = [(r.id, r.reason, r.text, r.prompt_tokens) for r in artifact.rejections()]
    assert lost == [
        ("d4#L1/two_turns[0]", "timeout", "", 0),
        ("d4#L1/two_turns[1]", "truncated", "LINE 4 ROUND 1", 0),
        ("d4#L1", "truncated", "LINE 4 ROUND 2", 4),
    ]


@pytest.mark.parametrize("what", ["the same id twice", "the seed of another"])
def test_a_strategy_that_loses_or_doubles_an_id_is_not_let_through(runs: Runs, what: str) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Careless(TwoTurns):
        def write(self, seed: Seed, rng: random.Random) -> Generator[Prompt, Completion, list[Sample]]:
            yield prompt(seed.text)
            sample = Sample.from_seed(seed, strategy="careless", instruction="q", response="a")
            return [sample, sample] if what == "the same id twice" else [replace(sample, seed_id="d0#L1")]

    with pytest.raises(AssertionError, match="ids lost or doubled"):
        runs(Teacher(), strategy=Careless())


def test_a_session_whose_prompts_outlive_it_is_not_waited_for(runs: Runs) -> None:
    class Batches(Teacher):
        resumable = True

        def collect(self) -> list[tuple[int, Completion | Failure]]:
            return []

    teacher = Batches(capacity=100)
    with pytest.raises(Interrupted, match="23 prompts are in batches that go on"):
        runs(teacher, stop=lambda: len(getattr(teacher, "flying", [])) == 23)


def test_asked_to_stop_it_takes_back_what_is_not_on_the_wire_instead_of_waiting_for_it(runs: Runs) -> None:
    class Down(Teacher):
        """The endpoint is away; one prompt had been sent, and may have been paid for."""

        note = "paused: it is down"

        def collect(self) -> list[tuple[int, Completion | Failure]]:
            return []

        def withdraw(self) -> list[tuple[int, Failure]]:
            flying, self.flying = self.flying, []
            return [(t, Failure(reason="withdrawn", detail="not sent", maybe_paid=t == 0)) for t, _ in flying]

    teacher, purse = Down(), Purse(room=100)
    with pytest.raises(Interrupted, match="0 answers in flight"):
        runs(teacher, stop=lambda: len(getattr(teacher, "flying", [])) == 4, purse=purse)
    assert (purse.spent, purse.set_aside) == (1, set())


def test_an_outage_is_told_before_anything_else(runs: Runs) -> None:
    notes: list[str] = []

    class Listener:
        def expect(self, total: int | None, unit: str) -> None: ...
        def close(self) -> None: ...

        def tick(self, count: int, note: str = "") -> None:
            notes.append(note)

    teacher = Teacher()
    teacher.note = "paused"
    runs(teacher, progress=Listener())
    assert any(note.startswith("paused, ") and "asked" in note for note in notes)


def test_a_session_that_takes_more_than_the_window_gets_more(runs: Runs) -> None:
    teacher = Teacher(capacity=20)
    runs(teacher, window=5)
    assert teacher.most_in_flight > 5


def test_what_has_begun_is_finished_before_more_is_begun(runs: Runs) -> None:
    teacher = Teacher(capacity=2)
    runs(teacher)
    begun = most = 0
    for text in teacher.paid:
        begun += -1 if text.startswith("again") else 1
        most = max(most, begun)
    assert most <= 4, "few dialogues are half paid at any time"
