"""Caps per minute, rate-limit headers, and deadlines."""

import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.llms import _replies
from magicoder.llms._pace import Bucket, Pace
from magicoder.records import Completion, Failure
from tests.chat_client import (
    ask,
    chat_server,  # noqa: F401 - a fixture
    client,
    no_key,  # noqa: F401 - a fixture
    prompt,
)
from tests.faulty_server import FaultyServer


def send_all(bucket: Bucket, needs: list[float]) -> list[tuple[float, float]]:
    """Send as early as the bucket lets, on a clock of its own; return (when, size)."""
    now, sent = 1000.0, []
    for need in needs:
        now += bucket.wait_s(now, need) + 1e-6
        assert bucket.wait_s(now, need) == 0.0
        bucket.take(need)
        sent.append((now, need))
    return sent


def most_in_a_minute(sent: list[tuple[float, float]]) -> float:
    return max(sum(size for at, size in sent if start <= at < start + 60) for start, _ in sent)


@settings(max_examples=40, deadline=None)
@given(cap=st.integers(1, 400))
def test_no_minute_has_more_requests_than_the_cap_and_little_is_wasted(cap: int) -> None:
    sent = send_all(Bucket(cap, grain=1.0), [1.0] * (3 * cap))
    assert most_in_a_minute(sent) <= cap
    # Of an average minute, all but the burst is used.
    assert (len(sent) - 1) / (sent[-1][0] - sent[0][0]) * 60 >= 0.9 * cap - 1


@settings(max_examples=40, deadline=None)
@given(cap=st.integers(1000, 100_000), seed=st.integers(0, 2**32))
def test_no_minute_has_more_tokens_than_the_cap(cap: int, seed: int) -> None:
    rng = random.Random(seed)
    largest = cap // rng.randint(2, 50)
    sent = send_all(Bucket(cap), [rng.randint(1, largest) for _ in range(200)])
    assert most_in_a_minute(sent) <= cap + 1e-3


def test_a_request_larger_than_the_cap_goes_all_the_same_and_is_paid_back_in_time() -> None:
    sent = send_all(Bucket(1000), [5000, 10, 10])
    assert sent[1][0] - sent[0][0] > 60


def test_tokens_that_were_reserved_and_not_used_can_be_used_by_others() -> None:
    pace = Pace(None, 6000)
    assert pace.wait_s(0.0, 3000) == 0.0
    pace.take(3000)
    assert pace.wait_s(0.0, 3000) > 30
    pace.correct(3000, 1000)
    assert 0 < pace.wait_s(0.0, 3000) < 30


def test_a_held_pace_lets_nothing_go_until_the_time() -> None:
    pace = Pace(None, None)
    pace.hold(12.0)
    pace.hold(11.0)
    assert pace.wait_s(10.0, 1) == 2.0
    assert pace.wait_s(12.0, 1) == 0.0


def test_requests_go_out_no_faster_than_the_cap(server: FaultyServer) -> None:
    answers = ask(client(server, requests_per_minute=1200), *(prompt(f"p{i}") for i in range(50)))
    assert all(isinstance(a, Completion) for a in answers.values())
    # 20 at once, then 20 a second.
    assert server.times[-1] - server.times[0] >= 1.4


def test_tokens_are_estimated_from_the_prompt_and_its_limit(server: FaultyServer) -> None:
    llm = client(server, tokens_per_minute=60_000)
    answers = ask(llm, *(prompt(f"p{i}", max_tokens=500) for i in range(8)))
    assert all(isinstance(a, Completion) for a in answers.values())
    # Each reserves 540 of 1,000 tokens a second, and gives most of it back when it is answered.
    assert 0 < server.times[-1] - server.times[0] < 4


def test_a_limit_that_the_headers_announce_is_waited_for_and_not_run_into(server: FaultyServer) -> None:
    server.per_window, server.window_s = 10, 0.3
    answers = ask(client(server, concurrency=2), *(prompt(f"p{i}") for i in range(45)))
    assert all(isinstance(a, Completion) for a in answers.values())
    assert server.refused <= 8  # the one that is on its way when the last place is taken; 45 or more without a hold


def test_without_room_a_session_says_how_long_it_waits(server: FaultyServer) -> None:
    server.per_window, server.window_s = 1, 2.5
    with client(server, concurrency=1).open() as session:
        session.submit(0, prompt("x"))
        assert len(session.collect()) == 1
        assert session.note.startswith("rate limit reached")
        assert session.note.endswith("s to wait")


