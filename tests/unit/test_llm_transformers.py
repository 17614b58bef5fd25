"""Teachers in this process, without one: identity, chat, batches, memory, continuous slots. The real library is asked
in tests/e2e/test_in_process.py.
"""

import json
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from magicoder import fingerprint, invocation
from magicoder.errors import RecipeError, TeacherError
from magicoder.fingerprint import digest
from magicoder.llms import _local, _local_session, _local_torch
from magicoder.llms._local_session import Broken, LocalSession, Row
from magicoder.llms.transformers import Transformers
from magicoder.llms.vllm import VLLM
from magicoder.protocols import LLM
from magicoder.recipe import Recipe, parse, to_yaml
from magicoder.records import Completion, Failure, Message, Prompt
from tests.fake_models import FakeModel, FakeSlots, FakeTokenizer, loader, settings


def ask(text: str, **fields: Any) -> Prompt:
    return Prompt(messages=(Message(role="user", content=text),), **{"max_tokens": 10, "random_seed": 1, **fields})


def answers(session: LocalSession, prompts: list[Prompt]) -> list[Completion | Failure]:
    """Drive a session as the stage does."""
    found: dict[int, Completion | Failure] = {}
    waiting, in_flight = list(enumerate(prompts)), 0
    while waiting or in_flight:
        while waiting and in_flight < session.capacity:
            session.submit(*waiting.pop(0))
            in_flight += 1
        for ticket, answer in session.collect():
            found[ticket] = answer
            in_flight -= 1
    return [found[i] for i in range(len(prompts))]


def submitted(prompt: Prompt) -> Row:
    return Row([0] * len(f"<user>{prompt.messages[0].content}"), 10)


def padding(batches: list[list[Row]]) -> int:
    return sum(max(len(row.ids) for row in batch) * len(batch) - sum(len(r.ids) for r in batch) for batch in batches)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, as far as its identity goes."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 300)
    (folder / "README.md").write_text("a model")
    return folder


# Which model it is.


def test_a_folder_is_published_by_its_name_and_not_by_its_path(folder: Path) -> None:
    llm = Transformers(model=str(folder))
    assert (llm.model, llm.path) == ("tiny", str(folder))
    published = to_yaml(Recipe(teacher=llm))
    assert str(folder.parent) not in published
    assert "model: tiny" in published
    assert f"content: {llm.content}" in published


def test_a_relative_folder_is_one_if_it_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert Transformers(model="tiny").path == "tiny"
    assert Transformers(model="./tiny").model == "tiny"
    assert Transformers(model="owner/tiny").path == ""
    monkeypatch.chdir(folder)
    assert Transformers(model=".").model == "tiny"


@pytest.mark.parametrize("cls", [Transformers, VLLM])
def test_a_model_that_moves_keeps_its_answers(cls: Any, folder: Path, tmp_path: Path) -> None:
    here = cls(model=str(folder))
    moved = shutil.move(folder, tmp_path / "elsewhere" / "tiny")
    there = cls(model=str(moved))
    assert here.body(ask("a")) == there.body(ask("a"))
    assert digest(here) == digest(there)
    assert here.model == there.model


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "merges.txt", "modeling_x.py"])
def test_another_content_is_another_model(folder: Path, name: str) -> None:
    before = Transformers(model=str(folder))
    (folder / name).write_bytes(b'{"model_type": "other"}')
    after = Transformers(model=str(folder))
    assert before.body(ask("a")) != after.body(ask("a"))
    assert digest(before) != digest(after)


def test_files_that_decide_nothing_do_not_count(folder: Path) -> None:
    before = Transformers(model=str(folder)).content
    (folder / "README.md").write_text("better described")
    (folder / "optimizer.pt").write_bytes(b"state")
    (folder / "trainer_state.json").write_text("{}")
    (folder / "checkpoint-1").mkdir()
    assert Transformers(model=str(folder)).content == before


