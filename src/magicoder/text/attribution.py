"""Whose code stands behind a dataset: repositories, commits and licences, counted on disk rather than in memory."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import orjson

from magicoder.records import Sample
from magicoder.text.markdown import code, plain

NOT_STATED = "not stated"
"""How an unknown licence is written for people; in data it is the empty text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One repository at one commit under one licence, and how much of the dataset was inspired by it."""

    repository: str
    commit: str
    license: str
    rows: int
    files: int


class Attribution:
    """Counts rows and files by source. The counts live in a private temporary SQLite file that nobody else sees."""

    def __init__(self) -> None:
        # An empty name is a temporary database: it spills to disk when its cache is full, and is gone when closed.
        self._db = sqlite3.connect("")
        self._db.execute(
            "CREATE TABLE file (repository TEXT, revision TEXT, license TEXT, path TEXT, rows INTEGER NOT NULL, "
            "PRIMARY KEY (repository, revision, license, path)) WITHOUT ROWID"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add(self, samples: Iterable[Sample]) -> None:
        """Count some rows."""
        self._db.executemany(
            "INSERT INTO file VALUES (?, ?, ?, ?, 1) "
            "ON CONFLICT (repository, revision, license, path) DO UPDATE SET rows = rows + 1",
            ((s.repository, s.commit, s.license, s.path) for s in samples),
        )

    def sources(self) -> Iterator[Source]:
        """Yield the sources in the order of repository, commit and licence."""
        rows = self._db.execute(
            "SELECT repository, revision, license, SUM(rows), COUNT(*) FROM file GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        for repository, revision, license_, count, files in rows:
            yield Source(repository=repository, commit=revision, license=license_, rows=count, files=files)

    def licenses(self) -> dict[str, int]:
        """Return rows by licence, most frequent first; "" is an unknown one."""
        return dict(self._db.execute("SELECT license, SUM(rows) FROM file GROUP BY 1 ORDER BY 2 DESC, 1"))

    def write_jsonl(self, path: Path) -> None:
        """Write one JSON object per source."""
        with path.open("wb") as f:
            f.writelines(orjson.dumps(asdict(source), option=orjson.OPT_APPEND_NEWLINE) for source in self.sources())

    def write_markdown(self, path: Path, name: str) -> None:
        """Write the same for people to read."""
        with path.open("w", encoding="utf-8", newline="\n") as f:
            f.write(
                f"# Attribution of {plain(name)}\n\n"
                "Every row comes from a snippet of one source file, which the row quotes in `seed`. The snippets\n"
                "belong to their authors and stay under their licences. The columns `repository`, `commit`, `path`,\n"
                "`first_line` and `last_line` of a row say where its snippet stands.\n"
                "`ATTRIBUTION.jsonl` holds this table for programs.\n\n"
                "| repository | commit | licence | files | rows |\n|---|---|---|---:|---:|\n"
            )
            f.writelines(
                f"| {_shown(s.repository)} | {code(s.commit[:12])} | {plain(s.license or NOT_STATED)} "
                f"| {s.files:,} | {s.rows:,} |\n"
                for s in self.sources()
            )


def _shown(repository: str) -> str:
    is_link = repository.startswith(("https://", "http://")) and not set(repository) & set("<>()[]| \"'\n\\`")
    return f"<{repository}>" if is_link else code(repository)
