"""Running things as a user without rights, for tests that are started as root."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOBODY = 12345


def for_everybody() -> str:
    """An interpreter that every user may run, since a slot's uid and an ordinary user cannot enter a home folder."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if Path(python).exists() and usable(python):
            return python
    pytest.skip("no interpreter of at least Python 3.11 outside of home folders")


@cache
def usable(python: str) -> bool:
    test = [
        python,
        "-s",
        "-c",
        "import sys, cmath, zlib, ctypes; assert sys.version_info >= (3, 11); print(sys.base_prefix)",
    ]
    # A virtual environment whose base cannot be read picks up another Python.
    theirs, ours = as_nobody(test), subprocess.run(test, capture_output=True, text=True, check=False)
    return theirs.returncode == 0 and theirs.stdout == ours.stdout


def as_nobody(command: list[str]) -> "subprocess.CompletedProcess[str]":
    before = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    if before and shutil.which("setpriv") is None:
        pytest.skip("no setpriv here")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(before + command, env=environment, cwd="/", capture_output=True, text=True, check=False)
