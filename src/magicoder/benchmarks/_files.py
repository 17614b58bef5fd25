"""Reading benchmark files: plain or gzipped JSON Lines, JSON arrays, or a Hub dataset where that is asked for.

Lines end at a newline only (`str.splitlines` would also cut at U+2028 inside a string). Every error says which file,
which line and what to do.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from magicoder.errors import BenchmarkError


class FilesMissing(BenchmarkError):  # noqa: N818 - named for what the user sees
    """The benchmark is not on this machine, which is no defect of its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One record of a benchmark file and where it stands, for error messages."""

    where: str
    values: dict[str, Any]

    def text(self, *columns: str) -> str:
        """Return the first of `columns` that the record has, as text.

        Raises:
            BenchmarkError: it has none of them, or the value is not text.
        """
        for column in columns:
            value = self.values.get(column)
            if isinstance(value, str):
                return value
            if value is not None:
                raise BenchmarkError(f"{self.where}: {column!r} is {type(value).__name__}, not text; {_REPLACE}")
        raise BenchmarkError(f"{self.where}: no {' or '.join(map(repr, columns))} in this record; {_REPLACE}")

    def number(self, column: str) -> int:
        """Return `column` as a number.

        Raises:
            BenchmarkError: it is absent or not a whole number.
        """
        value = self.values.get(column)
        if isinstance(value, int):
            return value
        raise BenchmarkError(f"{self.where}: {column!r} is not a whole number; {_REPLACE}")

    def optional(self, column: str) -> str:
        """Return `column` as text, "" if it is absent; lists of text are joined by newlines."""
        value = self.values.get(column)
        if isinstance(value, list):
            return "\n".join(str(v) for v in value)
        return value if isinstance(value, str) else ""


_REPLACE = "replace the file by the published one (docs/benchmarks.md says which)"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSplit:
    """Where a benchmark lives on the Hub: dataset id, configuration ("" for none) and split."""

    dataset: str
    split: str
    configuration: str = ""


def root(data: str) -> Path:
    """Return the folder with one folder per benchmark: `<data>/benchmarks`, or `data` itself."""
    inner = Path(data) / "benchmarks"
    return inner if inner.is_dir() else Path(data)


def missing(benchmark: str, path: Path) -> FilesMissing:
    """Return the error for a benchmark that is not on this machine."""
    return FilesMissing(
        f"{benchmark}: {path} is not there; put the published files there (docs/benchmarks.md says which), name their "
        f"folder with --data, or leave {benchmark} out"
    )


def either(benchmark: str, folder: Path, *names: str) -> Path:
    """Return the first of the files `names` that exists in `folder`, gzipped or not.

    Raises:
        FilesMissing: none of them is there.
    """
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise missing(benchmark, folder / names[0])


def rows(path: Path) -> Iterator[Row]:
    """Yield the records of a JSON Lines file or of a JSON array, gzipped or not.

    Raises:
        BenchmarkError: the file is damaged or holds no records; names the line.
    """
    is_array = path.name.removesuffix(".gz").endswith(".json")
    empty = True
    for number, line in enumerate(_documents(path, whole=is_array), start=1):
        where = str(path) if is_array else f"{path}:{number}"
        value = _parsed(line, where)
        records = value if is_array and isinstance(value, list) else [value]
        for index, record in enumerate(records):
            place = f"{where}[{index}]" if is_array else where
            if not isinstance(record, dict):
                raise BenchmarkError(f"{place}: a {type(record).__name__}, not a record; {_REPLACE}")
            empty = False
            yield Row(where=place, values=record)
    if empty:
        raise BenchmarkError(f"{path}: no records; {_REPLACE}")


_LONG_NUMBER = re.compile(rb"[0-9]{19}")


def _parsed(line: bytes, where: str) -> Any:
    try:
        if not _LONG_NUMBER.search(line):  # HumanEval+ has inputs beyond 64 bits, of which orjson makes floats
            return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line)  # MBPP+ has inputs such as -Infinity, which orjson and the standard refuse
    except ValueError as e:
        raise BenchmarkError(f"{where}: not JSON ({e}); {_REPLACE}") from None


def _documents(path: Path, *, whole: bool) -> Iterator[bytes]:
    """Yield the non-empty lines of a file, or all of it at once."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            if whole:
                yield file.read()
                return
            for line in file:
                if line.strip():
                    yield line
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise BenchmarkError(f"{path}: the archive is damaged ({e}); {_REPLACE}") from None
    except OSError as e:
        raise BenchmarkError(f"{path}: cannot be read ({e.strerror}); check its permissions") from None


def hub_rows(benchmark: str, place: HubSplit) -> Iterator[Row]:
    """Yield the records of a Hub dataset; the only function of the family that opens a network connection.

    Raises:
        BenchmarkError: the extra is not installed, or the dataset cannot be loaded.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise BenchmarkError(
            f"{benchmark}: hub=true needs the `datasets` package; install magicoder[hub], or use local files"
        ) from None
    try:
        found = load_dataset(place.dataset, place.configuration or None, split=place.split)
    except Exception as e:
        raise BenchmarkError(
            f"{benchmark}: {place.dataset} could not be loaded from the Hub ({e}); check the connection, "
            "or use local files (docs/benchmarks.md)"
        ) from e
    for index, record in enumerate(found):
        yield Row(where=f"{place.dataset}[{place.split}][{index}]", values=dict(record))


def rows_or_hub(benchmark: str, folder: Path, names: tuple[str, ...], place: HubSplit | None) -> Iterator[Row]:
    """Yield the records of the first of `names` that exists; with a `place`, fall back to the Hub."""
    try:
        path = either(benchmark, folder, *names)
    except FilesMissing:
        if place is None:
            raise
        return hub_rows(benchmark, place)
    return rows(path)
