"""Does it parse, and where are its documented functions: tree-sitter behind two questions.

Walking every node of a tree from Python costs more than parsing, and a query over the whole tree half as much as
parsing. Comments are found in the text instead, and the tree is asked only what stands right after each of them.
"""

import importlib
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import tree_sitter as ts

from magicoder.text.declarations import (
    Function,
    Grammar,
    body_of,
    child_at,
    docstring_of,
    encode,
    next_code,
    previous_code,
    with_comment,
    with_docstring,
)
from magicoder.text.docstrings import belongs_elsewhere, doc_problem

__all__ = [
    "Found",
    "Function",
    "Grammar",
    "documented_functions",
    "find_functions",
    "parses",
    "tree_of",
    "whole_function",
]

_MAX_CLIMB = 32
"""Nodes that start where a function starts are few; `a.b().c()…` nests without limit and is given up on."""
_MAX_ATTRIBUTES = 16
_MAX_LOOKUPS = 200_000_000
"""Children looked at in one broken file, about a second."""
_NO_FUNCTION = b"})];,*/.&|=+-%^?!>:"
"""What no function starts with."""


class Found(NamedTuple):
    """A function's place in the tree. `function` is None if it cannot be taken whole: `problem` says why.

    problem   `does_not_parse`, `shares_a_line` (with other code), or ""
    line      of the function's own code, counted from 1
    """

    function: Function | None
    node: ts.Node
    line: int
    problem: str = ""


def parses(code: str, language: Grammar) -> bool:
    """Whether `code` has no syntax error: no node of the tree is wrong or missing."""
    return any(not tree.root_node.has_error for tree in _trees(encode(code), language))


def tree_of(text: str, language: Grammar) -> ts.Tree:
    """Return the tree of `text`, encoded as UTF-8; with error nodes where it has syntax errors."""
    return _best_tree(encode(text), language)


def documented_functions(text: str, language: Grammar) -> list[Function]:
    """Return the functions of a file that say what they do and have a body, in order; nested ones too.

    Rules of the paper's direct-finetuning baseline. Python: the first string of the body. Elsewhere: the comments that
    end right above the function with only whitespace between, joined while one newline apart. On top of these, not
    taken are functions that share a line with other code, that hold a syntax error, whose comment stands behind code
    on its own line, or is a licence, a heading or code. Never raises on malformed text.
    """
    return [found.function for found in find_functions(text, language) if found.function]


def find_functions(text: str, language: Grammar, *, documented: bool = True) -> list[Found]:
    """Return the functions of a file in order, with those that cannot be taken whole.

    `documented`: only those that `documented_functions` would return, or would if they were whole; else all that have
    a body. Never raises on malformed text.
    """
    data = encode(text)
    root = _best_tree(data, language).root_node
    found = list((_python_functions if language.docstrings else _commented_functions)(root, data, language))
    if not documented:
        return _with_the_rest(found, root, data, language)
    return [f for f in found if f.function is None or not doc_problem(f.function.doc)]


def whole_function(text: str, language: Grammar) -> Function | None:
    """Return the one function that `text` is, documented or not; None if it does not parse as one.

    A method that does not parse alone is read inside a class; lines and offsets are still those of `text`.
    """
    before, after = language.member_context
    for prefix, suffix in [("", "")] + [(f"{before}\n", f"\n{after}")] * bool(before):
        data = encode(prefix + text + suffix)
        tree = next((t for t in _trees(data, language) if not t.root_node.has_error), None)
        start = _skip_comments(tree.root_node, data, len(prefix), language) if tree else len(data)
        hit = _function_at(tree.root_node, data, start, language) if tree and start < len(data) else None
        if not hit:
            continue
        outer, node = hit
        if language.docstrings:
            function = with_docstring(outer, node, data)
        else:
            function = with_comment(outer, node, data, language, above=len(prefix), start=start)
        if function and function.text.strip() == text.strip():
            shift = prefix.count("\n")
            return replace(function, first_line=function.first_line - shift, last_line=function.last_line - shift)
    return None


# ---- parsing


@cache
def _grammar(module: str, function: str) -> ts.Language:
    return ts.Language(getattr(importlib.import_module(module), function)())


