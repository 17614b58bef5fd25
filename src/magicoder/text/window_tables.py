"""Windows of whole tables of documents: columns in, columns out, compiled where that pays.

Both ways give the same bytes. The compiled one reads Arrow's buffers where they lie and makes no Python object a
document; loading it takes a second, so that few documents are drawn without it.
"""

import pyarrow as pa
import pyarrow.compute as pc

from magicoder import kernels
from magicoder.text.draws import Draws
from magicoder.text.windows import METADATA, draw_windows, without_metadata

WINDOWS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("first_line", pa.int64(), nullable=False),
        pa.field("last_line", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
"""A window: the row of its document, its lines (counted from 1 in the whole document) and their text."""


def window_table(
    ids: pa.ChunkedArray,
    texts: pa.ChunkedArray,
    *,
    random_seed: int,
    min_lines: int = 1,
    max_lines: int = 15,
    count: int = 1,
    strip_metadata: bool = False,
    compiled: bool = False,
) -> pa.Table:
    """Return up to `count` windows of each text, as `draw_windows` gives them for `Draws(random_seed, id)`.

    The schema is `WINDOWS`, in the order of documents and lines. Blank texts have none. `strip_metadata` passes over
    the first line where `without_metadata` would. `compiled` needs numba, and less than 2 GB of text.
    """
    lengths = (min_lines, max_lines, count)
    if compiled and kernels.available():
        return _compiled(_joined(ids), _joined(texts), random_seed, lengths, strip_metadata=strip_metadata)
    columns: list[list[object]] = [[], [], [], []]
    for row, (identity, text) in enumerate(zip(ids.to_pylist(), texts.to_pylist(), strict=True)):
        for values in _drawn(row, identity, text, random_seed, lengths, strip_metadata=strip_metadata):
            for column, value in zip(columns, values, strict=True):
                column.append(value)
    return pa.table(columns, schema=WINDOWS)


def _drawn(
    row: int, identity: str, text: str, random_seed: int, lengths: tuple[int, int, int], *, strip_metadata: bool
) -> list[tuple[int, int, int, str]]:
    body = without_metadata(text) if strip_metadata else text
    skipped = int(len(body) < len(text))
    least, most, count = lengths
    windows = draw_windows(body, Draws(random_seed, identity), min_lines=least, max_lines=most, count=count)
    return [(row, w.first_line + skipped, w.last_line + skipped, w.text) for w in windows]


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([*column.chunks, pa.array([], column.type)])


def _compiled(
    ids: pa.Array, texts: pa.Array, random_seed: int, lengths: tuple[int, int, int], *, strip_metadata: bool
) -> pa.Table:
    import numpy as np

    from magicoder.kernels.windows import draw, gather

    least, most, count = lengths
    data, offsets = _buffers(texts)
    begins, ends = offsets[:-1].copy(), offsets[1:]
    skipped = np.zeros(len(texts), np.int64)
    for row in _with_metadata(texts) if strip_metadata else ():
        text = texts[row].as_py()
        begins[row] += len(text.encode()) - len(without_metadata(text).encode())
        skipped[row] = 1
    found = np.empty(len(texts), np.int64)
    windows = np.empty((len(texts), count, 4), np.int64)
    names, name_offsets = _buffers(ids)
    draw(data, begins, ends, names, name_offsets, np.uint64(random_seed % 2**64), least, most, count, found, windows)
    rows = np.repeat(np.arange(len(texts)), np.maximum(found, 0))
    chosen = windows[np.arange(count) < found[:, None]]
    to = np.concatenate((np.zeros(1, np.int64), np.cumsum(chosen[:, 3] - chosen[:, 2])))
    out = np.empty(to[-1], np.uint8)
    gather(data, np.ascontiguousarray(chosen[:, 2]), np.ascontiguousarray(chosen[:, 3]), to, out)
    texts_out = pa.Array.from_buffers(
        pa.string(), len(rows), [None, pa.py_buffer(to.astype(np.int32)), pa.py_buffer(out)]
    )
    lines = chosen[:, :2] + skipped[rows][:, None]
    table = pa.table([rows, lines[:, 0], lines[:, 1], texts_out], schema=WINDOWS)
    by_hand = [
        values
        for row in np.flatnonzero(found < 0).tolist()
        for values in _drawn(
            row, ids[row].as_py(), texts[row].as_py(), random_seed, lengths, strip_metadata=strip_metadata
        )
    ]
    if not by_hand:
        return table
    more = pa.table([list(column) for column in zip(*by_hand, strict=True)], schema=WINDOWS)
    return pa.concat_tables([table, more]).sort_by([("row", "ascending"), ("first_line", "ascending")])


def _with_metadata(texts: pa.Array) -> list[int]:
    mask = None
    for tag in METADATA:
        found = pc.starts_with(texts, tag)
        mask = found if mask is None else pc.or_(mask, found)
    rows: list[int] = pc.indices_nonzero(mask).to_pylist()
    return rows


def _buffers(column: pa.Array):  # type: ignore[no-untyped-def] # numpy is no dependency
    """Return the bytes of a column of strings and where each begins, with the end of the last, without copying."""
    import numpy as np

    _, offsets, data = column.buffers()
    if len(column) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
    places = np.frombuffer(offsets, kind)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8), places
