"""Checkpoints: all that is needed to go on with a run bit for bit, in a folder that is whole or not there.

    <folder>/step-00000050/model.safetensors        one file a group of tensors, as `save` was given them
                           optimizer.safetensors
                           checkpoint.json           step, facts, size and CRC of every file
    <folder>/step-00000050.partial/                  while it is written; never read

Tensors are written whole, one at a time, whatever number of processes holds them: a run may go on with another number.
States of random generators are not kept: the loop seeds them anew for every step.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import orjson
import torch

from magicoder import __version__
from magicoder.errors import StoreError
from magicoder.store import explained, swap, write_atomic
from magicoder.store.files import sync_tree
from magicoder.training.parallel import World, whole
from magicoder.training.tensorfiles import Lazy, Sink, Written, is_whole, size_of, write

T = TypeVar("T")

LAYOUT: Final = 1

_ABOUT: Final = "checkpoint.json"
_PARTIAL: Final = ".partial"
_OLD: Final = ".old"
_GONE: Final = ".gone"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk that was found whole; `facts` are what `save` was given."""

    folder: Path
    step: int
    facts: dict[str, Any]
    files: tuple[Written, ...]

    def load(self, world: World) -> dict[str, Mapping[str, torch.Tensor]]:
        """Return its tensors by group and name: whole ones, on the CPU, read from the disk when they are asked for.

        Raises:
            StoreError: process 0 found it, but this one, on another machine, cannot see it.
        """
        try:
            return {f.name: Lazy(self.folder / f"{f.name}.safetensors") for f in self.files}
        except OSError as e:
            raise StoreError(
                f"process {world.rank} cannot read {self.folder} ({e.strerror or e}), which process 0 can: all "
                "machines of a run need one disk; give a shared folder with --out"
            ) from e


