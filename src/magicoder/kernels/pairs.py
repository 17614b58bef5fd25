"""Pairs of sketches that share a key, compared and joined into clusters (`text.near_duplicates`, compiled).

Compiling takes a few seconds, once for each version and machine.
"""

from array import array
from typing import Any, Final

import numpy as np
from numba import boolean, float64, int64, njit, types, uint8, uint32, uint64, void

_SLOTS: Final = 256  # text.sketches.SLOTS
_REPRESENTATIVES: Final = 64  # text.near_duplicates.REPRESENTATIVES
_NOBODY: Final = np.uint32(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_SHARED: Final = np.uint8(2)
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)

_READ_64: Final = types.Array(uint64, 1, "C", readonly=True)
_READ_8: Final = types.Array(uint8, 1, "C", readonly=True)


@njit(int64(uint32[::1], int64), nogil=True, cache=True)
def _root(parents, text):  # type: ignore[no-untyped-def]
    while parents[text] != text:
        parents[text] = parents[parents[text]]
        text = int64(parents[text])
    return text


@njit(void(uint32[::1]), nogil=True, cache=True)
def _flatten(parents):  # type: ignore[no-untyped-def]
    for text in range(len(parents)):
        parents[text] = _root(parents, text)


@njit(int64(_READ_8, _READ_8), nogil=True, cache=True)
def _agreeing(a, b):  # type: ignore[no-untyped-def]
    found = int64(0)
    for part in range(0, _SLOTS, 128):
        within = uint8(0)  # counted in bytes, which go 32 at a time
        for i in range(128):
            within += uint8(a[part + i] == b[part + i])
        found += int64(within)
    return found


@njit(boolean(_READ_64, _READ_64), nogil=True, cache=True)
def _equal(a, b):  # type: ignore[no-untyped-def]
    if len(a) != len(b):
        return False
    for i in range(len(a)):  # noqa: SIM110 - a generator does not compile
        if a[i] != b[i]:
            return False
    return True


@njit(float64(_READ_64, _READ_64, uint64[::1], uint8[::1]), nogil=True, cache=True)
def _jaccard(a, b, table, marks):  # type: ignore[no-untyped-def]
    """Return the similarity of two sets given with repetitions, by a table of at least twice their size."""
    if _equal(a, b):
        return 1.0
    bits = 3
    while (1 << bits) < 2 * (len(a) + len(b)):
        bits += 1
    mask = np.uint64((1 << bits) - 1)
    marks[: 1 << bits] = 0
    union, shared = int64(0), int64(0)
    for i in range(len(a)):
        place = a[i] & mask
        while marks[place] and table[place] != a[i]:
            place = (place + np.uint64(1)) & mask
        if not marks[place]:
            table[place] = a[i]
            marks[place] = 1
            union += 1
    for i in range(len(b)):
        place = b[i] & mask
        while marks[place] and table[place] != b[i]:
            place = (place + np.uint64(1)) & mask
        if not marks[place]:
            table[place] = b[i]
            marks[place] = _SHARED
            union += 1
        elif marks[place] != _SHARED:
            marks[place] = _SHARED
            shared += 1
    return shared / union


_TUPLE: Any = types.Tuple  # numba has no types of its own
_TEXTS: Final = _TUPLE((_READ_64, _READ_64, _READ_8, float64, int64))
_STATE: Final = _TUPLE((uint32[::1], uint32[::1], float64[::1], uint8[::1], int64[::1]))
_SCRATCH: Final = _TUPLE((uint64[::1], uint8[::1]))


@njit(boolean(int64, int64, _TEXTS, _STATE, _SCRATCH), nogil=True, cache=True)
def _compare(text, other, texts, state, scratch):  # type: ignore[no-untyped-def]
    """Say whether the two are in one cluster, after joining them if they resemble each other."""
    places, shingles, slots, threshold, least = texts
    parents, partners, similarities, _, counts = state
    a, b = _root(parents, text), _root(parents, other)
    if a == b:
        return True
    counts[0] += 1
    mine, theirs = _SLOTS * text, _SLOTS * other
    if _agreeing(slots[mine : mine + _SLOTS], slots[theirs : theirs + _SLOTS]) < least:
        return False
    counts[1] += 1
    similarity = _jaccard(
        shingles[places[text] : places[text + 1]], shingles[places[other] : places[other + 1]], scratch[0], scratch[1]
    )
    if similarity < threshold:
        return False
    counts[2] += 1
    for one, partner in ((text, other), (other, text)):
        if partners[one] == _NOBODY:
            partners[one] = partner
            similarities[one] = similarity
    parents[max(a, b)] = min(a, b)
    return True


