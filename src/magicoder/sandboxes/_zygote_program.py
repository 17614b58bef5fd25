"""What happens between the fork and a program's first line, and after its last: confinement, and running Python.

Runs inside jails, in whatever Python is there: the standard library only. Up to `Walls.enter` this is trusted code
with rights; from there on it has none, and shares its process with the program.
"""
# A jail's Python need not pay for pathlib, and its places have fixed names.
# ruff: noqa: PTH103, PTH109, PTH120, S606

from __future__ import annotations

import _socket
import _thread
import atexit
import builtins
import errno
import gc
import linecache
import marshal
import os
import resource
import signal
import socket
import struct
import sys
import threading
import traceback
import types
from collections.abc import Callable
from posix import _exit
from typing import Any, Final

from magicoder.sandboxes import _kernel as kernel
from magicoder.sandboxes._kernel_filter import Filter
from magicoder.sandboxes._zygote_tests import guarded, suspicious

MAIN: Final = "main.py"
TESTS: Final = "tests.py"
CHANNEL_FROM: Final = 700
"""The private descriptors of the runner have numbers from here on."""
HIGHEST: Final = 4096
"""No descriptor of the keeper, and so of a program's start, has this number or a higher one."""
_BUILTINS: Final = vars(builtins)
_KEEP_BUILTINS: Final = dict(_BUILTINS)
# Bound here, before a program can replace them where they come from.
_fstat, _pread, _close = os.fstat, os.pread, os.close
_settrace, _setprofile = sys.settrace, sys.setprofile
_MACHINERY: Final = ("unittest", "doctest")


class Walls:
    """What a process puts on, once and for good, before it becomes a program."""

    def __init__(
        self,
        *,
        uid: int | None,
        capable: bool,
        joins: tuple[int, ...],
        landlock: Any,
        barrier: Filter | None,
        mortal: bool,
    ) -> None:
        """`landlock` makes a ruleset, see `renew`; `mortal`: nothing else ends a program whose keeper is killed."""
        self.uid = uid
        self._capable = capable
        self._joins = joins
        self.on_disk = self._mortal = mortal
        self._make = landlock
        self._rules = -1
        self._generation = 0
        self._barrier = barrier

    def renew(self, generation: int) -> None:
        """Make the ruleset of landlock anew if the folders that it names are others than before. Raises OSError."""
        if self._make is not None and generation != self._generation:
            if self._rules >= 0:
                os.close(self._rules)
            self._rules = self._make()
            self._generation = generation

    def join(self) -> None:
        """Be charged to the cell's control group from here on. Raises OSError."""
        for fd in self._joins:
            os.write(fd, b"0")

    def enter(self, limits: dict[str, Any]) -> None:
        """Give up every right. Raises OSError."""
        os.setsid()
        _set_limits(limits)
        if self.uid is not None:
            os.setgroups([])
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(self.uid, self.uid, self.uid)
        elif self._capable or self._barrier is not None:  # root too, where it is all that there is
            kernel.drop_capabilities()
        if self._mortal:
            kernel.control(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if self._rules >= 0:
            kernel.landlock_enter(self._rules)
        if self._barrier is not None:
            self._barrier.enter()


def fix_limits() -> None:
    """Set, in the keeper, the limits that are the same for every program and do not hinder the keeper."""
    for which, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_STACK, 64 << 20),
        (resource.RLIMIT_MEMLOCK, 64 << 10),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, 256),
        (resource.RLIMIT_RTPRIO, 0),
    ):
        _limit(which, value)


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY and value > hard:
        value = hard
    resource.setrlimit(which, (value, value))


def _set_limits(limits: dict[str, Any]) -> None:
    """Rlimits: each a backstop behind what is counted for all processes together."""
    _limit(resource.RLIMIT_FSIZE, max(limits["tmp"], 1) << 20)
    _limit(resource.RLIMIT_NOFILE, 512)
    if limits["cpu"] and not limits["serve"]:
        # Far behind the keeper's clock: the kernel charges whole ticks here, and runs ahead on a busy machine.
        _limit(resource.RLIMIT_CPU, int(limits["cpu"] * 1.5) + 5)
    if limits["tasks"]:
        _limit(resource.RLIMIT_NPROC, limits["tasks"])
    if limits["data"]:
        _limit(resource.RLIMIT_DATA, limits["data"])


