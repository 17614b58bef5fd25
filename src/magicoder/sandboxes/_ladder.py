"""Which walls this machine can put around a program: found out by trying, not by guessing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """How programs are kept apart here.

    level        3 namespaces and a root of their own; 2 uids, landlock and seccomp; 1 landlock and seccomp; 0 nothing
    line         the same for a person, one line; stored with results
    reasons      why the rungs above this one are out of reach here, one line each
    """

    level: int
    line: str
    reasons: tuple[str, ...] = ()


def choose(wanted: int | None = None, *, python: str = "") -> Rung:
    """Return the highest rung that works here, or the one that is asked for by number.

    Raises:
        SandboxError: the rung asked for does not work here, or none but 0 does and that was not asked for.
    """
    raise NotImplementedError
