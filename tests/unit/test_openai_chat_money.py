"""What is paid: no attempt that may be billed is repeated without asking the meter, and nothing is paid in vain."""

from collections import Counter

import pytest

from magicoder.llms.openai_chat import OpenAIChat
from magicoder.records import Completion, Failure
from tests.chat_client import (
    Answers,
    ask,
    chat_server,  # noqa: F401 - a fixture
    client,
    no_key,  # noqa: F401 - a fixture
    prompt,
)
from tests.faulty_server import FREE, MODES, FaultyServer
from tests.unit.test_openai_chat_outages import CANARY

FAULTS = (
    "429 ms",
    "500",
    "502",
    "503",
    "529",
    "hang",
    "cut",
    "cut in the middle",
    "malformed",
    "garbage",
    "no choices",
)


class CountingMeter:
    """Counts attempts that are paid, as a budget would; affords so many more attempts in all."""

    def __init__(self, affordable: int = 10**9) -> None:
        self.affordable = affordable
        self.again_for: Counter[int] = Counter()

    def again(self, ticket: int) -> bool:
        self.again_for[ticket] += 1
        self.affordable -= 1
        return self.affordable >= 0

    def paid(self, answers: Answers) -> int:
        """Return how many attempts the client believes may be billed."""
        last = sum(isinstance(a, Completion) or a.maybe_paid for a in answers.values())
        denied = sum(isinstance(a, Failure) and a.reason == "over_budget" for a in answers.values())
        return last + self.again_for.total() - denied  # `again` has counted the last attempt of those already


def ask_all(llm: OpenAIChat, texts: list[str], meter: CountingMeter | None = None) -> Answers:
    return ask(llm, *map(prompt, texts), meter=meter)


@pytest.mark.parametrize("mode", FAULTS)
def test_every_fault_alone_loses_nothing_and_is_paid_once_more_each_time(server: FaultyServer, mode: str) -> None:
    server.mix(0.3, mode)
    server.latency_s = 0.002
    meter = CountingMeter()
    texts = [f"p{i}" for i in range(60)]
    answers = ask_all(
        client(server, concurrency=16, max_retries=4, timeout_s=1.0 if mode == "hang" else 60.0), texts, meter
    )
    assert [a.texts for _, a in sorted(answers.items())] == [(f"echo: {t}",) for t in texts]  # type: ignore[union-attr]
    assert sum(server.failed.values()) >= 5
    for text in texts:
        assert server.requests[text] == 1 + server.failed[text]
    assert meter.paid(answers) >= server.billed.total() - server.billed[CANARY]
    if mode in FREE:
        assert meter.again_for.total() == 0
    else:
        # Each attempt is counted, and (but for test questions, if there were any) none twice.
        assert meter.paid(answers) <= server.billed.total() + 1


def test_a_random_mix_of_all_faults_loses_nothing(server: FaultyServer) -> None:
    server.mix(0.4, *FAULTS, "429 later", "truncation")
    server.latency_s = 0.005
    meter = CountingMeter()
    texts = [f"p{i}" for i in range(400)]
    answers = ask_all(client(server, concurrency=64, max_retries=4, timeout_s=1.0, retry_delay_s=0.01), texts, meter)
    assert len(answers) == 400
    cut_short = 0
    for ticket, answer in answers.items():
        assert isinstance(answer, Completion), answer
        assert answer.texts in ((f"echo: p{ticket}",), ("half an ans",))
        cut_short += answer.finish_reasons == ("length",)
    assert cut_short > 3
    assert sum(server.failed.values()) > 150
    for text in texts:
        assert server.requests[text] <= 1 + server.failed[text]
    billed = server.billed.total() - server.billed[CANARY]
    assert billed <= meter.paid(answers) <= billed + 4


