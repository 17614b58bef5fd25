"""Parquet schemas derived from record classes, and strict conversion both ways."""

import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any, TypeVar

import pyarrow as pa

from magicoder.errors import StoreError

R = TypeVar("R")

_SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}


def schema_of(record: type) -> pa.Schema:
    """Return the Arrow schema of a record class: one column per field, nullable only where `None` is allowed."""
    hints = typing.get_type_hints(record)
    return pa.schema([_field(f.name, hints[f.name]) for f in fields(record)])


def _field(name: str, hint: Any) -> pa.Field:
    nullable = False
    if isinstance(hint, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not types.NoneType]
        assert len(inner) == 1, f"{name}: only `X | None` unions have a column type"
        hint, nullable = inner[0], True
    return pa.field(name, _data_type(hint), nullable=nullable)


def _data_type(hint: Any) -> pa.DataType:
    if hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return pa.string()
    if typing.get_origin(hint) is tuple:
        return pa.list_(_data_type(typing.get_args(hint)[0]))
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return pa.struct(list(schema_of(hint)))
    raise TypeError(f"{hint!r} has no column type")


def to_table(record: type[R], rows: Iterable[R]) -> pa.Table:
    """Return `rows` as a table in the schema of `record`; the rows must be flat (no nested records).

    Raises:
        AssertionError: a field is None that may not be; also under `python -O`.
    """
    schema = schema_of(record)
    items = list(rows)
    columns = [pa.array([getattr(r, f.name) for r in items], type=f.type) for f in schema]
    for column, f in zip(columns, schema, strict=True):
        if column.null_count and not f.nullable:
            raise AssertionError(f"{record.__name__}.{f.name} is None in a row")
    return pa.Table.from_arrays(columns, schema=schema)


def from_table(record: type[R], table: pa.Table, where: str) -> Iterator[R]:
    """Yield the rows of `table` as records.

    Raises:
        StoreError: the columns differ from the record's fields; says which, and where.
    """
    expected = schema_of(record)
    if table.schema.names != expected.names:
        missing = sorted(set(expected.names) - set(table.schema.names))
        extra = sorted(set(table.schema.names) - set(expected.names))
        raise StoreError(
            f"{where} does not hold {record.__name__} records (missing columns: {missing}, unknown: {extra}); "
            "it was written by another version: use another --out, or delete the stage's folder to make it again"
        )
    lists = [f.name for f in expected if pa.types.is_list(f.type)]
    for batch in table.to_batches(max_chunksize=1024):
        names = batch.schema.names
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row = dict(zip(names, values, strict=True))
            row |= {name: tuple(row[name]) for name in lists}
            yield record(**row)
