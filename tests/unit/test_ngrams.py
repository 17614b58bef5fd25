"""Statements worded nearly alike: grams, shares, places; and every benchmark's statements."""

from pathlib import Path

import pytest

from magicoder.benchmarks import at_hand
from magicoder.text.contamination import Layered
from magicoder.text.ngrams import KEPT, SPAN, Overlap, Statements, grams_of, plain_words, word_place

WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen".split()  # noqa: SIM905
TEXT = " ".join(WORDS)


def test_words_are_runs_of_letters_and_digits_in_any_case() -> None:
    assert plain_words("# It's GRÖẞER\u00a0than `x_1`.") == [b"it", b"s", "grösser".encode(), b"than", b"x", b"1"]


def test_a_statement_is_known_by_each_run_of_ten_words_and_a_shorter_one_by_none() -> None:
    assert len(grams_of(TEXT)) == len(WORDS) - SPAN + 1
    assert grams_of(" ".join(WORDS[:9])) == ()
    assert set(grams_of(" ".join(WORDS[1:]))) < set(grams_of(TEXT))
    assert grams_of(TEXT.upper().replace(" ", ",\r\n // ")) == grams_of(TEXT)


def test_of_a_long_statement_the_sample_does_not_depend_on_what_stands_around_it() -> None:
    numbers = " ".join(map(str, range(200)))
    assert len(grams_of(numbers)) == KEPT
    assert Statements([grams_of(numbers)], 1.0).first([f"before {numbers} behind"]) == [
        Overlap(0, min_place(numbers) + 1, KEPT, KEPT)
    ]


def min_place(text: str) -> int:
    """Return the place of the first gram of the sample: where its ten words alone are in it."""
    words = text.split()
    return next(i for i in range(len(words)) if set(grams_of(" ".join(words[i : i + SPAN]))) & set(grams_of(text)))


@pytest.mark.parametrize(("words", "found"), [(14, 5), (13, 4), (12, 3), (11, None), (10, None)])
def test_the_share_of_the_grams_decides(words: int, found: int | None) -> None:
    (overlap,) = Statements([grams_of(TEXT)], 0.5).first([f"Now {' '.join(WORDS[:words])} and so on"])
    assert overlap == (None if found is None else Overlap(0, 1, found, 5))


def test_the_lowest_statement_wins_and_no_gram_spans_two_texts() -> None:
    other = f"{TEXT} fifteen"
    statements = Statements([grams_of(other), grams_of(TEXT), grams_of(other)], 0.5)
    assert [o and o.statement for o in statements.first([other, TEXT, "nothing"])] == [0, 0, None]
    assert statements.first([" ".join(WORDS[:7]), " ".join(WORDS[7:])]) == [None, None]


def test_a_word_s_place_is_where_it_stands_in_the_text() -> None:
    text = "  The quick, Ünlü   fox_jumps."
    assert text[slice(*word_place(text, 1, 2))].rstrip() == "quick, Ünlü"
    assert text[slice(*word_place(text, 3, 2))] == "fox_jumps."


def test_every_statement_of_every_benchmark_is_found_whatever_case_and_white_space(shared_data: Path) -> None:
    index = at_hand(None).index
    tasks = {(t.benchmark, t.id): t for t in at_hand(str(shared_data)).tasks}
    claimed = [tasks[s.benchmark, s.task] for s in index.statements]
    assert len(claimed) == 15_181  # of 15,269; the others' statement and prompt have fewer than ten words
    texts = [t.description if grams_of(t.description) else t.prompt for t in claimed]
    found = Layered(index, ("ngrams",), 1.0)([f"Do this:\n{'  '.join(x.upper().split())}\r\nThanks" for x in texts])
    assert [t.id for t, match in zip(claimed, found, strict=True) if match is None] == []


def test_half_of_a_statement_s_words_replaced_at_its_end_is_still_found(shared_data: Path) -> None:
    index = at_hand(None).index
    task = next(t for t in at_hand(str(shared_data)).tasks if t.id == "HumanEval/1")
    words = task.description.split()
    (match,) = Layered(index, ("ngrams",), 0.5)([" ".join([*words[: len(words) * 4 // 5], *reversed(words)])])
    assert (match.task, match.layer) == ("HumanEval/1", "ngrams")
    assert match.grams[0] < match.grams[1]
