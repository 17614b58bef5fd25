"""A cell: one jailed worker, made once, running one request at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from magicoder.records import Limits
from magicoder.sandboxes._ladder import Rung
from magicoder.sandboxes._wire import Report, Request


class Conversation:
    """A function in a cell that can be called. Leaving the context ends the program; `report` is there afterwards."""

    report: Report

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        raise NotImplementedError

    def call(self, args: bytes) -> bytes:
        """Call the function with the encoded arguments (a list) and return its encoded answer.

        Raises:
            Raised: the function raised.
            Unspeakable: the answer cannot be encoded.
            Ended: the program ended, or was ended at a limit; before the first call too (it did not get so far).
        """
        raise NotImplementedError


class Service:
    """A long-lived jailed process that answers: 4 bytes of length (big endian) and data, on stdin and stdout."""

    def ask(self, data: bytes, *, wall_s: float = 0.0) -> bytes:
        """Send `data` and return the answer. A process that died is started again first.

        Raises:
            Ended: it died, or took longer than its limits, while answering.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End it."""
        raise NotImplementedError


class Cell:
    """One jailed worker."""

    @classmethod
    @contextmanager
    def open(
        cls,
        rung: Rung,
        cpu: int = -1,
        *,
        python: str = "",
        read_only: tuple[str, ...] = (),
        proc: bool = False,
        codec: str = "",
    ) -> Iterator["Cell"]:
        """Make a cell.

        rung         what `_ladder.choose` returned
        cpu          number of the processor that it keeps to; -1 for any
        python       the interpreter of programs, "" for this one
        read_only    absolute paths that its programs may read and execute, at the same place, beside /usr
        proc         whether its programs see a /proc (of their own processes only), which some toolchains need
        codec        source text of the module with `dumps` and `loads`, for `converse`

        Raises:
            SandboxError: it cannot be made; says why.
        """
        raise NotImplementedError
        yield cls()

    def run(self, request: Request) -> Report:
        """Execute `request` and return what became of it.

        Raises:
            SandboxError: the cell itself broke; that says nothing about the program.
        """
        raise NotImplementedError

    def converse(self, request: Request) -> Conversation:
        """Load `request.source` and make `request.entry_point` callable. `run`'s errors."""
        raise NotImplementedError

    def serve(
        self,
        argv: tuple[str, ...],
        environment: tuple[tuple[str, str], ...] = (),
        files: tuple[tuple[str, bytes], ...] = (),
        limits: Limits | None = None,
    ) -> Service:
        """Start a long-lived process in a jail of its own, beside this cell's. `limits` hold for each answer."""
        raise NotImplementedError
