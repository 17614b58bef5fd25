"""Parquet and JSON Lines files, one row a source file: StarCoderData, The Stack, or a table of one's own."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from magicoder.corpora._columns import Columns, RowReader, choose
from magicoder.corpora._files import digest_files, document, explained, find_inputs
from magicoder.corpora._streams import DAMAGE, open_stream
from magicoder.errors import CorpusError
from magicoder.records import RawDocument

_BATCH_BYTES: Final = 1 << 20
"""How much text a batch of Parquet rows should hold, in bytes."""
_FIRST_ROWS: Final = 100
"""How many rows of a JSON Lines file are looked at to learn its columns."""
_OTHER_CELLS: Final = 1 << 20
"""Room in a JSON line for everything but the text, in bytes."""
_ESCAPED: Final = 6
"""JSON writes a byte as six at most (`\\u0000`)."""

_LINES: Final = {
    f"{ending}{compression}": compression
    for ending in (".jsonl", ".ndjson", ".json")
    for compression in ("", ".gz", ".bz2", ".xz", ".zst")
}


def is_table(name: str) -> bool:
    """Return whether a file of this name is read as a table."""
    return name.lower().endswith((".parquet", *_LINES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The rows of one file, of a pattern's matches (`data/*.parquet`) or of all tables in a folder, by file name.

    A Parquet file is read page by page, so that its largest page or cell bounds the memory.

    Columns are found by their usual names (`_columns.USUAL`) unless they are named; `-` means to use none. A list of
    licences means that all of them hold. Rows with equal repository, commit and path keep equal identifiers; the
    documents stage keeps the first.

    text, *_column                         columns; "" finds them
    repository, commit, language, license  used where no column gives a value; without any repository, the file's name
    """

    path: str
    text: str = ""
    path_column: str = ""
    repository_column: str = ""
    commit_column: str = ""
    language_column: str = ""
    license_column: str = ""
    repository: str = ""
    commit: str = ""
    language: str = ""
    license: str = ""

    def documents(self, max_bytes: int) -> Iterator[RawDocument]:
        """Yield every row. A damaged row or file is a document with a `problem`, and reading goes on behind it.

        Raises:
            CorpusError: there is no table, a column is missing, or a single file is no table at all.
        """
        files, given = self._files(), 0
        for file in files:
            name = _stem(file)
            try:
                for found in self._rows(file, name, max_bytes):
                    given += 1
                    yield found
            except DAMAGE as e:
                if len(files) == 1 and not given:
                    raise CorpusError(f"{file} cannot be read as a table: {e}; is it complete?") from e
                given += 1
                yield document(
                    repository=self.repository or name,
                    commit="",
                    path=file.name,
                    problem="corrupt_table",
                    detail=str(e),
                )
        if not given:
            raise CorpusError(f"{self.path} has no rows")

    def state(self) -> str:
        """Return a digest of the files' names, sizes and times."""
        with explained(self.path):
            return digest_files(self._files())

    def _files(self) -> list[Path]:
        with explained(self.path):
            return find_inputs(self.path, is_table, "tables (.parquet, .jsonl, .jsonl.gz …)")

    def _rows(self, file: Path, name: str, max_bytes: int) -> Iterator[RawDocument]:
        with explained(str(file)):
            file.open("rb").close()  # a file without permission is an error of the user's, not damage
        if file.name.lower().endswith(".parquet"):
            yield from self._parquet(file, name, max_bytes)
        else:
            compression = next((c for e, c in _LINES.items() if file.name.lower().endswith(e)), "")
            yield from self._json_lines(file, compression, name, max_bytes)

    def _reader(self, file: Path, name: str, present: list[str]) -> RowReader:
        asked = {
            "text": self.text,
            "path": self.path_column,
            "repository": self.repository_column,
            "commit": self.commit_column,
            "language": self.language_column,
            "license": self.license_column,
        }
        columns = choose(str(file), present, asked)
        return RowReader(columns, self.repository or name, self.commit, self.language, self.license)

    def _parquet(self, file: Path, name: str, max_bytes: int) -> Iterator[RawDocument]:
        # Buffered and not pre-buffered: a row group is read page by page, otherwise whole.
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 16) as table:
            reader = self._reader(file, name, table.schema_arrow.names)
            _check_text(file, table.schema_arrow.field(reader.columns.text), table.schema_arrow)
            row = 0
            rows, used = _batch_rows(table, reader.columns.text), reader.columns.used
            for batch in table.iter_batches(rows, columns=used, use_threads=False):
                for cells, content, size in _cells(batch, reader.columns, max_bytes):
                    yield reader.document(row, cells, content, size)
                    row += 1

    def _json_lines(self, file: Path, compression: str, name: str, max_bytes: int) -> Iterator[RawDocument]:
        limit = _ESCAPED * max_bytes + _OTHER_CELLS
        with open_stream(file, compression) as stream:
            present = _keys(stream, limit, file)
        if not present:
            return
        reader = self._reader(file, name, present)
        with open_stream(file, compression) as stream:
            for row, (line, size) in enumerate(_lines(stream, limit)):
                if line is None:
                    detail = f"line {row + 1} has {size} bytes, more than {limit}"
                    yield reader.document(row, {}, None, size, problem="row_too_large", detail=detail)
                elif line.strip():
                    yield _from_json(reader, row, line, max_bytes)


