"""Batches and what becomes of their lines: the way there and back, what a batch may come to, what stops a run."""

import asyncio
import gc
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from magicoder.errors import RecipeError, StoreError, TeacherError
from magicoder.fingerprint import digest
from magicoder.llms import _batch
from magicoder.llms.openai_batch import OpenAIBatch
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.records import Completion, Failure
from tests.batch_client import (
    NOWHERE,
    Answers,
    Meter,
    batch_server,  # noqa: F401 - a fixture
    client,
    collect_some,
    drive,
    no_key,  # noqa: F401 - a fixture
    prompt,
    prompts,
    texts,
)
from tests.batch_server import BatchServer

# The way there and back.


def test_one_batch_answers_all_in_another_order_and_leaves_nothing_behind(server: BatchServer, tmp_path: Path) -> None:
    answers = drive(client(server.url), tmp_path, prompts(300))
    assert texts(answers) == [f"echo: p{i}" for i in range(300)]
    assert answers[0] == Completion(
        texts=("echo: p0",),
        finish_reasons=("stop",),
        model="mock",
        prompt_tokens=30,
        completion_tokens=22,
        fingerprint="fp_1",
    )
    assert set(server.paid.values()) == {1}
    assert server.calls["create"] == server.calls["upload"] == server.calls["content"] == 1
    assert list((tmp_path / "batches").iterdir()) == []
    with sqlite3.connect(tmp_path / "batches.sqlite") as book:
        assert book.execute("SELECT COUNT(*) FROM lines").fetchone() == (0,)
        assert book.execute("SELECT COUNT(*) FROM batches").fetchone() == (0,)
    book.close()


def test_a_request_is_what_openai_chat_would_send(server: BatchServer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"extra_body": {"min_p": 0.1, "top_p": None}, "send_seed": False}
    full = prompt("x", max_tokens=5, temperature=0.5, stop=("END",), random_seed=977, n=2)
    llm = client(server.url, **settings)
    chat = OpenAIChat(model="mock", base_url=server.url, **settings)
    drive(llm, tmp_path, [full])
    assert llm.body(full) == chat.body(full)
    assert server.bodies == [orjson.loads(chat.wire(full))]


def test_an_answer_journaled_by_a_batch_is_found_by_openai_chat(server: BatchServer, tmp_path: Path) -> None:
    asked = [prompt("x", max_tokens=100, random_seed=1), prompt("y", temperature=1.0)]
    batched = drive(client(server.url), tmp_path, asked)
    assert drive(OpenAIChat(model="mock", base_url=NOWHERE), tmp_path, asked) == batched


def test_prompts_are_cut_into_batches_by_requests_and_bytes(server: BatchServer, tmp_path: Path) -> None:
    assert len(drive(client(server.url, max_requests=40), tmp_path, prompts(100))) == 100
    assert sorted(len(b.lines) for b in server.batches.values()) == [20, 40, 40]
    server.batches.clear()
    lines = [prompt(f"{i:03}" + "x" * 1000) for i in range(10)]
    drive(client(server.url, max_bytes=4000), tmp_path, lines)
    assert max(len(server.files[b.request["input_file_id"]]) for b in server.batches.values()) <= 4000
    assert sum(len(b.lines) for b in server.batches.values()) == 10


def test_a_prompt_larger_than_a_file_fails_alone(server: BatchServer, tmp_path: Path) -> None:
    answers = drive(client(server.url, max_bytes=4000), tmp_path, [prompt("a" * 5000), prompt("b")])
    assert isinstance(answers[0], Failure)
    assert answers[0].reason == "prompt_too_long"
    assert isinstance(answers[1], Completion)


