"""Near-duplicates among texts that are judged one after the other; `near_duplicates` looks at a whole collection.

Sketches propose pairs, exact Jaccard decides; both as there.
"""

import errno
import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from magicoder.text.sketches import BANDS, KEYS, sketch_batch


@dataclass(frozen=True, slots=True)
class Sketch:
    """A text as near-duplicate search sees it.

    shingles     its distinct shingles as 64-bit hashes, 8 bytes each
    bands        a 32-bit key for each band, 4 bytes each
    """

    shingles: bytes
    bands: bytes

    def jaccard(self, other: "Sketch") -> float:
        """Return the Jaccard similarity of the shingles, exact but for hash collisions (one in 2**64 a pair)."""
        return _jaccard(_numbers(self.shingles), other.shingles)


def sketches(texts: Sequence[str]) -> list[Sketch]:
    """Return the sketch of each text."""
    batch = sketch_batch(texts)
    hashes, keys = array("Q", batch.shingles), array("I", batch.keys)
    found, start = [], 0
    for number, size in enumerate(array("I", batch.sizes)):
        shingles = array("Q", sorted(set(hashes[start : start + size])))
        bands = keys[number * KEYS + 1 : (number + 1) * KEYS]
        found.append(Sketch(shingles.tobytes(), bands.tobytes()))
        start += size
    return found


def _numbers(data: bytes) -> set[int]:
    return set(array("Q", data))


def _jaccard(mine: set[int], theirs: bytes) -> float:
    shared = len(mine.intersection(array("Q", theirs)))
    return shared / (len(mine) + len(theirs) // 8 - shared)


class Near(NamedTuple):
    """A text in the index that resembles the one asked about: its name, and the Jaccard similarity of the two."""

    name: str
    similarity: float


class Index:
    """Texts seen so far, by name; asked for one that resembles another.

    Memory grows by 0.7 to 1.4 KB for each text added, whatever its length (42 entries of 8 bytes in a table that is a
    quarter to half full); shingles and names go to an unnamed file in `folder`, which vanishes with the process.
    Close it, or use `with`.
    """

    def __init__(self, threshold: float, folder: Path) -> None:
        assert 0 < threshold <= 1
        self.threshold = threshold
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by close()
        self._places = array("Q", [0])  # where each text's record starts; the last one is where the next will
        self._sizes = array("I")  # bytes of shingles in each record; its name follows them
        self._table = array("Q", bytes(8 << 12))  # open addressing: key << 32 | number of the text + 1, or 0
        self._used = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def __enter__(self) -> "Index":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def find(self, sketch: Sketch) -> Near | None:
        """Return a text whose similarity to `sketch` is at least the threshold, None if no band proposes one.

        Of several, the one that shares most bands, then the one added first.
        """
        proposed = self._proposed(sketch)
        if not proposed:
            return None
        mine = _numbers(sketch.shingles)
        size = len(sketch.shingles)
        for number in sorted(proposed, key=lambda n: (-proposed[n], n)):
            other = self._sizes[number]
            if min(size, other) < self.threshold * max(size, other):
                continue  # sets of such different sizes cannot be that similar
            record = os.pread(
                self._file.fileno(), self._places[number + 1] - self._places[number], self._places[number]
            )
            similarity = _jaccard(mine, record[:other])
            if similarity >= self.threshold:
                return Near(record[other:].decode(), similarity)
        return None

    def add(self, sketch: Sketch, name: str) -> None:
        """Add a text."""
        record = sketch.shingles + name.encode()
        if self._file.write(record) != len(record):  # an unbuffered file writes what fits
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._places.append(self._places[-1] + len(record))
        self._sizes.append(len(sketch.shingles))
        number = len(self._sizes)
        _put([key << 32 | number for key in array("I", sketch.bands)], self._table)
        self._used += BANDS
        if self._used * 2 > len(self._table):
            larger = array("Q", bytes(16 * len(self._table)))
            _put(filter(None, self._table), larger)
            self._table = larger

    def _proposed(self, sketch: Sketch) -> Counter[int]:
        table, mask = self._table, len(self._table) - 1
        proposed: Counter[int] = Counter()
        for key in array("I", sketch.bands):
            place = key & mask
            while entry := table[place]:
                if entry >> 32 == key:
                    proposed[(entry & 0xFFFFFFFF) - 1] += 1
                place = (place + 1) & mask
        return proposed


def _put(entries: Iterable[int], table: "array[int]") -> None:
    """Put entries into the first free places from where their keys point."""
    mask = len(table) - 1
    for entry in entries:
        place = (entry >> 32) & mask
        while table[place]:
            place = (place + 1) & mask
        table[place] = entry
