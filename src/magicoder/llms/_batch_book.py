"""Which prompts are in which batch, durable before money is spent: what makes a batch outlive the run that sent it.

A batch is entered with the keys of its requests before anything is sent, then with the id of its file, then with the
moment at which it is about to be created, then with its own id. Whatever moment a process dies at, the next one knows
whether there can be a batch to look for. A line leaves the book when its answer is in the journal.

Several processes may share a book. SQLite keeps each step whole; only the holder of the lock (`sending`) enters
batches, so that no prompt gets into two, and a batch without an id belongs to nobody alive while one holds the lock.
"""

import contextlib
import fcntl
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from magicoder.errors import StoreError
from magicoder.store import explained

VERSION: Final = 1
"""Version of the tables, kept in the file's `user_version`; another one is refused."""

_APPLICATION_ID: Final = 0x4D474342  # MGCB
_BUSY_S: Final = 60.0
_CHUNK: Final = 500
_PART_S: Final = 86_400
_ANSWERS_S: Final = 30 * 86_400

# `posted` and `lost` are Unix times. A lost batch was given up as never created, and is cancelled should it appear.
_TABLES: Final = (
    "CREATE TABLE batches (tag TEXT PRIMARY KEY, endpoint TEXT NOT NULL, requests INTEGER NOT NULL,"
    " file TEXT, posted INTEGER, batch TEXT, lost INTEGER)",
    "CREATE TABLE lines (endpoint TEXT NOT NULL, key BLOB NOT NULL, tag TEXT NOT NULL, sent INTEGER NOT NULL,"
    " PRIMARY KEY (endpoint, key)) WITHOUT ROWID",
    "CREATE INDEX lines_of_batch ON lines (tag)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A batch. `tag` is our name for it, also in its metadata; `file` and `batch` are the vendor's ids."""

    tag: str
    requests: int
    file: str | None = None
    posted: int | None = None
    batch: str | None = None


class Book:
    """The batches sent to one endpoint. `spool` is where files lie on their way out and in."""

    def __init__(self, folder: Path | None, endpoint: str) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="magicoder-batches-") if folder is None else None
        folder = Path(self._own.name) if self._own else folder
        assert folder is not None
        self._endpoint = endpoint
        self._lock = folder / "batches.lock"
        self.path = folder / "batches.sqlite"
        self.spool = folder / "batches"
        with explained(folder):
            self.spool.mkdir(parents=True, exist_ok=True)
            self._tidy()
        with self._explained():
            # One thread at a time uses it, but in a notebook not always the same.
            self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close; what was entered is safe without it."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        if self._own is not None:
            self._own.cleanup()

    @contextmanager
    def sending(self) -> Iterator[bool]:
        """Hold the lock on entering batches, if nobody else does. The system frees the lock of a killed process."""
        with explained(self._lock):
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Entry, int]]:
        """Return the batch of each of `keys` that is in one, and how often it has been sent."""
        rows: list[tuple[bytes, str, int]] = []
        with self._explained():
            for start in range(0, len(keys), _CHUNK):
                some = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, tag, sent FROM lines WHERE endpoint = ? AND key IN ({marks})"  # noqa: S608 - marks
                rows += self._db.execute(query, [self._endpoint, *some])
        entries = {tag: self.entry(tag) for tag in {tag for _, tag, _ in rows}}
        return {key: (entry, sent) for key, tag, sent in rows if (entry := entries[tag]) is not None}

    def entry(self, tag: str) -> Entry | None:
        """Return a batch, None if it has been forgotten."""
        found = self._entries("tag = ?", tag)
        return found[0] if found else None

    def unsent(self) -> list[Entry]:
        """Return the batches that may or may not have been created; to be asked with the lock held."""
        return self._entries("endpoint = ? AND batch IS NULL AND lost IS NULL", self._endpoint)

    def lost(self) -> list[Entry]:
        """Return the batches that were given up as never created."""
        return self._entries("endpoint = ? AND lost IS NOT NULL", self._endpoint)

    def begin(self, tag: str, lines: Sequence[tuple[bytes, int]]) -> None:
        """Enter a batch with its lines (key, how often sent including this time), before anything is sent."""
        with self._change() as db:
            db.execute(
                "INSERT INTO batches (tag, endpoint, requests) VALUES (?, ?, ?)", (tag, self._endpoint, len(lines))
            )
            db.executemany(
                "INSERT OR REPLACE INTO lines (endpoint, key, tag, sent) VALUES (?, ?, ?, ?)",
                ((self._endpoint, key, tag, sent) for key, sent in lines),
            )

    def uploaded(self, tag: str, file: str) -> None:
        """Enter the id of a batch's file, and that the batch is about to be created."""
        with self._change() as db:
            db.execute("UPDATE batches SET file = ?, posted = ? WHERE tag = ?", (file, int(time.time()), tag))

    def created(self, tag: str, batch: str) -> None:
        """Enter the id of a batch."""
        with self._change() as db:
            db.execute("UPDATE batches SET batch = ? WHERE tag = ?", (batch, tag))

    def lose(self, tag: str) -> None:
        """Free the lines of a batch that seems never to have been created, but remember its tag."""
        with self._change() as db:
            db.execute("DELETE FROM lines WHERE tag = ?", (tag,))
            db.execute("UPDATE batches SET lost = ? WHERE tag = ?", (int(time.time()), tag))

    def drop(self, tag: str) -> None:
        """Forget a batch with all its lines."""
        with self._change() as db:
            db.execute("DELETE FROM lines WHERE tag = ?", (tag,))
            db.execute("DELETE FROM batches WHERE tag = ?", (tag,))
        self.sweep([tag])

    def forget(self, lines: Iterable[tuple[bytes, str]], tags: Iterable[str]) -> None:
        """Forget lines (key, tag) that are dealt with, and those batches of `tags` that have no others."""
        tags = list(tags)
        with self._change() as db:
            db.executemany(
                "DELETE FROM lines WHERE endpoint = ? AND key = ? AND tag = ?",
                ((self._endpoint, key, tag) for key, tag in lines),
            )
            db.executemany(
                "DELETE FROM batches WHERE tag = ? AND lost IS NULL AND NOT EXISTS"
                " (SELECT 1 FROM lines WHERE lines.tag = batches.tag)",
                ((tag,) for tag in tags),
            )
        self.sweep(tag for tag in tags if self.entry(tag) is None)

    def sweep(self, tags: Iterable[str]) -> None:
        """Remove the files of batches."""
        for tag in tags:
            for kind in ("requests", "output", "error"):
                (self.spool / f"{tag}.{kind}.jsonl").unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Remove old files: of killed processes, or with answers that nobody asks for and the vendor may still have."""
        for file in self.spool.iterdir():
            keep_s = _PART_S if file.suffix == ".part" else _ANSWERS_S
            with contextlib.suppress(FileNotFoundError):  # removed by another process
                if time.time() - file.stat().st_mtime > keep_s:
                    file.unlink()

    def _entries(self, condition: str, *values: str) -> list[Entry]:
        query = f"SELECT tag, requests, file, posted, batch FROM batches WHERE {condition} ORDER BY rowid"  # noqa: S608
        with self._explained():
            rows = self._db.execute(query, values).fetchall()
        return [Entry(tag=r[0], requests=r[1], file=r[2], posted=r[3], batch=r[4]) for r in rows]

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, durable at its end."""
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        db = self._db
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        try:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if not tables:
                for table in _TABLES:
                    db.execute(table)
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {VERSION}")
            elif (application, version) != (_APPLICATION_ID, VERSION):
                raise StoreError(
                    f"{self.path} is not a record of batches of this version of magicoder; it was left as it is: "
                    "give another journal, or use the magicoder that made it"
                )
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # SQLite syncs the folder for its log, not for a new database
        finally:
            os.close(folder)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as e:
            raise StoreError(
                f"the record of batches {self.path} cannot be used ({e}); free space or make it writable and run "
                "again. If it is damaged, move it away: what is under way at the endpoint would then be asked again"
            ) from e
