"""Word n-grams: statements that are worded nearly alike."""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc

from magicoder.text.fingerprints import Sieve, numbers, runs

SPAN: Final = 10
"""Words in a gram of a statement, as Qwen2.5-Coder and OpenCoder compare."""

KEPT: Final = 32
"""Grams kept of a statement: those of the smallest hashes, a sample that does not depend on the text around it."""

GRAM_BITS: Final = 48

_TO_SPACE = bytes(i if chr(i).isalnum() or i > 127 else 32 for i in range(256))
"""ASCII punctuation and control characters become spaces."""


def plain_words(text: str) -> list[bytes]:
    """Return the words of `text`: runs of letters and digits, case folded; punctuation and white space divide them."""
    text = text.lower() if text.isascii() else " ".join(text.casefold().split())
    return text.encode("utf-8", "surrogatepass").translate(_TO_SPACE).split()


def word_place(text: str, start: int, count: int) -> tuple[int, int]:
    """Return the first and the last index, exclusive, of `count` plain words of `text` from number `start` on."""

    def reached(number: int) -> int:
        # A prefix has as many words as begin in it.
        return bisect_right(range(len(text) + 1), number, key=lambda end: len(plain_words(text[:end]))) - 1

    return reached(start), reached(start + count)


def _values(text: str) -> bytes:
    return array("I", map(crc32, plain_words(text))).tobytes()


def _grams(values: bytes) -> Any:
    """Return the hash of each run of ten words, 48 bits of it, as an Arrow array."""
    hashes = runs(numbers(values, 4).cast(pa.uint64()), SPAN)
    return pc.shift_right(hashes, pa.scalar(64 - GRAM_BITS, pa.uint64()))


def grams_of(text: str) -> tuple[int, ...]:
    """Return the grams by which a statement is known, in order; none if it has fewer than ten words."""
    return tuple(sorted(set(_grams(_values(text)).to_pylist()))[:KEPT])


class Overlap(NamedTuple):
    """Statement number `statement` shares `found` of its `size` grams, the first of them at word `start`."""

    statement: int
    start: int
    found: int
    size: int


class Statements:
    """Finds texts that share much of a statement."""

    def __init__(self, statements: Sequence[Sequence[int]], share: float) -> None:
        """Take the grams of each statement, none empty, and the share of them that makes a match."""
        lowest: dict[tuple[int, ...], int] = {}
        for number, grams in enumerate(statements):
            lowest.setdefault(tuple(grams), number)
        self._share = share
        self._sizes = {number: len(grams) for grams, number in lowest.items()}
        self._owners: dict[int, list[int]] = {}
        for grams, number in lowest.items():
            for gram in grams:
                self._owners.setdefault(gram, []).append(number)
        self._sieve = Sieve(self._owners, GRAM_BITS)

    def first(self, texts: Sequence[str]) -> list[Overlap | None]:
        """Return for each text the overlap with the statement of the lowest number that has the share."""
        values = [_values(text) for text in texts]
        starts = [0, *accumulate(len(v) // 4 for v in values)]
        return self._overlaps(self._sieve.places(_grams(b"".join(values))), starts)

    def first_compiled(self, forms: Sequence[bytes]) -> list[Overlap | None]:
        """Return the same for texts of which `substrings.folded` is given. Needs numba."""
        from magicoder.kernels.ngrams import grams, words
        from magicoder.kernels.texts import joined

        values, starts = words(*joined(forms))
        return self._overlaps(zip(*grams(self._known, values), strict=True), starts.tolist())

    @cached_property
    def _known(self) -> Any:
        from magicoder.kernels.fingerprints import Known

        return Known(self._owners)

    def _overlaps(self, places: Iterable[tuple[int, int]], starts: Sequence[int]) -> list[Overlap | None]:
        """Return the overlap of each text; `places` are where known grams begin in all of them."""
        shared: list[dict[int, int]] = [{} for _ in starts[1:]]
        for place, gram in places:
            index = bisect_right(starts, place) - 1
            if place + SPAN <= starts[index + 1]:  # not across two texts
                shared[index].setdefault(gram, place - starts[index])
        return [self._judge(found) for found in shared]

    def _judge(self, places: dict[int, int]) -> Overlap | None:
        """Return the overlap of a text in which grams were found at `places`."""
        counts = Counter(number for gram in places for number in self._owners[gram])
        number = min((n for n, found in counts.items() if found >= self._share * self._sizes[n]), default=None)
        if number is None:
            return None
        start = min(place for gram, place in places.items() if number in self._owners[gram])
        return Overlap(number, start, counts[number], self._sizes[number])
