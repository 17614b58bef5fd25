"""A corpus cut into parts, and parts into batches: files one by one, or many as columns, which are not taken apart.

Where it is cut depends on the files alone, not on how they come.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from magicoder.records import RawDocument

Piece: TypeAlias = list[RawDocument] | Any
"""Files one by one, or a table in the columns of `RawDocument`."""
Batch = tuple[int, Piece]
"""Some files of the part of this number."""

BATCH_DOCUMENTS: Final = 250
BATCH_BYTES: Final = 4 * 2**20
"""What goes to a worker at once; smaller than a part, so that little waits in memory. Decides no result."""

TABLE_BYTES: Final = 16 * 2**20
"""The same for files that come as columns, which take no more memory than their bytes."""


class Tally:
    """Counts what is read, whichever way it goes."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0

    def watch(self, raws: Iterable[RawDocument | pa.Table], limit: int | None) -> Iterator[RawDocument | pa.Table]:
        """Yield what is read, up to so many files."""
        for raw in raws:
            if isinstance(raw, RawDocument):
                self.files += 1
                self.bytes += raw.size
                yield raw
            else:
                table = raw if limit is None else raw.slice(0, limit - self.files)
                self.files += table.num_rows
                self.bytes += pc.sum(table["size"]).as_py()
                yield table
            if limit is not None and self.files >= limit:
                break


def cut(raws: Iterable[RawDocument | pa.Table], documents: int, size: int) -> Iterator[list[Piece]]:
    """Cut the corpus into parts; where, depends on the corpus and the two settings alone."""
    part: list[Piece] = []
    files = held = 0
    for raw in raws:
        start = 0
        while start < (1 if isinstance(raw, RawDocument) else raw.num_rows):
            if isinstance(raw, RawDocument):
                taken, size_taken = 1, len(raw.content)
                if not part or not isinstance(part[-1], list):
                    part.append([])
                part[-1].append(raw)
            else:
                room = raw.slice(start, documents - files)
                taken, size_taken = _until(room, size - held)
                part.append(room.slice(0, taken))
            start, files, held = start + taken, files + taken, held + size_taken
            if files >= documents or held >= size:
                yield _together(part)
                part, files, held = [], 0, 0
    if part:
        yield _together(part)


def _until(table: pa.Table, size: int) -> tuple[int, int]:
    """Return how many files from the first on reach `size` bytes together, all if they do not, and their bytes."""
    lengths = pc.binary_length(table["content"])
    held: int = pc.sum(lengths).as_py()
    if held < size:
        return table.num_rows, held
    held = 0
    for taken, length in enumerate(lengths.to_pylist(), 1):
        held += length
        if held >= size:
            return taken, held
    raise AssertionError("a sum of lengths is what they come to")


def _together(part: list[Piece]) -> list[Piece]:
    """Make one table of neighbouring tables."""
    joined: list[Piece] = []
    for are_tables, pieces in groupby(part, key=lambda piece: not isinstance(piece, list)):
        some = list(pieces)
        joined.extend([pa.concat_tables(some)] if are_tables else some)
    return joined


def batches(parts: Iterator[list[Piece]], first: int) -> Iterator[Batch]:
    """Yield what goes to a worker at once; the parts are numbered on from `first`."""
    for index, part in enumerate(parts, first):
        for piece in part:
            if isinstance(piece, list):
                smaller = cut(piece, BATCH_DOCUMENTS, BATCH_BYTES)
            else:
                smaller = cut([piece], piece.num_rows, TABLE_BYTES)
            for (batch,) in smaller:
                yield index, batch


def ids_of(part: list[Piece]) -> list[str]:
    """Return the ids of all files of a part."""
    return [
        name
        for piece in part
        for name in ([raw.id for raw in piece] if isinstance(piece, list) else piece["id"].to_pylist())
    ]


def with_ids(part: list[Piece], names: list[str]) -> list[Piece]:
    """Return the part with other ids."""
    changed: list[Piece] = []
    start = 0
    for piece in part:
        mine = names[start : start + len(piece)]
        if isinstance(piece, list):
            changed.append([replace(raw, id=name) for raw, name in zip(piece, mine, strict=True)])
        else:
            at = piece.schema.get_field_index("id")
            changed.append(piece.set_column(at, piece.schema.field(at), [pa.array(mine, pa.string())]))
        start += len(piece)
    return changed
