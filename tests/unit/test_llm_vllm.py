"""The vLLM teacher against an imitation of the package."""

import sys
from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import RecipeError, TeacherError
from magicoder.llms.vllm import VLLM
from magicoder.records import Completion, Failure, Message, Prompt
from tests.fake_models import FakeTokenizer, SamplingParams, fake_vllm


def ask(text: str, **fields: Any) -> Prompt:
    return Prompt(messages=(Message(role="user", content=text),), **{"max_tokens": 10, "random_seed": 1, **fields})


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = fake_vllm()
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def test_a_prompt_becomes_tokens_and_parameters_and_its_outputs_an_answer(vllm: Any) -> None:
    llm = VLLM(model="owner/name", sampling={"repetition_penalty": 1.05})
    with llm.open() as session:
        session.submit(3, ask("abcd", temperature=0.7, top_p=0.9, stop=("###",), n=2, random_seed=42))
        ((ticket, answer),) = session.collect()
    (parameters,) = vllm.engines[0].seen
    assert parameters == SamplingParams(
        n=2,
        temperature=0.7,
        top_p=0.9,
        seed=42,
        stop=["###"],
        max_tokens=10,
        output_kind=parameters.output_kind,
        repetition_penalty=1.05,
    )
    assert ticket == 3
    assert answer == Completion(
        texts=("10 42 0", "10 42 1"),
        finish_reasons=("stop", "stop"),
        model="owner/name",
        prompt_tokens=10,
        completion_tokens=6,
        fingerprint="vllm 0.0",
    )


def test_the_engine_gets_the_settings_and_nothing_for_those_left_out(vllm: Any) -> None:
    with VLLM(model="owner/name").open():
        pass
    full = VLLM(
        model="owner/name",
        revision="v1",
        dtype="bfloat16",
        quantization="fp8",
        max_context=512,
        concurrency=8,
        tensor_parallel_size=2,
        gpu_memory_utilization=0.5,
        engine={"enforce_eager": True},
    )
    with full.open() as session:
        assert session.capacity == 16
    plain, set_ = vllm.made
    assert not {"revision", "quantization", "max_model_len"} & set(plain)
    assert set_ == {
        "model": "owner/name",
        "revision": "v1",
        "dtype": "bfloat16",
        "quantization": "fp8",
        "max_model_len": 512,
        "max_num_seqs": 8,
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.5,
        "trust_remote_code": False,
        "enforce_eager": True,
    }
    assert all(engine.stopped for engine in vllm.engines)


def test_requests_come_and_go_one_by_one(vllm: Any) -> None:
    with VLLM(model="owner/name", concurrency=2).open() as session:
        for ticket in range(4):
            session.submit(ticket, ask(f"{ticket}"))
        first = session.collect()
        assert [ticket for ticket, _ in first] == [3]
        session.submit(4, ask("second turn"))
        assert [ticket for ticket, _ in session.collect()] == [4]
    assert vllm.engines[0].aborted == ["0", "1", "2"], "what is in flight is given up on leaving"


def test_prompts_that_cannot_be_asked_fail_alone(vllm: Any) -> None:
    with VLLM(model="owner/name", max_context=30).open() as session:
        session.submit(0, ask("x" * 40))
        session.submit(1, ask("forbidden"))
        session.submit(2, ask("fine", max_tokens=None))
        found: dict[int, Completion | Failure] = {}
        while len(found) < 3:
            found.update(session.collect())
    assert [a.reason for a in (found[0], found[1]) if isinstance(a, Failure)] == ["prompt_too_long", "bad_request"]
    assert isinstance(found[2], Completion)
    assert vllm.engines[0].seen[0].max_tokens == 30 - len("<user>fine")


def test_an_engine_that_dies_is_a_message(vllm: Any) -> None:
    def drive() -> None:
        with VLLM(model="owner/name").open() as session:
            session.submit(0, ask("a"))
            vllm.engines[0].dies = True
            session.collect()

    with pytest.raises(TeacherError, match=r"EngineCore encountered.*smaller max_context.*in the journal"):
        drive()
    assert vllm.engines[0].stopped


def test_an_unknown_model_says_where_it_was_looked_for(vllm: Any) -> None:
    with pytest.raises(TeacherError, match=r"cannot load no/such.*hub and its cache"), VLLM(model="no/such").open():
        pass


def test_a_model_without_a_chat_template_is_refused_and_the_engine_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = fake_vllm(FakeTokenizer(template=None))
    monkeypatch.setitem(sys.modules, "vllm", module)

    def drive(prompt: Prompt) -> list[Any]:
        with VLLM(model="owner/base").open() as session:
            session.submit(0, prompt)
            return session.collect()

    with pytest.raises(TeacherError, match="no chat template"):
        drive(ask("a"))
    assert module.engines[0].stopped
    ((_, answer),) = drive(Prompt(messages=ask("def f(").messages, max_tokens=5, raw=True))
    assert isinstance(answer, Completion)
    assert answer.prompt_tokens == len("def f(") + 1, "raw text needs no template"


def test_a_local_folder_is_loaded_from_its_path(vllm: Any, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    llm = VLLM(model=str(tmp_path / "tiny"))
    with llm.open() as session:
        session.submit(0, ask("a"))
        ((_, answer),) = session.collect()
    assert vllm.made[0]["model"] == str(tmp_path / "tiny")
    assert isinstance(answer, Completion)
    assert answer.model == llm.model == "tiny"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"engine": {"max_model_len": 5}}, "engine cannot set max_model_len"),
        ({"sampling": {"seed": 5}}, "sampling cannot set seed"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size is 0"),
        ({"gpu_memory_utilization": 0.0}, "give a share"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        VLLM(model="a/b", **fields)
