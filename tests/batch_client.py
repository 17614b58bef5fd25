"""A client of batches, quick and driven as the stage drives it, here or in a process to kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from magicoder.journal import Journal, key
from magicoder.llms.openai_batch import OpenAIBatch
from magicoder.protocols import LLM, Session
from magicoder.records import Completion, Failure, Message, Prompt
from tests.batch_server import BatchServer
from tests.conftest import REPOSITORY

Answers = dict[int, Completion | Failure]
NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(name="server")
def batch_server() -> Iterator[BatchServer]:
    with BatchServer() as server:
        yield server


def prompt(text: str, **changes: Any) -> Prompt:
    return Prompt(messages=(Message(role="system", content="s"), Message(role="user", content=text)), **changes)


def prompts(count: int) -> list[Prompt]:
    return [prompt(f"p{i}") for i in range(count)]


def client(url: str, **changes: Any) -> OpenAIBatch:
    quick = {"poll_s": 0.02, "linger_s": 0.05, "retry_delay_s": 0.01, "patience_s": 20.0}
    return OpenAIBatch(**{"model": "mock", "base_url": url} | quick | changes)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def drive(
    llm: LLM,
    folder: Path,
    asked: list[Prompt],
    *,
    meter: Any = None,
    on_answers: Callable[[str], None] = lambda moment: None,
) -> Answers:
    """Drive a session as the stage does: look up, ask what is missing, record each collect at once."""
    bodies = [llm.body(p) for p in asked]
    keys = [key(llm.model, body) for body in bodies]
    with Journal.open(folder / "journal.sqlite") as journal:
        found = journal.find(keys)
        answers: Answers = {i: found[k] for i, k in enumerate(keys) if k in found}
        waiting = [i for i in range(len(asked)) if i not in answers]
        if not waiting:
            return answers
        with llm.open(meter, folder) as session:
            in_flight = 0
            while waiting or in_flight:
                while waiting and in_flight < session.capacity:
                    ticket = waiting.pop(0)
                    session.submit(ticket, asked[ticket])
                    in_flight += 1
                received = session.collect()
                if received:
                    on_answers("handed")
                journal.record([(keys[t], a, bodies[t]) for t, a in received if isinstance(a, Completion)])
                if received:
                    on_answers("recorded")
                for ticket, answer in received:
                    assert ticket not in answers
                    answers[ticket] = answer
                    in_flight -= 1
    return answers


def collect_some(session: Session) -> list[tuple[int, Completion | Failure]]:
    while True:
        if received := session.collect():
            return received


def texts(answers: Answers) -> list[str]:
    assert all(isinstance(a, Completion) for a in answers.values()), answers
    return [answers[i].texts[0] for i in sorted(answers)]  # type: ignore[union-attr]


def child(url: str, folder: str, count: str, moment: str = "") -> None:
    """What a killed process was doing; runs in a process of its own."""

    def end(now: str) -> None:
        if now == moment:
            die()

    drive(client(url), Path(folder), prompts(int(count)), on_answers=end)


def start(server: BatchServer, folder: Path, count: int, moment: str = "") -> "subprocess.Popen[bytes]":
    code = "import sys; from tests.batch_client import child; child(*sys.argv[1:])"
    arguments = [sys.executable, "-c", code, server.url, str(folder), str(count), *([moment] if moment else [])]
    return subprocess.Popen(arguments, cwd=REPOSITORY, stderr=subprocess.DEVNULL)


class Meter:
    def __init__(self, affordable: int, uncovered: tuple[int, ...] = ()) -> None:
        self.affordable = affordable
        self.uncovered = uncovered
        self.asked: list[int] = []

    def cover(self, ticket: int) -> bool:
        return ticket not in self.uncovered

    def again(self, ticket: int) -> bool:
        self.asked.append(ticket)
        self.affordable -= 1
        return self.affordable >= 0