def test_a_wait_is_read_from_milliseconds_seconds_a_date_or_the_reset() -> None:
    def wait(retry_after: str) -> float | None:
        return _replies.wait_of({"Retry-After": retry_after})

    assert _replies.wait_of({}) is None
    assert wait("soon") is None
    assert wait("nan") is None
    assert wait("2.5") == 2.5
    assert wait("-1") == 0.0
    assert wait("86400") == _replies.MAX_WAIT_S
    assert wait("inf") == _replies.MAX_WAIT_S
    in_a_minute = wait(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert in_a_minute is not None
    assert 50 < in_a_minute <= 60
    assert _replies.wait_of({"retry-after-ms": "250", "Retry-After": "7"}) == 0.25
    left = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.5s"}
    assert _replies.wait_of(left) == 1.5


@pytest.mark.parametrize(
    ("headers", "hold_s"),
    [
        ({}, None),
        ({"remaining-requests": "1", "reset-requests": "1s"}, None),
        ({"remaining-requests": "0", "reset-requests": "6m0s"}, 120.0),
        ({"remaining-requests": "0", "reset-requests": "1m2.5s"}, 62.5),
        ({"remaining-requests": "0", "reset-requests": "12ms"}, 0.012),
        ({"remaining-requests": "0", "reset-requests": "3"}, 3.0),
        ({"remaining-requests": "0", "reset-requests": "soon"}, None),
        ({"remaining-requests": "0"}, None),
        ({"remaining-requests": "-1", "reset-requests": "9s"}, None),
        ({"remaining-tokens": "99", "reset-tokens": "2s"}, 2.0),
        ({"remaining-tokens": "50", "limit-tokens": "1050", "reset-tokens": "20s"}, 1.0),
        ({"remaining-tokens": "100", "reset-tokens": "2s"}, None),
        ({"remaining-tokens": "5", "limit-tokens": "50", "reset-tokens": "2s"}, None),
        ({"remaining-tokens": "0", "limit-tokens": "50", "reset-tokens": "2s"}, 2.0),
        (
            {
                "remaining-requests": "0",
                "reset-requests": "1s",
                "remaining-tokens": "0",
                "reset-tokens": "3s",
            },
            3.0,
        ),
    ],
)
def test_headers_say_when_there_is_room_again(headers: dict[str, str], hold_s: float | None) -> None:
    assert _replies.hold_of({f"x-ratelimit-{k}": v for k, v in headers.items()}, 100) == hold_s


def test_a_reset_can_be_a_point_in_time() -> None:
    for scale in (1, 1000):
        headers = {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": f"{(time.time() + 30) * scale:.0f}",
        }
        hold_s = _replies.hold_of(headers, 1)
        assert hold_s is not None
        assert 28 < hold_s < 31


def test_a_prompt_that_is_not_answered_before_its_deadline_fails_alone(server: FaultyServer) -> None:
    server.fault("hang", only="poison")
    llm = client(server, timeout_s=0.2, deadline_s=0.5, max_retries=50)
    answers = ask(llm, prompt("poison"), *(prompt(f"p{i}") for i in range(20)))
    failure = answers.pop(0)
    assert isinstance(failure, Failure)
    assert failure.reason == "deadline"
    assert failure.maybe_paid
    assert failure.detail.startswith("no answer within 0.5 s")
    assert all(isinstance(a, Completion) for a in answers.values())
    assert 2 <= server.requests["poison"] <= 4


def test_an_attempt_ends_with_the_deadline(server: FaultyServer) -> None:
    server.fault("hang", only="poison")
    began = time.monotonic()
    answer = ask(client(server, deadline_s=0.2), prompt("poison"))[0]
    assert isinstance(answer, Failure)
    assert answer.reason == "deadline"
    assert time.monotonic() - began < 60  # and not the 300 s of an attempt


def test_a_refusal_that_would_outlast_the_deadline_is_not_waited_for(server: FaultyServer) -> None:
    server.fault("429 later", only="poison")
    answer = ask(client(server, deadline_s=0.5), prompt("poison"))[0]
    assert isinstance(answer, Failure)
    assert (answer.reason, answer.maybe_paid) == ("deadline", False)
    assert server.requests["poison"] == 1


def test_an_outage_does_not_use_up_a_deadline(server: FaultyServer) -> None:
    with client(server, deadline_s=0.4, retry_delay_s=0.2).open() as session:
        session.submit(0, prompt("x"))
        assert len(session.collect()) == 1
        server.stop()
        session.submit(1, prompt("y"))
        began = time.monotonic()
        while time.monotonic() - began < 1.0:
            assert session.collect() == []
        server.start()
        found: list[tuple[int, Completion | Failure]] = []
        while not found:
            found = session.collect()
    assert isinstance(found[0][1], Completion)


def test_the_times_of_a_paced_run_are_even(server: FaultyServer) -> None:
    ask(client(server, requests_per_minute=600), *(prompt(f"p{i}") for i in range(25)))
    late = [b - a for a, b in pairwise(server.times[12:])]
    assert sum(late) / len(late) >= 0.09
