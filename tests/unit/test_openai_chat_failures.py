"""The client against a server that misbehaves: what is retried, what is given up, what stops the run."""

import asyncio
import time
from typing import Any

import pytest

from magicoder.errors import TeacherError
from magicoder.llms import _replies
from magicoder.llms._throttle import Throttle
from magicoder.records import Completion, Failure
from tests.chat_client import (
    ask,
    ask_one,
    chat_server,  # noqa: F401 - a fixture
    client,
    no_key,  # noqa: F401 - a fixture
    prompt,
)
from tests.faulty_server import FaultyServer


@pytest.mark.parametrize(
    "mode",
    [
        "429",
        "429 now",
        "429 ms",
        "500",
        "502",
        "503",
        "503 later",
        "529",
        "cut",
        "cut in the middle",
        "malformed",
        "garbage",
        "no choices",
    ],
)
def test_passing_trouble_is_retried(server: FaultyServer, mode: str) -> None:
    answer = ask_one(server, mode, times=2)
    assert isinstance(answer, Completion)
    assert server.requests["x"] == 3


def test_a_hanging_server_is_asked_again_after_the_timeout(server: FaultyServer) -> None:
    assert isinstance(ask_one(server, "hang", times=1, timeout_s=0.2), Completion)
    assert server.requests["x"] == 2


def test_a_slow_answer_is_waited_for(server: FaultyServer) -> None:
    assert isinstance(ask_one(server, "slow"), Completion)
    assert server.requests["x"] == 1


def test_too_many_requests_are_not_counted_as_failures(server: FaultyServer) -> None:
    assert isinstance(ask_one(server, "429 now", times=9, max_retries=0), Completion)
    assert server.requests["x"] == 10


def test_retry_after_is_honoured(server: FaultyServer) -> None:
    began = time.monotonic()
    assert isinstance(ask_one(server, "429 later", times=1), Completion)
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("400", "bad_request"),
        ("422", "bad_request"),
        ("400 long", "prompt_too_long"),
        ("400 long, in words", "prompt_too_long"),
        ("413", "prompt_too_long"),
        ("400 filter", "refused_by_server"),
    ],
)
def test_a_refused_prompt_fails_alone_and_is_not_asked_again(server: FaultyServer, mode: str, reason: str) -> None:
    server.fault(mode, only="poison")
    answers = ask(client(server), *(prompt(f"p{i}") for i in range(5)), prompt("poison"))
    failure = answers.pop(5)
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert failure.detail.startswith("HTTP 4")
    assert all(isinstance(a, Completion) for a in answers.values())
    assert server.requests["poison"] == 1


@pytest.mark.parametrize(
    ("mode", "reason", "asked"),
    [
        ("500", "server_error", 4),
        ("cut", "connection_lost", 4),
        ("malformed", "malformed_answer", 4),
        ("no choices", "malformed_answer", 3),
        ("no content", "malformed_answer", 3),
        ("hang", "timed_out", 4),
    ],
)
def test_a_prompt_that_always_breaks_is_given_up(server: FaultyServer, mode: str, reason: str, asked: int) -> None:
    server.fault(mode, only="poison")
    llm = client(server, max_retries=3, timeout_s=0.5 if mode == "hang" else 60.0)
    answers = ask(llm, prompt("poison"), *(prompt(f"p{i}") for i in range(20)))
    failure = answers.pop(0)
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert all(isinstance(a, Completion) for a in answers.values())
    assert server.requests["poison"] == asked


def test_a_lone_broken_prompt_is_given_up_because_the_server_answers_others(server: FaultyServer) -> None:
    server.fault("500", only="poison")
    answer = ask(client(server, max_retries=1), prompt("poison"))[0]
    assert isinstance(answer, Failure)
    assert answer.reason == "server_error"
    assert server.requests["poison"] == 2


def test_an_endpoint_that_fails_whatever_it_is_asked_stops_the_run(server: FaultyServer) -> None:
    server.fault("500")
    with pytest.raises(TeacherError, match=r"failed \d+ requests and then a test question \(HTTP 500.*same command"):
        ask(client(server), *(prompt(f"p{i}") for i in range(40)))


def test_an_endpoint_that_refuses_every_request_stops_the_run_early(server: FaultyServer) -> None:
    server.fault("400")
    with pytest.raises(TeacherError, match=r"and then a test question \(HTTP 400: messages.0 is odd\)"):
        ask(client(server, concurrency=4), *(prompt(f"p{i}") for i in range(500)))
    assert len(server.requests) < 30