def test_large_weights_are_told_apart_by_samples(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_WHOLE", 1000)
    monkeypatch.setattr(fingerprint, "_SAMPLE", 16)
    weights = folder / "model.safetensors"
    found = {Transformers(model=str(folder)).content}
    data = weights.read_bytes()
    for changed in (data[:-1] + b"!", b"!" + data[1:], bytes(reversed(data)), data + b"!"):
        weights.write_bytes(changed)
        found.add(Transformers(model=str(folder)).content)
    assert len(found) == 5


def test_a_recipe_that_states_the_content_insists_on_it(folder: Path) -> None:
    stated = Transformers(path=str(folder), model="tiny", content="0" * 32)
    with pytest.raises(TeacherError, match="does not hold the files that the recipe states"), stated.open():
        pass
    nowhere = Transformers(model="owner/tiny", content="0" * 32)
    with pytest.raises(TeacherError, match="add the path of that folder"), nowhere.open():
        pass


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="there is no folder"), Transformers(model=str(tmp_path / "none")).open():
        pass
    lost = Transformers(model="owner/name", chat_template=str(tmp_path / "none.jinja"))
    with pytest.raises(TeacherError, match=r"there is no file .*none\.jinja"), lost.open():
        pass


@pytest.mark.parametrize("cls", [Transformers, VLLM])
def test_missing_packages_are_named_with_what_to_install(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "vllm", None)
    kind = cls.__module__.rsplit(".", 1)[1]
    with pytest.raises(TeacherError, match=rf"pip install 'magicoder\[{kind}\]'"), cls(model="owner/name").open():
        pass


def test_a_body_holds_all_that_decides_and_nothing_else(tmp_path: Path) -> None:
    llm = Transformers(model="owner/name")
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages }}")
    others = [
        replace(llm, model="owner/other"),
        replace(llm, revision="v2"),
        replace(llm, dtype="bfloat16"),
        replace(llm, batch_size=8),
        replace(llm, max_context=99),
        replace(llm, attn_implementation="eager"),
        replace(llm, continuous_batching=False),
        replace(llm, chat_template_kwargs={"enable_thinking": False}),
        replace(llm, generation={"repetition_penalty": 1.1}),
        Transformers(model="owner/name", chat_template=str(template)),
    ]
    prompts = [
        *(ask("a", temperature=t) for t in (0.0, 0.5)),
        *(ask("a", **change) for change in ({"top_p": 0.5}, {"stop": ("x",)}, {"n": 2}, {"random_seed": 2})),
        *(ask("a", max_tokens=m) for m in (11, None)),
        ask("b"),
    ]
    bodies = [llm.body(p) for p in prompts] + [other.body(prompts[0]) for other in others]
    assert len(set(bodies)) == len(bodies)
    assert replace(llm, device="cpu").body(prompts[0]) == llm.body(prompts[0])
    assert "t.jinja" not in others[-1].body(prompts[0]).decode()
    assert json.loads(bodies[0])["messages"] == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give a model"),
        ({"model": "a/b", "dtype": "int3"}, "dtype is one of auto"),
        ({"model": "a/b", "batch_size": 0}, "batch_size is 0"),
        ({"model": "a/b", "max_context": -1}, "max_context is -1"),
        ({"model": "/m", "revision": "main"}, "revision belongs to a model of the hub"),
        ({"model": "a/b", "generation": {"num_beams": 4}}, "generation cannot set num_beams"),
        ({"model": "a/b", "generation": {"temperature": 1}}, "of the strategy"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Transformers(**fields)


def test_a_recipe_reads_every_kind_of_setting() -> None:
    recipe = parse(
        "teacher:\n  transformers:\n    model: owner/name\n    continuous_batching: null\n"
        "    chat_template_kwargs: {enable_thinking: false}\n    generation: {repetition_penalty: 1.05}\n"
    )
    assert isinstance(recipe.teacher, Transformers)
    assert recipe.teacher.chat_template_kwargs == {"enable_thinking": False}
    assert recipe.teacher.continuous_batching is None


def teacher_of(recipe: str | None, llm: str, folder: Path, base_url: str | None = None) -> LLM | None:
    path = folder / "r.yaml"
    path.write_text(recipe or "corpora: [standard_library]\n")
    flags: dict[str, Any] = {"sources": (), "strategy": None, "languages": (), "limit": None, "target": None}
    return invocation.from_flags(path, llm=llm, base_url=base_url, **flags).teacher


def test_the_command_line_has_a_short_form(tmp_path: Path) -> None:
    assert teacher_of(None, "transformers:owner/name", tmp_path) == Transformers(model="owner/name")
    assert teacher_of(None, "vllm:owner/name", tmp_path) == VLLM(model="owner/name")
    behind = teacher_of(None, "transformers:latest", tmp_path, base_url="http://localhost:11434/v1")
    assert behind is not None
    assert behind.model == "transformers:latest"


def test_the_short_form_keeps_the_settings_of_the_recipe(tmp_path: Path, folder: Path) -> None:
    recipe = f"corpora: [standard_library]\nteacher: {{transformers: {{model: {folder}, dtype: bfloat16}}}}\n"
    teacher = teacher_of(recipe, "transformers:owner/name", tmp_path)
    assert teacher == Transformers(model="owner/name", dtype="bfloat16")


# From a chat to tokens.


@pytest.mark.parametrize("system", ["refuse", "ignore"])
def test_a_system_message_that_the_template_does_not_take_goes_before_the_user(system: str) -> None:
    chat = (Message(role="system", content="Be brief."), Message(role="user", content="Why?"))
    template = _local.Template(FakeTokenizer(system=system), settings(), {})
    assert "".join(map(chr, template.encode(chat))) == "<user>Be brief.\n\nWhy?"
    taken = _local.Template(FakeTokenizer(), settings(), {})
    assert "".join(map(chr, taken.encode(chat))) == "<system>Be brief.<user>Why?"


def test_a_system_message_alone_becomes_the_user() -> None:
    assert _local.merged([Message(role="system", content="Go.")]) == [Message(role="user", content="Go.")]


def test_a_tokenizer_without_a_template_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"no chat template.*chat_template:"):
        _local.Template(FakeTokenizer(template=None), settings(), {}).encode(ask("why").messages)
    file = tmp_path / "t.jinja"
    file.write_text("given")
    template = _local.Template(FakeTokenizer(template=None), settings(chat_template=str(file)), {"shout": True})
    assert "".join(map(chr, template.encode([Message(role="user", content="why")]))) == "GIVEN<USER>WHY"


