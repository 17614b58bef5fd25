"""Code put before a program."""


def put_before(before: str, code: str) -> str:
    """Return `before` and `code`; what a program takes from the future has to stay first."""
    if "__future__" not in code:
        return before + code
    lines = code.split("\n")
    at = max((i for i, line in enumerate(lines) if line.startswith("from __future__")), default=-1)
    return "\n".join([*lines[: at + 1], before, *lines[at + 1 :]])
