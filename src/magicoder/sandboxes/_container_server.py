"""Inside a container: cells as they are on any machine, asked over stdin and stdout.

Runs in the image's Python with our sources mounted and nothing installed. What comes in is ours (pickle); what goes
out is plain data, since the other end trusts nothing from in here.
"""

import hashlib
import json
import os
import pickle
import queue
import struct
import sys
import threading
import types
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, BinaryIO

LIMIT = 1 << 29


def main() -> None:
    """Serve until stdin closes, which ends the container and whatever runs in it."""
    _stand_in_for_packages()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while frame := read_frame(sys.stdin.buffer):
            frames.put(frame)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    _serve(frames, out)


def read_frame(stream: BinaryIO) -> bytes:
    """Return the next frame, b"" at the end. Raises ValueError for what cannot be one."""
    head = stream.read(4)
    if len(head) < 4:
        return b""
    (size,) = struct.unpack("=I", head)
    if size > LIMIT:
        raise ValueError(f"a frame of {size} bytes")
    data = stream.read(size)
    return data if len(data) == size else b""


def write_frame(stream: BinaryIO, data: bytes) -> None:
    """Send a frame."""
    stream.write(struct.pack("=I", len(data)))
    stream.write(data)
    stream.flush()


def _stand_in_for_packages() -> None:
    """Only one small function of ours wants an installed package (orjson); here it needs to be stable, not the same."""
    module: Any = types.ModuleType("magicoder.fingerprint")
    module.digest = lambda value: hashlib.sha256(json.dumps(value, default=repr).encode()).hexdigest()[:32]
    sys.modules["magicoder.fingerprint"] = module


def _serve(frames: "queue.SimpleQueue[bytes]", out: BinaryIO) -> None:
    from magicoder.sandboxes._values_inside import dumps
    from magicoder.sandboxes._wire import Ended

    host = _Host()
    while True:
        operation, arguments = pickle.loads(frames.get())  # noqa: S301 - from outside, which is trusted
        try:
            answer = ("fine", getattr(host, operation)(*arguments))
        except Ended as e:
            answer = ("ended", asdict(e.report))
        except Exception as e:
            answer = ("broken", f"{type(e).__name__}: {e}")
        write_frame(out, dumps(answer))


class _Host:
    """The operations."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._cell: Any = None
        self._talk = ExitStack()
        self._conversation: Any = None

    def find(self, languages: tuple[str, ...]) -> dict[str, Any]:
        """Look for toolchains, and say what isolation there is."""
        from magicoder.sandboxes import _ladder, _toolchains

        found = {}
        for language in languages:
            one = _toolchains.find(language)
            fields = (one.version, one.missing, one.install, one.commands, one.shows, one.cache)
            found[language] = fields
        rung = _ladder.choose()
        return {"found": found, "isolation": rung.line, "level": rung.level}

    def open(self, languages: tuple[str, ...], codec: str) -> None:
        """Make the cell that the other operations use."""
        from magicoder.sandboxes import _compilers, _ladder, _toolchains
        from magicoder.sandboxes._cell import Cell

        found = [_toolchains.find(language) for language in languages]
        for one in found:
            if one.version:
                _compilers.prepare(one)
        self._cell = self._stack.enter_context(
            Cell.open(
                _ladder.choose(),
                read_only=_toolchains.shown(languages),
                proc=any(one.toolchain.proc for one in found),
                codec=codec,
            )
        )

    def run(self, request: Any) -> dict[str, Any]:
        """As `Cell.run`."""
        return asdict(self._cell.run(request))

    def converse(self, request: Any) -> None:
        """As `Cell.converse`."""
        self._conversation = self._talk.enter_context(self._cell.converse(request))

    def call(self, arguments: bytes) -> bytes:
        """As `Conversation.call`."""
        answer: bytes = self._conversation.call(arguments)
        return answer

    def hang_up(self) -> dict[str, Any]:
        """End the conversation and return its report."""
        self._talk.close()
        return asdict(self._conversation.report)


if __name__ == "__main__":
    main()