def test_more_prompts_are_awaited_before_a_batch_is_sent(server: BatchServer) -> None:
    with client(server.url).open() as session:
        for ticket in range(10):
            session.submit(ticket, prompt(f"p{ticket}"))
            assert session.collect() == []
            assert server.calls["create"] == 0
        assert getattr(session, "note", "") == "10 gathered for a batch"
        answered = 0
        while answered < 10:
            answered += len(session.collect())
    assert server.calls["create"] == 1


def test_second_turns_share_a_batch(server: BatchServer) -> None:
    answered: list[int] = []
    with client(server.url, linger_s=0.5, max_requests=5).open() as session:
        for ticket in range(10):
            session.submit(ticket, prompt(f"p{ticket}"))
        while len(answered) < 20:
            for ticket, _ in session.collect():
                answered.append(ticket)
                if ticket < 10:
                    session.submit(10 + ticket, prompt(f"more {ticket}"))
    assert sorted(answered) == list(range(20))
    assert len(server.batches) <= 4


def test_a_repeated_prompt_is_paid_once(server: BatchServer) -> None:
    with client(server.url).open() as session:
        session.submit(0, prompt("x"))
        session.submit(1, prompt("x"))
        got = collect_some(session)
    assert sorted(ticket for ticket, _ in got) == [0, 1]
    assert server.paid["x"] == 1


def test_waiting_shows_how_far_the_batches_are(server: BatchServer) -> None:
    server.stage_s = 0.2
    notes = set()
    with client(server.url, linger_s=0).open() as session:
        for ticket in range(1200):
            session.submit(ticket, prompt(f"p{ticket}"))
        answered = 0
        while answered < 1200:
            answered += len(session.collect())
            notes.add(getattr(session, "note", ""))
    assert {"1 batch, 0 of 1,200 done", "1 batch, 1,200 of 1,200 done"} <= notes


def test_many_answers_are_handed_out_in_bounded_portions(server: BatchServer) -> None:
    sizes = []
    with client(server.url).open() as session:
        for ticket in range(2500):
            session.submit(ticket, prompt(f"p{ticket}"))
        while sum(sizes) < 2500:
            sizes.append(len(session.collect()))
    assert max(sizes) <= 1000


# What a batch may come to.


def test_an_expired_batch_gives_what_was_answered_and_resubmits_only_the_rest(
    server: BatchServer, tmp_path: Path
) -> None:
    server.plan(end="expired", share=0.6)
    meter = Meter(0)
    answers = drive(client(server.url), tmp_path, prompts(50), meter=meter)
    assert len(texts(answers)) == 50
    assert [len(b.lines) for b in server.batches.values()] == [50, 20]
    assert set(server.paid.values()) == {1}
    assert meter.asked == []  # what expired was not paid


def test_a_batch_that_expires_without_a_line_of_errors_is_understood(server: BatchServer, tmp_path: Path) -> None:
    server.plan(end="expired", share=0.5, silent=True)
    assert len(texts(drive(client(server.url), tmp_path, prompts(10)))) == 10
    assert set(server.paid.values()) == {1}


def test_resubmissions_are_counted_across_runs_and_end_in_failures(server: BatchServer, tmp_path: Path) -> None:
    server.line_fault("poison", 500)
    asked = [prompt("fine"), prompt("poison")]

    def stop(moment: str) -> None:
        if moment == "recorded":
            raise OSError("stop")

    with pytest.raises(OSError, match="stop"):  # the run ends while the second batch is to be sent
        drive(client(server.url, max_retries=2), tmp_path, asked, on_answers=stop)
    answers = drive(client(server.url, max_retries=2), tmp_path, asked)
    assert answers[1] == Failure(reason="server_error", detail="in 3 batches; HTTP 500: sorry", maybe_paid=True)
    assert server.paid == {"fine": 1}
    assert len(server.batches) == 3


