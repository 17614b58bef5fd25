"""The symbols of the tokens of texts, comments left out: `text.identifiers.code`, compiled.

The lexer is the regular expression there, taken step by step; where that decides by kinds of characters, a table says
of every code point which kind it is. Compiling takes about three seconds, once for each version and machine.
"""

import zlib
from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
from numba import int32, int64, njit, types, uint8, uint32, uint64

from magicoder.kernels.crc import TABLES
from magicoder.kernels.memory import byte_at, eight_at, eight_of, filled, find_byte, first_of, word_at

SPACE, OTHER, WORD, DIGIT, NUMERIC = range(5)
"""Kinds of characters: white space; what is in no word; what may begin a name; a decimal digit; what may begin a name
for the expression (`²`), but is no letter, so that the token is compared as it stands."""

_ALL: Final = 0xFFFFFFFF
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_SLOTS: Final = 1024
_EVERY: Final = 0xFFFFFFFFFFFFFFFF
_LOW, _HIGH = np.uint64(0x7F7F7F7F7F7F7F7F), np.uint64(0x8080808080808080)
_BLANKS, _UNDERSCORES, _STARS, _NEWLINES = map(eight_of, " _*\n")
# What carries a byte of seven bits into the eighth from the character on.
_FROM_A, _BEYOND_Z, _FROM_0, _BEYOND_9 = (_HIGH - eight_of(c) for c in "a{0:")
_COLUMNS: Final = 256
"""Room for the symbols of kept words, behind that of any other word."""
_SINGLE: Final = 3 * _COLUMNS
"""From here on stand the symbols of characters that are a token of their own, 0 for all others."""
_LONGEST: Final = 10
"""Bytes of the longest word that is kept."""


@njit(int64(int64, int64), nogil=True, cache=True)
def _size(data, i):  # type: ignore[no-untyped-def]
    """Return the bytes of the character at `i`."""
    first = byte_at(data, i)
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


@njit(uint8(int64, int64, int64), nogil=True, cache=True)
def _wide_kind(data, i, kinds):  # type: ignore[no-untyped-def]
    first, size, point = byte_at(data, i), _size(data, i), np.int64(0)
    point = np.int64(first) & (31 if size == 2 else 15 if size == 3 else 7)
    for n in range(1, size):
        point = point << 6 | np.int64(byte_at(data, i + n) & 63)
    return byte_at(kinds, point)


@njit(uint8(int64, int64, int64), nogil=True, cache=True)
def _kind(data, i, kinds):  # type: ignore[no-untyped-def]
    first = byte_at(data, i)
    return byte_at(kinds, np.int64(first)) if first < 0x80 else _wide_kind(data, i, kinds)


@njit(uint64(uint64), nogil=True, cache=True)
def _word_bytes(x):  # type: ignore[no-untyped-def]
    """Return the highest bit of each of eight bytes that is an ASCII letter, a digit or an underscore."""
    low = x & _LOW
    lower = low | _BLANKS
    letter = (lower + _FROM_A) & ~(lower + _BEYOND_Z)
    digit = (low + _FROM_0) & ~(low + _BEYOND_9)
    return (letter | digit | ~filled(low ^ _UNDERSCORES)) & ~x & _HIGH


@njit(int64(int64, int64, int64, int64), nogil=True, cache=True)
def _word_end(data, i, stop, kinds):  # type: ignore[no-untyped-def]
    """Return where the letters, digits and underscores from `i` on end."""
    while i < stop:
        n = first_of(~_word_bytes(eight_at(data, i)) & _HIGH)
        i += n
        if n < 8:
            if i >= stop or byte_at(data, i) < 0x80 or _wide_kind(data, i, kinds) < WORD:
                break
            i += _size(data, i)
    return min(i, stop)


