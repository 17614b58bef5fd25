"""Tests that come as code, run outside the sandbox: only the function that they test lives in it.

The tests are a benchmark's own and trusted; what they compare is plain data.
"""

import ast
import builtins
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, TracebackType
from typing import Any, Final

from magicoder.benchmarks import _straight

_NAME: Final = "<tests>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asserts:
    """A judge that runs `tests` with the tested function under its name.

    setup       code before them, such as functions that the prompt gives; it may define the tested one as well
    check       a function that the tests define and that takes the tested one; "" if they are asserts alone
    """

    function: str
    tests: str
    setup: str = ""
    check: str = ""

    @property
    def entry_point(self) -> str:
        """As in the protocol."""
        return self.function

    def __call__(self, call: Callable[..., Any]) -> None:
        """Run the tests.

        Raises:
            AssertionError: one failed; its text is the assert's, if it has none of its own.
        """
        ahead = getattr(call, "ahead", None)
        if ahead is not None:
            ahead(_straight.calls(self.tests, self.function, self.check))
        space: dict[str, Any] = {"__name__": "tests"}
        exec(_compiled(self.setup, "<setup>"), space)  # noqa: S102 - the benchmark's own code
        space[self.function] = call
        try:
            exec(_compiled(self.tests, _NAME), space)  # noqa: S102 - as above
            if self.check:
                space[self.check](call)
        except AssertionError as e:
            if str(e):
                raise
            raise AssertionError(_line(self.tests, e.__traceback__)) from None


@lru_cache(maxsize=64)
def _compiled(text: str, name: str) -> CodeType:
    """Compile once what all samples of a task are tested by."""
    return compile(text, name, "exec", dont_inherit=True)


def _line(text: str, frames: TracebackType | None) -> str:
    """Return the line of the tests that failed."""
    number = 0
    while frames is not None:
        if frames.tb_frame.f_code.co_filename == _NAME:
            number = frames.tb_lineno
        frames = frames.tb_next
    lines = text.splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else "an assert"


def called(asserts: str) -> str:
    """Return the function that asserts call, "" if they are about more than that: such tests need the whole program."""
    try:
        tree = ast.parse(asserts)
    except SyntaxError:
        return ""
    bound = {alias.asname or alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    bound |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - bound - set(vars(builtins))
    functions = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    return used.pop() if len(used) == 1 and used <= functions else ""
