"""What goes to a warm compiler and what comes back: lengths of four bytes (big endian), each before its bytes.

question   count, then (name, text) of each source file
answer     a byte: 0 failed, 1 compiled, 2 unsure; what the compiler said; count, then (name, bytes) of each file made
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What a compiler made of a program.

    ok       it compiled; `said` is what a person reads where it did not
    files    name and content of what was made
    """

    ok: bool
    said: str
    files: tuple[tuple[str, bytes], ...]


def question(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the question about `files`."""
    parts = [struct.pack(">I", len(files))]
    for name, content in files:
        for part in (name.encode("utf-8", "replace"), content):
            parts += (struct.pack(">I", len(part)), part)
    return b"".join(parts)


def compiled(answer: bytes) -> Compiled | None:
    """Read an answer; None where it is of no use (the compiler is unsure, or does not keep to the form)."""
    if len(answer) < 9 or answer[0] > 1:
        return None
    try:
        fields = _fields(answer)
        said = next(fields)
        made = list(fields)
    except (struct.error, ValueError, StopIteration):
        return None
    names = [name.decode("utf-8", "replace") for name in made[::2]]
    if any(name.startswith("/") or ".." in name.split("/") or "\0" in name or not name for name in names):
        return None
    files = tuple(zip(names, made[1::2], strict=True))
    return Compiled(ok=answer[0] == 1, said=said.decode("utf-8", "replace"), files=files)


def _fields(answer: bytes) -> Iterator[bytes]:
    def field(at: int) -> tuple[bytes, int]:
        (length,) = struct.unpack_from(">I", answer, at)
        if at + 4 + length > len(answer):
            raise ValueError("cut short")
        return answer[at + 4 : at + 4 + length], at + 4 + length

    said, at = field(1)
    yield said
    (count,) = struct.unpack_from(">I", answer, at)
    at += 4
    if count * 8 > len(answer):
        raise ValueError("more files than bytes")
    for _ in range(2 * count):
        part, at = field(at)
        yield part
    if at != len(answer):
        raise ValueError("more bytes than files")