@njit(int64(int64, int64, int64), nogil=True, cache=True)
def _text_end(data, i, stop):  # type: ignore[no-untyped-def]
    """Return where the text that begins at the quote `i` ends, -1 if it does not on its line."""
    quote = byte_at(data, i)
    i += 1
    while i < stop:
        byte = byte_at(data, i)
        if byte == quote:
            return i + 1
        if byte == 92:
            i += 1
        if i >= stop or byte_at(data, i) == 10:
            return -1
        i += 1
    return -1


@njit(int64(int64, int64, int64), nogil=True, cache=True)
def _remark_end(data, i, stop):  # type: ignore[no-untyped-def]
    """Return where the remark whose inside begins at `i` ends, -1 if nothing closes it."""
    while True:
        i = find_byte(data, i, stop, _STARS)
        if i + 1 >= stop:
            return -1
        i += 1
        if byte_at(data, i) == 47:
            return i + 1


@njit(int64(int64, int64, int64, int64, int64), nogil=True, cache=True)
def _register(data, i, stop, state, crc):  # type: ignore[no-untyped-def]
    """Return the register of the CRC after bytes; `state` is that before them."""
    while i < stop:
        state = np.int64(word_at(crc, (state ^ np.int64(byte_at(data, i))) & 255)) ^ (state >> 8)
        i += 1
    return state


@njit(int64(int64, int64, int64, int64), nogil=True, cache=True)
def _crc(data, i, stop, crc):  # type: ignore[no-untyped-def]
    return _register(data, i, stop, _ALL, crc) ^ _ALL


@njit(int64(int64, int64, int64, int64, int64), nogil=True, cache=True)
def _content(data, i, stop, formatted, crc):  # type: ignore[no-untyped-def]
    """Return the CRC of a text's content behind an apostrophe; in a formatted one what stands in braces is left out."""
    state = np.int64(word_at(crc, 0xFF ^ 39)) ^ 0xFFFFFF
    while i < stop:
        if not formatted:
            return _register(data, i, stop, state, crc) ^ _ALL
        state = _register(data, i, i + 1, state, crc)
        i += 1
        if byte_at(data, i - 1) == 123:
            end = i
            while end < stop and byte_at(data, end) != 123 and byte_at(data, end) != 125:
                end += 1
            if end < stop and byte_at(data, end) == 125:
                i = end
    return state ^ _ALL


