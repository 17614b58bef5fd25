"""Where workers come from: a process, started anew and clean, that has loaded what they need, and forks them.

It has no threads and nothing of the caller's memory, so that forking is safe, whatever the caller has running (Arrow,
SQLite), and cheap: imports are paid for once, however many workers there are. It ends with its parent, and the
workers with it.
"""

import contextlib
import gc
import importlib
import json
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from multiprocessing import process as processes
from multiprocessing import spawn
from multiprocessing.connection import Connection
from typing import Any, Final, NoReturn

from magicoder.sandboxes import _kernel, _worker

MESSAGE: Final = 1 << 16


def main(line: int, parent: int, opens: bytes, script: dict[str, Any]) -> NoReturn:
    """Serve the socket `line` until it closes.

    opens     where cells come from, pickled
    script    what `multiprocessing.spawn` needs to import the caller's script: for classes that are defined there
    """
    code = 1
    try:
        os.setpgrp()  # Ctrl-C is for the parent
        _kernel.control(_kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            _Nursery(socket.socket(fileno=line), opens, script).serve()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    """End without what the interpreter does at its end: none of it is this process's own after a fork."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class _Nursery:
    def __init__(self, line: socket.socket, opens: bytes, script: dict[str, Any]) -> None:
        self._line = line
        self._load = _Loader(script)
        self._opens: Any = self._load(opens)
        self._children: dict[int, tuple[int, int]] = {}  # by pidfd: the process, and where its end is told

    def serve(self) -> None:
        """Fork when asked to, and tell how those end that were forked."""
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        gc.collect()
        gc.freeze()
        while True:
            for fd, _ in poll.poll():
                if fd in self._children:
                    poll.unregister(fd)
                    self._bury(fd)
                    continue
                data, fds, _, _ = socket.recv_fds(self._line, MESSAGE, 2)
                if not data:
                    return
                poll.register(self._fork(json.loads(data), *fds), select.POLLIN)

    def _bury(self, pidfd: int) -> None:
        pid, told = self._children.pop(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            os.write(told, str(code).encode())
        os.close(told)
        os.close(pidfd)

    def _fork(self, order: dict[str, Any], connection: int, told: int) -> int:
        for name in order["modules"]:
            importlib.import_module(name)
        nursery = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(connection, told, order["cpu"], nursery)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = (pid, told)
        os.close(connection)
        socket.send_fds(self._line, [str(pid).encode()], [pidfd])
        return pidfd

    def _become(self, connection: int, told: int, cpu: int, nursery: int) -> NoReturn:
        code = 1
        try:
            self._line.close()
            os.close(told)
            for fd, (_, other) in self._children.items():
                os.close(fd)
                os.close(other)
            _worker.work(Connection(connection), self._opens, cpu, nursery, self._load)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            _leave(code)


class _Loader:
    """Unpickles what the parent sends. The caller's script is imported when something in it is wanted, not before."""

    def __init__(self, script: dict[str, Any]) -> None:
        self._script = script

    def __call__(self, data: bytes) -> Any:
        if b"__main__" in data and self._script:
            script, self._script = self._script, {}
            current: Any = processes.current_process()
            current._inheriting = True  # a script without a guard is then refused what would start workers again
            try:
                spawn.prepare(script)
            except BaseException:
                traceback.print_exc()
                _leave(1)  # nothing that a program does looks like that: the run ends, and says what to do
            del current._inheriting
        return pickle.loads(data)  # noqa: S301 - from our own parent
