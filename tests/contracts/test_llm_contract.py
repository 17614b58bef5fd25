"""What every module in `llms/` promises, whoever wrote it. A new one fails here until `BUILDERS` can make it."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from magicoder import plugins
from magicoder.errors import RecipeError
from magicoder.fingerprint import digest
from magicoder.protocols import Session
from magicoder.records import Completion, Failure, Message, Prompt
from tests.batch_server import BatchServer
from tests.fake_models import FakeModel, fake_vllm, loader
from tests.faulty_server import FaultyServer

PROMPTS = [
    Prompt(messages=(Message(role="user", content=f"question {i}"),), random_seed=i, max_tokens=2000) for i in range(40)
]


class Servers(FaultyServer):
    """The server of chat completions, and beside it the one of batches."""

    batches: BatchServer


def openai_batch(plugin: Any, folder: Path, server: Servers) -> Any:
    return plugin(model="mock", base_url=server.batches.url, concurrency=7, poll_s=0.01, linger_s=0.01)


def openai_chat(plugin: Any, folder: Path, server: FaultyServer) -> Any:
    return plugin(model="mock", base_url=server.url, concurrency=7)


def replay(plugin: Any, folder: Path, server: FaultyServer) -> Any:
    path = folder / "recorded.jsonl"
    with path.open("w") as f:
        for prompt in PROMPTS:
            messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
            f.write(json.dumps({"messages": messages, "response": "answer", "finish_reason": "stop"}) + "\n")
    return plugin(path=str(path))


def mock(plugin: Any, folder: Path, server: FaultyServer) -> Any:
    return plugin(concurrency=7)


def transformers(plugin: Any, folder: Path, server: FaultyServer) -> Any:
    return plugin(model="owner/name", batch_size=7)


def vllm(plugin: Any, folder: Path, server: FaultyServer) -> Any:
    return plugin(model="owner/name", concurrency=7)


# How to make one that answers PROMPTS.
BUILDERS: dict[str, Callable[[Any, Path, Servers], Any]] = {
    "openai_batch": openai_batch,
    "openai_chat": openai_chat,
    "replay": replay,
    "mock": mock,
    "transformers": transformers,
    "vllm": vllm,
}
NAMES = plugins.names("llms")


@pytest.fixture
def server() -> Iterator[Servers]:
    with Servers() as server, BatchServer() as server.batches:
        yield server


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heavy packages are imitated; tests/e2e/test_in_process.py asks the real ones."""
    monkeypatch.setattr("magicoder.llms._local_torch.load", loader(FakeModel(context=4000)))
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm())


@pytest.fixture
def llm(name: str, tmp_path: Path, server: Servers, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert name in BUILDERS, f"llms/{name}.py is new: give it a builder here"
    return BUILDERS[name](plugins.load("llms", name), tmp_path, server)


def collect(session: Session) -> list[tuple[int, Completion | Failure]]:
    """Return what has finished; a session may return nothing now and then, but not forever."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if finished := session.collect():
            return finished
    raise AssertionError("nothing finished")


every_llm = pytest.mark.parametrize("name", NAMES)


@every_llm
def test_it_is_a_frozen_dataclass_with_a_summary(name: str, llm: Any) -> None:
    assert is_dataclass(llm)
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(llm, fields(llm)[0].name, "changed")
    assert not hasattr(llm, "__dict__")
    assert plugins.summary("llms", name).endswith((".", ":"))


@every_llm
def test_its_fingerprint_is_stable_and_ignores_what_changes_no_answer(llm: Any) -> None:
    assert digest(llm) == digest(replace(llm))
    for field in fields(llm):
        value = getattr(llm, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        changed = digest(replace(llm, **{field.name: value + 1})) != digest(llm)
        assert changed is field.metadata.get("identity", True), field.name


@every_llm
def test_every_ticket_comes_back_exactly_once(llm: Any) -> None:
    answers: dict[int, Completion | Failure] = {}
    with llm.open() as session:
        waiting, in_flight = list(enumerate(PROMPTS)), 0
        while waiting or in_flight:
            while waiting and in_flight < session.capacity:
                session.submit(*waiting.pop(0))
                in_flight += 1
            for ticket, answer in collect(session):
                assert ticket not in answers
                answers[ticket] = answer
                in_flight -= 1
    assert set(answers) == set(range(len(PROMPTS)))
    for answer in answers.values():
        assert isinstance(answer, Completion)
        assert len(answer.texts) == len(answer.finish_reasons) == 1
        assert answer.model


@every_llm
def test_a_body_is_canonical_and_tells_prompts_apart(llm: Any) -> None:
    bodies = [llm.body(prompt) for prompt in PROMPTS]
    assert bodies == [replace(llm).body(prompt) for prompt in PROMPTS]
    assert len(set(bodies)) == len(PROMPTS)
    assert json.loads(bodies[0])["messages"] == [{"role": "user", "content": "question 0"}]


@every_llm
def test_raw_text_and_a_begun_answer_are_other_requests(name: str, llm: Any) -> None:
    begun = replace(PROMPTS[0], messages=(*PROMPTS[0].messages, Message(role="assistant", content="Sure")))
    bodies = {llm.body(PROMPTS[0]), llm.body(begun)}
    assert len(bodies) == 2
    raw = replace(PROMPTS[0], raw=True)
    if name == "openai_batch":  # unless its requests go to the completions
        with pytest.raises(RecipeError, match="takes no raw text"):
            llm.body(raw)
    else:
        assert llm.body(raw) not in bodies


@every_llm
def test_leaving_with_prompts_in_flight_is_clean(llm: Any) -> None:
    with llm.open() as session:
        for ticket in range(3):
            session.submit(ticket, PROMPTS[ticket])
    with llm.open() as session:
        for ticket in range(3):
            session.submit(ticket, PROMPTS[ticket])
        assert collect(session)


@every_llm
def test_an_error_of_the_driver_passes_through(llm: Any) -> None:
    def drive() -> None:
        with llm.open() as session:
            session.submit(0, PROMPTS[0])
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        drive()


@every_llm
def test_it_names_its_model_without_being_opened(llm: Any) -> None:
    assert isinstance(llm.model, str)
    assert llm.model
