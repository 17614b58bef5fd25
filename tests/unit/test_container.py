"""Containers, by an engine that is imitated: it runs the same server on this machine, without a container around it."""

import itertools
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from magicoder.errors import SandboxError
from magicoder.records import Limits, Outcome, Program
from magicoder.sandboxes import _ladder
from magicoder.sandboxes.container import Container

# Records how it is called, then becomes what the container would run.
ENGINE = f"""#!{sys.executable}
import os, sys
with open(os.path.dirname(os.path.abspath(__file__)) + "/calls", "a") as f:
    f.write("\\0".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "run":
    at = sys.argv.index("--entrypoint")
    os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[at + 3 :]])
"""


def engine_in(folder: Path, text: str = ENGINE) -> str:
    path = folder / "docker"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubles:
    entry_point: str = "f"

    def __call__(self, call: Callable[..., Any]) -> None:
        assert call(21) == 42


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def runner(folder: Path) -> Iterator[Any]:
    try:
        _ladder.choose()
    except SandboxError as e:
        pytest.skip(f"programs cannot be isolated here: {e}")
    with Container(image="some/image:1", engine=engine_in(folder)).open(workers=1) as runner:
        yield runner


def python(source: str, **settings: Any) -> Program:
    return Program(language="python", files=(("", source),), **settings)


def test_programs_run_as_everywhere(runner: Any) -> None:
    programs = [
        python("print(input())", stdin="a", expected_stdout="a"),
        python("x = 1", tests="assert x == 2"),
        python("while True: pass", limits=Limits(cpu_s=0.3)),
        python("def f(x): return 2 * x", judge=Doubles()),
        python("def f(x): return x", judge=Doubles()),
        python("def f(x): import os; os._exit(0)", judge=Doubles()),
        python("def f(x): raise KeyError", judge=Doubles()),
        python("x = 1"),
    ]
    assert [v.outcome for v in runner.run(programs)] == [
        Outcome.PASSED,
        Outcome.WRONG_ANSWER,
        Outcome.CPU_TIMEOUT,
        Outcome.PASSED,
        Outcome.WRONG_ANSWER,
        Outcome.EXITED_EARLY,
        Outcome.EXCEPTION,
        Outcome.PASSED,
    ]
    assert runner.isolation.startswith("docker container, rung")
    assert runner.toolchain("python").startswith("python3 3.")


def test_the_engine_is_asked_for_walls(runner: Any, folder: Path) -> None:
    list(runner.run([python("x = 2")]))
    first = (folder / "calls").read_text().splitlines()[0].split("\0")
    assert first[0] == "run"
    for wanted in ("--rm", "--read-only", "--interactive"):
        assert wanted in first
    following = dict(itertools.pairwise(first))
    assert following["--network"] == "none"
    assert following["--cap-drop"] == "ALL"
    assert following["--memory"] == following["--memory-swap"] == "4096m"
    assert int(following["--pids-limit"]) == 1024
    assert following["--volume"].endswith(":ro")
    assert following["--entrypoint"] == "python3"
    assert "some/image:1" in first


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/bin/sh\necho 'Cannot connect to the daemon' >&2\nexit 125\n", "Cannot connect to the daemon"),
        ("#!/bin/sh\nexit 0\n", "died"),
        ("#!/bin/sh\nprintf '\\003\\000\\000\\000abc'\nsleep 1\n", "nonsense"),
        ("#!/bin/sh\nprintf '\\377\\377\\377\\377'\nsleep 1\n", "frame"),
        ("no program at all", "start"),
    ],
)
def test_an_engine_that_does_not_work_says_why(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SandboxError, match=why), Container(image="i", engine=engine_in(tmp_path, text)).open():
        pass


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="image"), Container().open():
        pass
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="neither podman nor docker"), Container(image="i").open():
        pass
    assert not list(tmp_path.iterdir())
