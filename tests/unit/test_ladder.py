import os
import sys

import pytest

from magicoder.errors import SandboxError
from magicoder.sandboxes._cell import Cell
from magicoder.sandboxes._ladder import choose
from magicoder.sandboxes._wire import Request
from tests import attacks
from tests.ordinary_user import for_everybody, usable


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
    if os.geteuid() != 0 or usable(sys.executable):
        pytest.skip("this interpreter is for everybody")
    with pytest.raises(SandboxError, match=r"Python does not work inside a cell|does not start"):
        choose(2)


def test_no_attack_succeeds_with_a_uid_of_its_own():
    if os.geteuid() != 0:
        pytest.skip("giving programs a uid of their own takes root")
    python = for_everybody()
    with Cell.open(choose(2, python=python), python=python) as cell:
        assert attacks.problems(cell) == []


def test_counting_without_control_groups_keeps_the_same_limits():
    try:
        rung = choose(3, cgroup=False)
    except SandboxError as e:
        pytest.skip(str(e))
    with Cell.open(rung) as cell:
        assert attacks.problems(cell, ["spins", "fork bomb", "memory", "memory of many", "sleepers left behind"]) == []
