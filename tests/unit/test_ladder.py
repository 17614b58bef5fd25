import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from magicoder.errors import SandboxError
from magicoder.sandboxes._cell import Cell
from magicoder.sandboxes._ladder import choose
from magicoder.sandboxes._wire import Request
from tests import attacks

ROOT = Path(__file__).parents[2]
NOBODY = 12345


def for_everybody() -> str:
    """An interpreter that every user may run, since a slot's uid and an ordinary user cannot enter a home folder."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if Path(python).exists() and _usable(python):
            return python
    pytest.skip("no interpreter of at least Python 3.11 outside of home folders")


@cache
def _usable(python: str) -> bool:
    test = [
        python,
        "-s",
        "-c",
        "import sys, cmath, zlib, ctypes; assert sys.version_info >= (3, 11); print(sys.base_prefix)",
    ]
    # A virtual environment whose base cannot be read picks up another Python.
    theirs, ours = _as_nobody(test), subprocess.run(test, capture_output=True, text=True, check=False)
    return theirs.returncode == 0 and theirs.stdout == ours.stdout


def _as_nobody(command: list[str]) -> "subprocess.CompletedProcess[str]":
    before = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    if before and shutil.which("setpriv") is None:
        pytest.skip("no setpriv here")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(before + command, env=environment, cwd="/", capture_output=True, text=True, check=False)


def test_the_best_rung_is_chosen_and_says_what_it_is():
    try:
        rung = choose()
    except SandboxError as e:
        pytest.skip(str(e))
    assert rung.line.startswith(f"rung {rung.level}: ")
    assert "seccomp" in rung.line
    assert len(rung.reasons) == 3 - rung.level
    with Cell.open(rung) as cell:
        assert cell.run(Request(source="print(1)")).stdout == b"1\n"


def test_the_rung_without_walls_is_only_had_by_name():
    rung = choose(0)
    assert "NO ISOLATION" in rung.line
    with Cell.open(rung) as cell:
        assert cell.run(Request(source=attacks.HONEST, tests=attacks.CHECK)).completed
        left = cell.run(Request(source=attacks.HOGS["daemon"].source))
        assert left.completed


def test_a_rung_that_there_is_not_is_refused():
    with pytest.raises(SandboxError, match="no rung 7"):
        choose(7)


def test_an_interpreter_that_programs_may_not_read_is_refused_with_the_reason():
    if os.geteuid() != 0 or _usable(sys.executable):
        pytest.skip("this interpreter is for everybody")
    with pytest.raises(SandboxError, match=r"Python does not work inside a cell|does not start"):
        choose(2)


def test_no_attack_succeeds_with_a_uid_of_its_own():
    if os.geteuid() != 0:
        pytest.skip("giving programs a uid of their own takes root")
    python = for_everybody()
    with Cell.open(choose(2, python=python), python=python) as cell:
        assert attacks.problems(cell) == []


@pytest.mark.parametrize("level", [3, 1])
def test_no_attack_succeeds_where_the_harness_is_run_by_an_ordinary_user(level):
    result = _as_nobody([for_everybody(), "-s", "-m", "tests.attacks", str(level)])
    if "SandboxError" in result.stderr and level == 3:
        pytest.skip(f"no user namespaces here: {result.stderr.splitlines()[-1]}")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["problems"] == []
    assert said["line"].startswith(f"rung {level}: ")


def test_counting_without_control_groups_keeps_the_same_limits():
    try:
        rung = choose(3, cgroup=False)
    except SandboxError as e:
        pytest.skip(str(e))
    with Cell.open(rung) as cell:
        assert attacks.problems(cell, ["spins", "fork bomb", "memory", "memory of many", "sleepers left behind"]) == []
