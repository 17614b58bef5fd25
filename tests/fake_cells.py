"""Cells that isolate nothing and run no code of anybody: a program's first line says what is to happen.

For tests of what stands around cells: order, bounds, retries, deaths. `say TEXT`, `raise KIND`, `cpu`, `wall`, `oom`,
`crash N`, `flood`, `syntax`, `exit`, `assert`, `sleep S`, `kill FILE` (the worker dies, unless FILE is there; makes
it), `break FILE` (the cell breaks likewise), `slow FILE` (a timeout likewise), `count FILE` (adds a byte to it).
Where there is a judge, the source is Python that a test trusts.
"""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from magicoder.errors import SandboxError
from magicoder.records import Limits
from magicoder.sandboxes import _toolchains, _values_inside
from magicoder.sandboxes._toolchains import Found
from magicoder.sandboxes._wire import Ended, Report, Request

FINE = Report(
    exit_code=0,
    signal=0,
    timed_out="",
    out_of_memory=False,
    output_limit=False,
    completed=True,
    error="",
    error_kind="",
    stdout=b"",
    stderr=b"",
    files=(),
    cpu_s=0.001,
    wall_s=0.001,
    peak_memory_mb=1.0,
)
KILLED = replace(FINE, exit_code=None, signal=9, completed=False)
UNFINISHED = replace(FINE, exit_code=1, completed=False)

FIXED = {
    "cpu": replace(KILLED, timed_out="cpu"),
    "wall": replace(KILLED, timed_out="wall"),
    "oom": replace(KILLED, out_of_memory=True),
    "flood": replace(KILLED, output_limit=True),
    "syntax": replace(UNFINISHED, error="SyntaxError: invalid syntax", error_kind="syntax"),
    "assert": replace(UNFINISHED, error="AssertionError: 1 != 2", error_kind="assert"),
    "exit": replace(FINE, completed=False, error_kind="exit"),
    "quiet-exit": replace(FINE, completed=False),
}


def first_time(path: str) -> bool:
    """Whether this is the first time, in any process."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def crash(rest: str) -> Report:
    return replace(KILLED, signal=int(rest))


def raises(rest: str) -> Report:
    return replace(UNFINISHED, error=rest, error_kind="exception", stderr=b"Traceback\n" + rest.encode())


def leave(rest: str) -> Report:
    return replace(UNFINISHED, exit_code=int(rest), completed=True, stderr=b"first\nlast\n\n")


def say(rest: str) -> Report:
    return replace(FINE, stdout=rest.encode())


def sleep(rest: str) -> Report:
    time.sleep(float(rest))
    return FINE


def count(rest: str) -> Report:
    with Path(rest).open("ab") as f:
        f.write(b".")
    return FINE


def kill(rest: str) -> Report:
    if not rest or first_time(rest):
        os.kill(os.getpid(), signal.SIGKILL)
    return FINE


def breaks(rest: str) -> Report:
    if not rest or first_time(rest):
        raise SandboxError("the walls came down")
    return FINE


def slow(rest: str) -> Report:
    return FIXED["wall"] if first_time(rest) else FINE


ACTIONS = {
    "crash": crash,
    "raise": raises,
    "leave": leave,
    "say": say,
    "sleep": sleep,
    "count": count,
    "kill": kill,
    "break": breaks,
    "slow": slow,
}


class FakeCell:
    def run(self, request: Request) -> Report:
        word, _, rest = (request.source.splitlines() or ["say"])[0].partition(" ")
        return FIXED[word] if word in FIXED else ACTIONS[word](rest)

    @contextmanager
    def converse(self, request: Request) -> Iterator["FakeConversation"]:
        yield FakeConversation(request)

    def serve(
        self,
        argv: tuple[str, ...],
        environment: tuple[tuple[str, str], ...] = (),
        files: tuple[tuple[str, bytes], ...] = (),
        limits: Limits | None = None,
    ) -> Any:
        raise NotImplementedError


class FakeConversation:
    def __init__(self, request: Request) -> None:
        self.report = FINE
        self._names: dict[str, Any] = {}
        self._entry_point = request.entry_point
        self._source = request.source

    def call(self, args: bytes) -> bytes:
        if self._source in FIXED:
            raise Ended(FIXED[self._source])
        if not self._names:
            exec(self._source, self._names)
        function = self._names[self._entry_point]
        reply = _values_inside.answer(function, args)
        if b"SystemExit" in reply and b"die" in reply:
            raise Ended(FIXED["quiet-exit"])
        return b"V!" if b"forged" in reply else reply


@dataclass(frozen=True)
class FakeJails:
    """`Opens` of fake cells; knows Python only."""

    @contextmanager
    def open(self, languages: Sequence[str], cpu: int) -> Iterator[FakeCell]:
        yield FakeCell()

    def find(self, language: str) -> Found:
        if language == "nowhere":
            raise SandboxError("nothing runs nowhere")
        found = _toolchains.find("python")
        if language != "python":
            return replace(found, language=language, version="", missing="cobc not found", install="apt install cobc")
        return found

    def identity(self, language: str) -> str:
        return self.find(language).version

    def serves(self) -> bool:
        return False