def test_endless_refusals_stop_the_run_when_patience_ends(server: FaultyServer) -> None:
    server.fault("429 now")
    with pytest.raises(TeacherError, match="refused everything for"):
        ask(client(server, patience_s=0.1), prompt("x"))


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("401", "wants a key"),
        ("quota", "no credit left"),
        ("404 model", "no model 'mock'"),
        ("404", "no /chat/completions"),
        ("301", "no /chat/completions"),
        ("400 setting", r"Use max_completion_tokens.*max_tokens_field"),
    ],
)
def test_what_would_fail_for_every_prompt_stops_the_run(server: FaultyServer, mode: str, message: str) -> None:
    server.fault(mode)
    with pytest.raises(TeacherError, match=message):
        ask(client(server), *(prompt(f"p{i}") for i in range(3)))


def test_answers_that_came_before_the_end_are_handed_over_first(server: FaultyServer) -> None:
    server.fault("401", only="bad")
    server.fault("slow", only="good")
    with client(server).open() as session:
        for ticket, text in enumerate(["good", "bad"]):
            session.submit(ticket, prompt(text))
        assert isinstance(dict(session.collect())[0], Completion)  # paid, and on the wire when the key was refused
        session.submit(2, prompt("late"))
        with pytest.raises(TeacherError, match="wants a key"):
            session.collect()
    assert server.requests["late"] == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "plain words"}, "plain words"),
        ({"message": "at the top"}, "at the top"),
        ({"detail": "another server's word"}, "another server's word"),
        ({"error": {"message": ["not", "text"]}}, '["not","text"]'),
        ([1], ""),
        (None, ""),
    ],
)
def test_errors_are_read_in_the_shapes_that_servers_use(body: Any, message: str) -> None:
    trouble = _replies.trouble_of(418, body, None)
    assert trouble.detail == "HTTP 418" + (f": {message}" if message else "")
    assert trouble.reason == "bad_request"


def test_a_crowded_server_is_not_hammered(server: FaultyServer) -> None:
    server.limit = 32
    server.latency_s = 0.05
    answers = ask(client(server, concurrency=128), *(prompt(f"p{i}") for i in range(400)))
    assert all(isinstance(a, Completion) for a in answers.values())
    assert server.refused < 96  # what sending 128 at once would be refused in the first moment alone


class TestThrottle:
    def test_it_doubles_per_round_until_the_first_refusal_and_then_adds_one(self) -> None:
        throttle = Throttle(1000)
        assert throttle.capacity == 64
        for _ in range(64):
            throttle.grow()
        assert throttle.capacity == 128
        throttle.shrink(0, 0.5, 0.0)
        assert throttle.capacity == 64
        for _ in range(65):
            throttle.grow()
        assert throttle.capacity == 65

    def test_a_rounds_refusals_count_once(self) -> None:
        throttle = Throttle(64)
        for _ in range(20):
            throttle.shrink(0, 0.5, 0.0)
        assert throttle.capacity == 32

    def test_a_refusal_after_a_round_of_successes_narrows_it_less(self) -> None:
        throttle = Throttle(64)
        for _ in range(64):
            throttle.grow()
        throttle.shrink(0, 0.75, 0.0)
        assert throttle.capacity == 48
        throttle.shrink(1, 0.75, 0.0)
        assert throttle.capacity == 24

    def test_it_never_exceeds_its_ceiling(self) -> None:
        throttle = Throttle(5)
        for _ in range(100):
            throttle.grow()
        assert throttle.capacity == 5

    def test_the_narrowest_gate_is_shut_for_a_while_instead(self) -> None:
        async def scenario() -> None:
            reopened = asyncio.Event()
            throttle = Throttle(1, reopened.set)
            throttle.shrink(0, 0.5, 0.01)
            assert (throttle.capacity, throttle.free) == (1, 0)
            await reopened.wait()
            assert throttle.free == 1

        asyncio.run(scenario())

    def test_it_begins_anew_and_narrow_after_an_outage(self) -> None:
        throttle = Throttle(1000)
        throttle.shrink(0, 0.5, 0.0)
        throttle.restart()
        assert throttle.capacity == 16
        throttle.shrink(1, 0.5, 0.0)  # of a request that was sent before the outage
        assert throttle.capacity == 16
        for _ in range(16):
            throttle.grow()
        assert throttle.capacity == 32
