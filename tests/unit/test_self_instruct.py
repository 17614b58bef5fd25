"""Self-Instruct: the request, the list that comes back, which tasks are new, and their answers."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from magicoder.errors import RecipeError, Unusable
from magicoder.records import Completion, Prompt, Rejection, Sample, Seed
from magicoder.strategies.self_instruct import SelfInstruct, numbered, pool
from magicoder.text.elimination import rouge_l, words

ANSWER = "Here is one way:\n\n```python\nprint(1)\n```"
TASKS = (
    "Rotate a matrix by ninety degrees without a second matrix.",
    "Explain how a hash table grows and measure what that costs.",
    "Fix a binary search that never ends for lists of two elements.",
    "Translate a temperature table from Fahrenheit, rounding half to even.",
    "Test a function that splits bills between friends with different shares.",
)


def seed(text: str = "Reverse {every} word of a <sentence>.", language: str = "cpp") -> Seed:
    return Seed(
        id="d#L1", text=text, language=language, document_id="d", repository="r", commit="c", path="p", license="MIT",
        first_line=1, last_line=1, kind="instruction", index=0, raw_index=0,
    )  # fmt: skip


def completion(text: str, ended: str = "stop") -> Completion:
    return Completion(texts=(text,), finish_reasons=(ended,), model="m", prompt_tokens=10, completion_tokens=20)


def as_list(tasks: tuple[str, ...], first: int = 5) -> str:
    return "\n".join(f"{number}. {task}" for number, task in enumerate(tasks, first))


def drive(
    strategy: SelfInstruct, listed: Completion, answer: Callable[[Prompt], Any] = lambda p: completion(ANSWER)
) -> tuple[list[Sample | Rejection], list[Prompt]]:
    turns = strategy.write(seed(), random.Random("fixed"))
    prompts = [next(turns)]
    reply: Any = listed
    while True:
        try:
            prompts.append(turns.throw(reply) if isinstance(reply, Unusable) else turns.send(reply))
        except StopIteration as end:
            return list(end.value), prompts
        reply = answer(prompts[-1])


def test_the_request_shows_examples_of_the_pool_and_the_given_instruction() -> None:
    request = next(SelfInstruct(count=4, examples=2).write(seed(), random.Random(1))).messages[0].content
    assert "4 new ones, with the numbers 4 to 7." in request
    assert "The language is C++" in request
    assert request.endswith("\n3. Reverse {every} word of a <sentence>.\n")
    assert sum(task in request for task in pool()) == 2
    other = next(SelfInstruct(count=4, examples=2).write(seed(), random.Random(2))).messages[0].content
    assert other != request


def test_each_task_of_the_list_is_answered_and_becomes_a_sample() -> None:
    made, prompts = drive(SelfInstruct(), completion(as_list(TASKS)))
    assert [p.messages[0].content for p in prompts[1:]] == list(TASKS)
    assert [(m.id, m.instruction, m.response) for m in made if isinstance(m, Sample)] == [
        (f"d#L1/self_instruct[{i}]", task, ANSWER) for i, task in enumerate(TASKS)
    ]
    assert len({p.random_seed for p in prompts}) == 6


def test_tasks_that_resemble_an_example_the_seed_or_each_other_are_thrown_away_before_they_cost_an_answer() -> None:
    request = next(SelfInstruct().write(seed(), random.Random("fixed"))).messages[0].content
    shown = next(task for task in pool() if task in request)
    tasks = (TASKS[0], shown, "Reverse every word of one sentence.", TASKS[0].replace("second", "third"), "Sort it.")
    made, prompts = drive(SelfInstruct(), completion(as_list(tasks)))
    assert [type(m).__name__ for m in made] == ["Sample"] + ["Rejection"] * 4
    reasons = [m.reason for m in made if isinstance(m, Rejection)]
    assert reasons == ["task_overlap"] * 3 + ["task_few_words"]
    assert [m.text for m in made if isinstance(m, Rejection)] == list(tasks[1:])
    assert len(prompts) == 2


def test_a_list_that_is_cut_off_loses_its_last_task_only() -> None:
    made, _ = drive(SelfInstruct(), completion(as_list(TASKS[:3]), "length"))
    assert [getattr(m, "reason", "kept") for m in made] == ["kept", "kept", "task_truncated"]


def test_an_answer_that_is_thrown_away_or_does_not_come_leaves_the_other_tasks_alone() -> None:
    replies = iter([completion(ANSWER), completion("I am sorry, but no."), Unusable("timeout", retryable=True)])
    made, _ = drive(SelfInstruct(), completion(as_list(TASKS[:3])), lambda p: next(replies))
    assert [getattr(m, "reason", "kept") for m in made] == ["kept", "answer_apology", "timeout"]
    assert isinstance(made[2], Rejection)
    assert made[2].retryable


def test_an_answer_without_a_list_is_unusable_and_kept() -> None:
    with pytest.raises(Unusable) as caught:
        drive(SelfInstruct(), completion("I would rather not."))
    assert (caught.value.reason, caught.value.text) == ("tasks_unparsed", "I would rather not.")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("5. One\n6. Two", ["One", "Two"]),
        ("Sure!\n\n1) One\n2) Two\n", ["One", "Two"]),
        ("**5.** One\n\n**6.** Two", ["One", "Two"]),
        ("### 1. One\nmore\n### 2. Two", ["One\nmore", "Two"]),
        ("5. Do\n 1. this\n 2. that\n6. Two", ["Do\n 1. this\n 2. that", "Two"]),
        ("Task 5: One\nTask 6: Two", ["One", "Two"]),
        ("5. One\n6.\n7. Three", ["One", "Three"]),
        ("5. Price is 1.5 times\n6. Two", ["Price is 1.5 times", "Two"]),
        ("no list at 5.5 all", []),
    ],
)
def test_numbered_lists_are_read_as_models_write_them(text: str, items: list[str]) -> None:
    assert numbered(text) == items


def test_the_pool_has_twenty_one_tasks_unlike_each_other() -> None:
    assert len(pool()) == 21
    tasks = [words(task) for task in pool()]
    assert max(rouge_l(a, b) for i, a in enumerate(tasks) for b in tasks[:i]) < 0.5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": 0}, "at least 1"),
        ({"examples": 22}, "the pool has 21"),
        ({"overlap": 0.0}, "above 0"),
        ({"rules": ("answer_apologies",)}, "did you mean answer_apology"),
    ],
)
def test_impossible_settings_say_what_to_do(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        SelfInstruct(**changes)