class Channel:
    """The runner's private line to the keeper. Words out of order spoil it for good; see `_zygote_watch`.

    Everything it needs is bound here, before the program can replace anything in a module.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._read, self._write = os.read, os.write
        self._line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)

    def say(self, word: bytes) -> None:
        """Send one word."""
        self._write(self._fd, word)

    def tests(self) -> bytes:
        """Say that the program's own code has ended, and get the tests, which were not in this process before."""
        self._write(self._fd, b"S")
        _, passed, _, _ = self._line.recvmsg(16, 64)
        return read_all(int.from_bytes(passed[0][2][:4], sys.byteorder))

    def complete(self) -> None:
        """Prove that the end was reached: ask for the secret, and send it back."""
        self._write(self._fd, b"D")
        self._write(self._fd, b"T" + self._read(self._fd, 64))


def read_all(fd: int) -> bytes:
    """Return the whole content of a file in memory, and close it."""
    size = _fstat(fd).st_size
    data = _pread(fd, size, 0)
    while len(data) < size:
        data += _pread(fd, size - len(data), len(data))
    _close(fd)
    return data


def become(order: dict[str, Any], fds: dict[str, int], walls: Walls, work: str, answer: Any) -> None:
    """Turn this fresh child of the keeper into the program; never returns.

    `fds`: payload, stdin (-1: nothing), stdout, stderr, channel, talk (-1: none). `answer` is the codec's function.
    """
    channel = None
    try:
        walls.join()
        payload = read_all(fds["payload"])
        plan, blobs = _unpack(payload)
        del payload
        channel = Channel(_arrange(order, fds))
        os.chdir(work)
        walls.enter(order["limits"])
        os.closerange(3, CHANNEL_FROM)
        problem = _write_files(plan["files"], blobs, on_disk=walls.on_disk)
        if plan["environment"]:
            os.environ.update(plan["environment"])
    except BaseException as e:
        if channel is not None:
            channel.say(b"!" + f"{type(e).__name__}: {e}".encode()[:500])
        else:
            os.write(fds["channel"], b"!" + f"{type(e).__name__}: {e}".encode()[:500])
        _exit(120)
    channel.say(b"G")
    if problem:
        channel.say(problem)
        _exit(1)
    try:
        if plan["argv"]:
            _execute(plan["argv"], channel)
        source = blobs[-1]
        del blobs
        talk = CHANNEL_FROM + 1 if order["talk"] else -1
        _run(source, plan, channel, talk, answer if talk >= 0 else None, tests=order["tests"])
    finally:
        _exit(1)


