"""A client of chats, driven as a stage drives it, and a faulty server for it to talk to."""

from collections.abc import Iterator
from typing import Any

import pytest

from magicoder.llms.openai_chat import OpenAIChat
from magicoder.protocols import Meter
from magicoder.records import Completion, Failure, Message, Prompt
from tests.faulty_server import FaultyServer

Answers = dict[int, Completion | Failure]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(name="server")
def chat_server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


def prompt(text: str, **changes: Any) -> Prompt:
    return Prompt(messages=(Message(role="system", content="s"), Message(role="user", content=text)), **changes)


def client(server: FaultyServer, **changes: Any) -> OpenAIChat:
    return OpenAIChat(**{"model": "mock", "base_url": server.url, "retry_delay_s": 0.001, "max_retries": 2} | changes)


def ask(llm: OpenAIChat, *prompts: Prompt, meter: Meter | None = None) -> Answers:
    """Drive a session as a stage does."""
    answers: Answers = {}
    with llm.open(meter) as session:
        waiting = list(enumerate(prompts))
        in_flight = 0
        while waiting or in_flight:
            while waiting and in_flight < session.capacity:
                session.submit(*waiting.pop(0))
                in_flight += 1
            for ticket, answer in session.collect():
                assert ticket not in answers
                answers[ticket] = answer
                in_flight -= 1
    return answers


def ask_one(server: FaultyServer, mode: str, *, times: int | None = None, **changes: Any) -> Completion | Failure:
    server.fault(mode, times=times)
    return ask(client(server, **changes), prompt("x"))[0]
