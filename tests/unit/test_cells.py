"""The plugin `cells`: its settings, another environment's interpreter, and what it leaves behind when it is killed."""

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import SandboxError
from magicoder.records import Outcome, Program
from magicoder.sandboxes import _ladder
from magicoder.sandboxes._cell import Cell
from magicoder.sandboxes._cell_process import Warm
from magicoder.sandboxes._wire import Request
from magicoder.sandboxes.cells import Cells


@pytest.fixture(autouse=True)
def isolated() -> None:
    try:
        _ladder.choose()
    except SandboxError as e:
        pytest.skip(f"programs cannot be isolated here: {e}")


def python(source: str, **settings: Any) -> Program:
    return Program(language="python", files=(("", source),), **settings)


def test_programs_run_in_another_environment(tmp_path: Path) -> None:
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    packages = next(environment.glob("lib/python3*/site-packages"))
    (packages / "only_here.py").write_text("answer = 42\n")
    for path in (tmp_path, *tmp_path.parents):  # programs have a uid of their own
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    program = python("import only_here", tests="assert only_here.answer == 42")
    with Cells(python=str(environment / "bin" / "python")).open() as runner:
        (verdict,) = runner.run([program])
        assert verdict.outcome is Outcome.PASSED, verdict
        assert runner.toolchain("python").startswith("python3 3.")
    with Cells().open() as runner:
        (verdict,) = runner.run([program])
        assert verdict.outcome is Outcome.EXCEPTION
        assert "only_here" in verdict.detail


@pytest.mark.parametrize("command", ["/nowhere/python", "/bin/true"])
def test_what_is_no_python_is_refused_at_once(command: str) -> None:
    with pytest.raises(SandboxError), Cells(python=command).open():
        pass


def test_a_rung_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SandboxError, match="rung"), Cells(rung=7).open():
        pass


VICTIM = """
from magicoder.records import Limits, Program
from magicoder.sandboxes.cells import Cells
if __name__ == "__main__":
    source = "import os, time\\nfor _ in range(3): os.fork()\\ntime.sleep(600) # %d"
    files = [(("", "print(1)"),), *((("", source % i),) for i in range(4))]
    with Cells().open(2) as runner:
        for _ in runner.run(Program(language="python", files=f, limits=Limits(wall_s=900)) for f in files):
            print("going", flush=True)
"""


def family(root: int) -> set[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
        except OSError:
            continue
    found, todo = set(), [root]
    while todo:
        pid = todo.pop()
        found.add(pid)
        todo += parents.get(pid, [])
    return found


def test_killing_the_caller_leaves_nothing_behind(tmp_path: Path) -> None:
    script = tmp_path / "victim.py"
    script.write_text(VICTIM)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        victim.stdout.readline()
        until = time.monotonic() + 20
        while len(members := family(victim.pid)) < 15 and time.monotonic() < until:
            time.sleep(0.1)
        victim.kill()
        victim.wait()
        until = time.monotonic() + 20  # two seconds on an idle machine, see benchmarks/sandbox.py
        while (left := [pid for pid in members if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
            time.sleep(0.05)
    assert len(members) >= 15
    assert not left


SHOWS = """
import gc, os, resource, signal, sys
def there(fd):
    try:
        return (fd, os.fstat(fd).st_mode, os.get_inheritable(fd))
    except OSError:
        return None
print(sorted(os.environ), sys.argv, sys.path, sys.flags, sorted(sys.modules), gc.isenabled(), gc.get_threshold())
print([there(fd) for fd in range(5000) if there(fd)], os.getsid(0) == os.getpid(), os.getgroups())
print([resource.getrlimit(n) for n in range(16) if n != resource.RLIMIT_DATA], hash("a"))
print([signal.getsignal(n) for n in range(1, 32)], signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_a_cell_of_a_warm_interpreter_is_like_any_other_and_made_without_it_where_that_has_died() -> None:
    rung = _ladder.choose()

    def shown(warm: int, processes: int) -> bytes:
        with Cell.open(rung, warm=warm) as cell:
            report = cell.run(Request(source=SHOWS))
            assert len(family(parent)) == processes
        assert report.completed, report
        return report.stdout

    with closing(Warm()) as warm:
        warm.begin()
        assert warm._process is not None
        parent = warm._process.pid
        alone = shown(-1, 1)
        assert shown(warm.fileno(), 3) == alone
        until = time.monotonic() + 20
        while len(family(parent)) > 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert family(parent) == {parent}
        warm._process.kill()
        assert shown(warm.fileno(), 1) == alone
