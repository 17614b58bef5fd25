"""Several processes of one command: who failed, what is said of it, and that nobody is left. No torch is loaded."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import Interrupted, MagicoderError
from magicoder.training import launch


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Let what is started be a script whose text is given; `rank` is known to it."""

    def put(text: str) -> None:
        body = f"import os, sys, time, signal\nrank = os.environ['RANK']\n{textwrap.dedent(text)}"
        (tmp_path / "body.py").write_text(body)
        fake = tmp_path / "python"
        fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{tmp_path}/body.py" "$@"\n')
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(fake))

    return put


def failure(tmp_path: Path) -> MagicoderError:
    with pytest.raises(MagicoderError) as found:
        launch.together(["train"], 2, tmp_path / "logs", {})
    return found.value


def test_processes_that_end_well_end_it_well(tmp_path: Path, program) -> None:
    program("open(os.environ['SEEN'] + rank, 'w').write(' '.join(sys.argv[1:]) + os.environ['WORLD_SIZE'])")
    launch.together(["train", "recipe"], 2, tmp_path / "logs", {"SEEN": str(tmp_path / "seen")})
    assert [(tmp_path / f"seen{r}").read_text() for r in range(2)] == ["-m magicoder train recipe2"] * 2


def test_the_processes_of_a_run_meet_where_no_other_run_does(tmp_path: Path, program) -> None:
    program(f"print(os.environ['{launch.MEETING}'])")
    met = []
    for _ in range(2):
        launch.together(["train"], 3, tmp_path / "logs", {})
        told = {(tmp_path / "logs" / f"process-{rank}.txt").read_text().strip() for rank in (1, 2)}
        met += [Path(place) for place in told]
    assert len(set(met)) == len(met) == 2
    assert not any(place.parent.exists() for place in met)


def test_the_first_process_has_the_last_word_and_its_exit_code(tmp_path: Path, program) -> None:
    program("sys.exit(2 if rank == '0' else 76)")
    error = failure(tmp_path)
    assert error.exit_code == 2
    assert "process 0 failed (exit code 2)" in str(error)


def test_one_that_was_killed_is_named_and_not_the_one_that_lost_it(tmp_path: Path, program) -> None:
    program("print('the end of', rank, flush=True); os.kill(os.getpid(), 9) if rank == '1' else sys.exit(76)")
    error = failure(tmp_path)
    assert "process 1 was ended by SIGKILL" in str(error)
    assert "the end of 1" in str(error)
    assert error.exit_code == 1


def test_one_that_failed_in_silence_is_said_to(tmp_path: Path, program) -> None:
    program("sys.exit(0 if rank == '0' else 3)")
    assert "process 1 failed (exit code 3); it said nothing" in str(failure(tmp_path))


def test_one_that_hangs_after_another_failed_is_ended(tmp_path: Path, program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_GRACE_S", 0.3)
    program(
        """
        open(os.environ["PIDS"] + rank, "w").write(str(os.getpid()))
        time.sleep(100) if rank == "0" else None
        while not os.path.exists(os.environ["PIDS"] + "0"):
            time.sleep(0.01)
        sys.exit(3)
        """
    )
    with pytest.raises(MagicoderError, match="process 1 failed"):
        launch.together(["train"], 2, tmp_path / "logs", {"PIDS": str(tmp_path / "pid")})
    assert not Path(f"/proc/{(tmp_path / 'pid0').read_text()}").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_reaches_all(tmp_path: Path, program, number: signal.Signals) -> None:
    program(
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
        signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
        open(os.environ["READY"] + rank, "w").close()
        time.sleep(100)
        """
    )

    def ask() -> None:
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(Interrupted):
        launch.together(["train"], 2, tmp_path / "logs", {"READY": str(tmp_path / "ready")})


def test_a_request_to_stop_while_they_start_ends_those_that_did(
    tmp_path: Path, program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("time.sleep(100)")
    start, started = launch._start, []

    def asked_meanwhile(*arguments: Any) -> Any:
        started.append(start(*arguments))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(launch, "_start", asked_meanwhile)
    with pytest.raises(Interrupted):
        launch.together(["train"], 3, tmp_path / "logs", {})
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_a_request_to_stop_that_one_cannot_hear_yet_ends_all_at_once(tmp_path: Path, program) -> None:
    """The others would wait for it."""
    program(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN if rank == "1" else signal.SIG_DFL)
        open(os.environ["READY"] + rank, "w").close()
        time.sleep(100)
        """
    )

    def ask() -> None:
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        launch.together(["train"], 2, tmp_path / "logs", {"READY": str(tmp_path / "ready")})
    assert time.monotonic() - began < launch._GRACE_S / 2


def test_an_error_of_one_of_several_is_said_and_ends_it_at_once() -> None:
    """Also where threads would keep the interpreter: those of a process group do."""
    text = """
        import threading, time
        from magicoder.errors import StoreError
        from magicoder.training import launch
        threading.Thread(target=time.sleep, args=(100,)).start()
        with launch.ending_at_once(lambda: print("closed")):
            raise StoreError("the disk is full")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "closed\n", "error: the disk is full\n")