def test_lines_that_err_in_passing_are_asked_again_and_others_fail_at_once(server: BatchServer, tmp_path: Path) -> None:
    server.line_fault("busy", 429, times=1)
    server.line_fault("broken", 500, times=2)
    server.line_fault("long", 400, code="context_length_exceeded", message="maximum context length")
    server.line_fault("odd", 400, message="messages.0 is odd")
    answers = drive(client(server.url), tmp_path, [prompt(w) for w in ("busy", "broken", "long", "odd", "fine")])
    assert [getattr(answers[i], "reason", "answered") for i in range(5)] == [
        "answered",
        "answered",
        "prompt_too_long",
        "bad_request",
        "answered",
    ]
    assert server.paid == {"busy": 1, "broken": 1, "fine": 1}
    assert [len(b.lines) for b in server.batches.values()] == [5, 2, 1]


def test_a_malformed_answer_is_asked_again_only_if_the_meter_allows(server: BatchServer, tmp_path: Path) -> None:
    server.line_fault("empty", 200, body={"choices": []}, times=1)
    meter = Meter(1)
    answers = drive(client(server.url), tmp_path, [prompt("empty 1"), prompt("empty 2"), prompt("x")], meter=meter)
    assert sorted(meter.asked) == [0, 1]
    reasons = sorted(getattr(answers[i], "reason", "answered") for i in range(2))
    assert reasons == ["answered", "over_budget"]


def test_lines_that_a_completed_batch_forgot_may_have_been_paid(server: BatchServer, tmp_path: Path) -> None:
    server.plan(share=0.5, silent=True)
    meter = Meter(10)
    assert len(texts(drive(client(server.url), tmp_path, prompts(10), meter=meter))) == 10
    assert len(meter.asked) == 5


def test_a_batch_that_fails_validation_says_which_lines(server: BatchServer, tmp_path: Path) -> None:
    errors = [{"code": "invalid", "message": f"no such field {i}", "line": i, "param": None} for i in (3, 5, 7, 9)]
    server.plan(end="failed", errors=errors)
    with pytest.raises(TeacherError, match=r"batch of 10 requests: line 3: no such field 3; line 5.*run the same"):
        drive(client(server.url), tmp_path, prompts(10))
    assert not server.paid
    assert len(drive(client(server.url), tmp_path, prompts(10))) == 10


def test_a_batch_without_room_is_cut_until_it_fits(server: BatchServer, tmp_path: Path) -> None:
    server.most_enqueued = 30
    server.stage_s = 0.02
    assert len(texts(drive(client(server.url), tmp_path, prompts(100)))) == 100
    assert set(server.paid.values()) == {1}
    assert max(len(b.lines) for b in server.batches.values() if b.status == "completed") <= 30


def test_an_account_without_any_room_stops_the_run(server: BatchServer, tmp_path: Path) -> None:
    errors = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None}]
    for _ in range(4):
        server.plan(end="failed", errors=errors)
    with pytest.raises(TeacherError, match=r"no room for another batch.*wait"):
        drive(client(server.url), tmp_path, prompts(8))


def test_a_cancelled_batch_stops_the_run_after_its_answers_and_the_next_run_sends_the_rest(
    server: BatchServer, tmp_path: Path
) -> None:
    server.plan(end="cancelled", share=0.5)
    with pytest.raises(TeacherError, match="was cancelled at"):
        drive(client(server.url), tmp_path, prompts(10))
    assert sum(server.paid.values()) == 5
    assert len(drive(client(server.url), tmp_path, prompts(10))) == 10
    assert set(server.paid.values()) == {1}


def test_an_account_that_runs_dry_in_a_batch_stops_the_run_after_its_answers(
    server: BatchServer, tmp_path: Path
) -> None:
    server.line_fault("dry", 429, code="insufficient_quota", message="You exceeded your quota", times=1)
    asked = [prompt("x"), prompt("dry")]
    with pytest.raises(TeacherError, match=r"no credit left.*top it up"):
        drive(client(server.url), tmp_path, asked)
    assert len(texts(drive(client(server.url), tmp_path, asked))) == 2
    assert set(server.paid.values()) == {1}


