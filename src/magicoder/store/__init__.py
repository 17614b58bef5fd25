"""What stages publish: Parquet parts, rejections beside them, a manifest last, all or nothing.

    <run>/<stage>/part-00000.parquet …      rows, a few thousand a part
    <run>/<stage>/rejected/part-00000.parquet
    <run>/<stage>/manifest.json             written last; without it the artifact does not exist
    <run>/<stage>.building/                 the same while it grows: a killed run goes on at the first missing part

A part is a pure function of the stage's settings and its input, so a resumed artifact is byte-identical to one made
in a single go. A manifest's `key` says what the artifact was made from; `content` digests the parts, and later stages
key on `content`, so a stage that is made again with an equal result invalidates nothing behind it.
"""

import fcntl
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson
import pyarrow as pa

from magicoder import __version__
from magicoder.errors import StoreError
from magicoder.fingerprint import digest, software
from magicoder.locks import in_use
from magicoder.progress import Progress, Silent
from magicoder.records import Rejection
from magicoder.schema import schema_of, to_table
from magicoder.store.files import explained, replacing, swap, sync, sync_tree, write_atomic
from magicoder.store.parts import (
    count,
    digest_file,
    part_name,
    read_part,
    read_table,
    whole_parts,
    without_texts,
    write_part,
    write_rejections,
)

__all__ = [
    "LAYOUT",
    "Artifact",
    "Manifest",
    "Progress",
    "RunFolder",
    "Silent",
    "Writer",
    "account",
    "explained",
    "read_table",
    "replacing",
    "swap",
    "write_atomic",
]

R = TypeVar("R")

