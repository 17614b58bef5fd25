"""What the client sends, what it makes of an answer, what it refuses beforehand, and what is shown."""

import asyncio
import gc
import os
import signal
import socket
import threading
from dataclasses import replace
from typing import Any

import orjson
import pytest

from magicoder.errors import RecipeError, TeacherError
from magicoder.fingerprint import digest
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.records import Completion, Failure, Message, Prompt
from tests.chat_client import (
    Answers,
    ask,
    ask_one,
    chat_server,  # noqa: F401 - a fixture
    client,
    no_key,  # noqa: F401 - a fixture
    prompt,
)
from tests.faulty_server import KEY, FaultyServer


def test_an_answer_carries_text_reason_tokens_and_fingerprint(server: FaultyServer) -> None:
    assert ask(client(server), prompt("x"))[0] == Completion(
        texts=("echo: x",),
        finish_reasons=("stop",),
        model="mock",
        prompt_tokens=30,
        completion_tokens=22,
        fingerprint="fp_1",
    )


def test_every_prompt_is_asked_once_and_gets_its_own_answer(server: FaultyServer) -> None:
    server.latency_s = 0.01
    answers = ask(client(server, concurrency=50), *(prompt(f"p{i}") for i in range(300)))
    assert [a.texts for _, a in sorted(answers.items())] == [(f"echo: p{i}",) for i in range(300)]  # type: ignore[union-attr]
    assert set(server.requests.values()) == {1}
    assert server.most_in_flight <= 50


def test_the_request_says_everything_that_decides_the_answer(server: FaultyServer) -> None:
    llm = client(server, extra_body={"min_p": 0.1, "top_p": None})
    full = prompt("x", max_tokens=5, temperature=0.5, stop=("END",), random_seed=977, n=2)
    assert len(ask(llm, full)[0].texts) == 2  # type: ignore[union-attr]
    assert server.bodies == [
        {
            "model": "mock",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}],
            "max_tokens": 5,
            "temperature": 0.5,
            "stop": ["END"],
            "seed": 977,
            "n": 2,
            "min_p": 0.1,
        }
    ]
    assert orjson.loads(llm.body(full)) == server.bodies[0]


def test_raw_text_goes_to_the_completions(server: FaultyServer) -> None:
    raw = Prompt(messages=(Message(role="user", content="def f("),), raw=True, max_tokens=9, stop=("\n\n",), n=2)
    (answer,) = ask(client(server, max_tokens_field="max_completion_tokens"), raw).values()
    assert isinstance(answer, Completion)
    assert answer.texts == ("echo: def f(", "echo: def f(")
    assert answer.prompt_tokens == 30
    (body,) = server.bodies
    assert body == {
        "model": "mock",
        "prompt": "def f(",
        "temperature": 0.0,
        "top_p": 1.0,
        "n": 2,
        "max_tokens": 9,
        "stop": ["\n\n"],
    }


def test_a_server_without_completions_says_what_to_do_about_raw_text() -> None:
    server = FaultyServer()
    server.takes_raw = False
    with server, pytest.raises(TeacherError, match=r"no /completions.*style `chat`"):
        ask(client(server), Prompt(messages=(Message(role="user", content="def f("),), raw=True))


def test_the_beginning_of_an_answer_is_sent_to_be_continued(server: FaultyServer) -> None:
    begun = Prompt(messages=(Message(role="user", content="why"), Message(role="assistant", content="Because")))
    ask(client(server), begun)
    (body,) = server.bodies
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant"]


def test_a_broken_server_is_tested_in_the_way_it_was_asked(server: FaultyServer) -> None:
    server.fault("500")
    raw = [Prompt(messages=(Message(role="user", content=f"def f{i}("),), raw=True) for i in range(9)]
    with pytest.raises(TeacherError, match="failed"):
        ask(client(server), *raw)
    assert all("prompt" in body for body in server.bodies)


def test_a_newer_name_for_the_token_limit_can_be_chosen(server: FaultyServer) -> None:
    ask(client(server, max_tokens_field="max_completion_tokens"), prompt("x", max_tokens=5))
    assert server.bodies[0]["max_completion_tokens"] == 5
    assert "max_tokens" not in server.bodies[0]


