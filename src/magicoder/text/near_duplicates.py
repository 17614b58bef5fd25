"""Near-duplicates of a whole collection: sketches propose pairs, exact Jaccard decides, union makes clusters.

42 bands of 6 slots propose pairs: of pairs at a Jaccard similarity of 0.7 they propose 99.5 % (1 - (1 - 0.7^6)^42), of
equal texts all. Each is settled by the similarity of the shingles themselves, so texts are joined only with texts that
do resemble them. (Bands alone, as in the original's unused script, are right in 62 to 82 % of cases on a measured
sample.) What grows with the text stands in files; one band at a time is read, sorted and gone through.
"""

import errno
import math
import mmap
import os
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from magicoder import kernels
from magicoder.text.sketches import BANDS, KEYS, ROWS, SLOTS, SketchBatch, sketch_batch

__all__ = ["Clusters", "NearDuplicates", "SketchBatch", "sketch_batch"]

REPRESENTATIVES: Final = 64
"""Texts of one bucket that each further one is compared with; so a bucket of any size costs linear work.

Buckets up to this size are compared pair by pair. In a larger one a text that resembles none of the representatives
takes the place of one of them, so that its neighbours behind it are found.
"""

DEVIATIONS: Final = 5
"""A pair whose slots agree less often than the threshold's by this many standard deviations is not looked at closer.

Of pairs at the threshold this turns down one in three million."""

_BLOCK: Final = 1 << 16
"""Texts whose keys are written together, band by band."""

_LEAST_COMPILED: Final = 1 << 11
"""Texts that are worth loading a compiled kernel."""

_NOBODY: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """Who resembles whom, by number of the text in the order of adding.

    leaders          for each text the lowest-numbered text of its cluster; itself if it is alone
    partners         for each the text it was first joined with, 2**32 - 1 if it is alone
    similarities     for each its exact Jaccard similarity with that
    candidate_pairs  pairs that a band proposed and that were not in one cluster already
    verified_pairs   those of them that were settled by exact Jaccard, not by their slots
    joined_pairs     those of them whose similarity reached the threshold
    """

    leaders: "array[int]"
    partners: "array[int]"
    similarities: "array[float]"
    candidate_pairs: int
    verified_pairs: int
    joined_pairs: int

    @property
    def count_texts(self) -> int:
        """Return the number of texts."""
        return len(self.leaders)

    def leader(self, text: int) -> int:
        """Return the lowest-numbered text of the cluster of `text`."""
        return self.leaders[text]

    def members(self) -> Iterator[tuple[int, ...]]:
        """Yield each cluster of two or more, sorted, in the order of their leaders."""
        found: dict[int, list[int]] = {}
        for text, leader in enumerate(self.leaders):
            if text != leader:
                found.setdefault(leader, [leader]).append(text)
        for leader in sorted(found):
            yield tuple(found[leader])

    def nearest(self, text: int) -> tuple[int, float]:
        """Return the member that `text` was first joined with and their exact Jaccard similarity.

        Raises:
            KeyError: `text` is alone.
        """
        if self.partners[text] == _NOBODY:
            raise KeyError(text)
        return self.partners[text], self.similarities[text]


