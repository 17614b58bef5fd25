"""Reading tables row by row, whatever a row means: Parquet batches, JSON Lines, JSON arrays; damaged files told."""

import codecs
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import orjson
import pyarrow.parquet as pq

from magicoder.corpora._files import CHUNK, document, explained
from magicoder.corpora._streams import DAMAGE
from magicoder.errors import CorpusError
from magicoder.records import RawDocument

T = TypeVar("T")

_BATCH_BYTES: Final = 1 << 21
"""How much text a batch of Parquet rows should hold, in bytes."""
_BATCH_ROWS: Final = 1000
_FIRST_ROWS: Final = 100
"""How many rows of a JSON file are looked at to learn its columns."""
_OTHER_CELLS: Final = 1 << 20
"""Room in a JSON line for everything but the text, in bytes."""
_ESCAPED: Final = 6
"""JSON writes a byte as six at most (`\\u0000`)."""
_BLANKS: Final = " \t\r\n"

_LINES: Final = {
    f"{ending}{compression}": compression
    for ending in (".jsonl", ".ndjson", ".json")
    for compression in ("", ".gz", ".bz2", ".xz", ".zst")
}


def is_table(name: str) -> bool:
    """Return whether a file of this name is read as a table."""
    return name.lower().endswith((".parquet", *_LINES))


def compression_of(file: Path) -> str:
    """Return how a JSON file is compressed, as `open_stream` wants it, by its name."""
    return next((c for ending, c in _LINES.items() if file.name.lower().endswith(ending)), "")


def stem(file: Path) -> str:
    """Return a file's name without the endings that say how it is stored."""
    return file.name.partition(".")[0] or file.name


def line_limit(max_bytes: int) -> int:
    """Return how long a JSON row may be that holds a text of `max_bytes`, in bytes."""
    return _ESCAPED * max_bytes + _OTHER_CELLS


def each_file(
    source: str, files: list[Path], rows: Callable[[Path], Iterator[T]], repository: str
) -> Iterator[T | RawDocument]:
    """Yield the rows of every file, one by one or many at a time.

    A damaged file is a document with a `problem`, and reading goes on behind it.

    Raises:
        CorpusError: there is no row at all, or the only file is damaged from the start.
    """
    given = 0
    for file in files:
        with explained(str(file)):
            file.open("rb").close()  # a file without permission is an error of the user's, not damage
        try:
            for found in rows(file):
                given += 1
                yield found
        except DAMAGE as e:
            if len(files) == 1 and not given:
                raise CorpusError(f"{file} cannot be read as a table: {e}; is it complete?") from e
            given += 1
            yield document(
                repository=repository or stem(file),
                commit="",
                path=file.name,
                problem="corrupt_table",
                detail=str(e),
            )
    if not given:
        raise CorpusError(f"{source} has no rows")


def batch_rows(table: pq.ParquetFile, columns: Iterable[str]) -> int:
    """Return how many rows make a batch of about `_BATCH_BYTES` of `columns`, from the sizes that the file states."""
    stated = rows = 0
    wanted = set(columns)
    for index in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(index)
        rows += group.num_rows
        for column in range(group.num_columns):
            found = group.column(column)
            stated += found.total_uncompressed_size if found.path_in_schema.split(".")[0] in wanted else 0
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows // max(1, stated)))


def json_lines(stream: IO[bytes], limit: int) -> Iterator[tuple[bytes | None, int]]:
    """Yield lines, split on newline only, and their sizes; one longer than `limit` bytes is passed over as None."""
    reader = io.BufferedReader(stream, 1 << 16) if isinstance(stream, io.RawIOBase) else stream
    first = True
    while line := reader.readline(limit + 1):
        size = len(line)
        if size > limit and not line.endswith(b"\n"):
            while rest := reader.readline(1 << 16):
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
            yield None, size
        else:
            yield line.removeprefix(b"\xef\xbb\xbf") if first else line, size
        first = False


