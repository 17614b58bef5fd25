"""The rules that throw evolved instructions and answers away, each at its edge."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.text.elimination import (
    RULES,
    answer_problem,
    gained,
    only_stop_words,
    rewrite_problem,
    rouge_l,
    task_problem,
    without_header,
    words,
)

GIVEN = "Write a function that adds two numbers."
SOUND = "Write a function that adds two numbers of any length given as decimal strings."


def verdict(rewritten: str, given: str = GIVEN, tokens: int = 20) -> str:
    return rewrite_problem(rewritten, given, tokens=tokens)[0]


def test_a_sound_instruction_passes() -> None:
    assert rewrite_problem(SOUND, GIVEN, tokens=999) == ("", "")


@pytest.mark.parametrize(
    ("rewritten", "reason"),
    [
        ("", "rewrite_few_words"),
        ("Implement quicksort iteratively.", "rewrite_few_words"),
        ("Implement it as a heap now.", "rewrite_short"),
        ("写一个函数 that adds two decimal strings of any length", "rewrite_not_ascii"),
        ("Sorry, that programming question cannot be made any harder.", "rewrite_apology"),
        ("I can answer this only like so: \u62b1\u6b49, impossible to do.", "rewrite_apology"),
        ("And so it is as it was before, and that is all of it.", "rewrite_stop_words"),
        ("Here is the New Prompt you wanted: add numbers of any length.", "rewrite_leak"),
        ("Add strings. #Rewritten Test#: add strings of any length", "rewrite_leak"),
        ("modify the function so that it adds strings of any length", "rewrite_leak"),
        ("If the original problem can be solved with only a loop, add recursion.", "rewrite_leak"),
        (GIVEN, "rewrite_no_gain"),
        ("  write a FUNCTION, that adds: two numbers!!  Please.", "rewrite_no_gain"),
        ("Write a function that adds numbers, two numbers", "rewrite_no_gain_not"),
    ],
)
def test_what_is_thrown_away(rewritten: str, reason: str) -> None:
    expected = "" if reason.endswith("_not") else reason
    assert verdict(rewritten) == expected


def test_lengths_are_judged_at_their_edges() -> None:
    assert verdict("a bc def ghijklmnopqrstuvwxyz1", "x") == ""  # 30 characters
    assert verdict("a bc def ghijklmnopqrstuvwxyz", "x") == "rewrite_short"
    assert verdict(SOUND, tokens=1000) == "rewrite_long"
    assert verdict("word " * 900, tokens=0) == "rewrite_long"
    assert rewrite_problem(SOUND, GIVEN, tokens=60, most_tokens=60)[0] == "rewrite_long"


def test_what_the_given_instruction_says_itself_is_no_leak_and_no_apology() -> None:
    given = "Parse the given prompt and print sorry when it is empty."
    assert verdict(given + " Reject prompts above 100 bytes.", given) == ""


def test_one_word_of_meaning_is_a_gain_and_words_in_another_order_are_none() -> None:
    assert gained("Write a recursive function.", "Write a function.")
    assert gained("Print 1 1", "Print 1")
    assert not gained("a function, please write", "Write a function.")


@pytest.mark.parametrize(
    ("answer", "total", "reason"),
    [
        ("", 1, "answer_few_words"),
        ("Use a heap", 1, "answer_few_words"),
        ("it is as it was", 1, "answer_stop_words"),
        ("I am sorry, but I cannot help you with that.", 1, "answer_apology"),
        ("sorry " + "word " * 78, 1, "answer_apology"),
        ("sorry " + "word " * 79, 1, ""),
        ("def f(): return 1  # and so on", 1999, ""),
        ("def f(): return 1  # and so on", 2000, "answer_long"),
    ],
)
def test_answers_are_thrown_away_at_the_published_edges(answer: str, total: int, reason: str) -> None:
    assert answer_problem(answer, total_tokens=total)[0] == reason


def test_a_rule_that_is_left_out_does_not_apply() -> None:
    rules = [rule for rule in RULES if rule != "rewrite_no_gain"]
    assert rewrite_problem(GIVEN, GIVEN, tokens=9, rules=rules)[0] == ""
    assert rewrite_problem("", "", tokens=0, rules=())[0] == ""
    assert answer_problem("", total_tokens=9999, rules=()) == ("", "")


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("#Created Prompt#:\nAdd strings.", "Add strings."),
        ("  ## Rewritten Test ##\nAdd.", "Add."),
        ("**Rewritten Prompt:** Add.", "Add."),
        ("**New Prompt**:\n\nAdd.", "Add."),
        ("\n# Heading\nAdd.\n", "# Heading\nAdd."),
        ("Add to the #Created Prompt#: x", "Add to the #Created Prompt#: x"),
        ("#New prompts are read from stdin", "#New prompts are read from stdin"),
    ],
)
def test_a_repeated_header_is_taken_off_and_nothing_else(text: str, bare: str) -> None:
    assert without_header(text) == bare


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("Reverse a list.", "task_few_words"),
        ("word " * 151, "task_long"),
        ("- Reverse a linked list in place", "task_start"),
        ("Écris une fonction qui additionne", "task_start"),
        ("Write one function that adds two numbers.", "task_overlap"),
        ("`push` and `pop` in constant time: build it", ""),
        ("Balance a binary tree without recursion.", ""),
    ],
)
def test_new_tasks_are_thrown_away_as_in_self_instruct(task: str, reason: str) -> None:
    assert task_problem(task, [GIVEN])[0] == reason


def test_rouge_l_of_known_pairs() -> None:
    assert rouge_l(words("police killed the gunman"), words("police kill the gunman")) == 0.75  # Lin (2004)
    assert rouge_l(["a"], []) == 0
    assert rouge_l(["a", "b"], ["a", "b"]) == 1


def lcs(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if x == y else max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


some_words = st.lists(st.sampled_from("abcd"), max_size=90)


@settings(max_examples=200, deadline=None)
@given(some_words, some_words)
def test_the_bits_count_what_the_table_counts(a: list[str], b: list[str]) -> None:
    if a and b:
        assert rouge_l(a, b) == 2 * lcs(a, b) / (len(a) + len(b))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_gets_a_verdict_and_equal_texts_gain_nothing(a: str, b: str) -> None:
    assert rewrite_problem(a, b, tokens=0)[0] in ("", *RULES)
    assert answer_problem(a, total_tokens=0)[0] in ("", *RULES)
    assert not gained(a, a)
    assert only_stop_words(a) or gained(a, "")
    assert task_problem(a, [b])[0] in ("", "task_few_words", "task_long", "task_start", "task_overlap")
