"""Paid answers in SQLite: once `record` has returned, a crash or a power cut does not pay the teacher twice.

The only expensive truth is request → answer; all else is recomputed from it. An answer is found by model and exact
request, not by row number or file name, so that a longer input asks only what is new. WAL with `synchronous=FULL`
syncs at every commit; `record` commits a whole batch at once (group commit), which is what keeps up with an endpoint.
"""

import contextlib
import hashlib
import itertools
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from magicoder.errors import StoreError
from magicoder.records import Completion
from magicoder.store import explained

VERSION: Final = 1
"""Version of the tables, kept in the file's `user_version`; another one is refused."""

_APPLICATION_ID: Final = 0x4D47434A
"""Marks the file as ours (`MGCJ`), as SQLite's `application_id`."""

_BUSY_S: Final = 60.0
_BATCH: Final = 500
_LEVEL: Final = 1  # zlib: half the size for a tenth of the time of level 6

# `sequence` is the order of payment over all runs; small columns come first, so that sums do not read the blobs' tails.
_TABLE: Final = """
CREATE TABLE answers (
    sequence INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    model TEXT NOT NULL,
    finish_reasons TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    completion BLOB NOT NULL,
    request BLOB NOT NULL
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStats:
    """What a journal holds: answers, their tokens as the endpoint counted them, and bytes on disk."""

    answers: int
    prompt_tokens: int
    completion_tokens: int
    bytes: int


def key(model: str, body: bytes, sample: int = 0) -> bytes:
    """Return the 20-byte identity of a request; `sample` tells repetitions of one request apart."""
    name = model.encode()
    head = b"%d:%b:%d:" % (len(name), name, sample)
    return hashlib.blake2b(head + body, digest_size=20).digest()


class Journal:
    """Answers by request key. Several processes may use one file; the first answer to a request stays."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["Journal"]:
        """Open the journal at `path`, or make a new one there.

        Raises:
            StoreError: not a journal, a damaged one, of another version, or not writable. The file is left as it is.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise StoreError(
                f"the journal's folder {path.parent} cannot be made ({e.strerror}); "
                "set MAGICODER_HOME to a folder of yours, or give a file with --journal"
            ) from e
        with explained(path):
            _refuse_other_files(path)
        with _explained(path):
            # isolation_level None: transactions begin and end where this module says so.
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            with _explained(path):
                _prepare(path, connection)
            yield cls(path, connection)
        finally:
            with contextlib.suppress(sqlite3.Error):  # closing checkpoints; what was recorded is safe without it
                connection.close()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """Return the recorded answers among `keys`.

        Raises:
            StoreError: the file is damaged.
        """
        found: dict[bytes, Completion] = {}
        with _explained(self._path):
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                marks = ",".join("?" * len(batch))
                rows = self._connection.execute(
                    f"SELECT key, completion FROM answers WHERE key IN ({marks})",  # noqa: S608 - question marks only
                    batch,
                )
                found.update((key, _unpack(packed)) for key, packed in rows)
        return found

    def record(self, entries: Sequence[tuple[bytes, Completion, bytes]]) -> dict[bytes, Completion]:
        """Keep answers as (key, completion, request body); they are durable when this returns.

        Returns the answers that were there before, for keys that another process (or an earlier entry) answered
        first: whoever goes on with those instead agrees with every later reader.

        Raises:
            StoreError: the disk is full or the file damaged; nothing of this batch is kept, nothing earlier is lost.
        """
        rows = [_row(*entry) for entry in entries]
        if not rows:
            return {}
        with _explained(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                before = self._connection.total_changes
                self._connection.executemany(
                    "INSERT OR IGNORE INTO answers (key, model, finish_reasons, prompt_tokens, completion_tokens,"
                    " completion, request) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    rows,
                )
                added = self._connection.total_changes - before
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        if added == len(rows):
            return {}
        kept = self.find(list({key for key, _, _ in entries}))
        return {key: kept[key] for key, completion, _ in entries if kept[key] != completion}

    def request(self, key: bytes) -> bytes | None:
        """Return the request body behind an answer, for audits; None if there is no answer."""
        with _explained(self._path):
            row = self._connection.execute("SELECT request FROM answers WHERE key = ?", (key,)).fetchone()
            return None if row is None else zlib.decompress(row[0])

    def lengths(self, model: str, most: int = 1000) -> list[int]:
        """Return the completion tokens of the latest `most` answers of `model`, for estimates."""
        with _explained(self._path):
            rows = self._connection.execute(
                "SELECT completion_tokens FROM answers WHERE model = ? ORDER BY sequence DESC LIMIT ?", (model, most)
            )
            return [tokens for (tokens,) in rows]

    def stats(self) -> JournalStats:
        """Count what is there."""
        with _explained(self._path):
            answers, prompt_tokens, completion_tokens = self._connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0) FROM answers"
            ).fetchone()
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        return JournalStats(
            answers=answers,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            bytes=sum(f.stat().st_size for f in files if f.exists()),
        )


def _row(key: bytes, completion: Completion, body: bytes) -> tuple[bytes, str, str, int, int, bytes, bytes]:
    return (
        key,
        completion.model,
        ",".join(completion.finish_reasons),
        completion.prompt_tokens,
        completion.completion_tokens,
        zlib.compress(orjson.dumps(asdict(completion)), _LEVEL),
        zlib.compress(body, _LEVEL),
    )


def _unpack(packed: bytes) -> Completion:
    # zlib's own checksum notices a flipped bit that SQLite would pass on.
    value = orjson.loads(zlib.decompress(packed))
    texts, finish_reasons = tuple(value.pop("texts")), tuple(value.pop("finish_reasons"))
    return Completion(texts=texts, finish_reasons=finish_reasons, **value)


def _refuse_other_files(path: Path) -> None:
    """Look before SQLite does: opening a foreign file for writing could already change it."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder; give the path of a journal file")
    if not path.exists():
        return
    with path.open("rb") as f:
        head = f.read(16)
    if head and head != b"SQLite format 3\x00":
        raise StoreError(f"{path} is not a journal of magicoder; it was left as it is: give another path")


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Check that the file is ours and of this version, or make the tables in an empty one."""
    connection.execute("BEGIN")  # one view for all that is looked at: another process may be making the tables now
    try:
        _check(path, connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    (mode,) = _to_wal(connection)
    if mode != "wal":
        raise StoreError(f"the file system of {path} cannot hold a journal (no WAL); give a path on a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _check(path, connection):  # again, now that nobody else can be making it
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    # SQLite syncs the folder for its log, not for a new database.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _check(path: Path, connection: sqlite3.Connection) -> bool:
    """Return whether the file is still empty.

    Raises:
        StoreError: it is another program's, or of another version.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if application == 0 and tables == 0:
        return True
    if application != _APPLICATION_ID:
        raise StoreError(f"{path} is another program's database; it was left as it is: give another path")
    if version != VERSION:
        raise StoreError(
            f"{path} is a journal of version {version}, this magicoder writes version {VERSION}: "
            "give another path, or use the magicoder that made it"
        )
    return False