def first_keys(stream: IO[bytes], limit: int, file: Path) -> list[str]:
    """Return the keys of the first rows in order of appearance, none if the file has no lines.

    Raises:
        CorpusError: no line among them is a JSON object.
    """
    keys: dict[str, None] = {}
    looked_at = understood = 0
    for line, _ in json_lines(stream, limit):
        looked_at += 1 if line is None or line.strip() else 0
        value = _parse(line) if line else None
        if looked_at == 1 and line is not None and line.lstrip().startswith(b"["):
            raise CorpusError(f"{file} is one JSON array; rows must be objects, one a line: jq -c '.[]' converts it")
        if isinstance(value, dict):
            understood += 1
            keys |= dict.fromkeys(value)
        if looked_at >= _FIRST_ROWS:
            break
    if looked_at and not understood:
        raise CorpusError(f"{file}: none of the first {looked_at} lines is a JSON object; is it JSON Lines?")
    return list(keys)


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def is_array(stream: IO[bytes]) -> bool:
    """Return whether a JSON file is one array instead of lines."""
    return stream.read(CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def first_array_keys(stream: IO[bytes], limit: int, file: Path) -> list[str]:
    """Return the keys of the first values of a JSON array in order of appearance.

    Raises:
        CorpusError: none of them is an object.
    """
    keys: dict[str, None] = {}
    looked_at = 0
    try:
        for value in islice(array_values(stream, limit), _FIRST_ROWS):
            looked_at += 1
            keys |= dict.fromkeys(value) if isinstance(value, dict) else {}
    except DAMAGE:
        if not looked_at:
            raise  # else whoever reads the rows comes to it in its turn
    if looked_at and not keys:
        raise CorpusError(f"{file}: none of the first {looked_at} values of its array is an object")
    return list(keys)


def array_values(stream: IO[bytes], limit: int) -> Iterator[Any]:
    """Yield the values of a JSON array one by one, holding no more than the largest of them.

    Raises:
        EOFError: a value is malformed or longer than `limit` characters, or the array breaks off; said is where.
    """
    text = _Text(stream, limit)
    number = 1
    if text.next_mark() != "[":
        raise EOFError("it does not begin with [")
    text.at += 1
    if text.next_mark() == "]":
        return
    while True:
        yield text.value(number)
        number += 1
        mark = text.next_mark()
        text.at += 1
        if mark == "]":
            break
        if mark != ",":
            raise EOFError(f"value {number} of its array is not separated from the one before")
    if text.next_mark():
        raise EOFError("something follows the end of its array")


class _Text:
    """A window on a long JSON text; `at` is where reading goes on."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._decode = json.JSONDecoder().raw_decode
        self._limit = limit
        self._held = ""
        self.at = 0

    def next_mark(self) -> str:
        """Skip blanks and return the character that follows, "" at the end."""
        while True:
            while self.at < len(self._held):
                if self._held[self.at] not in _BLANKS:
                    return self._held[self.at]
                self.at += 1
            if not self._more(CHUNK):
                return ""

    def value(self, number: int) -> Any:
        """Return the value that begins here; a number is whole only when something else follows it."""
        if not self.next_mark():
            raise EOFError(f"its array breaks off before value {number}")
        size = CHUNK
        while True:
            try:
                value, end = self._decode(self._held, self.at)
            except (json.JSONDecodeError, RecursionError) as e:
                problem = str(e)
            else:
                if end < len(self._held) and self._held[end] in f"{_BLANKS},]":
                    self.at = end
                    return value
                problem = "nothing that may follow it does"
            if len(self._held) - self.at > self._limit or not self._more(size):
                raise EOFError(f"value {number} of its array is malformed: {problem}")
            size *= 2

    def _more(self, size: int) -> bool:
        read, data = "", b"?"
        while data and not read:
            data = self._stream.read(size)
            try:
                read = self._utf8.decode(data, final=not data)
            except UnicodeDecodeError as e:
                raise EOFError(f"it is not UTF-8: {e.reason}") from e
        self._held, self.at = self._held[self.at :] + read, 0
        return bool(read)