@njit(int64(int64, int64, int64, int64), nogil=True, cache=True)
def _kept(data, i, size, words):  # type: ignore[no-untyped-def]
    """Return the number, from 1, of the kept word that stands at `i` in `size` bytes, 0 if none does."""
    if size > _LONGEST:
        return 0
    first, rest = eight_at(data, i), np.uint64(0)
    if size < 8:
        first &= (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
    elif size > 8:
        rest = eight_at(data, i + size - 8) >> np.uint64(128 - 8 * size)
    slot = np.int64(((first ^ rest) * _MIX) >> np.uint64(54))
    while eight_at(words, 24 * slot) != 0:
        if eight_at(words, 24 * slot) == first and eight_at(words, 24 * slot + 8) == rest:
            return np.int64(eight_at(words, 24 * slot + 16))
        slot = (slot + 1) & (_SLOTS - 1)
    return 0


_PAIR = types.UniTuple(int64, 2)  # type: ignore[no-untyped-call]


@njit(_PAIR(int64, int64, int64, int64, int64), nogil=True, cache=True)
def _number(data, i, stop, kinds, crc):  # type: ignore[no-untyped-def]
    """Return end and symbol of the number at `i`."""
    end = _word_end(data, i + 1 if byte_at(data, i) == 46 else i, stop, kinds)
    while end + 1 < stop and byte_at(data, end) == 46 and _kind(data, end + 1, kinds) == DIGIT:
        end = _word_end(data, end + 1, stop, kinds)
    return end, _crc(data, i, end, crc)


@njit(_PAIR(int64, int64, int64, int64, int64, int64), nogil=True, cache=True)
def _point(data, begin, i, stop, kinds, crc):  # type: ignore[no-untyped-def]  # noqa: PLR0917 - addresses
    """Return end and symbol of what begins with the point at `i`: an attribute, a number, or the point itself."""
    end = i + 1
    if end < stop:
        kind = _kind(data, end, kinds)
        if kind == DIGIT:
            return _number(data, i, stop, kinds, crc)
        if kind >= WORD and (i == begin or byte_at(data, i - 1) != 46):
            end = _word_end(data, end, stop, kinds)
    return end, _crc(data, i, end, crc)


@njit(int64(int64, int64, int64, int64[::1]), nogil=True, cache=True)
def _comment(data, i, stop, unclosed):  # type: ignore[no-untyped-def]
    """Return the end of the comment at `i`, -1 if none begins there; from `unclosed` on no remark has an end."""
    second = byte_at(data, i + 1) if i + 1 < stop else 0
    if byte_at(data, i) == 35 or second == 47:
        return find_byte(data, i, stop, _NEWLINES)
    if second != 42 or i >= unclosed[0]:
        return -1
    end = _remark_end(data, i + 2, stop)
    if end < 0:
        unclosed[0] = i
    return end


@njit(_PAIR(int64, int64, int64, int64, int64, int64, int64[::1]), nogil=True, cache=True)
def _mark(data, begin, i, stop, kinds, crc, unclosed):  # type: ignore[no-untyped-def]  # noqa: PLR0917 - addresses
    """Return end and symbol, -1 for a comment, of the token at `i`, which is no name and begins with no digit."""
    byte = byte_at(data, i)
    if byte == 46:
        return _point(data, begin, i, stop, kinds, crc)
    end = i + _size(data, i)
    if byte == 35 or byte == 47:  # noqa: PLR1714
        closed = _comment(data, i, stop, unclosed)
        if closed >= 0:
            return closed, -1
    elif byte == 34 or byte == 39:  # noqa: PLR1714
        closed = _text_end(data, i, stop)
        if closed >= 0:
            return closed, _content(data, i + 1, closed - 1, 0, crc)
    elif byte == 92 and end < stop and byte_at(data, end) != 10 and byte_at(data, end) != 13:
        end += _size(data, end)
    return end, _crc(data, i, end, crc)


@njit(int64(int64, int64, int64), nogil=True, cache=True)
def _use(data, end, stop):  # type: ignore[no-untyped-def]
    """Return where `=` or `(` behind a name that ends at `end` ends, -1 if there is neither."""
    while end < stop and (byte_at(data, end) == 32 or byte_at(data, end) == 9):
        end += 1
    if end == stop:
        return -1
    if byte_at(data, end) == 40:
        return end + 1
    beyond = byte_at(data, end + 1) if end + 1 < stop else np.uint8(0)
    return end + 1 if byte_at(data, end) == 61 and np.uint8(beyond - 61) > 1 else -1


@njit(int64(int64, int64, int64), nogil=True, cache=True)
def _formats(data, i, end):  # type: ignore[no-untyped-def]
    """Return whether there is an `f` or `F`, as a number."""
    while i < end and byte_at(data, i) | 32 != 102:
        i += 1
    return i < end


@njit(_PAIR(int64, int64, int64, uint8, int64, int64, int64, int64), nogil=True, cache=True)
def _name(data, i, stop, kind, kinds, crc, words, symbols):  # type: ignore[no-untyped-def]  # noqa: PLR0917 - addresses
    """Return end and symbol of the name at `i` with what tells its use."""
    end = _word_end(data, i, stop, kinds)
    following = byte_at(data, end) if end < stop else 0
    quoted = following == 34 or following == 39  # noqa: PLR1714
    last = max(_text_end(data, end, stop) if quoted else _use(data, end, stop), end)
    if kind == NUMERIC:
        return last, _crc(data, i, last, crc)
    if last > end and quoted:
        return last, _content(data, end + 1, last - 1, _formats(data, i, end), crc)
    row = 0
    if last > end:
        if byte_at(data, last - 1) == 61:
            return last, np.int64(word_at(symbols, 2 * _COLUMNS))
        row = _COLUMNS
    return last, np.int64(word_at(symbols, row + _kept(data, i, end - i, words)))


@njit(int64(int64, int64[::1], int64, int64, int64, int64, uint32[::1], int32[::1], int64[::1]), nogil=True, cache=True)
def _tokens(  # type: ignore[no-untyped-def]  # noqa: PLR0917 - addresses and arrays, one by one
    data, starts, kinds, crc, words, symbols, values, places, value_starts
):
    """Put down the symbol of each token that is no comment, and where in its text it begins; return how many."""
    found, unclosed = 0, np.empty(1, np.int64)
    for text in range(starts.shape[0] - 1):
        value_starts[text] = found
        begin, stop = starts[text], starts[text + 1]
        i, unclosed[0] = begin, stop
        while i < stop:
            kind = _kind(data, i, kinds)
            if kind == SPACE:
                i += max(first_of(filled(eight_at(data, i) ^ _BLANKS)), _size(data, i))
                continue
            if kind == OTHER:
                end, symbol = i + 1, np.int64(word_at(symbols, _SINGLE + np.int64(byte_at(data, i))))
                if symbol == 0:
                    end, symbol = _mark(data, begin, i, stop, kinds, crc, unclosed)
            elif kind == DIGIT:
                end, symbol = _number(data, i, stop, kinds, crc)
            else:
                end, symbol = _name(data, i, stop, kind, kinds, crc, words, symbols)
            if symbol >= 0:
                values[found] = max(symbol, 1)
                places[found] = i - begin
                found += 1
            i = end
    value_starts[-1] = found
    return found


class Lexer:
    """The tables of a lexer: kinds of characters and words that are no names."""

    def __init__(self, kinds: bytes, kept: Sequence[tuple[bytes, int, int]], others: tuple[int, int, int]) -> None:
        """Take the kind of each code point, the words kept, and the symbols of other words.

        kept       a word, its symbol, and that where it is called
        others     the symbol of any other word, that where it is called, and that where any word is assigned to
        """
        assert len(kept) < _COLUMNS
        assert max(len(word) for word, _, _ in kept) <= _LONGEST
        self._kinds = np.frombuffer(kinds, np.uint8)
        self._symbols = np.zeros((4, _COLUMNS), np.uint32)
        self._symbols[:3, 0] = others
        self._symbols[:2, 1 : len(kept) + 1] = [[bare for _, bare, _ in kept], [called for _, _, called in kept]]
        self._symbols[3, :128] = [0 if chr(byte) in "./#\"'\\" else zlib.crc32(bytes([byte])) for byte in range(128)]
        self._words = np.zeros((_SLOTS, 3), np.uint64)
        for number, (word, _, _) in enumerate(kept, start=1):
            first, rest = (int.from_bytes(part, "little") for part in (word[:8], word[8:]))
            slot = ((first ^ rest) * int(_MIX) & _EVERY) >> 54
            while self._words[slot, 0]:
                slot = (slot + 1) & (_SLOTS - 1)
            self._words[slot] = first, rest, number

    def symbols(self, data: bytes, starts: Any) -> tuple[Any, Any, Any]:
        """Return the symbols of the tokens of texts, where in its text each token begins, and where each text's begin.

        data     the texts one behind another, in UTF-8 (lone surrogates as they come); starts and places count bytes
        """
        room = len(data) + 1
        values, places, value_starts = np.empty(room, np.uint32), np.empty(room, np.int32), np.empty_like(starts)
        read = np.frombuffer(data, np.uint8)
        tables = (self._kinds, TABLES, self._words, self._symbols)
        addresses = tuple(table.ctypes.data for table in tables)
        found = cast("Any", _tokens)(read.ctypes.data, starts, *addresses, values, places, value_starts)
        return values[:found], places[:found], value_starts