def test_a_batch_of_which_every_line_fails_blames_the_endpoint(server: BatchServer, tmp_path: Path) -> None:
    server.line_fault("p", 400, message="temperature is not supported")
    with pytest.raises(TeacherError, match=r"failed all 20 requests of a batch.*temperature is not supported"):
        drive(client(server.url), tmp_path, prompts(20))


# What stops a run at once.


def test_an_unreachable_endpoint_a_refused_key_and_an_unknown_model_say_what_to_do(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TeacherError, match=r"cannot reach http://127\.0\.0\.1:9/v1"):
        drive(client(NOWHERE), tmp_path, prompts(1))
    with pytest.raises(TeacherError, match="has no model 'mocc'; did you mean mock"):
        drive(client(server.url, model="mocc"), tmp_path, prompts(1))
    with pytest.raises(TeacherError, match="OPENAI_API_KEY is not set"):
        drive(client("https://example.invalid/v1"), tmp_path, prompts(1))
    server.key = "sk-right"
    with pytest.raises(TeacherError, match=r"wants a key.*export OPENAI_API_KEY"):
        drive(client(server.url), tmp_path, prompts(1))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-secret")
    with pytest.raises(TeacherError, match="the key in OPENAI_API_KEY was refused") as caught:
        drive(client(server.url), tmp_path, prompts(1))
    assert "sk-wrong-secret" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    assert len(drive(client(server.url), tmp_path, prompts(1))) == 1
    assert not any(b"sk-right" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def test_an_endpoint_without_a_batch_api_is_said_to_have_none(server: BatchServer, tmp_path: Path) -> None:
    server.fault("upload", "404")
    with pytest.raises(TeacherError, match="use the teacher openai_chat"):
        drive(client(server.url), tmp_path, prompts(1))


def test_a_batch_that_is_gone_is_not_silently_paid_again(server: BatchServer, tmp_path: Path) -> None:
    llm = client(server.url, linger_s=0)
    server.stage_s = 3600
    with llm.open(None, tmp_path) as session:
        session.submit(0, prompt("x"))
        session.collect()
    server.batches.clear()
    with pytest.raises(TeacherError, match=r"does not know the batch batch_.*batches\.sqlite"):
        drive(llm, tmp_path, [prompt("x")])


def test_a_foreign_record_of_batches_is_left_alone(server: BatchServer, tmp_path: Path) -> None:
    path = tmp_path / "batches.sqlite"
    path.write_bytes(b"something else entirely, and long enough to be looked at")
    with pytest.raises(StoreError, match="record of batches"), client(server.url).open(None, tmp_path):
        pass
    assert path.read_bytes().startswith(b"something else")


def test_impossible_settings_are_refused() -> None:
    for changes in (
        {"model": ""},
        {"max_requests": 0},
        {"poll_s": 0},
        {"linger_s": -1},
        {"url": "chat"},
        {"base_url": "x"},
    ):
        with pytest.raises(RecipeError):
            OpenAIBatch(**{"model": "m"} | changes)


def test_what_changes_no_answer_is_not_part_of_its_identity() -> None:
    one = OpenAIBatch(model="m")
    assert digest(one) == digest(replace(one, poll_s=1.0, max_requests=5, usd_per_million_prompt_tokens=1.0))
    assert digest(one) != digest(replace(one, extra_body={"a": 1}))


def test_it_works_inside_a_running_event_loop(server: BatchServer, tmp_path: Path) -> None:
    async def cell() -> Answers:
        return drive(client(server.url), tmp_path, prompts(3))  # as in a notebook

    assert len(asyncio.run(cell())) == 3
    gc.collect()


def test_nothing_is_spoken_before_something_is_asked() -> None:
    with client(NOWHERE).open() as session:
        assert session.capacity == 100_000
        session.submit(0, prompt("x"))
    assert _batch.BatchSession.resumable
