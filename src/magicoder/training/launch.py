"""Several processes on one machine: the same command once a process, the first of which speaks for all."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from magicoder.errors import Interrupted, MagicoderError

_POLL_S: Final = 0.1
_GRACE_S: Final = 20.0
_TAIL: Final = 30


def gpus() -> int:
    """Return how many GPUs torch sees here."""
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def is_member() -> bool:
    """Return whether this process is one of several that somebody has started (we, or torchrun)."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def together(arguments: Sequence[str], processes: int, logs: Path, environment: Mapping[str, str]) -> None:
    """Run `python -m magicoder ARGUMENTS` in `processes` processes, and wait for all; `environment` is added to ours.

    The first keeps this terminal; what the others say goes to `logs`. A process that fails ends the others. SIGINT and
    SIGTERM are handed on once; the processes save and stop.

    Raises:
        Interrupted: they were asked to stop, and did.
        MagicoderError: one failed; says which, and its last lines.
    """
    logs.mkdir(parents=True, exist_ok=True)
    common = {
        **os.environ,
        **environment,
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    common.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    started = [_start(arguments, rank, common, logs) for rank in range(processes)]
    asked: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for process in started:
            if process.poll() is None:
                process.send_signal(number if len(asked) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        failed = _wait(started)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()
    codes = {process.returncode for process in started}
    if codes == {Interrupted.exit_code} or (asked and failed is not None):
        raise Interrupted("stopped as asked; run the same command again to go on")
    if failed is not None:
        raise MagicoderError(_told(failed, started[failed].returncode, logs))


def _start(arguments: Sequence[str], rank: int, common: Mapping[str, str], logs: Path) -> "subprocess.Popen[bytes]":
    environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-m", "magicoder", *arguments]
    if rank == 0:
        return subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 - our own command
    with _log(logs, rank).open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own command
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _wait(started: "Sequence[subprocess.Popen[bytes]]") -> int | None:
    """Return the first process that failed, or None; gives the others a while to fail by themselves."""
    failed: int | None = None
    until = float("inf")
    while any(process.poll() is None for process in started) and time.monotonic() < until:
        bad = [rank for rank, process in enumerate(started) if process.poll() not in (None, 0, Interrupted.exit_code)]
        if bad and failed is None:
            failed, until = bad[0], time.monotonic() + _GRACE_S
        time.sleep(_POLL_S)
    if failed is None:
        failed = next((r for r, p in enumerate(started) if p.poll() not in (None, 0, Interrupted.exit_code)), None)
    return failed


def _told(rank: int, code: int, logs: Path) -> str:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed (exit code {code})"
    if rank == 0:
        return f"process 0 {how}; what it said stands above. Run the same command again to go on"
    lines = _log(logs, rank).read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    return f"process {rank} {how}; its last lines ({_log(logs, rank)}):\n" + "\n".join(lines)


def _log(logs: Path, rank: int) -> Path:
    return logs / f"process-{rank}.txt"


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
