"""Whose fault a failure is: outages are waited out and fail no prompt, poison is given up and stops no run."""

import itertools
import threading
import time

import pytest

from magicoder.errors import TeacherError
from magicoder.llms._chat import ChatSession
from magicoder.records import Completion, Failure
from tests.chat_client import (
    Answers,
    ask,
    chat_server,  # noqa: F401 - a fixture
    client,
    no_key,  # noqa: F401 - a fixture
    prompt,
)
from tests.faulty_server import FaultyServer

CANARY = 'Reply with the JSON {"ok": true}.'


def drive(session: ChatSession, texts: list[str], notes: list[str] | None = None) -> Answers:
    """Drive as a stage does, taking down the notes while nothing comes back."""
    answers: Answers = {}
    waiting = list(enumerate(texts))
    in_flight = 0
    while waiting or in_flight:
        while waiting and in_flight < session.capacity:
            ticket, text = waiting.pop(0)
            session.submit(ticket, prompt(text))
            in_flight += 1
        finished = session.collect()
        if not finished and notes is not None:
            notes.append(session.note)
        for ticket, answer in finished:
            answers[ticket] = answer
            in_flight -= 1
    return answers


def all_answered(answers: Answers, count: int) -> bool:
    return len(answers) == count and all(isinstance(a, Completion) for a in answers.values())


def test_an_outage_in_the_middle_is_waited_out_and_nothing_is_lost(server: FaultyServer) -> None:
    server.latency_s = 0.02
    notes: list[str] = []
    done = threading.Event()

    def outage() -> None:
        while sum(server.answered.values()) < 60:
            time.sleep(0.005)
        server.stop()
        time.sleep(1.5)
        server.start()
        done.set()

    saboteur = threading.Thread(target=outage)
    with client(server, concurrency=16, max_retries=1, retry_delay_s=0.05).open() as session:
        saboteur.start()
        answers = drive(session, [f"p{i}" for i in range(300)], notes)
        note = session.note
    saboteur.join()
    assert done.is_set()
    assert all_answered(answers, 300)
    # What was in flight when the connections were cut may have been paid twice, and nothing else.
    assert sum(n - 1 for n in server.requests.values()) <= 16 * 2
    assert any(n.startswith("paused") and "goes on by itself" in n and server.url in n for n in notes)
    assert note == ""


@pytest.mark.parametrize("mode", ["500", "503", "hang", "cut", "cut in the middle", "garbage", "404"])
def test_an_endpoint_that_fails_everything_for_a_while_fails_no_prompt(server: FaultyServer, mode: str) -> None:
    llm = client(server, concurrency=16, max_retries=1, timeout_s=0.3, retry_delay_s=0.02)
    with llm.open() as session:
        assert all_answered(drive(session, ["first"]), 1)
        server.fault(mode)
        healer = threading.Timer(1.5, server.heal)
        healer.start()
        answers = drive(session, [f"p{i}" for i in range(60)])
        healer.join()
    assert all_answered(answers, 60)
    # 16 sent in vain, twice at most each; then single test questions only.
    assert sum(n for text, n in server.requests.items() if text != CANARY) <= 61 + 3 * 16


def test_an_endpoint_whose_list_of_models_fails_too_is_asked_nothing_until_it_is_back(server: FaultyServer) -> None:
    with client(server, concurrency=8, max_retries=1).open() as session:
        assert all_answered(drive(session, ["first"]), 1)
        server.fault("503")
        server.models_status = 503

        def heal() -> None:
            server.heal()
            server.models_status = 200

        healer = threading.Timer(1.0, heal)
        healer.start()
        assert all_answered(drive(session, [f"p{i}" for i in range(20)]), 20)
        healer.join()
    assert server.requests[CANARY] == 0


def test_an_endpoint_without_a_list_of_models_is_probed_by_a_short_question(server: FaultyServer) -> None:
    server.models_status = 404
    with client(server, concurrency=8, max_retries=1).open() as session:
        assert all_answered(drive(session, ["first"]), 1)
        server.fault("503")
        healer = threading.Timer(1.0, server.heal)
        healer.start()
        assert all_answered(drive(session, [f"p{i}" for i in range(20)]), 20)
        healer.join()
    assert 3 <= server.requests[CANARY] <= 40
    short = next(b for b in server.bodies if b["messages"][-1]["content"] == CANARY)
    assert short["max_tokens"] == 16
    assert [m["role"] for m in short["messages"]] == ["system", "user"]


def test_patience_ends_and_says_where_everything_is(server: FaultyServer) -> None:
    with client(server, outage_patience_s=0.3).open() as session:
        session.submit(0, prompt("x"))
        assert len(session.collect()) == 1
        server.stop()
        session.submit(1, prompt("y"))
        with pytest.raises(TeacherError, match=r"has been down for \d+ s .*every answer so far is in the journal"):
            drive(session, ["z"])


