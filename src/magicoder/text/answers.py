"""What is wrong with an answer, judged on its text alone: unfinished, refused, off the point, too long.

The rules that others filtered with, as pure functions. Sources: the paper's experiment on noise (its appendix drops
samples with `pass` and `NotImplemented`), SelfCodeAlign's list of phrases and its 200 words of instruction, CodeFuse's
limits for Evol-Instruct (one fenced block, 3 to 100 lines of code, 200 words before it).
"""

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Final

from magicoder.text.codeblocks import CodeBlock

ENDS: Final = 400
"""How far into an answer, and from its end, a refusal is looked for, in characters."""

_TO_DO = re.compile(
    r"(?:#|//|/\*|^\s*\*|--|<!--|;|%)[ \t]*(?:@?(?:TODO|FIXME|XXX|TBD)\b|(?i:todo|fixme)[ \t]*[:(])",
    re.MULTILINE,
)
_LEFT_TO_YOU = re.compile(
    r"(?:(?:write|add|put|insert|place) )?your (?:own )?(?:code|implementation|logic|solution) (?:goes )?here"
    r"|(?:code|implementation|logic) (?:goes|to be added|to be written|comes) here"
    r"|(?:#|//|/\*|--)[ \t]*(?:\.\.\.|…"
    r"|\(?(?:the )?(?:rest|remainder) of (?:the|your) (?:code|implementation|class|function|logic)"
    r"|(?:implement|fill in|complete) (?:this|the (?:rest|function|method|logic|body)|me|your)\b[^\n]{0,30}$"
    r"|(?:existing|previous|other|remaining|same) (?:code|methods|functions|logic)[^\n]{0,12}"
    r"(?:here|\.\.\.|…|omitted|unchanged|as before))",
    re.IGNORECASE | re.MULTILINE,
)
_UNWRITTEN = re.compile(
    r"\braise\s+NotImplemented(?:Error)?\b|\bNotImplementedException\b|\b(?:unimplemented|todo)!\s*[(\[{]"
    r"|\bNotImplementedError\s*\(|\b(?-i:TODO)\(\s*(?:\"[^\"\n]*\")?\s*\)"
    r"|(?:throw|panic|fatalError|raise|abort|die|Exception|Error)\b[^\n;]{0,40}[\"'(]\s*"
    r"(?:todo|not (?:yet )?implemented|unimplemented|implement me)\b",
    re.IGNORECASE,
)
_ABSTRACT = frozenset(("abstractmethod", "abstractproperty", "overload"))
_INTERFACES = frozenset(("Protocol", "ABC", "ABCMeta"))

_REFUSAL = re.compile(
    r"\b(?:I(?:'|’)?m|I am|we(?:'|’)re|we are) (?:really |very |so )?(?:sorry|afraid|unable|not able)\b"
    r"|\bI (?:apologi[sz]e|regret)\b|\bmy apologies\b"
    r"|\b(?:I|we) (?:can(?:'|’)t|cannot|can not|could not|couldn(?:'|’)t|won(?:'|’)t|am not able to) "
    r"(?:help|assist|provide|fulfil+|complete|comply|answer|generate|create|write|continue|do that|give)\b"
    r"|\bas an? (?:ai|artificial intelligence|large)\b[^\n.]{0,20}\b(?:model|assistant|ai)\b"
    r"|\b(?:the )?(?:provided|given) (?:code|snippet|problem|prompt)[^\n.]{0,30} (?:is|are) "
    r"(?:incomplete|unclear|not enough)\b"
    r"|\b(?:please|could you) (?:provide|share|give|clarify)[^\n.?]{0,20} "
    r"(?:more|additional|further|the (?:full|complete)) "
    r"(?:details|context|information|code|snippet|problem)",
    re.IGNORECASE,
)
_CODE_LINE = re.compile(
    r"[;{}]\s*$|^\s*(?:def|class|import|from|return|function|func|fn|public|private|static|const|let|var|#include"
    r"|package|using|namespace|if|for|while|else|elif|try|echo|export|end)\b.*[:({;)=]|^\s{2,}\S+.*[)=(;]|^\s*[\w.\[\]]+\s*[-+*/]?=\s*\S"
)