def _stem(file: Path) -> str:
    """Return a file's name without the endings that say how it is stored."""
    return file.name.partition(".")[0] or file.name


def _check_text(file: Path, field: pa.Field, schema: pa.Schema) -> None:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_bytes(kind) or kind == pa.string_view()):
        listed = ", ".join(f"{f.name} ({f.type})" for f in schema)
        raise CorpusError(
            f"{file}: column {field.name!r} holds {field.type}, not text; say which one holds the source code with "
            f"text=<column>; its columns: {listed}"
        )


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _batch_rows(table: pq.ParquetFile, text: str) -> int:
    """Return how many rows make a batch of about `_BATCH_BYTES`, from the sizes that the file states."""
    stated = rows = 0
    for index in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(index)
        rows += group.num_rows
        for column in range(group.num_columns):
            found = group.column(column)
            stated += found.total_uncompressed_size if found.path_in_schema.split(".")[0] == text else 0
    return max(1, min(1024, _BATCH_BYTES * rows // max(1, stated)))


def _cells(
    batch: pa.RecordBatch, columns: Columns, max_bytes: int
) -> Iterator[tuple[dict[str, Any], bytes | None, int]]:
    """Yield each row's short cells, the first bytes of its text and the text's size."""
    texts = batch.column(columns.text)
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    others = {name: batch.column(name).to_pylist() for name in columns.used if name != columns.text}
    for index in range(batch.num_rows):
        buffer = texts[index].as_buffer()  # the cell where it lies: one of a gigabyte is not copied
        cells = {name: values[index] for name, values in others.items()}
        if buffer is None:
            yield cells, None, 0
        else:
            yield cells, buffer.slice(0, min(buffer.size, max_bytes + 1)).to_pybytes(), buffer.size


def _lines(stream: IO[bytes], limit: int) -> Iterator[tuple[bytes | None, int]]:
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


def _keys(stream: IO[bytes], limit: int, file: Path) -> list[str]:
    """Return the keys of the first rows in order of appearance, none if the file has no lines."""
    keys: dict[str, None] = {}
    looked_at = understood = 0
    for line, _ in _lines(stream, limit):
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


def _from_json(reader: RowReader, row: int, line: bytes, max_bytes: int) -> RawDocument:
    value: Any = None
    cells: dict[str, Any] = {}
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        detail = f"{e.msg} (character {e.pos + 1})"
    else:
        detail = "not a JSON object"
    if isinstance(value, dict):
        cells, text = value, value.get(reader.columns.text)
        if text is None:
            return reader.document(row, cells, None, 0)
        if isinstance(text, str):
            data = text.encode()
            return reader.document(row, cells, data[: max_bytes + 1], len(data))
        detail = f"{reader.columns.text} holds a {type(text).__name__}, not text"
    return reader.document(row, cells, None, len(line), problem="malformed_row", detail=f"line {row + 1}: {detail}")


PLUGIN = Tables
