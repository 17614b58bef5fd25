"""A part: one Parquet file of an artifact, and one beside it of what was rejected."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from magicoder.errors import StoreError
from magicoder.schema import from_table
from magicoder.store.files import replacing

R = TypeVar("R")

_FEW_VALUES: Final = frozenset(
    ("language", "repository", "commit", "license", "kind", "strategy", "parser", "teacher", "stage", "reason")
)
"""Columns in which the same few values come again and again."""


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Return one part, or some columns of it. (`pq.read_table` looks for a whole dataset, which takes 3 ms a part.)

    Raises:
        StoreError: it is missing or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns, use_threads=False)
    except (pa.ArrowException, OSError) as e:
        stage = path.parent.parent if path.parent.name == "rejected" else path.parent
        raise StoreError(f"{path} is missing or damaged ({e}); delete {stage} and run again") from e


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


def read_part(path: Path, record: type[R]) -> Iterator[R]:
    """Yield the rows of one part; raises as `read_table`."""
    return from_table(record, read_table(path), str(path))


def whole_parts(building: Path) -> int:
    """Return how many parts are there, each with its rejections, before the first that is not."""
    done = 0
    while all((place / part_name(done)).exists() for place in (building, building / "rejected")):
        done += 1
    return done


def count(folder: Path, parts: int) -> tuple[int, int]:
    """Return how many rows and rejections the first `parts` parts hold."""
    rows, rejected = (
        sum(pq.read_metadata(place / part_name(i)).num_rows for i in range(parts))
        for place in (folder, folder / "rejected")
    )
    return rows, rejected


def digest_file(path: Path) -> str:
    """Return 32 hex digits of BLAKE2b over a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