class NearDuplicates:
    """Takes sketches in, batch after batch, and says in the end which texts form clusters.

    In memory are 30 bytes a text and, in `clusters`, one band (another 30); unnamed files in `folder`, which vanish
    with the process, hold the shingles (as much as the texts), slots and keys (428 bytes a text). Close it, or use
    `with`. Clusters do not depend on how the texts are cut into batches.
    """

    def __init__(self, threshold: float, folder: Path) -> None:
        """Take the Jaccard similarity of word 5-grams from which on two texts resemble each other, and the folder."""
        assert 0 < threshold <= 1
        self.threshold = threshold
        self._shingles, self._slots, self._blocks = (_scratch(folder) for _ in range(3))
        self._places = array("Q", [0])  # where each text's shingles start, in numbers of 8 bytes
        self._keys = [array("I") for _ in range(KEYS)]  # of the texts behind the last whole block

    def __enter__(self) -> "NearDuplicates":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the files back."""
        for file in (self._shingles, self._slots, self._blocks):
            file.close()

    def __len__(self) -> int:
        """Return the number of texts added."""
        return len(self._places) - 1

    def add(self, batch: SketchBatch) -> None:
        """Add consecutive texts, numbered on from those added before.

        Raises:
            OSError: ENOSPC where the disk is full.
        """
        assert len(self) + len(batch) < _NOBODY, "texts are numbered in 32 bits"
        _append(self._shingles, batch.shingles)
        _append(self._slots, batch.slots)
        place = self._places[-1]
        for size in array("I", batch.sizes):
            place += size
            self._places.append(place)
        keys = array("I", batch.keys)
        for number, waiting in enumerate(self._keys):
            waiting.extend(keys[number::KEYS])
        while len(self._keys[0]) >= _BLOCK:
            for waiting in self._keys:
                _append(self._blocks, waiting[:_BLOCK].tobytes())
                del waiting[:_BLOCK]

    def clusters(self) -> Clusters:
        """Return the clusters of all texts added so far."""
        join: Any = _Join
        if len(self) >= _LEAST_COMPILED and kernels.available():
            from magicoder.kernels.pairs import Join as join  # noqa: N813 - a class of the same interface
        joining = join(
            self._places, _mapped(self._shingles), _mapped(self._slots), self.threshold, least_agreeing(self.threshold)
        )
        for number in range(KEYS):
            joining.band(self._band(number), copies=number == 0)
        return Clusters(**joining.result())

    def _band(self, number: int) -> "array[int]":
        """Return a key of every text."""
        keys = array("I")
        for block in range((len(self) - len(self._keys[0])) // _BLOCK):
            keys.frombytes(os.pread(self._blocks.fileno(), 4 * _BLOCK, 4 * _BLOCK * (block * KEYS + number)))
        keys.extend(self._keys[number])
        return keys


def least_agreeing(threshold: float) -> int:
    """Return the number of slots that must agree for a pair to be looked at closer."""
    expected = threshold + (1 - threshold) / 256  # of each slot a byte is compared
    return max(0, math.ceil(SLOTS * expected - DEVIATIONS * math.sqrt(SLOTS * expected * (1 - expected))))


def chance(similarity: float) -> float:
    """Return the probability with which a pair of texts of this Jaccard similarity shares a band."""
    return float(1 - (1 - similarity**ROWS) ** BANDS)


def _scratch(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder, buffering=0)


def _append(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = file.write(rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def _mapped(file: IO[bytes]) -> Any:
    """Return the content of a file; pages of it are read when they are looked at."""
    if os.fstat(file.fileno()).st_size == 0:
        return memoryview(b"")
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class _Join:
    """Joins texts into clusters, band by band; `kernels.pairs.Join` does the same."""

    def __init__(self, places: "array[int]", shingles: Any, slots: Any, threshold: float, least: int) -> None:
        count = len(places) - 1
        self._places, self._shingles, self._slots = places, shingles, slots
        self._threshold, self._least = threshold, least
        self._parents = array("I", range(count))
        self._partners = array("I", [_NOBODY]) * count
        self._similarities = array("d", [0.0]) * count
        self._copies = bytearray(count)
        self._counts = [0, 0, 0]

    def band(self, keys: "array[int]", *, copies: bool) -> None:
        """Go through the texts of equal key; with `copies`, those with equal shingles are left out from now on."""
        for bucket in _buckets(keys):
            self._bucket([text for text in bucket if not self._copies[text]], copies=copies)

    def result(self) -> dict[str, Any]:
        """Return the fields of `Clusters`."""
        for text in range(len(self._parents)):
            self._parents[text] = self._root(text)
        names = ("candidate_pairs", "verified_pairs", "joined_pairs")
        arrays = {"leaders": self._parents, "partners": self._partners, "similarities": self._similarities}
        return {**arrays, **dict(zip(names, self._counts, strict=True))}

    def _bucket(self, texts: list[int], *, copies: bool) -> None:
        representatives: list[int] = []
        turn = 0
        for text in texts:
            is_full = len(representatives) == REPRESENTATIVES
            is_known = False
            for other in representatives:
                is_known = self._compare(text, other) or is_known
                if is_known and (is_full or (copies and self._similarities[text] == 1.0)):
                    break
            if copies and is_known and self._similarities[text] == 1.0:
                self._copies[text] = 1
            elif not is_full:
                representatives.append(text)
            elif not is_known:
                representatives[turn] = text
                turn = (turn + 1) % REPRESENTATIVES

    def _compare(self, text: int, other: int) -> bool:
        """Say whether the two are in one cluster, after joining them if they resemble each other."""
        a, b = self._root(text), self._root(other)
        if a == b:
            return True
        self._counts[0] += 1
        if _agreeing(self._slots_of(text), self._slots_of(other)) < self._least:
            return False
        self._counts[1] += 1
        similarity = _jaccard(self._shingles_of(text), self._shingles_of(other))
        if similarity < self._threshold:
            return False
        self._counts[2] += 1
        for one, partner in ((text, other), (other, text)):
            if self._partners[one] == _NOBODY:
                self._partners[one] = partner
                self._similarities[one] = similarity
        self._parents[max(a, b)] = min(a, b)
        return True

    def _root(self, text: int) -> int:
        parents = self._parents
        while parents[text] != text:
            parents[text] = text = parents[parents[text]]
        return text

    def _slots_of(self, text: int) -> int:
        return int.from_bytes(self._slots[SLOTS * text : SLOTS * (text + 1)], "little")

    def _shingles_of(self, text: int) -> bytes:
        return bytes(self._shingles[8 * self._places[text] : 8 * self._places[text + 1]])


def _buckets(keys: "array[int]") -> Iterator[list[int]]:
    """Yield the numbers of texts of equal key where there are several, sorted, in the order of the keys."""
    whole = pa.Array.from_buffers(pa.uint32(), len(keys), [None, pa.py_buffer(keys)])
    order = pc.array_sort_indices(whole)  # stable
    sorted_keys = pc.take(whole, order)
    count = max(len(keys) - 1, 0)
    repeated = pc.indices_nonzero(pc.equal(sorted_keys.slice(1), sorted_keys.slice(0, count)))
    numbers = memoryview(order.buffers()[1]).cast("Q") if count else memoryview(b"")
    bucket: list[int] = []
    end = -1
    for place in memoryview(repeated.buffers()[1]).cast("Q")[: len(repeated)] if len(repeated) else ():
        if place != end:
            if bucket:
                yield bucket
            bucket = [numbers[place]]
        bucket.append(numbers[place + 1])
        end = place + 1
    if bucket:
        yield bucket


def _agreeing(a: int, b: int) -> int:
    return (a ^ b).to_bytes(SLOTS, "little").count(0)


def _jaccard(a: bytes, b: bytes) -> float:
    if a == b:
        return 1.0
    mine, theirs = set(array("Q", a)), set(array("Q", b))
    shared = len(mine & theirs)
    return shared / (len(mine) + len(theirs) - shared)
