"""Parquet and JSON Lines files, one row a source file: StarCoderData, The Stack, or a table of one's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from magicoder.corpora._batches import each_document, raw_documents
from magicoder.corpora._columns import Columns, RowReader, choose
from magicoder.corpora._files import digest_files, explained, find_inputs
from magicoder.corpora._rows import (
    batch_rows,
    compression_of,
    each_file,
    first_keys,
    is_table,
    json_lines,
    line_limit,
    stem,
)
from magicoder.corpora._streams import open_stream
from magicoder.errors import CorpusError
from magicoder.records import RawDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The rows of one file, of a pattern's matches (`data/*.parquet`) or of all tables in a folder, by file name.

    A Parquet file is read page by page, so that its largest page or cell, or 2 MB, bounds the memory.

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
        for found in self.tables(max_bytes):
            if isinstance(found, RawDocument):
                yield found
            else:
                yield from each_document(found)

    def tables(self, max_bytes: int) -> Iterator[pa.Table | RawDocument]:
        """Yield the same, Parquet rows many at a time, as the columns of `RawDocument`; raises as `documents`."""
        yield from each_file(
            self.path, self._files(), lambda file: self._rows(file, stem(file), max_bytes), self.repository
        )

    def state(self) -> str:
        """Return a digest of the files' names, sizes and times."""
        with explained(self.path):
            return digest_files(self._files())

    def _files(self) -> list[Path]:
        with explained(self.path):
            return find_inputs(self.path, is_table, "tables (.parquet, .jsonl, .jsonl.gz …)")

    def _rows(self, file: Path, name: str, max_bytes: int) -> Iterator[pa.Table | RawDocument]:
        if file.name.lower().endswith(".parquet"):
            yield from self._parquet(file, name, max_bytes)
        else:
            yield from self._json_lines(file, compression_of(file), name, max_bytes)

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

    def _parquet(self, file: Path, name: str, max_bytes: int) -> Iterator[pa.Table | RawDocument]:
        # Buffered and not pre-buffered: a row group is read page by page, otherwise whole.
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 16) as table:
            reader = self._reader(file, name, table.schema_arrow.names)
            _check_text(file, table.schema_arrow.field(reader.columns.text), table.schema_arrow)
            row = 0
            rows, used = batch_rows(table, [reader.columns.text]), reader.columns.used
            for batch in table.iter_batches(rows, columns=used, use_threads=False):
                if not batch.num_rows:
                    continue
                try:
                    found = raw_documents(reader, row, batch, max_bytes)
                except pa.ArrowException:
                    yield from one_by_one(reader, row, batch, max_bytes)
                else:
                    yield found
                row += batch.num_rows

    def _json_lines(self, file: Path, compression: str, name: str, max_bytes: int) -> Iterator[RawDocument]:
        limit = line_limit(max_bytes)
        with open_stream(file, compression) as stream:
            present = first_keys(stream, limit, file)
        if not present:
            return
        reader = self._reader(file, name, present)
        with open_stream(file, compression) as stream:
            for row, (line, size) in enumerate(json_lines(stream, limit)):
                if line is None:
                    detail = f"line {row + 1} has {size} bytes, more than {limit}"
                    yield reader.document(row, {}, None, size, problem="row_too_large", detail=detail)
                elif line.strip():
                    yield _from_json(reader, row, line, max_bytes)


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


def one_by_one(reader: RowReader, row: int, batch: pa.RecordBatch, max_bytes: int) -> Iterator[RawDocument]:
    """Yield the documents of a batch whose first row has the number `row`, each made by itself."""
    for number, (cells, content, size) in enumerate(_cells(batch, reader.columns, max_bytes), row):
        yield reader.document(number, cells, content, size)


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
