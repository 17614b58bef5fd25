"""Exact search for many patterns at once, in one pass (Aho-Corasick), and the forms that texts are compared in.

Both sides are brought to the same form before they are compared. Both forms map a text character by character, so a
pattern that occurs in a text still occurs after both were mapped, and `letters` finds whatever `lowered` finds.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

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


def folded(text: str) -> bytes:
    """Return `text` so that nothing but ASCII case and punctuation is left to do for `letters` and `plain_words`.

    Of most texts that is all, and kernels do it faster.
    """
    text = text if text.isascii() else " ".join(text.casefold().split())
    return text.encode("utf-8", "surrogatepass")


_LETTER: Final = bytes(0 if i in _PUNCTUATION else i | 32 if chr(i).isupper() and i < 128 else i for i in range(256))
"""What becomes of a byte of `folded`, 0 for nothing."""


def letters_of(forms: Sequence[bytes]) -> tuple[Any, Any]:
    """Return the letters of texts of which `folded` is given, one behind another (uint8), and where each text's begin.

    Needs numba.
    """
    from magicoder.kernels.fingerprints import squeeze
    from magicoder.kernels.texts import joined

    return squeeze(*joined(forms), _LETTER)


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


class Lowest:
    """Finds in each of many texts, whatever their case (`lowered`), the pattern of the lowest number."""

    def __init__(self, patterns: Sequence[bytes]) -> None:
        """Take the patterns, `lowered` and none empty."""
        self._patterns = patterns
        self._scan: Any = None
        self._scanned: list[int] = []

    @cached_property
    def _automaton(self) -> Automaton:
        return Automaton(self._patterns)

    @cached_property
    def _short(self) -> tuple[list[int], Automaton]:
        from magicoder.kernels.scan import SHORTEST

        numbers = [number for number, pattern in enumerate(self._patterns) if len(pattern) < SHORTEST]
        return numbers, Automaton([self._patterns[number] for number in numbers])

    def first(self, texts: Sequence[str]) -> list[Match | None]:
        """Return for each text what `Automaton.first` finds in its form."""
        return [self._automaton.first(lowered(text)) for text in texts]

    def first_compiled(self, texts: Sequence[str]) -> list[Match | None]:
        """Return the same, by windows of the patterns (`kernels/scan.py`). Needs numba.

        Lowering ASCII is left to the kernel; a text with other characters is lowered here, since İ and the Kelvin sign
        turn into ASCII letters.
        """
        from magicoder.kernels.scan import NONE
        from magicoder.kernels.texts import joined

        data, starts = joined([text.encode() if text.isascii() else lowered(text) for text in texts])
        numbers = [None if n == NONE else self._scanned[n] for n in self._windows(data).first(data, starts).tolist()]
        short, automaton = self._short
        found: list[Match | None] = []
        for text, number in zip(texts, numbers, strict=True):
            match = automaton.first(lowered(text)) if short else None
            least = min((n for n in (number, short[match.pattern] if match else None) if n is not None), default=None)
            found.append(None if least is None else Match(least, lowered(text).index(self._patterns[least])))
        return found

    def _windows(self, sample: bytes) -> Any:
        """Return the scan, made when the first texts are there to say what is frequent in such."""
        from magicoder.kernels.scan import SHORTEST, Scan

        if self._scan is None:
            lowest: dict[bytes, int] = {}
            for number, pattern in enumerate(self._patterns):
                if len(pattern) >= SHORTEST:
                    lowest.setdefault(pattern, number)
            self._scan, self._scanned = Scan(list(lowest), sample[:_SAMPLE]), list(lowest.values())
        return self._scan


_SAMPLE: Final = 4_000_000
"""Bytes of the first texts that say what is frequent."""