@cache
def _parser(module: str, function: str) -> ts.Parser:
    return ts.Parser(_grammar(module, function))


@cache
def _query(grammar: ts.Language, nodes: tuple[str, ...]) -> ts.Query:
    return ts.Query(grammar, "[" + " ".join(f"({node})" for node in nodes) + "] @function")


def _trees(data: bytes, language: Grammar) -> Iterator[ts.Tree]:
    """Yield the readings of a text, most likely first: a few grammars come in two dialects."""
    first, second = language.grammar_function, ""
    if first == "language_php" and not data.lstrip().startswith((b"<", b"#!")):
        # To the grammar of files, text without an opening tag is HTML, and never wrong.
        first, second = "language_php_only", "language_php" if b"<?" in data else ""
    elif first == "language_typescript" and (b"</" in data or b"/>" in data):
        second = "language_tsx"  # JSX and `<T>x` casts exclude each other
    tree = _parser(language.grammar, first).parse(data)
    yield tree
    if second and tree.root_node.has_error:
        yield _parser(language.grammar, second).parse(data)


def _best_tree(data: bytes, language: Grammar) -> ts.Tree:
    trees = list(_trees(data, language))
    return next((t for t in trees if not t.root_node.has_error), trees[0])


# ---- finding functions


def _function_at(root: ts.Node, data: bytes, start: int, language: Grammar) -> tuple[ts.Node, ts.Node] | None:
    """Return the function whose code starts at byte `start`, as (with what wraps it, the function itself)."""
    for _ in range(_MAX_ATTRIBUTES):
        node = root.descendant_for_byte_range(start, start + 1)
        attribute = None
        for _ in range(_MAX_CLIMB):
            if node is None or node.start_byte != start:
                return None
            kind = node.type
            inner = _unwrap(node, language) if kind in language.wrapper_nodes else None
            if inner or kind in language.function_nodes:
                return node, inner or node
            if kind in language.attribute_nodes:
                attribute = node
                break
            node = node.parent
        if attribute is None:
            return None
        start = next_code(data, attribute.end_byte)
        if start >= len(data):
            return None
    return None


def _is_rubble(root: ts.Node, lookups: int) -> bool:
    """Whether the parser gave up and left all tokens side by side, so that many lookups would take quadratic time."""
    return root.type == "ERROR" and root.child_count * lookups > _MAX_LOOKUPS


def _unwrap(node: ts.Node, language: Grammar) -> ts.Node | None:
    inner: ts.Node | None = node
    while inner is not None and inner.type in language.wrapper_nodes:
        inner = child_at(inner, -1)
    return inner if inner is not None and inner.type in language.function_nodes else None


def _python_functions(root: ts.Node, data: bytes, language: Grammar) -> Iterator[Found]:
    starts = [match.start() for match in re.finditer(rb"def[ \t\\]", data)]
    if _is_rubble(root, len(starts)):
        return
    for start in starts:
        keyword = root.descendant_for_byte_range(start, start + 3)
        node = keyword.parent if keyword is not None and keyword.type == "def" else None
        if node is None or node.type not in language.function_nodes:
            continue
        above = node.parent
        outer = above if above is not None and above.type in language.wrapper_nodes else node
        body = node.child_by_field_name("body")
        if body is not None and docstring_of(body):
            yield _found(with_docstring(outer, node, data), outer, node)


def _commented_functions(root: ts.Node, data: bytes, language: Grammar) -> Iterator[Found]:
    starts = {
        m.end()
        for pattern in _comment_patterns(language.line_comments, language.block_comment)
        for m in pattern.finditer(data)
    }
    if _is_rubble(root, len(starts)):
        return
    found: dict[int, Found] = {}
    for start in sorted(starts, reverse=True):  # the nearest comment first: `// a` `#[test]` `// b` `fn`
        if start >= len(data) or data[start] in _NO_FUNCTION:
            continue
        hit = _function_at(root, data, start, language)
        above = _comments_above(root, data, start, language) if hit else None
        if hit is None or above is None or hit[1].start_byte in found:
            continue
        function = with_comment(*hit, data, language, above=above, start=start)
        detached = data.count(b"\n", previous_code(data, start) + 1, start) > 1
        if body_of(hit[1]) is None or (
            function and belongs_elsewhere(function.documentation, function.doc, detached=detached)
        ):
            continue
        found[hit[1].start_byte] = _found(function, *hit)
    yield from reversed(found.values())


