"""Programs run in jails of the kernel's own on this machine: one a core, made once, with warm interpreters."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final

from magicoder.errors import SandboxError
from magicoder.protocols import NOT_IDENTITY, Runner
from magicoder.sandboxes import _compilers, _ladder, _toolchains
from magicoder.sandboxes._cell import Cell
from magicoder.sandboxes._cell_process import Warm
from magicoder.sandboxes._judging import CODEC
from magicoder.sandboxes._ladder import Rung
from magicoder.sandboxes._runner import Controller
from magicoder.sandboxes._toolchains import Found
from magicoder.sandboxes._verdicts import Verdicts
from magicoder.sandboxes._workers import Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Jails made of namespaces, landlock, seccomp and limits, as many of these as the machine allows.

    python        the interpreter that Python programs run in, with the packages of its environment; "" for this one
    proc          shows Python programs a /proc of their own processes alone (rung 3); TensorFlow does not start without
    rung          how programs are kept apart (docs/sandbox.md): -1 for the best that works here, else exactly that
                  one; 0, no isolation at all, is never chosen by itself
    again         runs programs once more that timed out or ran out of memory according to the cache
    """

    python: str = ""
    proc: bool = False
    rung: int = field(default=-1, metadata=NOT_IDENTITY)
    again: bool = field(default=False, metadata=NOT_IDENTITY)

    @contextmanager
    def open(self, workers: int = 1, cache: Path | None = None) -> Iterator[Runner]:
        """See `protocols.Sandbox`. Nothing is started before there is a program that `cache` does not know.

        Raises:
            SandboxError: this machine cannot isolate programs as well as is asked for, `python` is no Python, or
                `cache` cannot be used.
        """
        if self.python:
            _environment(self.python)
        with ExitStack() as stack:
            warm = stack.enter_context(closing(Warm(self.python)))
            rung = _rung(self.rung, self.python, warm)
            jails = Jails(rung=rung, python=self.python, proc=self.proc, warm=warm.fileno())
            verdicts = None if cache is None else stack.enter_context(Verdicts.open(cache))
            processes = Workers(jails, max(1, workers), before=warm.begin, inherited=(warm.fileno(),))
            stack.callback(processes.close)
            level = f"rung {rung.level}" + (", /proc" if self.proc else "")
            yield Controller(jails, processes, verdicts, rung.line, level, again=self.again)


_RUNGS: Final[dict[tuple[int, str, int], Rung]] = {}
"""What was found by trying, once a process: what worked works, and if not, the cells say so."""


def _rung(wanted: int, python: str, warm: Warm) -> Rung:
    key = (wanted, python, os.geteuid())  # another user may be allowed other things
    if key not in _RUNGS:
        warm.begin()
        _RUNGS[key] = _ladder.choose(None if wanted < 0 else wanted, python=python, warm=warm.fileno())
    return _RUNGS[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Jails:
    """Makes the cells of the workers."""

    rung: Rung
    python: str = ""
    proc: bool = False
    warm: int = -1

    @contextmanager
    def open(self, languages: Sequence[str], cpu: int) -> Iterator[Cell]:
        """Make a cell that shows the toolchains of `languages`."""
        found = [self.find(language) for language in languages]
        for one in found:
            _compilers.prepare(one)
        with Cell.open(
            self.rung,
            cpu,
            python=self.python,
            read_only=_toolchains.shown(languages),
            proc=self.proc or any(one.toolchain.proc for one in found),
            codec=CODEC,
            warm=self.warm,
        ) as cell:
            yield cell

    def find(self, language: str) -> Found:
        """Look for a toolchain on this machine."""
        found = _toolchains.find(language)
        if language == "python" and self.python:
            return replace(found, version=_environment(self.python)[0], missing="", install="")
        return _toolchains.on_rung(found, self.rung.level)

    def identity(self, language: str) -> str:
        """Return the version, for Python with a digest of what is installed beside it."""
        if language != "python":
            return self.find(language).version
        version, packages = _environment(self.python)
        return f"{version} {packages}"

    def serves(self) -> bool:
        """Warm compilers work here."""
        return True


_ASK = """
import json, os, platform, sys
folders = [path for path in sys.path if os.path.isdir(path)]
names = sorted({n for f in folders for n in os.listdir(f) if n.endswith((".dist-info", ".egg-info"))})
print(json.dumps([platform.python_version(), names]))
"""


def _packages() -> list[str]:
    """Return what is installed beside this interpreter, as `_ASK` does: the folders' names have the versions."""
    folders = [folder for path in sys.path if (folder := Path(path)).is_dir()]
    return sorted({p.name for folder in folders for p in folder.iterdir() if p.suffix in (".dist-info", ".egg-info")})


@cache
def _environment(python: str) -> tuple[str, str]:
    """Return the version of an interpreter and a digest of the packages in its environment.

    Raises:
        SandboxError: it is no Python.
    """
    if not python:
        version = _toolchains.find("python").version
        names = _packages()
    else:
        try:
            done = subprocess.run(  # noqa: S603 - the user's own choice
                (python, "-c", _ASK), capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL
            )
            number, names = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as e:
            raise SandboxError(f"{python} is not a Python that runs programs: {e}") from e
        version = f"python3 {number}"
    return version, hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()


PLUGIN = Cells