def test_raw_text_needs_no_template_and_begins_as_the_tokenizer_does() -> None:
    template = _local.Template(FakeTokenizer(template=None), settings(), {})
    encoded = _local.encode(template, ask("def f(", raw=True), 1000)
    assert encoded == _local.Encoded([0, *map(ord, "def f(")], 10)
    too_long = _local.encode(template, ask("def f(", raw=True), 7)
    assert isinstance(too_long, Failure)
    assert too_long.detail == "7 tokens; the context is 7 tokens (max_context)"
    with pytest.raises(TeacherError, match="no chat template"):
        _local.encode(template, ask("def f("), 1000)


def test_the_beginning_of_an_answer_stands_open() -> None:
    template = _local.Template(FakeTokenizer(), settings(), {})
    chat = (Message(role="user", content="Why?"), Message(role="assistant", content="Because"))
    assert "".join(map(chr, template.encode(chat))) == "<user>Why?<assistant>Because"


def test_raw_text_is_another_request() -> None:
    llm = Transformers(model="owner/name")
    assert b"raw" not in llm.body(ask("x")), "what was asked before there was raw text keeps its key"
    assert llm.body(ask("x", raw=True)) != llm.body(ask("x"))


def test_messages_that_the_template_refuses_are_a_failure_of_that_prompt() -> None:
    session = LocalSession(FakeModel(), batch_size=2)
    alone = Prompt(messages=(Message(role="assistant", content="hm"),))
    refused, answered = answers(session, [alone, ask("a")])
    assert isinstance(refused, Failure)
    assert refused.reason == "bad_request"
    assert "no user" in refused.detail
    assert isinstance(answered, Completion)


