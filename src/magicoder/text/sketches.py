"""Sketches: what near-duplicate search knows of a text instead of the text.

A text is its set of shingles, runs of five words, each a 64-bit hash. Its sketch has 256 slots. In each of up to 256
rounds every shingle is thrown into one slot; a slot keeps the smallest hash of the first round that reaches it, and
slots that no round reached keep the smallest hash of all. Whatever order and company, two texts agree in a slot with
the probability of their Jaccard similarity, as in MinHash, but a text of many shingles is thrown once or twice instead
of being hashed 256 times ("fast similarity sketching", Dahlgaard, Knudsen and Thorup, FOCS 2017; that one order of the
hashes serves all rounds is ours).

This is the definition, in plain Python; `kernels.shingles` computes the same bytes.
"""

import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from magicoder import kernels

SHINGLE: Final = 5
"""Words in a shingle."""

SLOTS: Final = 256
BANDS: Final = 42
ROWS: Final = 6
KEYS: Final = BANDS + 1
"""Keys of a sketch: one of all slots, then one of each band; 32 bits each."""

_PASSES: Final = 32
"""A pass hashes each shingle anew and makes eight rounds of it, one for each byte."""

_WORD: Final = re.compile(rb"[0-9A-Za-z_\x80-\xff]+")
_STRAY: Final = re.compile(rb"\r\n?")
_MASK: Final = (1 << 64) - 1
_WORD_FACTOR: Final = 0x9E3779B97F4A7C15
_SHINGLE_FACTOR: Final = 0xA24BAED4963EE407
_MIX_FACTOR: Final = 0xD6E8FEB86659FD93
_PASS_STEP: Final = 0xA0761D6478BD642F
_SHORT: Final = 0x8EBC6AF09C88C6E3
_HALF: Final = 0xFFFFFFFF

_CHUNK: Final = 1 << 22
"""Bytes of text worked on at a time (or one text): shingles take up to four times as much."""

_LEAST_COMPILED: Final = 1 << 15
"""Bytes of text from which on the compiled kernel is loaded (about half a second); once loaded it does the rest too."""

_KERNEL: Final = "magicoder.kernels.shingles"

_KNOWN_WORDS: Final = 1 << 17


def words(text: str) -> list[bytes]:
    """Return the words of `text` in order: runs of ASCII letters, digits, underscores and of any non-ASCII bytes."""
    return _WORD.findall(_encoded(text))


def shingles(text: str) -> set[bytes]:
    """Return the distinct shingles of `text`, words joined by spaces: what is hashed to make a sketch.

    A text of fewer than five words is its own only shingle, newlines made one kind and white space around it taken
    off, so it resembles nothing but an equal text. (The original's script gives all such texts one and the same
    signature, and so takes them for duplicates of each other.)
    """
    data = _encoded(text)
    found = _WORD.findall(data)
    if len(found) < SHINGLE:
        return {_normalized(data)}
    return set(map(b" ".join, zip(*(found[i:] for i in range(SHINGLE)), strict=False)))


