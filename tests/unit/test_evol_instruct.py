"""Evol-Instruct: what the teacher is told, what is thrown away, and how chains go on and end."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.errors import RecipeError, Unusable
from magicoder.records import Completion, Prompt, Rejection, Sample, Seed
from magicoder.strategies.evol_instruct import CODE, STYLES, EvolInstruct, rewrite_request
from magicoder.text.elimination import RULES

ANSWER = "Here is one way:\n\n```python\nprint(1)\n```"
NASTY = """Swap `a < b && c > d` in "x" or 'y': {method} {given} %s &lt; \\n <b>é</b>\n```c++\nif (p->q & 1) {}\n```"""

Teacher = Callable[[Prompt], str | tuple[str, str] | Unusable]


def seed(text: str = "Write a function that adds two numbers.", identity: str = "o/n@c:a.py#L1") -> Seed:
    return Seed(
        id=identity, text=text, language="python", document_id="o/n@c:a.py", repository="o/n", commit="c",
        path="a.py", license="MIT", first_line=1, last_line=1, kind="instruction", index=0, raw_index=0,
    )  # fmt: skip


class Chain:
    """Drives one dialogue; `said` is what the teacher was asked."""

    def __init__(self, strategy: EvolInstruct, teacher: Teacher, one: Seed | None = None) -> None:
        self.prompts: list[Prompt] = []
        turns = strategy.write(one or seed(), random.Random("fixed"))
        prompt = next(turns)
        while True:
            self.prompts.append(prompt)
            answer = teacher(prompt)
            try:
                prompt = turns.throw(answer) if isinstance(answer, Unusable) else turns.send(completion(answer))
            except StopIteration as end:
                self.made: list[Sample | Rejection] = list(end.value)
                return

    @property
    def said(self) -> list[str]:
        return [p.messages[0].content for p in self.prompts]

    @property
    def samples(self) -> list[Sample]:
        return [m for m in self.made if isinstance(m, Sample)]

    @property
    def lost(self) -> list[Rejection]:
        return [m for m in self.made if isinstance(m, Rejection)]


def completion(answer: str | tuple[str, str]) -> Completion:
    text, ended = answer if isinstance(answer, tuple) else (answer, "stop")
    return Completion(
        texts=(text,), finish_reasons=(ended,), model="m", prompt_tokens=10, completion_tokens=20, fingerprint="fp"
    )


def is_rewrite(prompt: Prompt) -> bool:
    return "Prompt#:" in prompt.messages[0].content or "increase the difficulty" in prompt.messages[0].content


def teacher(prompt: Prompt) -> str:
    """Answer sensibly: a rewrite is the prompt's random seed in words."""
    return f"Do the thing number {prompt.random_seed} in every way." if is_rewrite(prompt) else ANSWER


def test_each_round_is_a_rewrite_of_the_last_instruction_and_an_answer_to_the_new_one() -> None:
    chain = Chain(EvolInstruct(rounds=3), teacher)
    assert len(chain.prompts) == 7  # the given one is answered too
    assert [is_rewrite(p) for p in chain.prompts] == [False, True, False, True, False, True, False]
    assert chain.said[0] == seed().text
    for round_, sample in enumerate(chain.samples):
        assert sample.id == f"o/n@c:a.py#L1/evol_instruct[{round_}]"
        assert chain.said[2 * round_] == sample.instruction
        assert sample.response == ANSWER
    rewrites = chain.said[1::2]
    assert all(s.instruction in asked for s, asked in zip(chain.samples, rewrites, strict=False))
    assert [s.parser == "given" for s in chain.samples] == [True, False, False, False]
    assert chain.samples[2].seed == seed().text
    assert (chain.samples[2].teacher, chain.samples[2].fingerprint, chain.samples[2].license) == ("m", "fp", "MIT")


def test_without_the_original_only_evolved_instructions_are_answered() -> None:
    chain = Chain(EvolInstruct(rounds=2, keep_original=False), teacher)
    assert [s.id[-3:] for s in chain.samples] == ["[1]", "[2]"]
    assert len(chain.prompts) == 4


def test_the_originals_prompts_are_reproduced() -> None:
    method = "Provide a piece of erroneous code as a reference to increase misdirection."
    assert rewrite_request("wizardcoder", "misdirection", "Q", "") == (
        "Please increase the difficulty of the given programming test question a bit.\n\n"
        "You can increase the difficulty using, but not limited to, the following methods:\n"
        f"{method}\n\nQ"
    )
    assert rewrite_request("evol_dataset", "misdirection", "Q", "") == (
        "Please increase the difficulty of the given programming test question abit.\n"
        "You can increase the difficulty using, but not limited to, the following methods:\n"
        f"{method}\n#Given Prompt#:\nQ\n#Created Prompt#:"
    )
    assert "ISO 639 code fr." in rewrite_request("evol_dataset", "language", "Q", "fr")


