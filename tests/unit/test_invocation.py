"""What the flags ask for, as a recipe."""

from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import RecipeError
from magicoder.invocation import from_flags
from magicoder.llms.openai_chat import OpenAIChat
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