def test_an_unsent_seed_still_keeps_equal_prompts_apart(server: FaultyServer) -> None:
    llm = client(server, send_seed=False)
    ask(llm, prompt("x", random_seed=3))
    assert "seed" not in server.bodies[0]
    assert "random_seed" not in server.bodies[0]
    assert llm.body(prompt("x", random_seed=3)) != llm.body(prompt("x", random_seed=4))


def test_a_body_does_not_depend_on_the_order_of_extra_fields(server: FaultyServer) -> None:
    one, two = (
        client(server, extra_body=e) for e in ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})
    )
    assert one.body(prompt("x")) == two.body(prompt("x"))


def test_a_truncated_answer_is_kept_and_paid_once(server: FaultyServer) -> None:
    answer = ask_one(server, "truncation")
    assert isinstance(answer, Completion)
    assert (answer.texts, answer.finish_reasons) == (("half an ans",), ("length",))
    assert server.requests["x"] == 1


def test_a_server_without_fingerprint_and_usage_is_fine(server: FaultyServer) -> None:
    assert ask_one(server, "bare") == Completion(texts=("bare",), finish_reasons=("",), model="mock")


@pytest.mark.parametrize(("mode", "text"), [("null content", ""), ("parts", "ab"), ("surrogate", "a\ufffdb")])
def test_odd_contents_are_understood(server: FaultyServer, mode: str, text: str) -> None:
    answer = ask_one(server, mode)
    assert isinstance(answer, Completion)
    assert answer.texts == (text,)
    assert server.requests["x"] == 1


def test_the_dated_name_behind_an_alias_is_recorded(server: FaultyServer) -> None:
    answer = ask_one(server, "dated")
    assert isinstance(answer, Completion)
    assert answer.model == "mock-2024-08-06"


def test_an_unreachable_server_is_explained_before_anything_is_sent() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}/v1"
    llm = OpenAIChat(model="mock", base_url=url)
    with pytest.raises(TeacherError, match=r"cannot reach http://127.*is the server running\? start it"):
        ask(llm, prompt("x"))
    far = OpenAIChat(model="mock", base_url=url.replace("http:", "https:"))
    with pytest.raises(TeacherError, match=r"is this machine online\?"):  # nobody starts a vendor's server
        ask(far, prompt("x"))


def test_a_missing_model_name_is_asked_for_by_the_flag_there_is() -> None:
    with pytest.raises(RecipeError, match="give --llm"):
        OpenAIChat(model="")


def test_an_unknown_model_is_refused_with_a_suggestion(server: FaultyServer) -> None:
    server.models = ("qwen-coder", "llama")
    with pytest.raises(TeacherError, match=r"no model 'qwen-codr'; did you mean qwen-coder\?; it has: llama, qwen"):
        ask(client(server, model="qwen-codr"), prompt("x"))
    assert not server.requests


@pytest.mark.parametrize("listed", ["mock", "mock:latest", "models/mock"])
def test_a_model_is_known_by_its_name_without_tag_or_prefix(server: FaultyServer, listed: str) -> None:
    server.models = (listed, "other")
    assert isinstance(ask(client(server), prompt("x"))[0], Completion)


@pytest.mark.parametrize("status", [404, 405, 500])
def test_a_server_that_lists_no_models_is_used_all_the_same(server: FaultyServer, status: int) -> None:
    server.models_status = status
    assert isinstance(ask(client(server), prompt("x"))[0], Completion)


def test_opening_and_naming_a_request_need_neither_key_nor_network() -> None:
    llm = OpenAIChat(model="m")
    assert llm.body(prompt("x"))
    with llm.open() as session:
        assert session.capacity == 64


def test_a_missing_key_is_an_error_for_a_remote_endpoint_only(server: FaultyServer) -> None:
    assert isinstance(ask(client(server), prompt("x"))[0], Completion)
    assert "Authorization" not in server.headers[0]
    with pytest.raises(TeacherError, match="OPENAI_API_KEY is not set; export it"):
        ask(OpenAIChat(model="m"), prompt("x"))


