"""A part: one Parquet file of an artifact, and one beside it of what was rejected.

A stage that only leaves records out need not write their texts once more: its part holds every column but `text`, and
the row of each record in the part of the same number of the stage it was given. `read_table` puts the texts back.
"""

import functools
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from magicoder.errors import StoreError
from magicoder.records import Rejection
from magicoder.schema import from_table, to_table
from magicoder.store.files import replacing

R = TypeVar("R")

_FEW_VALUES: Final = frozenset(
    ("language", "repository", "commit", "license", "kind", "strategy", "parser", "teacher", "stage", "reason")
)
"""Columns in which the same few values come again and again."""


ROW: Final = "row"
"""The column of a part without texts that says where each text stands."""
_TEXTS: Final = b"texts_in"
"""Metadata of such a part: the name of the stage that holds them, in the same run folder."""


def read_table(path: Path, columns: list[str] | None = None, ids: list[str] | None = None) -> pa.Table:
    """Return one part, or some columns of it. (`pq.read_table` looks for a whole dataset, which takes 3 ms a part.)

    With `ids` only those records are returned. A part without texts gets them from the stage that holds them.

    Raises:
        StoreError: it is missing or damaged, or the stage that holds its texts was made again meanwhile.
    """
    try:
        with pq.ParquetFile(path) as file:
            texts_in = (file.schema_arrow.metadata or {}).get(_TEXTS, b"").decode()
            if not texts_in or (columns is not None and "text" not in columns):
                wanted = columns and [*columns, *(["id"] if ids is not None else [])]
                return _chosen(file.read(wanted, use_threads=False), ids)
            wanted = columns and ["id", ROW, *(name for name in columns if name not in ("id", "text"))]
            part = _chosen(file.read(wanted, use_threads=False), ids)
    except (pa.ArrowException, OSError) as e:
        stage = path.parent.parent if path.parent.name == "rejected" else path.parent
        raise StoreError(f"{path} is missing or damaged ({e}); delete {stage} and run again") from e
    return _with_texts(part, columns, path, path.parent.parent / texts_in / path.name)


def _chosen(part: pa.Table, ids: list[str] | None) -> pa.Table:
    return part if ids is None else part.filter(pc.is_in(part["id"], pa.array(ids, pa.string())))


def _with_texts(part: pa.Table, columns: list[str] | None, path: Path, source: Path) -> pa.Table:
    """Put back the texts, which stand in the rows of `source` that `part` names, and check that it is those records."""
    names = columns or ["text" if name == ROW else name for name in part.schema.names]
    if part.num_rows == 0:
        return pa.table({n: pa.array([], pa.string()) if n == "text" else part[n] for n in names})
    texts = read_table(source, ["id", "text"])
    every = texts.num_rows == part.num_rows  # each once, in order: nothing to choose
    found = texts if every else texts.take(part[ROW]) if pc.max(part[ROW]).as_py() < texts.num_rows else None
    if found is None or not found["id"].equals(part["id"]):
        raise StoreError(f"{source.parent} was made again since {path} was written from it; run the same command again")
    return pa.table({name: (found if name == "text" else part)[name] for name in names})


def without_texts(schema: pa.Schema, kept: pa.Table, rows: pa.Array, source: Path) -> pa.Table:
    """Return the part that stands for records of `schema`: `kept`, of which the `rows` of `source` are the texts."""
    kept = kept.append_column(pa.field(ROW, rows.type, nullable=False), rows)
    fields = [kept.schema.field(ROW) if f.name == "text" else f for f in schema]
    return kept.select([f.name for f in fields]).cast(pa.schema(fields, {_TEXTS: source.parent.name.encode()}))


def part_name(index: int) -> str:
    """Return the name of a part's file."""
    return f"part-{index:05d}.parquet"


def write_part(path: Path, table: pa.Table) -> None:
    """Write one part; it is there whole or not at all.

    LZ4 for what is read back by the next stage and then by few: of 100 MB of source text, zstd's third level makes 19
    MB and LZ4 31, at two thirds of the CPU time to write and half to read. Long texts have no repetition to look for.
    """
    few = [name for name in table.schema.names if name in _FEW_VALUES]
    with replacing(path) as f:
        pq.write_table(table, f, compression="lz4", use_dictionary=few, write_statistics=False)


def write_rejections(path: Path, rejections: list[Rejection]) -> None:
    """Write what was rejected with a part, as `write_part`; most often nothing, which has always the same bytes."""
    if rejections:
        write_part(path, to_table(Rejection, rejections))
    else:
        with replacing(path) as f:
            f.write(_no_rejections())


@functools.cache
def _no_rejections() -> bytes:
    data = io.BytesIO()
    table = to_table(Rejection, ())
    few = [name for name in table.schema.names if name in _FEW_VALUES]
    pq.write_table(table, data, compression="lz4", use_dictionary=few, write_statistics=False)
    return data.getvalue()


def read_part(path: Path, record: type[R]) -> Iterator[R]:
    """Yield the rows of one part; raises as `read_table`."""
    return from_table(record, read_table(path), str(path))


def whole_parts(building: Path) -> int:
    """Return how many parts are there, each with its rejections, before the first that is not."""
    done = 0
    while all((place / part_name(done)).exists() for place in (building, building / "rejected")):
        done += 1
    return done


def count(folder: Path, index: int) -> tuple[int, int]:
    """Return how many rows and rejections a part holds."""
    rows, rejected = (pq.read_metadata(place / part_name(index)).num_rows for place in (folder, folder / "rejected"))
    return rows, rejected


def digest_file(path: Path) -> str:
    """Return 32 hex digits of BLAKE2b over a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
