"""A map of digests on disk: who was first to hold a key, in memory that does not grow with the number of keys."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import pyarrow as pa

from magicoder.errors import StoreError

CACHE_MB: Final = 48
"""SQLite's page cache; what does not fit stays in the file."""
HELD: Final = 1 << 17
"""Keys that stay in memory, 20 MB with their holders, before they are written to the file together."""
_VARIABLES: Final = 500


class DiskMap:
    """Keys (digests) and who holds them. Open it with `opened`; nothing of it survives."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._held: dict[bytes, str] = {}
        self._is_written = False

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator["DiskMap"]:
        """Create an empty map in the file `path`, whatever was there, and delete the file in the end.

        Raises:
            StoreError: the file cannot be written; says so, also when the disk fills up later.
        """
        path.unlink(missing_ok=True)
        try:
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                # The map is rebuilt, never recovered: no journal, no syncing.
                for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size={-1024 * CACHE_MB}"):
                    connection.execute(f"PRAGMA {pragma}")
                connection.execute("CREATE TABLE held (key BLOB PRIMARY KEY, holder TEXT NOT NULL) WITHOUT ROWID")
                yield cls(connection)
            finally:
                connection.close()
        except sqlite3.OperationalError as e:
            raise StoreError(f"cannot write {path} ({e}); free some space there and run the same command again") from e
        finally:
            path.unlink(missing_ok=True)

    def claim(self, items: list[tuple[bytes, str]]) -> list[str | None]:
        """Let each (key, holder) in turn claim its key: None if it now holds it, else who has held it before."""
        known = self._holders([key for key, _ in items]) if self._is_written else {}
        held = self._held
        answers: list[str | None] = []
        for key, holder in items:
            first = known.get(key) if known else None
            if first is None:
                first = held.get(key)
                if first is None:
                    held[key] = holder
            answers.append(first)
        if len(held) > HELD:
            self._write()
        return answers

    def _write(self) -> None:
        # In key order, pages are touched once each.
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO held VALUES (?, ?)", sorted(self._held.items()))
        self._connection.execute("COMMIT")
        self._held.clear()
        self._is_written = True

    def _holders(self, keys: list[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        distinct = sorted(set(keys))
        for start in range(0, len(distinct), _VARIABLES):
            chunk = distinct[start : start + _VARIABLES]
            marks = ",".join("?" * len(chunk))
            rows = self._connection.execute(f"SELECT key, holder FROM held WHERE key IN ({marks})", chunk)  # noqa: S608 - only question marks are put in
            found.update(rows)
        return found


def key_of(text: str) -> bytes:
    """Return the 16-byte BLAKE2b digest of `text` as it stands, blanks included."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def keys_of(texts: pa.ChunkedArray) -> list[bytes]:
    """Return `key_of` of each text of a column of strings without nulls, which are not decoded for it."""
    keys: list[bytes] = []
    for chunk in texts.chunks:
        _, offsets, data = chunk.buffers()
        bounds = memoryview(offsets).cast("i")[chunk.offset : chunk.offset + len(chunk) + 1] if len(chunk) else ()
        whole = memoryview(data or b"")
        keys.extend(hashlib.blake2b(whole[a:b], digest_size=16).digest() for a, b in pairwise(bounds))
    return keys
