"""Opening compressed files as streams, by their names' endings, and saying when one is damaged."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, cast

import pyarrow as pa

DAMAGE: Final = (EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, OSError)
"""What reading a damaged or truncated stream raises."""

_XZ_MEMORY: Final = 1 << 28
"""How much an .xz file may make its reader hold, in bytes; `xz -9` needs a quarter of it."""


class _Xz(io.RawIOBase):
    """An .xz file with a bound on memory, which `lzma.open` does not have."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._decoder = self._new()

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._decoder.eof:
                following = self._decoder.unused_data.lstrip(b"\0") or self._file.read(1 << 16).lstrip(b"\0")
                if not following:
                    return 0
                self._decoder = self._new()
            else:
                following = self._file.read(1 << 16) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not following:
                    raise EOFError("the file ends in the middle of its compressed data")
            data = self._decoder.decompress(following, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_xz(path: Path) -> IO[bytes]:
    return io.BufferedReader(_Xz(path), 1 << 16)


def _open_zstd(path: Path) -> IO[bytes]:
    return cast(IO[bytes], pa.input_stream(str(path), compression="zstd", buffer_size=1 << 16))


_OPENERS: Final[dict[str, Callable[[Path], Any]]] = {
    "": lambda path: path.open("rb"),
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": _open_xz,
    ".zst": _open_zstd,
}


def open_stream(path: Path, compression: str) -> IO[bytes]:
    """Open a file for reading; `compression` is "", ".gz", ".bz2", ".xz" or ".zst"."""
    return cast(IO[bytes], _OPENERS[compression](path))
