"""What goes into a cell and what comes out of it: requests, reports, and their form on the socket.

Plain data without behaviour, shared by the side that asks (`_cell.py`) and the sides that decide what to ask.
"""

import json
import marshal
import sys
from dataclasses import dataclass
from typing import Any, Final

from magicoder.records import Limits

TIERS: Final = {
    "plain": (),
    "numpy": ("numpy",),
    "pandas": ("numpy", "pandas"),
    "science": ("numpy", "pandas", "scipy", "scipy.stats", "sklearn", "matplotlib", "matplotlib.pyplot"),
    "torch": ("numpy", "torch"),
}
"""What a warm interpreter has imported before a program starts. A package that is missing is simply not there: the
program's own import of it fails, as it would anywhere."""

_DEFAULT: Final = Limits()

REPLY_LIMIT_MB: Final = 256
"""The longest answer that a function in a cell may give to one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing to execute in a cell.

    argv         the command; empty: `source` runs in a warm Python interpreter instead
    files        relative names and contents, put into the working folder before the start, all executable
    source       Python only: the program; with `tests`, what runs after it in the same process and name space
    tier         Python only: which warm interpreter, see `TIERS`
    entry_point  for `Cell.converse`: the function of `source` to call
    environment  variables beside PATH, HOME, LANG and TMPDIR
    collect      patterns (`out/*.class`, `**` included) of files of the working folder to bring back
    """

    files: tuple[tuple[str, bytes], ...] = ()
    argv: tuple[str, ...] = ()
    source: str = ""
    tests: str = ""
    tier: str = "plain"
    entry_point: str = ""
    stdin: bytes = b""
    environment: tuple[tuple[str, str], ...] = ()
    collect: tuple[str, ...] = ()
    limits: Limits = _DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a request. Nothing in it is judged yet.

    exit_code       of the main process, None if a signal ended it; `signal` is then its number, else 0
    timed_out       "", `cpu` or `wall`
    out_of_memory   the kernel killed for memory, the watch over memory did, or Python's MemoryError ended it
    output_limit    stdout or stderr outgrew the cap, or what was to be collected did
    completed       Python: the end was reached and the secret token came. A command: it ended by itself
    error           Python: `ValueError: …`, one line; the traceback stands in stderr
    error_kind      "", `assert`, `exception`, `syntax`, or `exit` (SystemExit where tests were still to come)
    cpu_s           of all its processes; peak_memory_mb of all of them where cgroups tell, else of the largest
    """

    exit_code: int | None
    signal: int
    timed_out: str
    out_of_memory: bool
    output_limit: bool
    completed: bool
    error: str
    error_kind: str
    stdout: bytes
    stderr: bytes
    files: tuple[tuple[str, bytes], ...]
    cpu_s: float
    wall_s: float
    peak_memory_mb: float


class Ended(Exception):  # noqa: N818 - an end, not an error
    """The program behind a conversation is no more; `report` says how it went."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.error or f"exit {report.exit_code}, signal {report.signal} {report.timed_out}".strip())
        self.report = report


def wall_s(limits: Limits) -> float:
    """Return the backstop in seconds: generous, since processor time decides and neighbours only cost wall time."""
    return limits.wall_s or max(10.0, 6.0 * limits.cpu_s)


def plan(request: Request) -> bytes:
    """Return what only the program's own process reads: a plan behind its length, then files and source.

    The plan is marshalled, which is quick to read.
    """
    source = request.source.encode("utf-8", "surrogatepass")
    head = marshal.dumps(
        {
            "argv": list(request.argv),
            "files": [(name, len(data)) for name, data in request.files],
            "environment": dict(request.environment),
            "entry_point": request.entry_point,
            "source": len(source),
        },
        2,
    )
    return b"".join([len(head).to_bytes(4, sys.byteorder), head, *(data for _, data in request.files), source])


def order(request: Request, *, talk: bool, serve: bool = False) -> dict[str, Any]:
    """Return what the keeper of a cell needs to know: limits and shape, nothing of the program itself."""
    limits = request.limits
    return {
        "op": "run",
        "python": not request.argv,
        "tests": bool(request.tests),
        "stdin": bool(request.stdin),
        "talk": talk,
        "serve": serve,
        "collect": list(request.collect),
        "limits": {
            "cpu": limits.cpu_s,
            # Whoever converses counts the time in which the program, and not he, is thinking.
            "wall": 0.0 if talk else wall_s(limits),
            "memory": limits.memory_mb,
            "processes": limits.processes,
            "output": limits.output_kb << 10,
            "tmp": limits.tmp_mb,
            "serve": serve,
        },
    }


def unpack(data: bytes) -> dict[str, Any]:
    """Return the message in `data`, which comes from the trusted side of a jail. Raises ValueError."""
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("not a message")
    return message
