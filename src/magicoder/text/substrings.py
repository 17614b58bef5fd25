"""Exact search for many patterns at once, in one pass (Aho-Corasick), and the forms that texts are compared in.

Both sides are brought to the same form before they are compared. Both forms map a text character by character, so a
pattern that occurs in a text still occurs after both were mapped, and `letters` finds whatever `lowered` finds.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ahocorasick_rs import BytesAhoCorasick, Implementation

_PUNCTUATION = bytes(i for i in range(128) if not chr(i).isalnum())


def lowered(text: str) -> bytes:
    """Return `text` in lower case and nothing else, the form in which the original compares."""
    return text.lower().encode("utf-8", "surrogatepass")


def letters(text: str) -> bytes:
    """Return the letters and digits of `text`, case folded, without white space and ASCII punctuation.

    What reflowing, indenting, CRLF, comment markers (`#`, `//`, `*`), quotes and Markdown change is gone.
    """
    # Case folding, not lowering, beyond ASCII: Σ lowers to σ or ς by its place in the word, ß is SS in upper case.
    text = text.lower() if text.isascii() else "".join(text.casefold().split())
    return text.encode("utf-8", "surrogatepass").translate(None, _PUNCTUATION)


def locate(text: str, start: int, form: Callable[[str], bytes]) -> int:
    """Return the index in `text` of the character whose form covers byte `start` of `form(text)`."""
    found = bisect_right(range(len(text)), start, key=lambda index: len(form(text[: index + 1])))
    if found == len(text):
        raise ValueError(f"byte {start} is beyond the end of the text's form ({len(form(text))} bytes)")
    return found


class Match(NamedTuple):
    """Pattern number `pattern` occurs at byte `start`."""

    pattern: int
    start: int


class Automaton:
    """Finds patterns, all of them non-empty and in the same form as the texts to be searched.

    Takes about 30 bytes of memory per byte of pattern; a text is read once, however many patterns there are.
    """

    def __init__(self, patterns: Sequence[bytes]) -> None:
        numbers: dict[bytes, list[int]] = {}
        for number, pattern in enumerate(patterns):
            numbers.setdefault(pattern, []).append(number)
        self._numbers = list(numbers.values())
        # A DFA is faster by a third, but takes gigabytes for tens of thousands of patterns.
        self._search = BytesAhoCorasick(list(numbers), implementation=Implementation.ContiguousNFA) if numbers else None

    def first(self, text: bytes) -> Match | None:
        """Return the match whose pattern has the lowest number, at its first place; None if nothing matches."""
        best: Match | None = None
        for group, start, _ in self._search.find_matches_as_indexes(text, overlapping=True) if self._search else ():
            number = self._numbers[group][0]
            if best is None or number < best.pattern:
                best = Match(number, start)
        return best

    def matches(self, text: bytes) -> list[Match]:
        """Return every occurrence of every pattern, overlapping ones too, by place and then by pattern."""
        found = self._search.find_matches_as_indexes(text, overlapping=True) if self._search else ()
        return sorted(
            (Match(number, start) for group, start, _ in found for number in self._numbers[group]),
            key=lambda m: (m.start, m.pattern),
        )
