"""What commands take from where they run: the folder of what outlives runs, the number of cores. JSON for stdout."""

import os
from pathlib import Path
from typing import Any


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
