"""Foreign text inside Markdown: code spans, fences and table cells that nothing in the text can break out of."""

import re


def plain(text: str) -> str:
    """Return `text` as one line of Markdown that reads as it is: no markup, no HTML, no new table cell."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;"))


def code(text: str) -> str:
    """Return `text` as a code span that may stand in a table cell; nothing for empty text."""
    line = " ".join(text.split()).replace("|", "\\|")
    if not line:
        return ""
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line}`"


def fenced(text: str, language: str = "") -> str:
    """Return `text` as a fenced block whose fence is longer than any run of backticks inside."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"
