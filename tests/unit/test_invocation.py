"""What the flags ask for, as a recipe."""

from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import RecipeError
from magicoder.invocation import from_flags, model_of
from magicoder.llms.mock import Mock
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.llms.replay import Replay
from magicoder.llms.transformers import Transformers
from magicoder.llms.vllm import VLLM
from magicoder.recipe import Recipe

NO_FLAGS: dict[str, Any] = {
    "sources": (),
    "llm": None,
    "base_url": None,
    "strategy": None,
    "languages": (),
    "limit": None,
    "target": None,
}


def recipe(tmp_path: Path, text: str, **flags: Any) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\ncorpora: [standard_library]\n" + text)
    return from_flags(path, **{**NO_FLAGS, **flags})


TWO_SERVERS = (
    "strategy: oss_instruct\n"
    "teacher:\n"
    "  openai_chat: {model: m, base_urls: ['http://localhost:1/v1', 'http://localhost:2/v1'], weights: [1, 2]}\n"
)


def test_a_base_url_replaces_a_recipe_s_list_of_servers(tmp_path: Path) -> None:
    teacher = recipe(tmp_path, TWO_SERVERS, base_url="http://localhost:3/v1").teacher
    assert isinstance(teacher, OpenAIChat)
    assert (teacher.base_url, teacher.base_urls, teacher.weights) == ("http://localhost:3/v1", (), ())


def test_a_model_alone_keeps_a_recipe_s_servers(tmp_path: Path) -> None:
    teacher = recipe(tmp_path, TWO_SERVERS, llm="other").teacher
    assert isinstance(teacher, OpenAIChat)
    assert (teacher.model, len(teacher.base_urls)) == ("other", 2)


def test_a_teacher_by_flag_asks_it_something(tmp_path: Path) -> None:
    chosen = recipe(tmp_path, "strategy: comment_pairs\n", llm="m", base_url="http://localhost:3/v1")
    assert chosen.strategy.name == "oss_instruct"


def test_an_address_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--base-url needs --llm"):
        recipe(tmp_path, "strategy: comment_pairs\n", base_url="http://localhost:3/v1")


def test_target_limit_and_languages_overrule_the_recipe(tmp_path: Path) -> None:
    chosen = recipe(tmp_path, "target: 5\n", target=7, limit=3, languages=("python",))
    assert (chosen.target, chosen.documents.limit, chosen.documents.languages) == (7, 3, ("python",))


def test_a_model_is_named_by_its_kind_its_folder_its_file_or_its_endpoint(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    (tmp_path / "m.yaml").write_text(f"transformers: {{model: {tmp_path}/tiny, max_context: 2048}}\n")
    for text in (f"transformers:{tmp_path}/tiny", f"{tmp_path}/tiny", str(tmp_path / "m.yaml")):
        found = model_of(text, {"batch_size": 3, "device": None})
        assert isinstance(found, Transformers)
        assert (found.model, found.path, found.batch_size) == ("tiny", f"{tmp_path}/tiny", 3)
    assert model_of("vllm:owner/name", {"concurrency": 9}) == VLLM(model="owner/name", concurrency=9)
    assert model_of("replay:r.jsonl", {}) == Replay(path="r.jsonl")
    assert model_of("mock", {}) == Mock()
    url = {"base_url": "http://localhost:8000/v1"}
    for text in ("mock", "qwen2.5-coder:7b", "owner/name", f"{tmp_path}/tiny", "openai_chat:x"):
        assert model_of(text, url) == OpenAIChat(model=text.removeprefix("openai_chat:"), **url)


def test_an_endpoint_given_beside_a_file_replaces_its_list_of_servers(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "openai_chat: {model: m, base_urls: ['http://localhost:1/v1', 'http://localhost:2/v1'], weights: [1, 2]}\n"
    )
    found = model_of(str(tmp_path / "m.yaml"), {"base_url": "http://localhost:3/v1"})
    assert isinstance(found, OpenAIChat)
    assert [address.url for address in found.addresses()] == ["http://localhost:3/v1"]


def test_a_model_that_nobody_has_and_a_setting_that_it_lacks_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"owner/name: there is no such folder.*--base-url URL.*vllm:owner/name"):
        model_of("owner/name", {})
    with pytest.raises(RecipeError, match="--api-key-env is not a setting of mock"):
        model_of("mock", {"api_key_env": "K"})
    (tmp_path / "m.yaml").write_text("transformer: {model: x}\n")
    with pytest.raises(RecipeError, match=r"m\.yaml:1: llms: llms has no 'transformer'; did you mean transformers"):
        model_of(str(tmp_path / "m.yaml"), {})
