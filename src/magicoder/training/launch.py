"""Several processes on one machine: the same command once a process, the first of which speaks for all."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from magicoder.errors import Interrupted, MagicoderError

_POLL_S: Final = 0.1
_GRACE_S: Final = 20.0
_TAIL: Final = 30
LOST: Final = 76
"""Exit code of a process that ended only because another one was gone (`parallel.Lost`)."""
MEETING: Final = "MAGICODER_MEETING"
"""Environment variable: the file in which the processes of one machine find each other."""


def gpus() -> int:
    """Return how many GPUs torch sees here."""
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def is_member() -> bool:
    """Return whether this process is one of several that somebody has started (we, or torchrun)."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def ending_at_once(close: Callable[[], None]) -> Iterator[None]:
    """End this process where an error leaves the body, having said what it is: one of several that wait for each other.

    `close` clears the screen first. See `end` for why.
    """
    try:
        yield
    except BaseException as e:  # whatever it is
        close()
        if isinstance(e, MagicoderError):
            sys.stderr.write(f"error: {e}\n")
        else:
            traceback.print_exc()
        end(e.exit_code if isinstance(e, MagicoderError) else MagicoderError.exit_code)


def end(code: int = 0) -> NoReturn:
    """End this process, one of several, without an orderly end of the interpreter.

    That could take for ever, or abort: threads of torch's process groups wait for processes that are gone, and some
    are still there when their memory is given back.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def together(arguments: Sequence[str], processes: int, logs: Path, environment: Mapping[str, str]) -> None:
    """Run `python -m magicoder ARGUMENTS` in `processes` processes, and wait for all; `environment` is added to ours.

    The first keeps this terminal; what the others say goes to `logs`. A process that fails ends the others. SIGINT and
    SIGTERM are handed on once; the processes save and stop.

    They find each other through a file that is theirs alone. A port would have to be chosen before one of them can
    listen on it, and meanwhile anybody may take it.

    Raises:
        Interrupted: they were asked to stop, and did.
        MagicoderError: one failed; says which, and its last lines; with its exit code.
    """
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="magicoder-") as folder:
        common = {
            **os.environ,
            **environment,
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            MEETING: str(Path(folder) / "meeting"),
        }
        common.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        _run([partial(_start, arguments, rank, common, logs) for rank in range(processes)], logs)


def _run(starts: "Sequence[Callable[[], subprocess.Popen[bytes]]]", logs: Path) -> None:
    """Start all and wait for all; what came of it is said as `together` does."""
    started: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for process in started:
            if process.poll() is None:
                process.send_signal(number if len(asked) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while len(started) < len(starts) and not asked:  # before all are there nobody begins
            started.append(starts[len(started)]())
        failed = _wait(started, asked) if len(started) == len(starts) else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()
    if failed is None and len(started) == len(starts) and all(process.returncode == 0 for process in started):
        return
    if failed is None or asked:
        raise Interrupted("stopped as asked; run the same command again to go on")
    rank, code = failed
    error = MagicoderError(_told(rank, code, logs))
    error.exit_code = max(code, MagicoderError.exit_code)
    raise error


def _start(arguments: Sequence[str], rank: int, common: Mapping[str, str], logs: Path) -> "subprocess.Popen[bytes]":
    environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-m", "magicoder", *arguments]
    if rank == 0:
        return subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 - our own command
    with _log(logs, rank).open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own command
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _wait(started: "Sequence[subprocess.Popen[bytes]]", asked: Sequence[int]) -> tuple[int, int] | None:
    """Return rank and exit code of the process that failed, or None; gives the others a while to end by themselves.

    Of several it is the first, but for those that failed only because another one was gone (`LOST`). One that a signal
    in `asked` ended was not yet able to hear it, so that none of them had begun: nobody is waited for.
    """
    failed: dict[int, int] = {}
    until = float("inf")
    while True:
        codes = [process.poll() for process in started]
        if any(-number in codes for number in asked):
            return None
        for rank, code in enumerate(codes):
            if code not in (None, 0, Interrupted.exit_code):
                failed.setdefault(rank, int(code or 0))
        if failed:
            until = min(until, time.monotonic() + _GRACE_S)
        if None not in codes or time.monotonic() > until:
            return min(failed.items(), key=lambda one: one[1] == LOST, default=None)
        time.sleep(_POLL_S)


def _told(rank: int, code: int, logs: Path) -> str:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed (exit code {code})"
    if rank == 0:
        again = "; run the same command again to go on" if code < 0 else ""
        return f"process 0 {how}; what it said stands above{again}"
    lines = _log(logs, rank).read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    said = f"its last lines ({_log(logs, rank)}):\n" + "\n".join(lines) if lines else "it said nothing"
    return f"process {rank} {how}; {said}"


def _log(logs: Path, rank: int) -> Path:
    return logs / f"process-{rank}.txt"