def words(text: str) -> int:
    """Return the number of words: what white space separates."""
    return len(text.split())


def outside(count: int, limits: Sequence[int]) -> str:
    """Return `too_short` or `too_long` where `count` is below or above `limits` (least, most; empty: any), else ""."""
    if not limits or limits[0] <= count <= limits[1]:
        return ""
    return "too_short" if count < limits[0] else "too_long"


def words_before(text: str, block: CodeBlock) -> int:
    """Return the number of words before the fence of `block`."""
    return words("\n".join(text.split("\n")[: block.first_line - 1]))


def lines_of_code(blocks: Sequence[CodeBlock]) -> int:
    """Return the number of lines that are not blank, over all blocks."""
    return sum(1 for block in blocks for line in block.code.split("\n") if line.strip())


def is_refusal(text: str, blocks: Sequence[CodeBlock]) -> bool:
    """Whether an answer declines at its beginning or end, outside code: an apology, or a request for more."""
    prose = _without(text, blocks).strip()
    return _REFUSAL.search(prose[:ENDS]) is not None or _REFUSAL.search(prose[-ENDS:]) is not None


def is_prose(text: str, blocks: Sequence[CodeBlock]) -> bool:
    """Whether there is no code, fenced or not: fewer than two lines in a row read as code."""
    if blocks:
        return False
    run = 0
    for line in text.split("\n"):
        run = run + 1 if _CODE_LINE.search(line) else run if not line.strip() else 0
        if run > 1:
            return False
    return True


def unfinished(blocks: Sequence[CodeBlock], *, is_python: bool = False) -> str:
    """Return why the code is not finished, "" if it is: a kind and a line of the answer, for a person.

    A block without its closing fence; TODO and FIXME in comments; phrases that leave the work to the reader; bodies
    that only say that they are not implemented (`NotImplementedError`, `unimplemented!()` …), and in Python functions
    with nothing but `pass` or `...`. Abstract methods, overloads and protocols are finished. `is_python` tells what
    blocks without a name are.
    """
    for block in blocks:
        if not block.closed:
            return f"the block in line {block.first_line} is not closed"
        tree = (
            _tree(block.code) if block.name in ("python", "py", "python3") or (is_python and not block.name) else None
        )
        for title, found in (("to do", _TO_DO.search(block.code)), ("left out", _LEFT_TO_YOU.search(block.code))):
            if found:
                return f"{title} in line {_line(block, found.start())}"
        if tree is not None:
            for name, line in _empty_functions(tree):
                return f"{name} has no body in line {block.first_line + line}"
        elif found := _UNWRITTEN.search(block.code):
            return f"not implemented in line {_line(block, found.start())}"
    return ""


def _line(block: CodeBlock, start: int) -> int:
    lead = len(block.code[start:]) - len(block.code[start:].lstrip())
    return block.first_line + 1 + block.code.count("\n", 0, start + lead)


def _without(text: str, blocks: Sequence[CodeBlock]) -> str:
    """Return `text` without what is inside of `blocks`."""
    lines = text.split("\n")
    inside = {n for b in blocks for n in range(b.first_line, b.first_line + b.code.count("\n") + 2)}
    return "\n".join(line for n, line in enumerate(lines, start=1) if n not in inside)


def _tree(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _empty_functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield functions whose body, apart from a docstring, is `pass`, `...` or NotImplementedError."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.ClassDef) and {*map(_name, node.bases), *(_name(k.value) for k in node.keywords)} & (
            _INTERFACES
        ):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            abstract = {_name(d) for d in node.decorator_list} & _ABSTRACT
            if not abstract and len(body) <= 1 and all(map(_is_nothing, body)):
                yield node.name, node.lineno
        stack.extend(ast.iter_child_nodes(node))


def _name(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node.value if isinstance(node, ast.Subscript) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) and statement.value.value is ...
    return isinstance(statement, ast.Raise) and _name(statement.exc or ast.Name("")).startswith("NotImplemented")
