"""Exact search for many patterns at once, in one pass (Aho-Corasick), and the forms that texts are compared in.

Both sides are brought to the same form before they are compared. Both forms map a text character by character, so a
pattern that occurs in a text still occurs after both were mapped, and `letters` finds whatever `lowered` finds.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from ahocorasick_rs import BytesAhoCorasick, Implementation

_CONTINUED = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that begin no character."""

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

    Of most texts that is all, and kernels do it faster. Needs numba.
    """
    if text.isascii():
        return text.encode()
    from magicoder.kernels.texts import blanked

    return blanked(text.casefold().encode("utf-8", "surrogatepass"))


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


def span(text: str, start: int, length: int, form: Callable[[str], bytes]) -> tuple[int, int]:
    """Return the first and the last index, exclusive, of the characters of `text` behind some bytes of its form."""
    if form is lowered and "\u0130" not in text:  # the one character that becomes two
        data = lowered(text)
        first = len(data[: start + 1].translate(None, _CONTINUED)) - 1
        return first, first + len(data[start : start + length].translate(None, _CONTINUED))
    return locate(text, start, form), locate(text, start + length - 1, form) + 1


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
        self._compiled: _Compiled | None = None

    @cached_property
    def _automaton(self) -> Automaton:
        return Automaton(self._patterns)

    def first(self, texts: Sequence[str]) -> list[Match | None]:
        """Return for each text what `Automaton.first` finds in its form."""
        return [self._automaton.first(lowered(text)) for text in texts]

    def first_compiled(self, texts: Sequence[str]) -> list[Match | None]:
        """Return the same, by windows of the patterns (`kernels/scan.py`). Needs numba."""
        if self._compiled is None:
            self._compiled = _Compiled(self._patterns, texts)
        found: list[Match | None] = [None] * len(texts)
        for i, number in self._compiled.numbers(texts):
            found[i] = Match(number, lowered(texts[i]).index(self._patterns[number]))
        return found


class _Compiled:
    """Patterns as the kernel searches for them.

    The kernel ignores ASCII case, which is as good as lowering a text, but for two characters that turn into ASCII
    letters, İ and the Kelvin sign: a text with one of them is lowered first. A pattern with characters beyond ASCII,
    whose case the kernel does not know, is searched for by its longest run of ASCII, and itself where that is found.
    """

    def __init__(self, patterns: Sequence[bytes], sample: Sequence[str]) -> None:
        """Take the patterns, and the first texts, which say what is frequent in such."""
        from magicoder.kernels.scan import SHORTEST, Scan

        lowest: dict[bytes, int] = {}
        for number, pattern in enumerate(patterns):
            lowest.setdefault(pattern, number)
        runs = {pattern: max(_ASCII.findall(pattern), key=len, default=b"") for pattern in lowest}
        wide = [pattern for pattern, run in runs.items() if len(run) < len(pattern)]
        short = [pattern for pattern, run in runs.items() if len(run) < SHORTEST and run == pattern]
        narrow = [pattern for pattern, run in runs.items() if len(run) >= SHORTEST and run == pattern]
        known = b"".join(map(_raw, sample))[:_SAMPLE]
        self._wide, self._short = (Automaton(those) if those else None for those in (wide, short))
        self._narrow = Scan(narrow, known)
        self._runs = Scan([runs[p] for p in wide], known) if all(len(runs[p]) >= SHORTEST for p in wide) else None
        self._of_wide, self._of_short, self._of_narrow = ([lowest[p] for p in those] for those in (wide, short, narrow))

    def numbers(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield the number of each text that holds a pattern, and that of the lowest."""
        from magicoder.kernels.scan import NONE
        from magicoder.kernels.texts import joined

        forms = [_raw(text) for text in texts]
        found = {i: self._of_narrow[n] for i, n in enumerate(self._narrow.first(*joined(forms)).tolist()) if n != NONE}
        asked = [(i, self._short, self._of_short) for i in range(len(texts))] if self._short else []
        beyond = [i for i, text in enumerate(texts) if not text.isascii()] if self._wide else []
        if beyond and self._runs:
            places = self._runs.first(*joined([forms[i] for i in beyond])).tolist()
            beyond = [i for i, n in zip(beyond, places, strict=True) if n != NONE]
        for i, automaton, numbers in [*asked, *((i, self._wide, self._of_wide) for i in beyond)]:
            match = automaton.first(lowered(texts[i])) if automaton else None
            if match:
                found[i] = min(found.get(i, numbers[match.pattern]), numbers[match.pattern])
        yield from sorted(found.items())


def _raw(text: str) -> bytes:
    """Return `text` in UTF-8, lowered where ASCII case alone does not do."""
    if not text.isascii() and ("\u0130" in text or "\u212a" in text):
        return lowered(text)
    return text.encode("utf-8", "surrogatepass")


_ASCII: Final = re.compile(rb"[\0-\x7f]+")
_SAMPLE: Final = 4_000_000
"""Bytes of the first texts that say what is frequent."""