def test_an_endpoint_that_was_met_is_waited_for_even_before_its_first_answer(server: FaultyServer) -> None:
    server.fault("hang", times=1)
    with client(server, concurrency=4).open() as session:
        for i in range(4):
            session.submit(i, prompt(f"p{i}"))
        saboteur = threading.Timer(0.3, server.stop)
        revival = threading.Timer(1.0, server.start)
        saboteur.start()
        revival.start()
        answers: Answers = {}
        while len(answers) < 4:
            answers |= dict(session.collect())
        revival.join()
    assert all_answered(answers, 4)


@pytest.mark.parametrize("count", [1, 7, 8, 30])
def test_poison_alone_is_given_up_and_does_not_stop_the_run(server: FaultyServer, count: int) -> None:
    server.fault("500", only="poison")
    answers = ask(client(server, max_retries=1), *(prompt(f"poison {i}") for i in range(count)))
    assert len(answers) == count
    for answer in answers.values():
        assert isinstance(answer, Failure)
        assert answer.reason == "server_error"
        assert answer.maybe_paid
    assert {n for text, n in server.requests.items() if text != CANARY} == {2}
    assert server.requests[CANARY] <= 9  # not for every eight anew


def test_poison_among_others_is_given_up_without_a_pause(server: FaultyServer) -> None:
    server.fault("500", only="poison")
    server.latency_s = 0.005
    texts = [f"poison {i}" if i % 10 == 0 else f"p{i}" for i in range(200)]
    answers = ask(client(server, concurrency=16), *map(prompt, texts))
    failed = {texts[t] for t, a in answers.items() if isinstance(a, Failure)}
    assert failed == {f"poison {i}" for i in range(0, 200, 10)}
    assert all(server.requests[text] == 3 for text in failed)
    assert server.requests[CANARY] <= 6


def test_when_most_fails_a_lucky_answer_condemns_no_prompt(server: FaultyServer) -> None:
    with client(server, concurrency=16, max_retries=1, retry_delay_s=0.01).open() as session:
        assert all_answered(drive(session, ["first"]), 1)
        server.fault("500", only="q")
        lucky = itertools.count()
        original = server._mode
        server._mode = lambda text: "" if next(lucky) % 12 == 11 else original(text)  # type: ignore[method-assign]
        server.fault("500", only="JSON")
        healer = threading.Timer(1.5, server.heal)
        healer.start()
        answers = drive(session, [f"q{i}" for i in range(60)])
        healer.join()
    failed = sum(isinstance(a, Failure) for a in answers.values())
    assert failed == 0


def test_prompts_whose_answers_never_come_whole_stop_the_run_before_all_are_paid(server: FaultyServer) -> None:
    server.fault("hang", only="q")
    with pytest.raises(TeacherError, match=r"prompts in a row got no whole answer.*see timeout_s"):
        ask(client(server, timeout_s=0.05, max_retries=0), *(prompt(f"q{i}") for i in range(400)))
    assert sum(server.requests.values()) < 200


def test_what_is_not_on_the_wire_can_be_taken_back(server: FaultyServer) -> None:
    with client(server, concurrency=8).open() as session:
        assert all_answered(drive(session, ["first"]), 1)
        server.stop()
        for i in range(5):
            session.submit(i, prompt(f"p{i}"))
        while not session.note:
            assert session.collect() == []
        session.submit(5, prompt("late"))
        withdrawn = dict(session.withdraw())
        assert sorted(withdrawn) == [0, 1, 2, 3, 4, 5]
        assert {f.reason for f in withdrawn.values()} == {"withdrawn"}
        assert session.collect() == []


def test_what_is_on_the_wire_is_not_taken_back(server: FaultyServer) -> None:
    server.fault("slow", only="slow")
    with client(server).open() as session:
        session.submit(0, prompt("slow"))
        session.submit(1, prompt("quick"))
        assert [t for t, _ in session.collect()] == [1]
        assert session.withdraw() == []
        assert all_answered(dict(session.collect()), 1)


def test_an_endpoint_that_is_overloaded_at_the_start_is_given_as_long_as_a_prompts_retries(
    server: FaultyServer,
) -> None:
    server.fault("503")
    healer = threading.Timer(0.5, server.heal)
    healer.start()
    answers = ask(client(server, max_retries=8, retry_delay_s=0.02), *(prompt(f"p{i}") for i in range(30)))
    healer.join()
    assert all_answered(answers, 30)


def test_a_long_wait_for_a_limit_hands_back_control(server: FaultyServer) -> None:
    server.per_window, server.window_s = 1, 3.0
    with client(server, concurrency=1).open() as session:
        session.submit(0, prompt("x"))
        session.submit(1, prompt("y"))
        assert [t for t, _ in session.collect()] == [0]
        assert session.collect() == []
        assert session.note.startswith("rate limit reached")
        assert [t for t, _ in session.withdraw()] == [1]
    assert server.requests["y"] == 0
