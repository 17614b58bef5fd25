"""End-to-end tests run the installed command in processes of their own, as a user would."""

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(home: Path) -> dict[str, str]:
    """Return an environment without keys, proxies or settings of the machine."""
    keep = ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if k in keep} | {
        "HOME": str(home),
        "MAGICODER_HOME": str(home / "magicoder"),
    }


@pytest.fixture(scope="session")
def executable() -> str:
    found = shutil.which("magicoder", path=str(Path(sys.executable).parent))
    assert found, "the magicoder command is not installed beside this Python"
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def magicoder(executable: str, home: Path, tmp_path: Path) -> Command:
    """Run `magicoder …` in tmp_path, or in `cwd`; extra environment by `env`."""

    def call(
        *arguments: object, env: dict[str, str] | None = None, timeout: float = 240, cwd: Path = tmp_path
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env=environment(home) | (env or {}),
            timeout=timeout,
        )

    return call


FUNCTIONS = '''\
def area_{n}(width, height):
    """Return the area of rectangle number {n}, in the unit of its sides squared.

    >>> area_{n}(2, 3)
    {product}
    """
    scale = {n} + len("{words}")
    return width * height * scale


class Shape{n}:
    def describe_{words}(self):
        """Say what the {words} looks like when it is drawn at position {n}."""
        return "{words} at {n}"
'''

WORDS = (
    *("anchor", "bottle", "candle", "dragon", "engine", "feather", "garden", "hammer"),
    *("island", "jungle", "kettle", "ladder", "magnet", "needle", "orange"),
)


@pytest.fixture
def small_source(tmp_path: Path) -> Path:
    """A folder of 60 small Python files with documented functions, a licence, and some files nobody wants."""
    source = tmp_path / "project"
    source.mkdir()
    shutil.copy(Path(__file__).parents[2] / "LICENSE", source / "LICENSE")
    for n in range(60):
        words = f"{WORDS[n % 15]}_{WORDS[(n * 7 + 3) % 15]}_{n}"
        text = FUNCTIONS.format(n=n, words=words, product=6 * (n + len(words)))
        (source / f"module_{n:02}.py").write_text(text)
    (source / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00")
    (source / "latin.py").write_bytes("x = 'é'\n".encode("latin-1"))
    (source / "empty.py").write_text("")
    return source


@pytest.fixture
def few_tasks(shared_data: Path, tmp_path: Path) -> Path:
    """A folder of benchmarks that has the first 80 tasks of HumanEval."""
    rows = gzip.decompress((shared_data / "benchmarks" / "humaneval" / "HumanEval.jsonl.gz").read_bytes()).split(b"\n")
    place = tmp_path / "few" / "humaneval" / "HumanEval.jsonl"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"\n".join(rows[:80]))
    return tmp_path / "few"


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder` by its relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
