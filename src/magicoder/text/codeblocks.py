"""Fenced code blocks in Markdown: their info strings and what is inside (CommonMark 0.31, section 4.5).

A fence is three or more backticks or tildes, indented at most three columns; the block ends at a fence of the same
character that is at least as long and carries no info string, or with the text. Fences inside list items are often
indented further by models, so deeper indents are read as fences too.
"""

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*(.*?)[ \t\r]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBlock:
    """One fenced block.

    name         the first word of the info string, lower case, without attributes: `python` of "```Python {.x}"
    code         what stands between the fences, without the opening fence's indent, each line ended by a newline
    first_line   line of the opening fence, counted from 1
    closed       False where the text ends before the block does, as in a truncated answer
    """

    name: str
    code: str
    first_line: int
    closed: bool


def code_blocks(text: str) -> list[CodeBlock]:
    """Return the fenced blocks of `text` in order; longer fences may hold shorter ones as text."""
    blocks: list[CodeBlock] = []
    indent = fence = name = ""
    inside: list[str] = []
    opened = 0
    for number, line in enumerate(text.split("\n"), start=1):
        found = _FENCE.match(line)
        if not opened:
            # An info string with a backtick is a code span that begins a paragraph, not a fence.
            if found and not (found[2][0] == "`" and "`" in found[3]):
                indent, fence, name, opened, inside = found[1], found[2], _name(found[3]), number, []
        elif found and found[2].startswith(fence) and not found[3]:
            blocks.append(CodeBlock(name=name, code=_joined(inside), first_line=opened, closed=True))
            opened = 0
        else:
            inside.append(_unindented(line, indent))
    if opened:
        if inside and not inside[-1]:
            inside.pop()  # what follows the last newline is no line
        blocks.append(CodeBlock(name=name, code=_joined(inside), first_line=opened, closed=False))
    return blocks


def _name(info: str) -> str:
    """Return the language named by an info string: the first word, bare of braces, dots and attributes."""
    word = re.split(r"[\s,{:]", info.strip("{").lstrip("."), maxsplit=1)[0]
    return word.rstrip("}").lower()


def _unindented(line: str, indent: str) -> str:
    """Return `line` without as much of the opening fence's indent as it has."""
    taken = 0
    while taken < len(indent) and taken < len(line) and line[taken] in " \t":
        taken += 1
    return line[taken:]


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
