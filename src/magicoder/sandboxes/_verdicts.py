"""Verdicts in SQLite, by the digest of program, toolchain and isolation: what was judged once is not run again.

Shared by runs and by processes. Unlike a teacher's answers, a verdict can be had again for free: the file is synced
when it is checkpointed, not at every commit, so that a power cut may cost the last few and never damages it.
"""

import contextlib
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from magicoder.errors import SandboxError
from magicoder.records import Outcome, Verdict

_APPLICATION_ID: Final = 0x4D475644  # "MGVD"
_VERSION: Final = 1
_BUSY_S: Final = 60.0
_BATCH: Final = 500

DOUBTFUL: Final = frozenset({Outcome.CPU_TIMEOUT, Outcome.WALL_TIMEOUT, Outcome.OUT_OF_MEMORY})
"""Outcomes that a faster or larger machine might change; marked, so that they can be tried again by themselves."""

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS verdicts (
    key BLOB PRIMARY KEY,
    doubtful INTEGER NOT NULL,
    verdict BLOB NOT NULL
) WITHOUT ROWID
"""


class Verdicts:
    """An open file of verdicts; use it from one thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["Verdicts"]:
        """Open the file at `path`, or make one there.

        Raises:
            SandboxError: it is something else, damaged, or cannot be written; it is left as it is.
        """
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            with _explained(path):
                _prepare(path, connection)
            yield cls(path, connection)
        finally:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def find(self, keys: Sequence[bytes], *, doubtful: bool = True) -> dict[bytes, Verdict]:
        """Return the known verdicts among `keys`, the doubtful ones only if they are wanted.

        Raises:
            SandboxError: the file is damaged.
        """
        found: dict[bytes, Verdict] = {}
        with _explained(self._path):
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                marks = ",".join("?" * len(batch))
                rows = self._connection.execute(
                    f"SELECT key, verdict FROM verdicts WHERE key IN ({marks}) AND doubtful <= ?",  # noqa: S608 - marks
                    (*batch, int(doubtful)),
                )
                found.update((key, _unpack(data)) for key, data in rows)
        return found

    def record(self, entries: Sequence[tuple[bytes, Verdict]]) -> None:
        """Keep verdicts; a later one about the same program replaces the earlier.

        Raises:
            SandboxError: the disk is full or the file damaged.
        """
        if not entries:
            return
        rows = [(key, int(verdict.outcome in DOUBTFUL), _pack(verdict)) for key, verdict in entries]
        with _explained(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _pack(verdict: Verdict) -> bytes:
    return zlib.compress(orjson.dumps(asdict(verdict)), 1)


def _unpack(data: bytes) -> Verdict:
    fields = orjson.loads(zlib.decompress(data))
    return Verdict(**{**fields, "outcome": Outcome(fields["outcome"])})


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Check that the file is ours and of this version, and make the table in an empty one."""
    connection.execute("BEGIN")  # one view for all that is looked at: another process may be making the table now
    try:
        _check(path, connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    _to_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_TABLE)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if application not in (0, _APPLICATION_ID) or (application == 0 and tables):
        raise SandboxError(f"{path} is another program's database; it was left as it is: give another path")
    if application and version != _VERSION:
        raise SandboxError(
            f"{path} has verdicts of version {version}, this magicoder writes version {_VERSION}: give another path"
        )


def _to_wal(connection: sqlite3.Connection) -> None:
    """Change the mode, which fails at once, whatever the busy timeout, while another process is doing the same."""
    for _ in range(200):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn errors of the file into ones that say what to do."""
    try:
        yield
    except (sqlite3.Error, zlib.error, orjson.JSONDecodeError, OSError, KeyError, TypeError) as e:
        code = getattr(e, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            advice = "the disk is full: free some space and run again"
        elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            advice = "another process holds it: wait for that one and run again"
        elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM) or isinstance(e, OSError):
            advice = "it cannot be opened for writing: give another path"
        else:
            advice = "it is damaged: delete it, its verdicts can be had again"
        raise SandboxError(f"verdicts {path}: {advice} ({e})") from e
