"""What commands take from where they run: what outlives runs, how many cores, who asks to stop. JSON for stdout."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from magicoder.errors import Interrupted


def home() -> Path:
    """Return the folder of what outlives runs: MAGICODER_HOME, else the user's data folder."""
    default = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "magicoder"
    return Path(os.environ.get("MAGICODER_HOME") or default)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_text(value: Any) -> str:
    """Return `value` as indented JSON."""
    import orjson  # not for `--help`

    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def stop_on_signals(until: str = "what is in flight") -> Callable[[], bool]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one ends the process, as safe as a kill.

    `until` tells the person what is waited for.
    """
    asked: list[int] = []

    def handler(number: int, _frame: FrameType | None) -> None:
        # os.write: the stream of stderr may be in the middle of a write.
        if asked:
            os.write(2, b"\nstopped at once; run the same command again to go on\n")
            os._exit(Interrupted.exit_code)
        asked.append(number)
        os.write(2, f"\nstopping: waiting for {until} (again to stop at once)\n".encode())

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    return lambda: bool(asked)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Turn signals into a wish to stop, as `stop_on_signals` does, for a while only."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield stop_on_signals()
    finally:
        for number, handler in before:
            signal.signal(number, handler)