LAYOUT = 1
"""Version of the folder layout; a run folder of another layout is refused, never guessed at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artifact is: where it came from (`key`), what it holds (`content`), and how many."""

    stage: str
    key: str
    content: str
    record: str
    rows: int
    rejected: int
    parts: tuple[str, ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Artifact(Generic[R]):
    """A published stage, read-only."""

    folder: Path
    record: type[R]
    manifest: Manifest

    @property
    def part_count(self) -> int:
        """How many parts there are; part `i` of a one-to-one stage comes from part `i` of its input."""
        return len(self.manifest.parts)

    def read_part(self, index: int) -> list[R]:
        """Return the rows of one part."""
        return list(read_part(self.folder / part_name(index), self.record))

    def part_path(self, index: int) -> Path:
        """Return the file of one part, for `read_table`."""
        return self.folder / part_name(index)

    def __iter__(self) -> Iterator[R]:
        for index in range(self.part_count):
            yield from self.read_part(index)

    def rejections(self) -> Iterator[Rejection]:
        """Yield what the stage rejected, in order."""
        for index in range(self.part_count):
            yield from self.rejections_of_part(index)

    def rejections_of_part(self, index: int) -> list[Rejection]:
        """Return what the stage rejected of one part."""
        return list(read_part(self.folder / "rejected" / part_name(index), Rejection))


class Writer(Generic[R]):
    """Builds an artifact part by part. `done` parts were found from an earlier, interrupted build of the same key."""

    def __init__(self, folder: Path, stage: str, record: type[R], progress: Progress | None = None) -> None:
        self.progress: Progress = progress or Silent()
        self.folder = folder
        self.stage = stage
        self.record = record
        (folder / "rejected").mkdir(parents=True, exist_ok=True)
        self.done = whole_parts(folder)
        self._counts = [count(folder, index) for index in range(self.done)]  # rows and rejections of each part
        self._facts: dict[str, Any] = {}

    def write(self, rows: list[R], rejections: list[Rejection]) -> None:
        """Publish the next part: rejections first, so that a part's presence means both are there."""
        self.write_table(to_table(self.record, rows), rejections)

    def write_table(
        self, rows: pa.Table, rejections: list[Rejection], *, metadata: dict[bytes, bytes] | None = None
    ) -> None:
        """Publish the next part as `write`, from columns; `metadata` stays with the part, for `pq.read_schema`."""
        schema = schema_of(self.record)
        assert rows.schema.names == schema.names, f"these are no {self.record.__name__} records"
        # Parquet has a name of its own for what a list holds, and a table read from a part has that part's metadata.
        self._write(rows.cast(schema).replace_schema_metadata(metadata), rejections)

    def write_kept(self, kept: pa.Table, rows: pa.Array, source: Path, rejections: list[Rejection]) -> None:
        """Publish the next part: `kept`, which are the `rows` of the part `source` of another stage of this run.

        Their texts are not written once more; `read_table` takes them from there.
        """
        schema = schema_of(self.record)
        assert kept.schema.names == [name for name in schema.names if name != "text"], "every column but the texts"
        assert source.parent.parent == self.folder.parent
        assert source.name == part_name(self.done)
        self._write(without_texts(schema, kept, rows, source), rejections)

    def _write(self, part: pa.Table, rejections: list[Rejection]) -> None:
        name = part_name(self.done)
        write_rejections(self.folder / "rejected" / name, rejections)
        write_part(self.folder / name, part)
        self._counts.append((part.num_rows, len(rejections)))
        self.done += 1

    def add_facts(self, facts: dict[str, Any]) -> None:
        """Keep deterministic figures about the stage in its manifest (JSON-ready values, no clock times)."""
        self._facts |= facts

    def part_path(self, index: int) -> Path:
        """Return the file of a part that is already written, for `read_table`."""
        return self.folder / part_name(index)

    def read_part(self, index: int) -> list[R]:
        """Return the rows of a part that is already written, to rebuild state when resuming."""
        return list(read_part(self.folder / part_name(index), self.record))

    def restart(self) -> None:
        """Throw away the parts written so far."""
        for index in reversed(range(self.done)):
            (self.folder / part_name(index)).unlink()
        self.done = 0
        self._counts.clear()

    def rejections_of_part(self, index: int) -> list[Rejection]:
        """Return what was rejected with a part that is already written."""
        return list(read_part(self.folder / "rejected" / part_name(index), Rejection))

    def manifest(self, key: str) -> Manifest:
        """Return what the parts written so far amount to."""
        names = [part_name(i) for i in range(self.done)]
        rows, rejected = _total(self._counts)
        return Manifest(
            stage=self.stage,
            key=key,
            content=digest([digest_file(self.folder / n) for n in names]),
            record=self.record.__name__,
            rows=rows,
            rejected=rejected,
            parts=tuple(names),
            facts=self._facts,
        )


def _total(counts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    rows, rejected = (sum(column) for column in zip((0, 0), *counts, strict=True))
    return rows, rejected


def account(inputs: Iterable[str], kept: Iterable[str], rejected: Iterable[str]) -> None:
    """Check that every input id went one way, kept or rejected, exactly once: our own invariant, in every stage.

    Raises:
        AssertionError: an id was lost or doubled; also under `python -O`.
    """
    went_in, came_out = Counter(iter(inputs)), Counter(iter(kept))  # the keys of a mapping, not its values
    came_out.update(iter(rejected))
    if dict.__ne__(went_in, came_out):  # a Counter compares in Python, to count what is absent as 0; nothing is here
        raise AssertionError(f"ids lost or doubled: {list((went_in - came_out) + (came_out - went_in))[:3]}")


class RunFolder:
    """One run on disk. Open it with `RunFolder.locked`, which refuses a folder that is busy or of another layout."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def locked(cls, path: Path) -> Iterator["RunFolder"]:
        """Create or open the folder `path` and hold its lock.

        Raises:
            StoreError: another process works in it, it is of another layout, or it cannot be written.
        """
        folder = cls(path)
        with ExitStack() as stack:
            with explained(path):
                stack.enter_context(in_use(path))
                folder.check_layout()
            yield folder

    def is_busy(self) -> bool:
        """Return whether a process holds the folder's lock."""
        try:
            with (self.path / ".lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as e:
            return isinstance(e, BlockingIOError)
        return False

    def check_layout(self) -> None:
        """Write the layout into a new folder.

        Raises:
            StoreError: the folder was written with another layout, or is not a run folder but holds files.
        """
        marker = self.path / "run.json"
        if marker.exists():
            try:
                found = orjson.loads(marker.read_bytes())
                layout, version = found["layout"], found["magicoder"]
            except (orjson.JSONDecodeError, KeyError, TypeError):
                raise StoreError(f"{marker} is damaged; use another --out") from None
            if layout != LAYOUT:
                raise StoreError(
                    f"{self.path} was made by magicoder {version} (folder layout {layout}); this is magicoder "
                    f"{__version__} (layout {LAYOUT}): use another --out, or install magicoder=={version}"
                )
            return
        if any(p.name not in (".lock", "run.json.partial") for p in self.path.iterdir()):
            raise StoreError(f"{self.path} holds files but is not a run folder; give an empty folder with --out")
        self.write_json("run.json", {"layout": LAYOUT, "magicoder": __version__})

    def write(self, name: str, data: bytes) -> None:
        """Write a small file atomically.

        Raises:
            StoreError: the disk is full or read-only.
        """
        with explained(self.path):
            write_atomic(self.path / name, data)

    def write_json(self, name: str, value: Any) -> None:
        """Write a small JSON file atomically; raises as `write`."""
        self.write(name, _json(value))

    def manifest(self, stage: str) -> Manifest | None:
        """Return the manifest of a published stage, None if it is not there.

        Raises:
            StoreError: it is damaged.
        """
        path = self.path / stage / "manifest.json"
        try:
            raw = orjson.loads(path.read_bytes())
            return Manifest(**{**raw, "parts": tuple(raw["parts"])})
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, KeyError, TypeError) as e:
            raise StoreError(f"{path} is damaged ({e}); delete {path.parent} and run again") from e

    def artifact(self, stage: str, record: type[R]) -> Artifact[R] | None:
        """Return a published stage, None if it is not there."""
        manifest = self.manifest(stage)
        return None if manifest is None else Artifact(self.path / stage, record, manifest)

    def under_way(self, stage: str) -> tuple[int, int] | None:
        """Return how many rows and rejections an unfinished build holds, None if there is no such build."""
        building = self.path / f"{stage}.building"
        try:
            return _total(count(building, i) for i in range(whole_parts(building))) if building.exists() else None
        except FileNotFoundError:  # published by another process as we looked
            return None

    def publish(
        self,
        stage: str,
        record: type[R],
        build: Callable[[Writer[R]], None],
        *,
        settings: Any,
        inputs: list[str],
        progress: Progress | None = None,
        redo: Callable[[Manifest], bool] = lambda _: False,
    ) -> tuple[Artifact[R], bool]:
        """Return the artifact of `stage` and whether it had to be built.

        `redo` may ask for an artifact that is there to be built once more.

        `settings` (fingerprinted whole) and `inputs` (the content digests of what is read) make the key: if the
        published artifact has it, nothing is done; if an interrupted build has it, `build` goes on with that one.
        """
        key = digest([LAYOUT, software(), stage, str(schema_of(record)), settings, inputs])
        found = self.artifact(stage, record)
        if found is not None and found.manifest.key == key and not redo(found.manifest):
            return found, False
        building = self.path / f"{stage}.building"
        with explained(self.path):
            whole = self.manifest(building.name)  # of a build that was killed after its last word
            if whole is None or whole.key != key or redo(whole):
                _claim(building, key)
                writer = Writer(building, stage, record, progress)
                build(writer)
                write_atomic(building / "manifest.json", _json(writer.manifest(key)))
            (building / "key").unlink(missing_ok=True)
            swap(building, self.path / stage)
        made = self.artifact(stage, record)  # read back: a run that finds it must see the very same
        assert made is not None
        return made, True

    def publish_folder(
        self, name: str, build: Callable[[Path], None], *, settings: Any, inputs: list[str]
    ) -> tuple[Path, bool]:
        """Return the folder `name` of files made for people and other tools, and whether it had to be built.

        Its key stands in `<name>.json` beside it, so that the folder holds nothing of ours.
        """
        key = digest([LAYOUT, software(), name, settings, inputs])
        place, marker = self.path / name, self.path / f"{name}.json"
        if place.is_dir() and _holds(marker, key):
            return place, False
        building = self.path / f"{name}.building"
        with explained(self.path):
            if building.exists():
                shutil.rmtree(building)
            building.mkdir()
            build(building)
            sync_tree(building)
            marker.unlink(missing_ok=True)
            sync(self.path)  # the old key must not come back beside the new folder
            swap(building, place)
            write_atomic(marker, _json({"key": key}))
        return place, True

    def publish_file(
        self, name: str, build: Callable[[], bytes], *, settings: Any, inputs: list[str]
    ) -> tuple[Path, bool]:
        """Return the file `name`, made for people, and whether it had to be built; its key stands beside it too."""
        key = digest([LAYOUT, software(), name, settings, inputs])
        place, marker = self.path / name, self.path / f"{name}.json"
        if place.is_file() and _holds(marker, key):
            return place, False
        data = build()
        with explained(self.path):
            marker.unlink(missing_ok=True)
            write_atomic(place, data)
            write_atomic(marker, _json({"key": key}))
        return place, True


def _holds(marker: Path, key: str) -> bool:
    return marker.exists() and bool(orjson.loads(marker.read_bytes()).get("key") == key)


def _claim(building: Path, key: str) -> None:
    """Keep an unfinished build made from the same key; throw away any other."""
    marker, manifest = building / "key", building / "manifest.json"
    unfinished = marker.exists() and not manifest.exists()
    if building.exists() and not (unfinished and marker.read_text() == key):
        # Its names first: what a kill leaves of it must not pass for a build.
        marker.unlink(missing_ok=True)
        manifest.unlink(missing_ok=True)
        sync(building)
        shutil.rmtree(building)
    building.mkdir(parents=True, exist_ok=True)
    for leftover in building.rglob("*.partial"):
        leftover.unlink()
    write_atomic(marker, key.encode())


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
