"""What stands before a contest's program in a sandbox: runs it anew for every input, or calls its function.

Runs inside a sandbox, in whatever Python is there, so it imports nothing of ours. It knows no expected output. The
text of the program is put here as `SOURCE` by who runs this.
"""
# Nothing here is ours to format: a program's own streams and end.
# ruff: noqa: PTH108, PTH123, S102, SIM105, SIM115

import ast
import atexit
import builtins
import io
import linecache
import os
import resource
import signal
import sys
import threading
import traceback
import types
from typing import Any

SOURCE = ""
NAME = "main.py"
STREAMS = 3


def run_case(text: str, cpu_s: int, *, mimic: bool = False) -> bytes:
    """Run the program with `text` as its standard input, and return what it prints.

    A signal that ends it ends this process, too. `mimic` runs it as LiveCodeBench's grader does.

    Raises:
        RuntimeError: it ended with another exit code than 0; the text is the last line of its stderr.
    """
    streams = [os.open(f".{n}", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600) for n in range(STREAMS)]
    for n in range(STREAMS):
        os.unlink(f".{n}")
    try:
        if not mimic:
            with open(streams[0], "wb", closefd=False) as file:
                file.write(text.encode("utf-8", "surrogatepass"))
            os.lseek(streams[0], 0, os.SEEK_SET)
        pid = os.fork()
        if pid == 0:
            become(streams, cpu_s, text if mimic else None)
        _, status = os.waitpid(pid, 0)
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            pass
        if os.WIFSIGNALED(status):
            os.kill(os.getpid(), os.WTERMSIG(status))
        if os.WEXITSTATUS(status):
            said = content(streams[2]).decode("utf-8", "replace").strip().splitlines()
            raise RuntimeError(said[-1] if said else f"exit code {os.WEXITSTATUS(status)}")
        return content(streams[1])
    finally:
        for fd in streams:
            os.close(fd)


def content(fd: int) -> bytes:
    """Return all of a file."""
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def become(streams: list[int], cpu_s: int, mimicked: "str | None") -> None:
    """Turn this fork into the program; never returns."""
    try:
        os.setsid()
        for n, fd in enumerate(streams):
            os.dup2(fd, n)
        os.closerange(STREAMS, 4096)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)
        sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        code = 0
        try:
            if mimicked is None:
                module = types.ModuleType("__main__")
                module.__dict__.update(__file__=NAME, __builtins__=builtins)
                sys.modules["__main__"] = module
                linecache.cache[NAME] = (len(SOURCE), None, SOURCE.splitlines(keepends=True), NAME)
                exec(compile(SOURCE, NAME, "exec", dont_inherit=True), module.__dict__)
            else:
                as_graded(mimicked)
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        finish(code & 0xFF)
    finally:
        os._exit(1)


def finish(code: int) -> None:
    """End as Python ends."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = code or 1
    os._exit(code)


class Bytes:
    """The `buffer` of that grader's stdin: every line is the first one."""

    def __init__(self, text: str) -> None:
        self._data = text.encode()

    def read(self, *_: int) -> bytes:
        """Return everything, each time."""
        return self._data

    def readline(self, *_: int) -> bytes:
        """Return the first line, each time."""
        return self._data.split(b"\n")[0] + b"\n"


class Stdin:
    """That grader's stdin: no iterator."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = iter(text.split("\n"))
        self.buffer = Bytes(text)

    def read(self, *_: int) -> str:
        """Return everything, each time."""
        return self._text

    def readline(self, *_: int) -> str:
        """Return the next line, without its end."""
        return next(self._lines)

    def readlines(self, *_: int) -> "list[str]":
        """Return all lines, without their ends."""
        return self._text.split("\n")


def as_graded(text: str) -> None:
    """Run the program as the body of a function, with streams that are no files, as LiveCodeBench's grader does."""
    tree = ast.parse(SOURCE)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.If) and ast.unparse(last.test) in ("__name__ == '__main__'", "'__main__' == __name__"):
        tree.body[-1:] = last.body
    imports = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    rest = [n for n in tree.body if n not in imports] or [ast.Pass()]
    wrapped = ast.parse("def wrapped_function():\n    pass").body[0]
    assert isinstance(wrapped, ast.FunctionDef)
    wrapped.body = rest
    program = ast.fix_missing_locations(ast.Module([*imports, wrapped], []))
    space: dict[str, Any] = {"__name__": "tmp_sol"}
    exec(GIVEN, space)
    exec(compile(program, NAME, "exec", dont_inherit=True), space)
    printed, given = io.StringIO(), Stdin(text)
    real = open(os.dup(1), "w", encoding="utf-8", errors="surrogateescape")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what goes there past `sys.stdout` is not seen
    sys.stdin = given
    sys.stdout = printed
    vars(builtins)["input"] = lambda *_: given.readline()
    vars(builtins)["quit"] = None
    try:
        space["wrapped_function"]()
    except SystemExit:
        pass
    finally:
        sys.stdout = real
    real.write(printed.getvalue())


GIVEN = (
    "import sys, math, re, string, copy, random, time, bisect, heapq, itertools, functools, operator, collections\n"
    "from typing import *\nfrom collections import *\nfrom itertools import *\nfrom functools import *\n"
    "from heapq import *\nfrom bisect import *\nfrom math import *\nsys.setrecursionlimit(50000)\n"
)
"""What that grader puts before a program, as far as programs rely on it."""