@njit(void(uint64[::1], boolean, _TEXTS, _STATE, _SCRATCH), nogil=True, cache=True)
def _band(ordered, copies, texts, state, scratch):  # type: ignore[no-untyped-def]
    """Join the texts of equal key; `ordered` holds key << 32 | text, sorted."""
    _, _, similarities, is_copy, _ = state
    representatives = np.empty(_REPRESENTATIVES, np.int64)
    size, turn = 0, 0
    key = ~np.uint64(0)
    for entry in ordered:
        text = int64(entry & np.uint64(0xFFFFFFFF))
        if entry >> _HALF != key:
            key, size, turn = entry >> _HALF, 0, 0
        if is_copy[text]:
            continue
        is_full, is_known = size == _REPRESENTATIVES, False
        for k in range(size):
            is_known = _compare(text, representatives[k], texts, state, scratch) or is_known
            if is_known and (is_full or (copies and similarities[text] == 1.0)):
                break
        if copies and is_known and similarities[text] == 1.0:
            is_copy[text] = 1
        elif not is_full:
            representatives[size] = text
            size += 1
        elif not is_known:
            representatives[turn] = text
            turn = (turn + 1) % _REPRESENTATIVES


@njit(
    int64(types.Array(uint32, 1, "C", readonly=True), uint64[::1], uint64[::1], uint64[::1], uint64),
    nogil=True,
    cache=True,
)
def _repeated(keys, seen, again, ordered, mask):  # type: ignore[no-untyped-def]
    """Write key << 32 | text of each text whose key another one has, and of a few others; return how many."""
    for i in range(len(keys)):
        place = (keys[i] * _SPREAD) >> np.uint64(16) & mask
        word, bit = place >> np.uint64(6), np.uint64(1) << (place & np.uint64(63))
        again[word] |= seen[word] & bit
        seen[word] |= bit
    found = int64(0)
    for i in range(len(keys)):
        place = (keys[i] * _SPREAD) >> np.uint64(16) & mask
        ordered[found] = np.uint64(keys[i]) << _HALF | np.uint64(i)
        found += int64((again[place >> np.uint64(6)] >> (place & np.uint64(63))) & np.uint64(1))
    return found


class Join:
    """Joins texts into clusters, band by band."""

    def __init__(self, places: "array[int]", shingles: Any, slots: Any, threshold: float, least: int) -> None:
        count = len(places) - 1
        starts = np.frombuffer(places, np.uint64)
        self._texts = starts, np.frombuffer(shingles, np.uint64), np.frombuffer(slots, np.uint8), threshold, least
        self._arrays = array("I", range(count)), array("I", [int(_NOBODY)]) * count, array("d", [0.0]) * count
        leaders, partners, similarities = self._arrays
        self._counts = np.zeros(3, np.int64)
        self._state = (
            np.frombuffer(leaders, np.uint32),
            np.frombuffer(partners, np.uint32),
            np.frombuffer(similarities),
            np.zeros(count, np.uint8),
            self._counts,
        )
        size = max(8, 1 << (4 * int(np.max(np.diff(starts), initial=0))).bit_length())
        self._scratch = np.empty(size, np.uint64), np.empty(size, np.uint8)

    def band(self, keys: "array[int]", *, copies: bool) -> None:
        """Go through the texts of equal key; with `copies`, those with equal shingles are left out from now on."""
        words = max(1, len(keys) // 4)  # 16 bits a text
        words = 1 << (words - 1).bit_length()
        seen, again = np.zeros(words, np.uint64), np.zeros(words, np.uint64)
        ordered = np.empty(len(keys) + 1, np.uint64)
        # Most keys occur once; what is left is sorted in a fifth of the time.
        count = _repeated(np.frombuffer(keys, np.uint32), seen, again, ordered, np.uint64(64 * words - 1))
        ordered = ordered[:count]
        ordered.sort()
        _band(ordered, copies, self._texts, self._state, self._scratch)

    def result(self) -> dict[str, Any]:
        """Return the fields of `text.near_duplicates.Clusters`."""
        _flatten(self._state[0])
        names = ("candidate_pairs", "verified_pairs", "joined_pairs")
        fields = dict(zip(("leaders", "partners", "similarities"), self._arrays, strict=True))
        return {**fields, **dict(zip(names, self._counts.tolist(), strict=True))}