def _unpack(payload: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The plan (marshalled, behind its length) and the blobs whose sizes it states; the last is the source."""
    (size,) = struct.unpack_from("=I", payload)
    plan = marshal.loads(payload[4 : 4 + size])  # noqa: S302 - written by the trusted side
    at, blobs = 4 + size, []
    for _, length in [*plan["files"], ("", plan["source"])]:
        blobs.append(payload[at : at + length])
        at += length
    return plan, blobs


def _arrange(order: dict[str, Any], fds: dict[str, int]) -> int:
    """Put descriptors where they belong, close all others, and return the channel's new number."""
    talk = fds["talk"]
    stdin, stdout = fds["stdin"], fds["stdout"]
    if talk >= 0 and order["serve"]:
        stdin = stdout = talk
    if stdin >= 0:  # else it stays what it is in the keeper: nothing
        os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.dup2(fds["stderr"], 2)
    os.dup2(fds["channel"], CHANNEL_FROM, inheritable=False)
    if talk >= 0:
        os.dup2(talk, CHANNEL_FROM + 1, inheritable=False)
    keep_talk = talk >= 0 and not order["serve"]
    # What is left below are the keeper's own: the walls need some of them; `become` closes them then.
    os.closerange(CHANNEL_FROM + (2 if keep_talk else 1), HIGHEST)
    return CHANNEL_FROM


def _write_files(files: list[tuple[str, int]], blobs: list[bytes], *, on_disk: bool) -> bytes:
    """Write the program's files, with the program's own rights. Returns the word for what is wrong with them, or b"".

    Names that cannot be and more than /tmp holds are the program's own fault; a full disk is not.

    Raises:
        OSError: it is the machine's fault.
    """
    try:
        for (name, _), data in zip(files, blobs, strict=False):
            if "/" in name:
                os.makedirs(os.path.dirname(name), exist_ok=True)
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o755)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.close(fd)
    except (OSError, ValueError) as e:
        code = e.errno if isinstance(e, OSError) else errno.EINVAL
        full = code == errno.EFBIG or (code == errno.ENOSPC and not on_disk)
        if not full and code not in (errno.EINVAL, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise
        text = f"its files do not fit into /tmp: {e}" if full else f"its files cannot be written: {e}"
        return (b"Ememory\0" if full else b"Eexception\0") + text.encode("utf-8", "replace")[:2000]
    return b""


def _execute(argv: list[str], channel: Channel) -> None:
    for which in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(which, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except (OSError, ValueError) as e:
        channel.say(b"X" + str(e).encode("utf-8", "replace")[:500])
    _exit(127)


def _run(
    source: bytes,
    plan: dict[str, Any],
    channel: Channel,
    talk: int,
    answer: Callable[[Any, bytes], bytes] | None,
    *,
    tests: bool,
) -> None:
    """Run Python source in this process, then its tests or its caller, and end the process."""
    if plan["files"]:
        sys.path.insert(0, os.getcwd())
    module = types.ModuleType("__main__")
    space = module.__dict__
    space["__builtins__"] = builtins
    space["__file__"] = MAIN
    sys.modules["__main__"] = module
    code, main, process = 0, os.getpid(), os.getpid
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    try:
        program = source.decode("utf-8", "surrogatepass")
        _perform(program, MAIN, space)
        if process() != main:
            _finish(0)  # a fork of the program that ran to its end: only the program itself is tested
        if tests:
            _set_right(space)
            text = channel.tests().decode("utf-8", "surrogatepass")
            _perform(text, TESTS, space, careful=suspicious(program))
        elif talk >= 0 and answer is not None:
            _converse(space, plan["entry_point"], talk, answer)
        if process() == main:
            channel.complete()
    except SystemExit as e:
        code = _exit_code(e)
        if process() != main:
            _finish(code)
        if tests or talk >= 0:
            channel.say(b"Eexit\0SystemExit: the program ended itself before its end was reached")
        else:
            channel.complete()
    except BaseException as e:
        code = 1
        _report(e, channel if process() == main else None)
    _finish(code)


def _set_right(space: dict[str, Any]) -> None:
    """Undo, before tests, what would make them say anything: tracers that jump over them, replaced builtins, patches.

    Tests import test machinery anew, so that what a program did to it was done to a copy that nobody uses.
    """
    _settrace(None)
    _setprofile(None)
    _BUILTINS.update(_KEEP_BUILTINS)
    space["__builtins__"] = builtins
    for name in list(sys.modules):
        if name.partition(".")[0] in _MACHINERY:
            del sys.modules[name]


def _perform(text: str, name: str, space: dict[str, Any], *, careful: bool = False) -> None:
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    code = guarded(text, name, space, MAIN) if careful else compile(text, name, "exec", dont_inherit=True)
    exec(code, space)  # noqa: S102 - what all this is for


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1


def _report(error: BaseException, channel: Channel | None) -> None:
    """Print the traceback as Python does, without our own frames, and send the last line of it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename not in (MAIN, TESTS):
        frames = frames.tb_next
    kind = "exception"
    if isinstance(error, AssertionError):
        kind = "assert"
    elif frames is None and isinstance(error, (SyntaxError, ValueError)):
        kind = "syntax"
    elif isinstance(error, MemoryError):
        kind = "memory"
    name = type(error).__name__
    try:
        line = f"{name}: {error}" if str(error) else name
        lines = traceback.format_exception(type(error), error, frames)
    except BaseException:
        line, lines = name, [name]
    try:
        if channel is not None:
            channel.say(b"E" + kind.encode() + b"\0" + line.encode("utf-8", "replace")[:2000])
        sys.stdout.flush()
        sys.stderr.write("".join(lines))
    except BaseException:
        _exit(1)


def _converse(space: dict[str, Any], entry_point: str, talk: int, answer: Callable[[Any, bytes], bytes]) -> None:
    """Answer calls until the other side hangs up: 4 bytes of length, then as many of data, both ways."""
    if entry_point not in space:
        raise NameError(f"name {entry_point!r} is not defined")
    function = space[entry_point]
    line = socket.socket(fileno=talk)
    receive, send, unpack, pack = line.recv, line.sendall, struct.unpack, struct.pack
    come = b""  # several calls may have been handed in at once
    while True:
        while len(come) < 4:
            got = receive(65536)
            if not got:
                return
            come += got
        (size,) = unpack("=I", come[:4])
        data, come = come[4 : 4 + size], come[4 + size :]
        if len(data) < size:
            parts = [data]
            size -= len(data)
            while size:
                parts.append(receive(size, socket.MSG_WAITALL))
                if not parts[-1]:
                    return
                size -= len(parts[-1])
            data = b"".join(parts)
        reply = answer(function, data)
        if len(reply) < 65536:
            send(pack("=I", len(reply)) + reply)
        else:
            send(pack("=I", len(reply)))
            send(reply)


def _finish(code: int) -> None:
    """End as Python ends: wait for threads, run what was registered, flush."""
    try:
        if threading.active_count() > 1 or _thread._count() > 0:
            threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        code = code or 1
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BaseException:
            code = code or 120
    _exit(code)
