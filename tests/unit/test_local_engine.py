"""The local engine keeps order, stays bounded, and passes errors on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from magicoder.engines.local import Local
from magicoder.errors import MagicoderError


def square(x: int) -> int:
    return x * x


def fails_at_three(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    return x


@pytest.mark.parametrize("workers", [1, 2])
def test_results_stand_in_the_order_of_the_items(workers: int) -> None:
    assert list(Local(workers=workers).map(square, range(50))) == [x * x for x in range(50)]


@pytest.mark.parametrize("workers", [1, 2])
def test_only_a_bounded_number_of_items_is_pulled_ahead(workers: int) -> None:
    pulled = 0

    def items() -> Iterator[int]:
        nonlocal pulled
        for i in range(1000):
            pulled += 1
            yield i

    results = Local(workers=workers).map(square, items())
    assert next(results) == 0
    assert pulled <= 2 * workers + 1
    assert len(list(results)) == 999


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_s_error_reaches_the_caller(workers: int) -> None:
    with pytest.raises(ValueError, match="three"):
        list(Local(workers=workers).map(fails_at_three, range(10)))


def own_process_at(x: int) -> int:
    return os.getpid() if x else os.kill(os.getpid(), signal.SIGKILL) or 0


def test_a_killed_worker_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(MagicoderError, match="fewer --workers"):
        list(Local(workers=2).map(own_process_at, [1, 1, 0]))


def own_process(_: int) -> int:
    return os.getpid()


def test_an_opened_engine_keeps_its_processes_and_ends_them() -> None:
    with Local(workers=2).opened() as engine:
        first, second = (set(engine.map(own_process, range(20))) for _ in range(2))
        abandoned = engine.map(own_process, range(20))
        next(abandoned)
        abandoned.close()
        third = set(engine.map(own_process, range(20)))
    workers = first | second | third
    assert len(workers) <= 2
    assert os.getpid() not in workers
    assert not any(is_running(worker) for worker in workers)


def blocked_signals(_: int) -> set[int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_are_born_deaf_to_ctrl_c_and_the_parent_still_hears_it() -> None:
    before = blocked_signals(0)
    assert all(signal.SIGINT in blocked for blocked in Local(workers=2).map(blocked_signals, range(4)))
    assert blocked_signals(0) == before


ORPHANED = """
import os, signal
from magicoder.engines.local import Local
from tests.unit.test_local_engine import own_process_at
if __name__ == "__main__":
    results = Local(workers=2).map(own_process_at, [1] * 9)
    print(next(results), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(ORPHANED)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    worker, deadline = int(done.stdout), time.monotonic() + 30
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")  # a zombie is over, though nobody has asked
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