def test_the_key_is_sent_and_shown_nowhere(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.key = KEY
    llm = client(server, api_key_env="MY_KEY")
    server.fault("echo key", only="odd")
    failure = ask(llm, prompt("odd"))[0]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert isinstance(failure, Failure)
    assert failure.detail == "HTTP 400: what is Bearer ***?"
    assert KEY not in f"{llm!r} {llm.body(prompt('x'))!r}"


def test_a_refused_key_is_named_by_its_variable_and_not_echoed(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.key = "another"
    with pytest.raises(TeacherError, match="the key in OPENAI_API_KEY was refused") as raised:
        ask(client(server), prompt("x"))
    assert KEY not in str(raised.value)


def test_an_unprintable_key_is_refused(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk\nX-Injected: 1")
    with pytest.raises(TeacherError, match="does not hold a key"):
        ask(client(server), prompt("x"))


def test_what_cannot_change_an_answer_stays_out_of_the_fingerprint() -> None:
    llm = OpenAIChat(model="m")
    same = {
        "base_url": "http://localhost:1/v1",
        "api_key_env": "K",
        "concurrency": 1,
        "timeout_s": 1.0,
        "max_retries": 1,
        "retry_delay_s": 1.0,
        "patience_s": 1.0,
        "base_urls": ("http://localhost:1/v1", "http://localhost:2/v1"),
        "weights": (1.0, 2.0),
        "api_key_envs": ("K", "L"),
        "requests_per_minute": 1,
        "tokens_per_minute": 1,
        "deadline_s": 1.0,
        "outage_patience_s": 1.0,
        "usd_per_million_prompt_tokens": 1.0,
        "usd_per_million_completion_tokens": 1.0,
    }
    assert digest(llm) == digest(replace(llm, **same))  # type: ignore[arg-type]
    others = {"model": "n", "extra_body": {"a": 1}, "send_seed": False, "max_tokens_field": "max_completion_tokens"}
    for name, value in others.items():
        assert digest(llm) != digest(replace(llm, **{name: value})), name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ""}, "needs a model"),
        ({"base_url": "localhost:8000"}, "is not the address"),
        ({"base_url": "ftp://host/v1"}, "is not the address"),
        ({"base_url": "http://me:secret@host/v1"}, "must not contain a password"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"max_retries": -1}, "max_retries is -1"),
        ({"max_tokens_field": "tokens"}, "max_tokens_field is"),
        ({"timeout_s": 0.0}, "timeout_s is 0"),
        ({"deadline_s": -1.0}, "deadline_s is -1"),
        ({"requests_per_minute": 0}, "requests_per_minute is 0"),
        ({"outage_patience_s": float("nan")}, "outage_patience_s is nan"),
        ({"base_urls": ("http://a/v1", "b")}, "'b' is not the address"),
        ({"base_urls": ("http://a/v1", "http://a/v1")}, "names an endpoint twice"),
        ({"base_urls": ("http://a/v1", "http://b/v1"), "weights": (1.0,)}, "weights has 1 entries for 2 base_urls"),
        ({"base_urls": ("http://a/v1",), "weights": (0.0,)}, "a weight is 0.0"),
        ({"api_key_envs": ("A",)}, "api_key_envs has 1 entries for 0 base_urls"),
        ({"extra_body": {"stream": True}}, "extra_body cannot set stream"),
        ({"extra_body": {"seed": None}}, "extra_body cannot set seed"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as raised:
        OpenAIChat(**{"model": "m"} | settings)
    assert "secret" not in str(raised.value)


def test_leaving_with_requests_in_flight_closes_everything(server: FaultyServer) -> None:
    server.fault("hang", only="hang")
    with client(server).open() as session:
        for ticket in range(10):
            session.submit(ticket, prompt(f"hang {ticket}" if ticket else "x"))
        assert [ticket for ticket, _ in session.collect()] == [0]
    gc.collect()  # an unclosed socket or loop would warn now, and warnings are errors


def test_an_interrupt_ends_collect_and_leaves_the_session_usable(server: FaultyServer) -> None:
    server.fault("slow")
    with client(server).open() as session:
        session.submit(0, prompt("x"))
        interrupt = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
        interrupt.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                session.collect()
        finally:
            interrupt.cancel()  # else a failure here would end the whole test run
        assert isinstance(dict(session.collect())[0], Completion)
    assert server.requests["x"] == 1
    gc.collect()


def test_it_works_inside_a_running_event_loop(server: FaultyServer) -> None:
    async def cell() -> Answers:
        return ask(client(server), prompt("x"))  # as in a notebook

    assert isinstance(asyncio.run(cell())[0], Completion)


def test_a_prompt_of_more_than_a_megabyte_is_sent_without_a_warning(server: FaultyServer) -> None:
    text = "x" * 1_200_000
    answer = ask(client(server), prompt(text))[0]
    assert isinstance(answer, Completion)
    assert answer.texts == ("echo: " + text,)
