"""Python programs as text: parsed, and with something put before them."""

import ast
import warnings


def put_before(before: str, code: str) -> str:
    """Return `before` and `code`; what a program takes from the future has to stay first."""
    if "__future__" not in code:
        return before + code
    lines = code.split("\n")
    at = max((i for i, line in enumerate(lines) if line.startswith("from __future__")), default=-1)
    return "\n".join([*lines[: at + 1], before, *lines[at + 1 :]])


def tree(code: str) -> ast.Module | None:
    """Return what Python reads in `code`, None if that is no program."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