def _found(function: Function | None, outer: ts.Node, node: ts.Node) -> Found:
    problem = "" if function else "does_not_parse" if outer.has_error else "shares_a_line"
    return Found(function, node, outer.start_point.row + 1, problem)


def _with_the_rest(found: list[Found], root: ts.Node, data: bytes, language: Grammar) -> list[Found]:
    """Add the functions without documentation, and order all by place."""
    known = {f.node.start_byte: f for f in found}
    grammars = (language.grammar_function, "language_php_only", "language_tsx")
    module = importlib.import_module(language.grammar)
    for name in (g for g in grammars if hasattr(module, g)):
        captures = ts.QueryCursor(_query(_grammar(language.grammar, name), language.function_nodes)).captures(root)
        for node in captures.get("function", []):
            if node.start_byte not in known and body_of(node) is not None:
                known[node.start_byte] = _undocumented(node, data, language)
    return [known[start] for start in sorted(known)]


def _undocumented(node: ts.Node, data: bytes, language: Grammar) -> Found:
    outer = node
    while outer.parent is not None and outer.parent.type in language.wrapper_nodes and outer.parent.parent is not None:
        outer = outer.parent
    if language.docstrings:
        return _found(with_docstring(outer, node, data), outer, node)
    start, above = outer.start_byte, outer.prev_named_sibling
    while above is not None and above.type in language.attribute_nodes:
        start, above = above.start_byte, above.prev_named_sibling
    return _found(with_comment(outer, node, data, language, above=start, start=start), outer, node)


@cache
def _comment_patterns(line_comments: tuple[str, ...], block_comment: tuple[str, ...]) -> tuple[re.Pattern[bytes], ...]:
    """Return patterns that end where code follows a comment. Each begins with a literal and never backtracks."""
    patterns = []
    for mark in line_comments:
        # PHP: `#[` opens an attribute.
        line = re.escape(mark.encode()) + (rb"(?!\[)" if mark == "#" else b"") + rb"[^\n]*+"
        patterns.append(re.compile(line + rb"(?:\n[ \t]*+" + line + rb")*+\s*+"))
    if block_comment:
        patterns.append(re.compile(re.escape(block_comment[1].encode()) + rb"\s*+"))
    return tuple(patterns)


def _comment_at(root: ts.Node, index: int, language: Grammar) -> ts.Node | None:
    """Return the comment that covers byte `index`; Rust's have parts."""
    node = root.named_descendant_for_byte_range(index, index + 1)
    for _ in range(2):
        if node is not None and node.type not in language.comment_nodes:
            node = node.parent
    return node if node is not None and node.type in language.comment_nodes else None


def _comments_above(root: ts.Node, data: bytes, start: int, language: Grammar) -> int | None:
    """Return where the comments that end right above byte `start` begin; None if there are none."""
    marks = tuple(mark.encode() for mark in language.line_comments)
    first, end = None, previous_code(data, start)
    while end >= 0:
        comment = _comment_at(root, end, language)
        if comment is None:
            break
        begin = comment.start_byte
        line = data.rfind(b"\n", 0, begin) + 1
        if data[line:begin].strip() or data.startswith(b"#!", begin):
            break  # a remark on the code before it; the interpreter's line
        while line and data.startswith(marks, begin):  # a line comment right above one needs no look at the tree
            above = data.rfind(b"\n", 0, line - 1) + 1
            text = data[above:line].lstrip()
            if not text.startswith(marks) or text.startswith((b"#!", b"#[")):
                break
            line, begin = above, line - len(text)
        first, end = begin, previous_code(data, line)
        if data.count(b"\n", end + 1, begin) != 1:
            break
    return first


def _skip_comments(root: ts.Node, data: bytes, start: int, language: Grammar) -> int:
    start = next_code(data, start)
    while start < len(data):
        comment = _comment_at(root, start, language)
        if comment is None:
            break
        start = next_code(data, comment.end_byte)
    return start