def test_ten_operations_and_five() -> None:
    assert len(STYLES["evol_dataset"]) == 10
    assert STYLES["wizardcoder"] == tuple(CODE)
    assert len(CODE) == 5


@pytest.mark.parametrize(("style", "operation"), [(s, o) for s in STYLES for o in STYLES[s]])
def test_code_reaches_the_teacher_byte_for_byte(style: str, operation: str) -> None:
    request = rewrite_request(style, operation, NASTY, "es")
    assert request.encode().count(NASTY.encode()) == 1
    around = request.replace(NASTY, "")
    assert "{" not in around
    assert "&" not in around
    chain = Chain(EvolInstruct(style=style, operations=(operation,), rounds=1), teacher, seed(NASTY))
    assert chain.said[0] == NASTY
    assert NASTY in chain.said[1]
    assert chain.samples[0].instruction == NASTY


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_instruction_reaches_the_teacher_unchanged(text: str) -> None:
    for style, operations in STYLES.items():
        for operation in operations:
            assert text in rewrite_request(style, operation, text, "es")


def test_operations_are_drawn_by_the_seeds_own_generator_and_without_language_by_default() -> None:
    drawn = set()
    for number in range(300):
        turns = EvolInstruct(rounds=1, keep_original=False).write(seed(), random.Random(number))
        drawn.add(next(turns).messages[0].content)
    assert drawn == {
        rewrite_request("evol_dataset", o, seed().text, "") for o in STYLES["evol_dataset"] if o != "language"
    }
    assert Chain(EvolInstruct(), teacher).said == Chain(EvolInstruct(), teacher).said


def test_only_the_operations_asked_for_are_used() -> None:
    chain = Chain(EvolInstruct(operations=("breadth", "language"), rounds=8), teacher)
    assert {s.parser for s in chain.samples} == {"given", "breadth", "language"}


def test_requests_have_the_settings_temperatures_and_seeds_of_their_own() -> None:
    strategy = EvolInstruct(temperature=0.7, top_p=0.5, max_tokens=100, answer_temperature=0.1, answer_max_tokens=200)
    chain = Chain(strategy, teacher)
    assert {(p.temperature, p.top_p, p.max_tokens) for p in chain.prompts if is_rewrite(p)} == {(0.7, 0.5, 100)}
    assert {(p.temperature, p.top_p, p.max_tokens) for p in chain.prompts if not is_rewrite(p)} == {(0.1, 0.5, 200)}
    other = Chain(strategy, teacher, seed(identity="another#L1"))
    seeds = [p.random_seed for c in (chain, other) for p in c.prompts]
    assert len(set(seeds)) == len(seeds)


def second_rewrite(answer: str | tuple[str, str]) -> Teacher:
    """Answer sensibly but for the second rewrite."""
    count = 0

    def answering(prompt: Prompt) -> str | tuple[str, str]:
        nonlocal count
        count += is_rewrite(prompt)
        return answer if is_rewrite(prompt) and count == 2 else teacher(prompt)

    return answering


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "rewrite_few_words"),
        ("Sorry, I cannot make this any harder than it is.", "rewrite_apology"),
        ("Here is the rewritten prompt that you asked me for: add.", "rewrite_leak"),
        ("Do the thing number", "rewrite_short"),
        (("Write a program that does", "length"), "rewrite_truncated"),
        (("Write a program that does", "content_filter"), "rewrite_filtered"),
    ],
)
def test_a_rewrite_that_is_thrown_away_ends_the_chain_and_what_came_before_stays(answer: Any, reason: str) -> None:
    chain = Chain(EvolInstruct(rounds=3), second_rewrite(answer))
    assert [s.id[-3:] for s in chain.samples] == ["[0]", "[1]"]
    (lost,) = chain.lost
    assert (lost.id, lost.reason) == ("o/n@c:a.py#L1/evol_instruct[2]", reason)
    assert lost.text == (answer[0] if isinstance(answer, tuple) else answer)
    assert lost.detail.split(":")[0] in STYLES["evol_dataset"]


def test_a_rewrite_that_says_nothing_new_is_thrown_away() -> None:
    chain = Chain(EvolInstruct(rounds=1), lambda p: f"{seed().text.upper()}!" if is_rewrite(p) else ANSWER)
    assert chain.lost[0].reason == "rewrite_no_gain"