def jaccard(a: set[bytes], b: set[bytes]) -> float:
    """Return the share of the shingles of either set that are in both, 1.0 for two empty sets."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0


@dataclass(frozen=True, slots=True)
class SketchBatch:
    """Consecutive texts as the search sees them: little-endian numbers, text after text. About as large as the texts.

    shingles     the hash of each shingle where it stands, 8 bytes each; repeated ones are repeated
    sizes        how many each text has, 4 bytes each
    slots        a byte of the hash in each slot
    keys         `KEYS` for each text, 4 bytes each; equal where all the slots that they stand for are
    """

    shingles: bytes
    sizes: bytes
    slots: bytes
    keys: bytes

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.sizes) // 4


def sketch_batch(texts: "Sequence[str] | pa.ChunkedArray") -> SketchBatch:
    """Return the sketches of `texts`; they do not depend on how a collection is cut into batches.

    A column of texts is sketched where it lies.
    """
    if isinstance(texts, pa.ChunkedArray):
        if _is_compiled(texts.nbytes):
            return _of_column(texts)
        texts = texts.to_pylist()
    return _all_of(_sketched(chunk) for chunk in _chunks(map(_encoded, texts)))


def _all_of(parts: Iterable[SketchBatch]) -> SketchBatch:
    every = list(parts)
    if len(every) == 1:
        return every[0]
    return SketchBatch(
        b"".join(p.shingles for p in every),
        b"".join(p.sizes for p in every),
        b"".join(p.slots for p in every),
        b"".join(p.keys for p in every),
    )


def _of_column(texts: pa.ChunkedArray) -> SketchBatch:
    from magicoder.kernels.shingles import sketch_column

    return _all_of(SketchBatch(*sketch_column(piece)) for piece in _pieces(texts))


def _pieces(texts: pa.ChunkedArray) -> Iterator[pa.Array]:
    for chunk in texts.chunks:
        first, size = 0, 0
        for row, length in enumerate(pc.binary_length(chunk).to_pylist()):
            if row > first and size + length > _CHUNK:
                yield chunk.slice(first, row - first)
                first, size = row, 0
            size += length
        yield chunk.slice(first)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _chunks(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for text in texts:
        if chunk and size + len(text) > _CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += len(text)
    if chunk:
        yield chunk


def _sketched(texts: list[bytes]) -> SketchBatch:
    return compiled(texts) if _is_compiled(sum(map(len, texts))) else plain(texts)


def _is_compiled(size: int) -> bool:
    return (_KERNEL in sys.modules or size >= _LEAST_COMPILED) and kernels.available()


def compiled(texts: list[bytes]) -> SketchBatch:
    """Return what `plain` does, by the kernel."""
    from magicoder.kernels.shingles import sketch

    return SketchBatch(*sketch(texts))


def plain(texts: list[bytes]) -> SketchBatch:
    """Return the sketches of encoded texts."""
    hashes, sizes = _hashes(texts)
    bounds = [0, *accumulate(sizes)]
    descending = [sorted(set(hashes[start:stop]), reverse=True) for start, stop in pairwise(bounds)]
    slots, keys = bytearray(), array("I")
    for row in _rows(descending):
        slots += array("Q", row).tobytes()[4::8]
        keys.append(sum(row) & _HALF)
        keys.extend(sum(row[first : first + ROWS]) & _HALF for first in range(0, BANDS * ROWS, ROWS))
    return SketchBatch(hashes.tobytes(), array("I", sizes).tobytes(), bytes(slots), keys.tobytes())


class _Words(dict[bytes, int]):
    """Hashes of words, remembered: words are few, and each is met often."""

    def __missing__(self, word: bytes) -> int:
        if len(self) >= _KNOWN_WORDS:
            self.clear()
        self[word] = value = _hash(word, 0)
        return value


def _hash(data: bytes, start: int) -> int:
    """Return a 64-bit hash, of words of up to eight bytes without collisions."""
    value = start
    for place in range(0, len(data), 8):
        value = _fold(value, int.from_bytes(data[place : place + 8], "little"))
    return value


def _fold(value: int, more: int) -> int:
    value = ((value ^ more) * _WORD_FACTOR) & _MASK
    return value ^ (value >> 32)


def _whole(text: bytes) -> int:
    """Return a hash of a text of few words; its length counts, since there are NULs that are not filling."""
    data = _normalized(text)
    return _fold(_hash(data, _SHORT), len(data))


def _normalized(data: bytes) -> bytes:
    return _STRAY.sub(b"\n", data).strip(b" \t\n\v\f")


def _hashes(texts: list[bytes]) -> tuple["array[int]", list[int]]:
    """Return the hashes of the shingles, text after text, and how many each text has."""
    known = _Words()
    values = array("Q")
    counts = []
    for text in texts:
        found = _WORD.findall(text)
        if len(found) < SHINGLE:  # padded: five values stand for one shingle
            found = []
            values.extend((0, 0, 0, 0, _whole(text)))
        values.extend(map(known.__getitem__, found))
        counts.append(len(found) or SHINGLE)
    runs = _array(values)
    count = max(len(values) - SHINGLE + 1, 0)
    joined = runs.slice(0, count)
    for behind in range(1, SHINGLE):
        joined = pc.add(pc.multiply(joined, _scalar(_SHINGLE_FACTOR)), runs.slice(behind, count))
    everywhere = _bytes(_mixed(joined))
    hashes = array("Q")
    for start, stop in pairwise([0, *accumulate(counts)]):  # runs across two texts are left out
        hashes.frombytes(everywhere[8 * start : 8 * (stop - SHINGLE + 1)])
    return hashes, [count - SHINGLE + 1 for count in counts]


def _rows(descending: list[list[int]]) -> Iterator[list[int]]:
    """Return the hash in each slot, for each text, given its distinct hashes from the largest down."""
    rows: list[dict[int, int]] = [{} for _ in descending]
    waiting = [number for number, found in enumerate(descending) if len(found) > 1]
    for number in range(_PASSES):
        thrown = array("Q")
        for text in waiting:
            thrown.extend(descending[text])
        step = _scalar(number * _PASS_STEP & _MASK)
        data = _bytes(_mixed(pc.bit_wise_xor(_array(thrown), step)))
        start = 0
        for text in waiting:
            stop = start + 8 * len(descending[text])
            rows[text] = _thrown(bytes(data[start:stop]), descending[text], rows[text])
            start = stop
        waiting = [text for text in waiting if len(rows[text]) < SLOTS]
    for found, row in zip(descending, rows, strict=True):
        yield list((dict.fromkeys(range(SLOTS), found[-1]) | row).values())


def _thrown(rounds: bytes, descending: list[int], row: dict[int, int]) -> dict[int, int]:
    """Return the slots after eight more rounds: byte i of a number of `rounds` is the slot of its hash in round i."""
    together = max(1, min(8, 8 * SLOTS // len(descending)))
    for first in range(0, 8, together):
        several = [rounds[i::8] for i in range(first, min(first + together, 8))]
        # Of equal keys the last one stays: the earliest round's smallest hash.
        row = dict(zip(b"".join(reversed(several)), descending * len(several), strict=True)) | row
        if len(row) == SLOTS:
            break
    return row


def _scalar(value: int) -> Any:
    return pa.scalar(value, pa.uint64())


def _array(values: "array[int]") -> Any:
    return pa.Array.from_buffers(pa.uint64(), len(values), [None, pa.py_buffer(values)])


def _bytes(values: Any) -> memoryview:
    data = values.buffers()[1]
    return memoryview(data)[8 * values.offset : 8 * (values.offset + len(values))] if data else memoryview(b"")


def _mixed(x: Any) -> Any:
    """Return each number with its bits mixed, one to one."""
    for _ in range(2):
        x = pc.bit_wise_xor(x, pc.shift_right(x, _scalar(32)))
        x = pc.multiply(x, _scalar(_MIX_FACTOR))
    return pc.bit_wise_xor(x, pc.shift_right(x, _scalar(32)))