@pytest.mark.parametrize("mode", ["500", "hang", "cut", "malformed", "no choices", "503"])
def test_an_attempt_that_may_be_paid_is_not_repeated_without_the_money(server: FaultyServer, mode: str) -> None:
    server.fault(mode, only="poison")
    meter = CountingMeter(affordable=1)
    answers = ask_all(client(server, timeout_s=0.5, max_retries=5), ["poison", *(f"p{i}" for i in range(9))], meter)
    failure = answers[0]
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.maybe_paid) == ("over_budget", True)
    assert server.requests["poison"] == 2
    assert meter.paid(answers) == server.billed.total()


@pytest.mark.parametrize("mode", sorted(FREE & {"429", "429 now", "429 ms", "503 later", "529"}))
def test_a_refusal_costs_nothing_and_asks_no_meter(server: FaultyServer, mode: str) -> None:
    server.fault(mode, times=2)
    meter = CountingMeter(affordable=0)
    assert isinstance(ask_all(client(server), ["x"], meter)[0], Completion)
    assert not meter.again_for


def test_a_connection_that_was_never_made_costs_nothing(server: FaultyServer) -> None:
    meter = CountingMeter(affordable=0)
    with client(server).open(meter) as session:
        session.submit(0, prompt("x"))
        assert len(session.collect()) == 1
        server.stop()
        session.submit(1, prompt("y"))
        assert session.collect() == []
        server.start()
        finished: Answers = {}
        while not finished:
            finished = dict(session.collect())
    assert isinstance(finished[1], Completion)
    assert not meter.again_for


@pytest.mark.parametrize(
    ("mode", "maybe_paid"),
    [("400", False), ("422", False), ("413", False), ("400 long", True), ("400 filter", True)],
)
def test_a_refused_prompt_says_whether_it_may_be_billed(server: FaultyServer, mode: str, *, maybe_paid: bool) -> None:
    server.fault(mode, only="poison")
    failure = ask_all(client(server), ["fine", "poison"])[1]
    assert isinstance(failure, Failure)
    assert failure.maybe_paid is maybe_paid


@pytest.mark.parametrize("mode", ["500", "hang", "cut", "cut in the middle", "malformed", "no content"])
def test_a_prompt_given_up_says_that_its_last_attempt_may_be_billed(server: FaultyServer, mode: str) -> None:
    server.fault(mode, only="poison")
    failure = ask_all(client(server, timeout_s=0.5, max_retries=0), ["fine", "poison"])[1]
    assert isinstance(failure, Failure)
    assert failure.maybe_paid


def test_a_test_question_is_paid_for_by_a_prompts_reservation(server: FaultyServer) -> None:
    server.fault("500", only="poison")
    meter = CountingMeter()
    answers = ask_all(client(server, max_retries=0), [f"poison {i}" for i in range(20)], meter)
    assert server.requests[CANARY] >= 3
    # One counted attempt pays for so many of them as its tokens are worth.
    assert meter.paid(answers) > server.billed.total() - server.billed[CANARY]


def test_without_money_for_a_test_question_poison_is_given_up_all_the_same(server: FaultyServer) -> None:
    server.fault("500", only="poison")
    answers = ask_all(client(server, max_retries=0), [f"poison {i}" for i in range(20)], CountingMeter(affordable=0))
    assert all(isinstance(a, Failure) for a in answers.values())
    assert len(answers) == 20
    assert server.requests[CANARY] == 0


def test_a_paid_outage_is_asked_for_before_it_is_tried_again(server: FaultyServer) -> None:
    meter = CountingMeter()
    with client(server, concurrency=8).open(meter) as session:
        session.submit(0, prompt("x"))
        assert len(session.collect()) == 1
        server.fault("hang", times=1, only="q")
        for i in range(1, 5):
            session.submit(i, prompt(f"q{i}"))
        session.submit(5, prompt("z"))
        answers = dict(session.collect())
        server.stop()
        server.start()
        while len(answers) < 5:
            answers |= dict(session.collect())
    assert all(isinstance(a, Completion) for a in answers.values())
    assert {t for t, n in meter.again_for.items() if n == 1} >= {1, 2, 3, 4}


def test_every_fault_is_known_to_the_server() -> None:
    assert set(FAULTS) <= set(MODES)
    assert set(MODES) >= FREE