def _to_wal(connection: sqlite3.Connection) -> tuple[str]:
    # Changing the mode fails at once, whatever the busy timeout, while another process is doing the same.
    for attempt in itertools.count():
        try:
            mode: tuple[str] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt >= 200:
                raise
            time.sleep(0.05)
        else:
            return mode
    raise AssertionError("unreachable")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ones that say what to do."""
    try:
        yield
    except sqlite3.Error as e:
        # A bare DatabaseError has no code when it comes from the module itself rather than from the library.
        code = getattr(e, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            message = "the disk is full; every answer recorded before is safe: free some space and run again"
        elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
            message = "another process holds it; wait for that one, or check that it is on a local disk, and run again"
        elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            message = "it cannot be opened for writing; make it writable, or give another path"
        elif code == sqlite3.SQLITE_IOERR:
            message = "the disk failed; every answer recorded before is safe: check the disk and its quota, run again"
        else:
            message = (
                "it is damaged and was left as it is; move it away to start a new one "
                "(`sqlite3 FILE .recover` may save its answers)"
            )
        raise StoreError(f"journal {path}: {message} ({e})") from e
    except (zlib.error, orjson.JSONDecodeError, KeyError, TypeError) as e:
        raise StoreError(
            f"journal {path}: an answer in it is damaged ({e}); move the file away to start a new one"
        ) from e
