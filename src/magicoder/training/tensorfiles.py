"""Files of tensors in the safetensors format, written a tensor at a time and read where they lie.

The library's own writer wants all tensors in memory at once; a model that is spread over processes never is. The format
is a length, a JSON table of names, dtypes, shapes and places, and the bytes.
"""

import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson
import torch

_NAMES: Final = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip

_PIECE: Final = 64 << 20

_THREADS: Final = 4

_UNDER_WAY: Final = 1 << 30
"""Bytes that wait for the disk at most, beside the model."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it was written: its group's name, bytes, and a CRC-32 of the CRC-32s of its header and each tensor."""

    name: str
    size: int
    crc: int


class Lazy(Mapping[str, torch.Tensor]):
    """The tensors of a file by name; each is read when it is asked for, and again if it is asked for again."""

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self._file = safe_open(path, framework="pt", device="cpu")
        self._names = tuple(self._file.keys())

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: torch.Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def header(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the beginning of a file of `tensors`, whose bytes follow in the order of the mapping."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, tensor in tensors.items():
        end = place + tensor.numel() * tensor.element_size()
        table[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = orjson.dumps(table)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def size_of(tensors: Mapping[str, torch.Tensor]) -> int:
    """Return how many bytes a file of `tensors` has."""
    size: int = len(header(tensors)) + sum(t.numel() * t.element_size() for t in tensors.values())
    return size


class Sink:
    """A file that is written from its beginning. Once writing failed it takes no more, and says why with `close`.

    So one process that cannot write goes on taking part in what all processes do together. Without a path it takes
    nothing at all. Checksums, the disk and the copies from a GPU work at the same time, in threads; what is given has
    to stay as it is until `close`.
    """

    def __init__(self, path: Path | None) -> None:
        self.size = self.crc = 0
        self.trouble: OSError | None = None
        self._file: BinaryIO | None = None
        self._crcs: list[Future[int]] = []
        self._writes: deque[tuple[int, Future[int]]] = deque()
        self._under_way = 0
        if path is not None:
            try:
                self._file = path.open("wb")
            except OSError as e:
                self.trouble = e
        self._writing = ThreadPoolExecutor(1)  # one: in order
        self._checking = ThreadPoolExecutor(_THREADS)

    @property
    def takes(self) -> bool:
        """Whether what is written goes anywhere."""
        return self._file is not None and self.trouble is None

    def write(self, data: bytes | memoryview) -> None:
        """Write bytes."""
        if self._file is None or self.trouble is not None:
            return
        self.size += len(data)
        self._under_way += len(data)
        self._crcs.append(self._checking.submit(zlib.crc32, data))
        self._writes.append((len(data), self._writing.submit(self._file.write, data)))
        while self._under_way > _UNDER_WAY:
            self._wait()

    def close(self) -> OSError | None:
        """Wait until all is written; return what went wrong, if anything did."""
        while self._writes:
            self._wait()
        self.crc = _crc_of([crc.result() for crc in self._crcs])
        self._writing.shutdown()
        self._checking.shutdown()
        if self._file is not None:
            try:
                self._file.close()
            except OSError as e:
                self.trouble = self.trouble or e
        return self.trouble

    def _wait(self) -> None:
        length, written = self._writes.popleft()
        self._under_way -= length
        try:
            written.result()
        except OSError as e:
            self.trouble = self.trouble or e


def write(sink: Sink, tensors: Mapping[str, torch.Tensor], gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Write a file of `tensors`, each gathered by `gather` when its turn comes, also where the sink takes nothing."""
    sink.write(header(tensors))
    for tensor in tensors.values():
        gathered = gather(tensor)
        if sink.takes and gathered.numel():
            sink.write(memoryview(gathered.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
        del gathered


def is_whole(path: Path, written: Written) -> bool:
    """Return whether a file has the bytes that were written; every one is read."""
    try:
        if path.stat().st_size != written.size:
            return False
        with path.open("rb") as file, ThreadPoolExecutor(_THREADS) as checking:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > written.size:
                return False
            table = orjson.loads(file.read(length))
            del table["__metadata__"]
            begin = 8 + length
            places = [(0, begin), *((begin + a, begin + b) for a, b in (t["data_offsets"] for t in table.values()))]
            crcs = checking.map(lambda place: _crc_at(file.fileno(), *place), [p for p in places if p[0] < p[1]])
            return _crc_of(crcs) == written.crc
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return False


def _crc_at(descriptor: int, begin: int, end: int) -> int:
    crc = 0
    for place in range(begin, end, _PIECE):
        crc = zlib.crc32(os.pread(descriptor, min(_PIECE, end - place), place), crc)
    return crc


def _crc_of(crcs: Iterable[int]) -> int:
    return zlib.crc32(b"".join(struct.pack("<I", crc) for crc in crcs))
