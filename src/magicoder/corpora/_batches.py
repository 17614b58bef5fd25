"""A table's rows as columns of `RawDocument`, without an object a row; `RowReader.document` is the definition."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from magicoder.corpora._columns import RowReader, language_of, license_of, shown
from magicoder.corpora._files import LFS, LFS_DETAIL, LFS_PROBLEM, LFS_SIZE, readable
from magicoder.records import RawDocument
from magicoder.schema import from_table, schema_of

_MARK: Final = "\N{REPLACEMENT CHARACTER}"
_AT_ONCE: Final = 1 << 20
_SCHEMA: Final = schema_of(RawDocument)


def raw_documents(reader: RowReader, row: int, batch: pa.RecordBatch, max_bytes: int) -> pa.Table:
    """Return the documents of a batch whose first row has the number `row` (from 0), as `reader.document` makes them.

    Raises:
        pa.ArrowException: a cell is what these columns cannot hold (not UTF-8, 2 GB); one by one they may be read.
    """
    columns = reader.columns
    content, size, empty = _content(batch.column(columns.text), max_bytes)
    repository = _strings(batch, columns.repository, reader.repository, names=True)
    commit = _strings(batch, columns.commit, reader.commit)
    path = _paths(_strings(batch, columns.path, "", names=True), row)
    problem, detail = _problems(reader, content, size, empty, row)
    place = repository
    if pc.any(pc.not_equal(commit, "")).as_py():
        place = pc.if_else(pc.equal(commit, ""), repository, pc.binary_join_element_wise(repository, commit, "@"))
    found = {
        "id": pc.binary_join_element_wise(place, path, ":"),
        "content": content,
        "size": size,
        "repository": repository,
        "commit": commit,
        "path": path,
        "language": _mapped(batch, columns.language, lambda value: language_of(value) or reader.language),
        "license": _mapped(batch, columns.license, lambda value: license_of(value) or reader.license),
        "problem": problem,
        "detail": detail,
    }
    return pa.Table.from_arrays([found[name] for name in _SCHEMA.names], schema=_SCHEMA)


def each_document(table: pa.Table) -> Iterator[RawDocument]:
    """Yield the rows of such a table as records, few of which are in memory."""
    rows = max(1, _AT_ONCE * table.num_rows // max(1, table.nbytes))
    for start in range(0, table.num_rows, rows):
        yield from from_table(RawDocument, table.slice(start, rows), "a batch of rows")


def _content(texts: pa.Array, max_bytes: int) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return the first `max_bytes + 1` bytes of each cell, how many it has, and whether it is null."""
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    empty = texts.is_null()
    texts = texts.cast(pa.binary())
    if texts.null_count:
        texts = texts.fill_null(b"")
    size = pc.binary_length(texts).cast(pa.int64())
    if (pc.max(size).as_py() or 0) > max_bytes:
        texts = pc.binary_slice(texts, 0, max_bytes + 1)
    return texts, size, empty


def _problems(reader: RowReader, content: pa.Array, size: pa.Array, empty: pa.Array, row: int) -> tuple[Any, Any]:
    pointer = pc.and_(pc.starts_with(content, pattern=LFS), pc.less(size, LFS_SIZE))
    if not empty.true_count and not pointer.true_count:
        nothing = pa.repeat(pa.scalar(""), len(content))
        return nothing, nothing
    problem = pc.if_else(empty, "no_text", pc.if_else(pointer, LFS_PROBLEM, ""))
    details = [
        readable(reader.no_text(row + n)) if is_empty else LFS_DETAIL if is_pointer else ""
        for n, (is_empty, is_pointer) in enumerate(zip(empty.to_pylist(), pointer.to_pylist(), strict=True))
    ]
    return problem, pa.array(details, pa.string())


def _strings(batch: pa.RecordBatch, name: str, otherwise: str, *, names: bool = False) -> pa.Array:
    """Return a column as strings, as `shown` makes them, `otherwise` where there is none; `names` are `readable`."""
    constant = pa.scalar(readable(otherwise) if names else otherwise)
    if not name:
        return pa.repeat(constant, batch.num_rows)
    column = batch.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_text(column.type):
        found = column.cast(pa.binary()).cast(pa.string()).fill_null("")  # there and back: is it UTF-8?
    else:
        found = pa.array([shown(value) for value in column.to_pylist()], pa.string())
    if names and pc.any(pc.match_substring(found, _MARK)).as_py():
        found = pc.replace_substring(found, _MARK, _MARK * 2)
    if otherwise:
        found = pc.if_else(pc.equal(found, ""), constant, found)
    return found


def _paths(paths: pa.Array, row: int) -> pa.Array:
    nameless = pc.equal(paths, "")
    if not nameless.true_count:
        return paths
    return pc.if_else(nameless, pa.array([f"row-{row + n:06d}" for n in range(len(paths))]), paths)


def _mapped(batch: pa.RecordBatch, name: str, function: Callable[[Any], str]) -> pa.Array:
    """Return `function` of each value; of a text column it is asked once for each different one."""
    if not name:
        return pa.repeat(pa.scalar(function(None)), batch.num_rows)
    column = batch.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not _is_text(column.type):
        return pa.array([function(value) for value in column.to_pylist()], pa.string())
    encoded = column.cast(pa.string()).dictionary_encode()
    values = [*map(function, encoded.dictionary.to_pylist()), function(None)]
    return pa.array(values, pa.string()).take(encoded.indices.fill_null(len(values) - 1))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view())