def test_the_token_of_the_hub_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    error = _local.not_loaded(settings(model="a/b", revision="v1"), OSError("401 with\n Bearer hf_secret " + "x" * 900))
    assert "hf_secret" not in str(error)
    assert "401 with Bearer ***" in str(error)
    assert "a/b@v1" in str(error)
    assert "hub and its cache" in str(error)
    assert len(str(error)) < 800


def test_an_answer_is_cut_before_the_first_stop_string() -> None:
    assert _local.cut("one two three", ("three", "two", "")) == ("one ", True)
    assert _local.cut("one", ("x",)) == ("one", False)


# Batches.


def test_an_answer_says_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_local_torch, "load", loader(FakeModel()))
    with Transformers(model="owner/name").open() as session:
        session.submit(7, ask("abcd", max_tokens=3, n=2, random_seed=5))
        ((ticket, answer),) = session.collect()
    assert ticket == 7
    assert answer == Completion(
        texts=("10 5:0", "10 5:1"),
        finish_reasons=("length", "length"),
        model="fake",
        prompt_tokens=len("<user>abcd"),
        completion_tokens=6,
        fingerprint="fake 1",
    )


def test_a_prompt_that_fills_the_context_fails_and_an_answer_is_limited_by_it() -> None:
    model = FakeModel(context=20)
    session = LocalSession(model, batch_size=4)
    found = answers(session, [ask("x" * 14), ask("x" * 13, max_tokens=50), ask("x" * 4, max_tokens=None)])
    assert isinstance(found[0], Failure)
    assert found[0].reason == "prompt_too_long"
    assert "20 tokens with the chat template; the context is 20 tokens" in found[0].detail
    assert sorted(row.limit for batch in model.batches for row in batch) == [1, 10]


def test_batches_are_of_about_one_length() -> None:
    model = FakeModel()
    session = LocalSession(model, batch_size=4)
    rng = random.Random(0)
    prompts = [ask("x" * rng.randint(1, 200)) for _ in range(64)]
    answers(session, prompts)
    assert [len(batch) for batch in model.batches] == [4] * 16
    in_order = [prompts[i : i + 4] for i in range(0, 64, 4)]
    assert padding(model.batches) < 0.4 * padding([[submitted(p) for p in batch] for batch in in_order])


def test_a_short_prompt_does_not_wait_for_ever_behind_long_ones() -> None:
    session = LocalSession(FakeModel(), batch_size=4)
    session.submit(0, ask("x"))
    seen, ticket = [], 1
    while 0 not in seen:
        while ticket - len(seen) < session.capacity:
            session.submit(ticket, ask("x" * 500))
            ticket += 1
        seen += [t for t, _ in session.collect()]
    assert len(seen) <= session.capacity


def test_more_samples_than_a_batch_has_room_for_come_in_several() -> None:
    model = FakeModel()
    session = LocalSession(model, batch_size=2)
    many, one = answers(session, [ask("a", n=5, temperature=1.0), ask("b")])
    assert isinstance(many, Completion)
    assert many.texts == tuple(f"7 1:{k}" for k in range(5))
    assert isinstance(one, Completion)
    assert max(map(len, model.batches)) == 2


def test_a_batch_that_does_not_fit_is_halved_and_all_go_on() -> None:
    model = FakeModel(memory=5 * 20)
    session = LocalSession(model, batch_size=16)
    found = answers(session, [ask("abcd", random_seed=i) for i in range(40)])
    assert [a.texts[0] for a in found if isinstance(a, Completion)] == [f"10 {i}:0" for i in range(40)]
    assert model.refused == [16, 8], "learnt once"
    assert {len(batch) for batch in model.batches} == {4}