def test_a_round_can_be_skipped_and_the_last_sound_instruction_evolved_again() -> None:
    chain = Chain(EvolInstruct(rounds=3, after_rejection="skip"), second_rewrite("no"))
    assert [s.id[-3:] for s in chain.samples] == ["[0]", "[1]", "[3]"]
    assert [r.id[-3:] for r in chain.lost] == ["[2]"]
    third = [text for text, p in zip(chain.said, chain.prompts, strict=True) if is_rewrite(p)][2]
    assert chain.samples[1].instruction in third


def test_no_answer_moves_what_is_drawn_later() -> None:
    sound = Chain(EvolInstruct(rounds=3), teacher)
    skipping = Chain(EvolInstruct(rounds=3, after_rejection="skip"), second_rewrite("no"))
    assert sound.samples[3].parser == skipping.samples[2].parser


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Sorry, no.", "answer_few_words"),
        ("I am sorry, but that cannot be done by me.", "answer_apology"),
        (("def f(): return (", "length"), "answer_truncated"),
    ],
)
def test_an_answer_that_is_thrown_away_takes_its_round_along(answer: Any, reason: str) -> None:
    chain = Chain(EvolInstruct(rounds=2, operations=("breadth",)), lambda p: teacher(p) if is_rewrite(p) else answer)
    assert not chain.samples
    # The given instruction's answer is no reason against evolving it; the evolved one's is.
    assert [(r.id[-3:], r.reason) for r in chain.lost] == [("[0]", reason), ("[1]", reason)]


def test_an_answer_that_does_not_come_keeps_the_rounds_before_it_and_can_be_retried() -> None:
    asked: list[Prompt] = []

    def failing(prompt: Prompt) -> str | Unusable:
        asked.append(prompt)
        return Unusable("over_budget", "no money", retryable=True) if len(asked) == 4 else teacher(prompt)

    chain = Chain(EvolInstruct(rounds=3), failing)
    assert [s.id[-3:] for s in chain.samples] == ["[0]", "[1]"]
    assert [(r.id[-3:], r.reason, r.retryable) for r in chain.lost] == [("[2]", "over_budget", True)]


def test_the_teacher_can_be_asked_whether_anything_was_gained() -> None:
    def judging(prompt: Prompt) -> str:
        if "Equal or Not Equal" in prompt.messages[0].content:
            assert prompt.temperature == 0
            first = prompt.messages[0].content.split("The second instruction")[0]
            return "Equal." if "thing number" in first else "Not Equal"
        return teacher(prompt)

    chain = Chain(EvolInstruct(rounds=3, check_gain=True), judging)
    assert [s.id[-3:] for s in chain.samples] == ["[0]", "[1]"]
    assert [(r.id[-3:], r.reason) for r in chain.lost] == [("[2]", "rewrite_no_gain")]
    assert "the teacher calls it equal" in chain.lost[0].detail


def test_a_translation_may_begin_in_another_script_and_nothing_else_may() -> None:
    chinese = "\u5199\u4e00\u4e2a\u51fd\u6570\uff0c\u628a\u4e24\u4e2a\u957f\u6570\u76f8\u52a0" * 3
    for operation, kept in (("language", 2), ("breadth", 1)):
        chain = Chain(EvolInstruct(rounds=1, operations=(operation,)), lambda p: chinese if is_rewrite(p) else ANSWER)
        assert len(chain.samples) == kept
    assert chain.lost[0].reason == "rewrite_not_ascii"


def test_a_rule_can_be_left_out() -> None:
    rules = tuple(rule for rule in RULES if rule != "rewrite_short")
    chain = Chain(EvolInstruct(rounds=1, rules=rules), lambda p: "Sort it as a heap." if is_rewrite(p) else ANSWER)
    assert len(chain.samples) == 2


def test_a_header_that_repeats_the_prompts_mark_is_taken_off() -> None:
    text = "Write a function that subtracts long numbers."
    chain = Chain(EvolInstruct(rounds=1), lambda p: f"#Created Prompt#:\n{text}\n" if is_rewrite(p) else ANSWER)
    assert chain.samples[1].instruction == text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"style": "wizard"}, "did you mean wizardcoder"),
        ({"operations": ("deepning",)}, "did you mean deepening"),
        ({"style": "wizardcoder", "operations": ("breadth",)}, "operations has no 'breadth'"),
        ({"after_rejection": "stop"}, "there are: end, skip"),
        ({"rules": ("no_gain",)}, "did you mean rewrite_no_gain"),
        ({"rounds": -1}, "at least 0"),
        ({"rounds": 0, "keep_original": False}, "at least 1"),
        ({"max_tokens": 0}, "at least 1"),
        ({"translate_to": ()}, "translate_to is empty"),
    ],
)
def test_impossible_settings_say_what_to_do(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        EvolInstruct(**changes)
