"""A jail seen from outside: starting its processes, handing requests in, taking reports out."""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from magicoder.errors import SandboxError
from magicoder.sandboxes import _wire as wire
from magicoder.sandboxes._zygote_scratch import Folder

_START_S: Final = 120.0
GRACE_S: Final = 30.0
"""What a keeper may take beyond a program's wall limit before it is taken for broken."""
_SPOILT: Final = "SystemExit: the program wrote to descriptors that are not its own"
_MESSAGE: Final = 1 << 18
_FOLDER: Final = Path(__file__).parent

# What programs import comes first: what the keeper itself uses then lies close together in memory, and fewer pages
# have to be copied for each fork. The package itself is not imported in there, nor need it be installed: two empty
# names stand for it.
_BOOT: Final = """
import sys, types
import abc, bisect, collections, contextlib, copy, dataclasses, datetime, decimal, enum, fractions, functools, hashlib
import heapq, io, itertools, json, math, operator, random, re, statistics, string, time, typing
for name, path in (("magicoder", sys.argv[1]), ("magicoder.sandboxes", sys.argv[2])):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [path]
from magicoder.sandboxes import _zygote
getattr(_zygote, sys.argv[4])()
"""
# The hash seed is fixed so that the same program does the same thing every time.
_ENVIRONMENT: Final = {
    "PYTHONHASHSEED": "0",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
}


class Warm:
    """An interpreter that has loaded what every cell loads, and that they are forked from: `start(warm=its fileno)`.

    It knows nothing but that, and ends when nobody holds its socket any more.
    """

    def __init__(self, python: str = "") -> None:
        """`python` as for `start`, which finds out whether it is any good. Nothing runs before `begin`."""
        self._python = python
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None

    def fileno(self) -> int:
        """Return the number of its socket, which other processes may inherit."""
        return self._near.fileno()

    def begin(self) -> None:
        """Start it, unless that has been done."""
        if self._far.fileno() >= 0:
            with self._far, contextlib.suppress(OSError):
                self._process = _spawn(self._python, self._far.fileno(), "nurse", subprocess.DEVNULL)

    def close(self) -> None:
        """End it, unless others hold its socket."""
        self._far.close()
        self._near.close()
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def start(
    level: int,
    *,
    cpu: int = -1,
    python: str = "",
    modules: Sequence[str] = (),
    read_only: Sequence[str] = (),
    proc: bool = False,
    codec: str = "",
    cgroup: bool = True,
    warm: int = -1,
) -> "Jail":
    """Start a jail and wait until it is ready; fork it from the interpreter `Warm` whose socket is `warm`, if there is.

    Raises:
        SandboxError: it cannot be made here; says why.
    """
    config = {
        "parent": os.getpid(),
        "level": level,
        "cpu": cpu,
        "modules": list(modules),
        "read_only": [str(p) for p in read_only],
        "proc": proc,
        "codec": codec,
        "cgroup": cgroup,
    }
    if warm >= 0:
        with contextlib.suppress(SandboxError):  # if so, what follows says why
            return _jail(config, lambda near, far, message: _forked(warm, near, far, message))
    return _jail(config, lambda near, far, message: _spawned(python, near, far, message))