class Checkpoints:
    """The checkpoints of a stage in `folder`; the last `keep` stay."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = max(1, keep)

    def save(
        self,
        step: int,
        groups: Mapping[str, Mapping[str, torch.Tensor]],
        facts: Mapping[str, Any],
        world: World,
    ) -> Path:
        """Write a checkpoint and remove those that are too many. All processes call it, with equal names and `facts`.

        A kill or a power cut at any moment leaves every earlier checkpoint as it was. Spread tensors are gathered one
        at a time.

        Raises:
            StoreError: on every process: the disk is full or read-only. Earlier checkpoints are as they were.
        """
        place = self.folder / f"step-{step:08d}"
        partial = place.with_name(place.name + _PARTIAL)
        try:
            _on_main(world, self.folder, lambda: _make_room(partial, sum(map(size_of, groups.values()))))
            files, trouble = _write(partial, groups, world)

            def publish() -> None:
                if trouble is not None:
                    raise trouble
                about = {"step": step, "facts": facts, "files": [asdict(f) for f in files]}
                self._publish(partial, place, about)

            _on_main(world, self.folder, publish)
        except StoreError:
            if world.is_main:
                shutil.rmtree(partial, ignore_errors=True)  # gives back what room it took
            raise
        return place

    def latest(self, world: World, say: Callable[[str], None] | None = None) -> Checkpoint | None:
        """Return the last checkpoint that is whole, None if there is none; all processes get the same one.

        Every byte is read and checked. A damaged one is left where it is, and told with `say` on process 0.

        Raises:
            StoreError: a checkpoint was written by another version.
        """
        return _on_main(world, self.folder, lambda: next(self._whole(say or (lambda _: None)), None))

    def last(self, count: int, world: World) -> list[Checkpoint]:
        """Return the last `count` checkpoints that are whole, or as many as there are, the oldest first."""
        found = _on_main(world, self.folder, lambda: list(itertools.islice(self._whole(lambda _: None), count)))
        return found[::-1]

    def places(self) -> list[Path]:
        """Return the folders of the checkpoints, the oldest first; none of them is checked."""
        found = self.folder.glob("step-*") if self.folder.is_dir() else ()
        return sorted(p for p in found if p.is_dir() and p.name.removeprefix("step-").isdigit())

    def _whole(self, say: Callable[[str], None]) -> Iterator[Checkpoint]:
        """Yield the checkpoints that are whole, the last first."""
        replaced = self.folder.glob(f"step-*{_OLD}") if self.folder.is_dir() else ()
        for place in sorted({*self.places(), *replaced}, key=lambda p: (_step(p), p.suffix != _OLD), reverse=True):
            checkpoint = _read(place)
            if checkpoint is None:
                say(f"the checkpoint {place} is damaged and left alone")
            else:
                yield checkpoint

    def _publish(self, partial: Path, place: Path, about: dict[str, Any]) -> None:
        described = {"layout": LAYOUT, "magicoder": __version__, **about}
        write_atomic(partial / _ABOUT, orjson.dumps(described, option=orjson.OPT_INDENT_2))
        sync_tree(partial)
        swap(partial, place)
        # Only now: until here, the checkpoints before this one were all there was. One at a later step was written
        # before the run went back, and belongs to another course.
        later = [p for p in self.places() if _step(p) > _step(place)]
        earlier = [p for p in self.places() if _step(p) < _step(place)]
        for path in later + earlier[: max(0, len(earlier) - self.keep + 1)]:
            _remove(path)
        for left in (_GONE, _OLD, _PARTIAL):
            for path in self.folder.glob(f"step-*{left}"):
                shutil.rmtree(path)


def _on_main(world: World, folder: Path, work: Callable[[], T]) -> T:
    """Do `work` on process 0 and return on every process what came of it; what went wrong is raised on every one."""
    result, trouble = None, None
    if world.is_main:
        try:
            with explained(folder):
                result = work()
        except StoreError as e:
            trouble = str(e)
        except OSError as e:
            trouble = f"{e.filename or folder}: {e.strerror or e}; nothing finished is lost: mend it and run again"
    result, trouble = world.share((result, trouble))
    if trouble is not None:
        raise StoreError(trouble)
    return cast(T, result)


def _make_room(partial: Path, size: int) -> None:
    """Make an empty folder at `partial` if the disk has room for `size` bytes."""
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    free = shutil.disk_usage(partial).free
    if free < size:
        raise StoreError(
            f"the disk of {partial.parent} has {free / 1e9:.3g} GB left and a checkpoint takes {size / 1e9:.3g}; "
            "earlier checkpoints are as they were: free some space, or give another folder with --out, and run again"
        )


def _write(
    partial: Path, groups: Mapping[str, Mapping[str, torch.Tensor]], world: World
) -> tuple[list[Written], OSError | None]:
    """Write the files on process 0; return what they are and what went wrong first, if anything did."""
    files: list[Written] = []
    trouble: OSError | None = None
    for name, tensors in groups.items():
        sink = Sink(partial / f"{name}.safetensors" if world.is_main and trouble is None else None)
        write(sink, tensors, whole)
        trouble = sink.close() or trouble
        files.append(Written(name, sink.size, sink.crc))
    return files, trouble


def _read(place: Path) -> Checkpoint | None:
    """Return the checkpoint at `place`, None if it is not whole."""
    try:
        raw = orjson.loads((place / _ABOUT).read_bytes())
        layout, version = raw["layout"], raw["magicoder"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if layout != LAYOUT:
        raise StoreError(
            f"{place} was written by magicoder {version} (layout {layout}), this is {__version__} (layout {LAYOUT}): "
            f"use another --out, or install magicoder=={version}"
        )
    try:
        files = tuple(Written(**f) for f in raw["files"])
        found = Checkpoint(place, raw["step"], raw["facts"], files)
    except (KeyError, TypeError):
        return None
    return found if all(is_whole(place / f"{f.name}.safetensors", f) for f in files) else None


def _remove(place: Path) -> None:
    """Remove a checkpoint so that half of it is never taken for one."""
    gone = place.with_name(place.name + _GONE)
    if gone.exists():
        shutil.rmtree(gone)
    place.rename(gone)
    shutil.rmtree(gone)


def _step(place: Path) -> int:
    return int(place.name.removeprefix("step-").partition(".")[0])
