"""Which walls this machine can put around a program: found out by trying, not by guessing."""

from dataclasses import dataclass, field

from magicoder.errors import SandboxError
from magicoder.sandboxes import _kernel as kernel

_WALLS = {
    3: "own root, processes, network and ipc",
    2: "uid of its own",
    1: "this user's uid",
    0: "NO ISOLATION",
}

INSTEAD = "run them in a container (`sandbox: {container: {image: …}}` in the recipe), or leave `verify` off"
"""What to do where nothing works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """How programs are kept apart here.

    level        3 namespaces and a root of their own; 2 uids, landlock and seccomp; 1 landlock and seccomp; 0 nothing
    line         the same for a person, one line; stored with results
    reasons      why the rungs above this one are out of reach here, one line each
    cgroup       whether control groups are used where they may be
    """

    level: int
    line: str
    reasons: tuple[str, ...] = field(default=())
    cgroup: bool = True


def choose(wanted: int | None = None, *, python: str = "", cgroup: bool = True, warm: int = -1) -> Rung:
    """Return the highest rung that works here, or the one that is asked for by number.

    Each is tried for real: a cell is made, and a program run in it. `python` is the interpreter of programs, "" for
    this one. `cgroup` False counts without control groups even where there are some. `warm` as for `Cell.open`.

    Raises:
        SandboxError: the rung asked for does not work here, or none but 0 does and that was not asked for.
    """
    if not kernel.supported() and wanted != 0:
        raise SandboxError(f"programs can only be isolated on Linux on x86-64 or aarch64; {INSTEAD}")
    reasons: list[str] = []
    for level in (3, 2, 1) if wanted is None else (wanted,):
        try:
            line = _try(level, python, cgroup=cgroup, warm=warm)
        except SandboxError as e:
            reasons.append(f"rung {level}: {e}")
            continue
        return Rung(level=level, line=line, reasons=tuple(reasons), cgroup=cgroup)
    if wanted is not None:
        raise SandboxError(f"programs cannot be isolated as asked. {reasons[0]}; without `rung` the best is taken")
    raise SandboxError(f"programs cannot be isolated here. {'; '.join(reasons)}; {INSTEAD}")


def _try(level: int, python: str, *, cgroup: bool, warm: int) -> str:
    """Run a program on a rung and say what is around it. Raises SandboxError."""
    from magicoder.sandboxes._cell import Cell

    if level not in _WALLS:
        raise SandboxError(f"there is no rung {level}; they are 3 (best), 2, 1 and 0 (nothing)")
    import os

    if level == 2 and os.geteuid() != 0:
        raise SandboxError("giving programs a uid of their own takes root")
    with Cell.open(Rung(level=level, line="", cgroup=cgroup), python=python, warm=warm) as cell:
        ready = cell.ready()
    parts = [_WALLS[level]]
    if level == 3:
        parts.append("in a user namespace" if ready["user"] else "a uid of its own")
    if level > 0:
        parts.append(f"landlock {ready['landlock']}" if ready["landlock"] else "no landlock")
        parts.append("seccomp")
    parts.append("control group" if ready["group"] else "rlimits, counted by looking")
    return f"rung {level}: " + ", ".join(parts)