def _jail(config: dict[str, Any], begin: "Callable[[socket.socket, socket.socket, bytes], _Process]") -> "Jail":
    """Let `begin` make the process, and wait until the jail is ready. Raises SandboxError."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = ""
    if config["level"] < 3:
        folder = tempfile.mkdtemp(prefix="magicoder-cell-")
        Path(folder).chmod(0o711)
    try:
        process = begin(near, far, json.dumps({**config, "folder": folder}).encode())
    except (OSError, SandboxError) as e:
        near.close()
        Folder.clear(folder)
        raise SandboxError(str(e)) from e
    finally:
        far.close()
    jail = Jail(process, near, folder)
    try:
        jail.ready = jail.receive(time.monotonic() + _START_S)[0]
    except (OSError, SandboxError) as e:
        words = jail.last_words()
        jail.close()
        raise SandboxError(f"a jail does not start: {words or e}") from e
    if "failed" in jail.ready:
        jail.close()
        raise SandboxError(jail.ready["failed"])
    return jail


def _spawned(python: str, near: socket.socket, far: socket.socket, message: bytes) -> "subprocess.Popen[bytes]":
    """Start a jail in an interpreter of its own. Raises SandboxError."""
    try:
        process = _spawn(python, far.fileno(), "main", subprocess.PIPE)
    except OSError as e:
        raise SandboxError(f"{python or sys.executable} does not start: {e}") from e
    with contextlib.suppress(OSError):  # it has ended: it will be found out
        near.send(message)
    return process


def _spawn(python: str, control: int, entry: str, stderr: int) -> "subprocess.Popen[bytes]":
    """Start an interpreter with nothing open but `control`; what it prints until it takes over goes to `stderr`."""
    command = [python or sys.executable, "-s", "-B", "-X", "utf8", "-c", _BOOT, str(_FOLDER.parent), str(_FOLDER)]
    return subprocess.Popen(  # noqa: S603 - an interpreter that the user chose
        [*command, str(control), entry],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=_ENVIRONMENT,
        pass_fds=(control,),
        cwd="/",
        start_new_session=True,
    )


def _forked(warm: int, near: socket.socket, far: socket.socket, message: bytes) -> "_Forked":
    """Have a jail forked from a warm interpreter. Raises OSError."""
    line = socket.socket(fileno=os.dup(warm))
    own = os.pidfd_open(os.getpid())
    with line:
        try:
            socket.send_fds(line, [message], [far.fileno(), own])
        finally:
            os.close(own)
    far.close()
    near.settimeout(_START_S)
    _, fds, _, _ = socket.recv_fds(near, 16, 1)
    near.settimeout(None)
    if not fds:
        raise ConnectionError("the warm interpreter has ended")
    return _Forked(fds[0])


class _Forked:
    """A jail's process that is no child of ours."""

    stderr = None

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd

    def wait(self, timeout: float | None = None) -> int:
        """As `Popen.wait`; how it ended is not known."""
        if self._pidfd >= 0:
            if not select.select([self._pidfd], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a jail", timeout or 0.0)
            os.close(self._pidfd)
            self._pidfd = -1
        return 0

    def send_signal(self, which: int) -> None:
        """As `Popen.send_signal`."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, which)


_Process: TypeAlias = "subprocess.Popen[bytes] | _Forked"


class Jail:
    """A running jail. `ready` is what it said about itself when it was."""

    def __init__(self, process: "_Process", control: socket.socket, folder: str) -> None:
        self._process = process
        self._folder = folder
        self._control = control
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)
        self.ready: dict[str, Any] = {}

    def give(self, order: dict[str, Any], payload: bytes = b"", more: Sequence[bytes] = (), talk: int = -1) -> None:
        """Hand an order in, with its payload, tests and stdin as sealed files, and one end of a line to talk.

        Raises:
            SandboxError: the jail is dead.
        """
        fds = [_file(data) for data in (payload, *more) if data] if payload else []
        try:
            sent = [*fds, talk] if talk >= 0 else fds
            socket.send_fds(self._control, [json.dumps(order, separators=(",", ":")).encode()], sent)
        except OSError as e:
            raise SandboxError(f"a cell's keeper is gone ({e})") from e
        finally:
            for fd in fds:
                os.close(fd)

    def receive(self, deadline: float) -> tuple[dict[str, Any], bytes, list[int]]:
        """Wait for a message: what it says, an error's text, and files. `deadline` as of `time.monotonic`.

        Raises:
            SandboxError: none comes; the jail is of no use any more.
        """
        while not self._poll.poll(max(0.0, min(deadline - time.monotonic(), 3600.0)) * 1000):
            if time.monotonic() >= deadline:
                raise SandboxError("a cell's keeper does not answer")
        try:
            data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE, 8)
        except OSError as e:
            raise SandboxError(f"a cell's keeper is gone ({e})") from e
        if not data:
            raise SandboxError("a cell's keeper has died")
        size = int.from_bytes(data[:4], "little")
        return wire.unpack(data[4 : 4 + size]), data[4 + size :], fds

    def reported(self, patience_s: float) -> bool:
        """Wait at most that long for a report, and say whether there is one."""
        return bool(self._poll.poll(patience_s * 1000))

    def report(self, deadline: float) -> wire.Report:
        """Wait for the report on what was handed in.

        Raises:
            SandboxError: none comes, or the program could not be started for no fault of its own.
        """
        said, error, fds = self.receive(deadline)
        try:
            return _report(said, error, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def last_words(self) -> str:
        """Return the last line that the jail's process printed before it took over, for an error."""
        stream = self._process.stderr
        if stream is None or not select.select([stream], [], [], 0.2)[0]:
            return ""
        lines = os.read(stream.fileno(), 1 << 16).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def close(self) -> None:
        """End it, and everything in it. It ends by itself as soon as nobody holds the other end of its socket."""
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        Folder.clear(self._folder)  # the starter does that, unless it was killed


def _file(data: bytes) -> int:
    """Return a file in memory that holds `data` and that nobody can change."""
    fd = os.memfd_create("request", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return fd


def _report(said: dict[str, Any], error: bytes, fds: list[int]) -> wire.Report:
    if said["failed"] or not (said["started"] or said["memory"] or said["timed_out"]):
        raise SandboxError(f"a program could not be started: {said['failed'] or 'its process ended before it began'}")
    left = list(fds)
    outputs = [_content(left.pop(0), size) if size else b"" for size in said["sizes"]]
    files = []
    if said["files"]:
        at = 0
        for name, size in said["files"]:
            files.append((name, os.pread(left[0], size, at)))
            at += size
    return wire.Report(
        exit_code=said["exit"],
        signal=said["signal"],
        timed_out=said["timed_out"],
        out_of_memory=said["memory"],
        output_limit=said["output"],
        completed=said["completed"],
        error=_SPOILT if said["spoilt"] else error.decode("utf-8", "replace"),
        error_kind=said["kind"],
        stdout=outputs[0],
        stderr=outputs[1],
        files=tuple(files),
        cpu_s=said["cpu"],
        wall_s=said["wall"],
        peak_memory_mb=said["peak"],
    )


def _content(fd: int, size: int) -> bytes:
    data = os.pread(fd, size, 0)
    while len(data) < size:
        data += os.pread(fd, size - len(data), len(data))
    return data
