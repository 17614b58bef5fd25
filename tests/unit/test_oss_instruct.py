"""The strategy of the paper: its prompt byte for byte, its limits, and what becomes of each kind of answer."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import RecipeError, Unusable
from magicoder.records import Completion, Prompt, Sample, Seed
from magicoder.strategies.oss_instruct import OssInstruct, estimate_tokens

GOOD = "[Problem Description]\nAdd.\n\n[Solution]\n```python\na + b\n```\n"


def seed(text: str = "x = 1\n", identity: str = "repo@c:a.py#L3", index: int = 5) -> Seed:
    return Seed(
        id=identity,
        text=text,
        language="python",
        document_id="repo@c:a.py",
        repository="repo",
        commit="c",
        path="a.py",
        license="MIT",
        first_line=3,
        last_line=4,
        kind="window",
        index=index,
        raw_index=7,
    )


def completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion(
        texts=(text,),
        finish_reasons=(finish_reason,),
        model="teacher-1",
        prompt_tokens=11,
        completion_tokens=22,
        fingerprint="fp_1",
    )


def converse(strategy: OssInstruct, what: Seed, answer: Completion) -> tuple[Prompt, list[Sample]]:
    turns = strategy.write(what, random.Random(0))
    prompt = next(turns)
    try:
        turns.send(answer)
    except StopIteration as end:
        return prompt, end.value
    raise AssertionError("a second prompt")


def rejected(answer: Completion, strategy: OssInstruct | None = None) -> Unusable:
    with pytest.raises(Unusable) as caught:
        converse(strategy or OssInstruct(), seed(), answer)
    return caught.value


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> list[dict[str, Any]]:
    lines = (shared_data / "recorded_teacher" / "oss_instruct.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def test_every_recorded_request_is_written_byte_for_byte(recorded: list[dict[str, Any]]) -> None:
    assert len(recorded) == 120
    for exchange in recorded:
        prompt = OssInstruct().prompt(seed(exchange["seed"]))
        assert [{"role": m.role, "content": m.content} for m in prompt.messages] == exchange["messages"]
        assert (prompt.temperature, prompt.top_p, prompt.n, prompt.max_tokens) == (0.0, 1.0, 1, 2500)


@pytest.mark.parametrize("parsing", ["original", "tolerant"])
def test_every_recorded_answer_is_accepted(recorded: list[dict[str, Any]], parsing: str) -> None:
    for exchange in recorded:
        answer = completion(exchange["response"], exchange["finish_reason"])
        _, (sample,) = converse(OssInstruct(parsing=parsing), seed(exchange["seed"]), answer)
        assert sample.parser == "original"
        assert sample.instruction in exchange["response"]
        assert sample.response in exchange["response"]
        assert sample.response.count("```") % 2 == sample.instruction.count("```") % 2 == 0


def test_a_sample_holds_both_sections_and_where_they_come_from() -> None:
    _, (sample,) = converse(OssInstruct(), seed(), completion(GOOD))
    assert (sample.instruction, sample.response) == ("Add.", "```python\na + b\n```")
    assert (sample.id, sample.seed_id) == ("repo@c:a.py#L3/oss_instruct[0]", "repo@c:a.py#L3")
    assert (sample.strategy, sample.parser, sample.teacher, sample.fingerprint) == (
        "oss_instruct",
        "original",
        "teacher-1",
        "fp_1",
    )
    assert (sample.seed, sample.license, sample.first_line, sample.raw_index) == ("x = 1\n", "MIT", 3, 7)


def test_braces_and_placeholders_in_a_snippet_stay() -> None:
    code = "f'{code}' % {code} \\1 $x\n"
    prompt = OssInstruct().prompt(seed(code))
    assert f"```\n{code}\n```" in prompt.messages[1].content


# --- limits ---


def test_a_long_snippet_leaves_less_room_for_the_answer() -> None:
    strategy = OssInstruct()
    prompt = strategy.prompt(seed("x" * 21_000))
    assert prompt.max_tokens == 8192 - estimate_tokens(prompt.messages[1].content) - 10
    assert 0 < prompt.max_tokens < 2500


def test_the_last_token_of_room_decides() -> None:
    room = OssInstruct(model_max_tokens=10_000).prompt(seed("x" * 300))
    used = estimate_tokens(room.messages[1].content) + 10
    assert OssInstruct(model_max_tokens=used + 1).prompt(seed("x" * 300)).max_tokens == 1
    with pytest.raises(Unusable) as caught:
        next(OssInstruct(model_max_tokens=used).write(seed("x" * 300), random.Random(0)))
    assert caught.value.reason == "prompt_too_long"


def test_tokens_are_estimated_from_bytes_rounding_up() -> None:
    assert [estimate_tokens(t) for t in ("", "a", "abc", "abcd", "ééé", "漢")] == [0, 1, 1, 2, 2, 1]


def test_the_estimate_is_about_words_and_symbols_or_more(recorded: list[dict[str, Any]]) -> None:
    """No vocabulary is at hand offline; words, numbers and symbols counted apart are more than most have tokens."""
    for exchange in recorded:
        content = exchange["messages"][1]["content"]
        words = re.findall(r"[A-Za-z]{1,8}|\d{1,3}|[^\sA-Za-z\d]{1,2}|\n+", content)
        assert estimate_tokens(content) > 0.9 * len(words)


# --- seeds of requests ---


def test_a_requests_seed_follows_the_snippet_and_not_its_position() -> None:
    strategy = OssInstruct()
    assert strategy.prompt(seed(index=1)) == strategy.prompt(seed(index=99))
    assert strategy.prompt(seed()).random_seed != strategy.prompt(seed(identity="other#L1")).random_seed
    assert strategy.prompt(seed()).random_seed != OssInstruct(random_seed=1).prompt(seed()).random_seed
    assert 0 <= (strategy.prompt(seed()).random_seed or 0) < 2**31


def test_by_index_is_the_originals_seed() -> None:
    assert OssInstruct(seeding="by_index").prompt(seed(index=24)).random_seed == 1000


# --- answers that give no sample ---


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("length", "truncated"), ("content_filter", "filtered"), ("tool_calls", "unfinished"), ("", "unfinished")],
)
def test_an_answer_that_did_not_end_by_itself_is_kept_and_flagged(finish_reason: str, reason: str) -> None:
    error = rejected(completion(GOOD, finish_reason))
    assert (error.reason, error.text) == (reason, GOOD)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty_answer"),
        (" \n", "empty_answer"),
        ("Here is some code:\n```\nx\n```", "unparsed"),
        ("[Solution]\nx\n[Problem Description]\ny", "unparsed"),
        ("[Problem Description]\n\n[Solution]\nx", "empty_problem"),
        ("[Problem Description]\nx\n\n[Solution]\n", "empty_solution"),
        ("[Problem Description]\nx\n\n**[Solution]**\n```python\n```\n", "empty_solution"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("I’m really sorry, I cannot create this.", "refused"),
        ("Sorry, this snippet holds personal data.", "refused"),
        ("As an AI language model, I cannot write malware.", "refused"),
        ("I am unable to assist with this request.", "refused"),
    ],
)
def test_an_answer_without_two_sections_is_kept_and_flagged(answer: str, reason: str) -> None:
    error = rejected(completion(answer))
    assert (error.reason, error.text) == (reason, answer)


def test_no_answer_at_all_is_not_an_error_of_ours() -> None:
    nothing = Completion(texts=(), finish_reasons=(), model="m")
    assert rejected(nothing).reason == "unfinished"


def test_an_apology_inside_a_problem_is_no_refusal() -> None:
    text = "[Problem Description]\nPrint \"I'm sorry, I can't\".\n[Solution]\nx"
    _, (sample,) = converse(OssInstruct(), seed(), completion(text))
    assert sample.response == "x"


def test_tolerant_parsing_says_when_it_was_needed() -> None:
    text = GOOD.replace("[Problem Description]", "### Problem").replace("[Solution]", "### Solution")
    _, (sample,) = converse(OssInstruct(), seed(), completion(text))
    assert sample.parser == "tolerant"
    assert rejected(completion(text), OssInstruct(parsing="original")).reason == "unparsed"


def test_original_parsing_keeps_the_originals_decisions() -> None:
    strategy = OssInstruct(parsing="original")
    text = "[Problem Description]\nUse the word.\nThen [Solution] comes.\nx\n[Solution]\n---\n"
    _, (sample,) = converse(strategy, seed(), completion(text))
    assert (sample.instruction, sample.response) == ("Use the word.", "x\n[Solution]\n---")
    _, (sample,) = converse(strategy, seed(), completion("[Problem Description]\n---\n[Solution]\n---"))
    assert sample.response == "---"
    assert rejected(completion("[Problem Description] a\n[Solution] b"), strategy).reason == "empty_problem"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"parsing": "tolerent"}, "did you mean tolerant"),
        ({"seeding": "by_idx"}, "did you mean by_i"),
        ({"max_tokens": 0}, "at least 1"),
    ],
)
def test_impossible_settings_say_what_to_do(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        OssInstruct(**settings)
