"""Published figures: the Magicoder paper's tables, as they stand in `published.yaml`, each with how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

MARKS: Final = ("confirmed", "total", "unverified")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Which of our figures stands beside a column: of a benchmark, a score, over the tasks whose ids fit.

    prefix       begins them; numbers, first and last, end them; mean_of, a table whose columns' tasks these are alone
    tasks        how many we have, where that is not the column's number: MBPP+ had 399 once, and has 378
    """

    benchmark: str
    score: str
    prefix: str = ""
    numbers: tuple[int, int] | None = None
    mean_of: str = ""
    tasks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`tasks` is how many there are, 0 if the table does not need it; `total` a mean over all tasks of the others."""

    name: str
    ours: Ours | None = None
    tasks: int = 0
    total: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model's figures in per cent, None where there is none; `marks`, of each, are one of `MARKS`."""

    name: str
    values: tuple[float | None, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """One table; `source` names where it stands."""

    id: str
    title: str
    source: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""

    def values(self, row: str) -> dict[str, float | None]:
        """Return a row's figures by the names of their columns."""
        found = next(r for r in self.rows if r.name == row)
        return dict(zip((c.name for c in self.columns), found.values, strict=True))

    def mean(self, values: Sequence[float | None]) -> float | None:
        """Return the mean over the tasks of the columns that have a number of tasks; None where a value is missing."""
        pairs = [(c.tasks, v) for c, v in zip(self.columns, values, strict=True) if c.tasks]
        if not pairs or any(v is None for _, v in pairs):
            return None
        return sum(n * v for n, v in pairs if v is not None) / sum(n for n, _ in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """All tables."""

    tables: tuple[PublishedTable, ...] = field(default=())

    def table(self, name: str) -> PublishedTable:
        """Return the table of that id."""
        return next(table for table in self.tables if table.id == name)


@cache
def published() -> Published:
    """Return what stands in `published.yaml`."""
    found = yaml.safe_load((files("magicoder") / "published.yaml").read_text(encoding="utf-8"))
    papers: dict[str, str] = found["papers"]
    return Published(tables=tuple(_table(table, papers) for table in found["tables"]))


def _table(found: dict[str, Any], papers: dict[str, str]) -> PublishedTable:
    paper = found["paper"]
    columns = tuple(_column(column) for column in found["columns"])
    return PublishedTable(
        id=found["id"],
        title=found["title"],
        source=f"{papers[paper]} ({paper})" if paper else found["id"],
        columns=columns,
        rows=tuple(_row(row, columns) for row in found["rows"]),
        note=found.get("note", ""),
    )


def _column(found: dict[str, Any]) -> Column:
    ours = found.get("ours")
    if ours is None:
        return Column(name=found["name"], tasks=found.get("tasks", 0), total=found.get("total", False))
    numbers = ours.get("numbers")
    return Column(
        name=found["name"],
        tasks=found.get("tasks", 0),
        ours=Ours(
            benchmark=ours["benchmark"],
            score=ours["score"],
            prefix=ours.get("prefix", ""),
            numbers=(numbers[0], numbers[1]) if numbers else None,
            mean_of=ours.get("mean_of", ""),
            tasks=ours.get("tasks", 0),
        ),
    )


def _row(found: dict[str, Any], columns: Sequence[Column]) -> Row:
    surer = found.get("confirmed", [])
    marks = tuple("confirmed" if column.name in surer else found["mark"] for column in columns)
    return Row(name=found["name"], values=tuple(found["values"]), marks=marks)