def test_a_prompt_that_does_not_fit_alone_stops_the_run_with_the_setting_that_would() -> None:
    session = LocalSession(FakeModel(memory=100), batch_size=2)
    for ticket, length in enumerate((4, 200, 6, 3)):
        session.submit(ticket, ask("x" * length, max_tokens=20))
    seen = []
    while len(seen) < 3:
        seen += [ticket for ticket, _ in session.collect()]
    assert sorted(seen) == [0, 2, 3], "what fits is answered before"
    with pytest.raises(TeacherError, match=r"206 tokens and up to 20 of answer.*set max_context: 32;.*in the journal"):
        session.collect()


def test_a_long_prompt_does_not_narrow_the_batches_of_short_ones() -> None:
    model = FakeModel(memory=400)
    session = LocalSession(model, batch_size=8)
    found = answers(session, [ask("x" * (150 if i == 0 else 4)) for i in range(33)])
    assert all(isinstance(a, Completion) for a in found)
    assert max(map(len, model.batches[-2:])) == 8


def test_a_first_prompt_that_does_not_fit_gives_other_advice() -> None:
    session = LocalSession(FakeModel(memory=10), batch_size=2)
    session.submit(0, ask("abcd"))
    with pytest.raises(TeacherError, match="dtype: bfloat16"):
        session.collect()


# Continuous slots.


def test_the_next_turn_enters_as_a_slot_becomes_free() -> None:
    slots = FakeSlots()
    session = LocalSession(FakeModel(slots=lambda: slots), batch_size=2)
    for ticket in range(session.capacity):
        session.submit(ticket, ask(f"first turn {ticket}"))
    asked, seen = session.capacity, []
    while len(seen) < 12:
        for ticket, _ in session.collect():
            seen.append(ticket)
            if asked < 12:
                session.submit(asked, ask("second turn"))
                asked += 1
    assert seen == list(range(12))
    session.close()
    assert slots.closed


def test_sampled_prompts_wait_for_the_greedy_ones_and_are_computed_in_batches() -> None:
    made: list[FakeSlots] = []

    def make() -> FakeSlots:
        made.append(FakeSlots())
        return made[-1]

    model = FakeModel(slots=make)
    session = LocalSession(model, batch_size=2)
    found = answers(session, [ask("a", temperature=0.7 * (i % 2), random_seed=i) for i in range(10)])
    assert [a.texts[0] for a in found if isinstance(a, Completion)] == [f"7 {i}:0" for i in range(10)]
    assert all(row.temperature > 0 for batch in model.batches for row in batch)
    assert sum(len(slots.order) for slots in made) == 5
    assert all(slots.closed for slots in made[:-1]), "they are closed while a batch needs the memory"


@pytest.mark.parametrize("breaks_after", [0, 3])
def test_broken_slots_are_replaced_by_batches(breaks_after: int) -> None:
    slots = FakeSlots(breaks_after=breaks_after)
    model = FakeModel(slots=lambda: slots)
    session = LocalSession(model, batch_size=2)
    found = answers(session, [ask("a", random_seed=i, n=2) for i in range(9)])
    assert [a.texts for a in found if isinstance(a, Completion)] == [(f"7 {i}:0", f"7 {i}:1") for i in range(9)]
    assert slots.closed


def test_slots_that_cannot_be_made_are_replaced_by_batches_unless_they_were_demanded() -> None:
    def refuse() -> FakeSlots:
        raise Broken("no kernel")

    assert len(answers(LocalSession(FakeModel(slots=refuse), batch_size=2), [ask("a")] * 3)) == 3
    session = LocalSession(FakeModel(slots=refuse), batch_size=2, insist=True)
    session.submit(0, ask("a"))
    with pytest.raises(TeacherError, match=r"no kernel.*continuous_batching: false"):
        session.collect()


def test_leaving_with_rows_in_the_slots_closes_them() -> None:
    slots = FakeSlots()
    session = LocalSession(FakeModel(slots=lambda: slots), batch_size=2)
    session.submit(0, ask("a"))
    session.close()
    assert slots.closed
    assert session.collect() == []


def test_what_ctrl_c_waits_for_is_bounded() -> None:
    assert LocalSession(FakeModel(), batch_size=16).capacity == 16 * _local_session._WINDOW
