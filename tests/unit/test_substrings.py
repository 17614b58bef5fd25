"""The search itself, and the two forms that texts are compared in."""

import sys

import pytest

from magicoder.text.substrings import Automaton, Match, letters, locate, lowered, span


def test_the_first_match_is_that_of_the_lowest_pattern_wherever_it_stands() -> None:
    automaton = Automaton([b"late", b"early"])
    assert automaton.first(b"early and late") == Match(0, 10)
    assert automaton.first(b"early, early") == Match(1, 0)
    assert automaton.first(b"neither") is None


def test_all_matches_overlap_and_repeat() -> None:
    assert Automaton([b"aba", b"b"]).matches(b"ababa") == [Match(0, 0), Match(1, 1), Match(0, 2), Match(1, 3)]


def test_equal_patterns_keep_their_own_numbers() -> None:
    automaton = Automaton([b"x", b"same", b"same"])
    assert automaton.matches(b"same") == [Match(1, 0), Match(2, 0)]
    assert automaton.first(b"same") == Match(1, 0)


def test_no_patterns_match_nothing() -> None:
    assert Automaton([]).first(b"text") is None
    assert Automaton([]).matches(b"text") == []


def test_a_hundred_thousand_patterns_are_one_automaton() -> None:
    patterns = [f"pattern number {i} of many".encode() for i in range(100_000)]
    found = Automaton(patterns).matches(b"here: pattern number 99999 of many, pattern number 7 of many")
    assert [m.pattern for m in found] == [99_999, 7]


@pytest.mark.parametrize(
    "other",
    [
        "return the NEAREST prime of n",
        "  Return\r\n\tthe nearest\r\n prime of `n`.  ",
        "# Return the nearest\n# prime of n",
        " * Return the **nearest** prime\n * of n",
        "/// Return the\u00a0nearest prime of 'n'",
    ],
)
def test_letters_ignores_case_white_space_comment_markers_and_punctuation(other: str) -> None:
    assert letters("Return the nearest prime of n.") in letters(other)


def test_letters_tells_other_words_and_other_numbers_apart() -> None:
    assert letters("add 12 and 3") != letters("add 13 and 3")
    assert letters("größer") == letters("GRÖSSER")
    assert letters("größer") != letters("grosser")


def test_the_case_of_a_sigma_does_not_depend_on_what_follows() -> None:
    assert letters("ΟΔΟΣ") in letters("ΟΔΟΣΑ")  # str.lower gives οδος and οδοσα


def test_lower_and_upper_case_of_every_character_have_the_same_letters() -> None:
    characters = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000]
    assert [c for c in characters if letters(c.lower()) != letters(c)] == []
    assert [c for c in characters if letters(c.upper()) != letters(c)] == ["ı"]  # its capital is the Latin I


def test_lowered_keeps_everything_but_case() -> None:
    assert lowered("Return\r\n X+Y") == b"return\r\n x+y"


def test_a_lone_surrogate_is_searched_too() -> None:
    assert letters("ab") in letters("\udc80a b")


def test_locate_finds_the_character_behind_a_byte() -> None:
    text = "«Ünü» — İ, then: Sort it"
    assert text[locate(text, letters(text).index(b"sort"), letters) :] == "Sort it"
    assert locate("abc", 0, lowered) == 0
    with pytest.raises(ValueError, match="beyond the end"):
        locate("abc", 3, lowered)


def test_a_place_in_the_lowered_form_is_that_of_its_character() -> None:
    characters = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000]
    assert [c for c in characters if len(c.lower()) != 1] == ["\u0130"]
    for text in ("Ünü\u212aÄ \ud800x日本", "\u0130xÄ", "abc"):
        starts = [len(lowered(text[:i])) for i in range(len(text) + 1)]
        for i in range(len(text)):
            for j in range(i + 1, len(text) + 1):
                assert span(text, starts[i], starts[j] - starts[i], lowered) == (i, j)
