"""Does it parse, and where are its documented functions: tree-sitter behind two questions.

Walking every node of a tree from Python costs more than parsing, and a query over the whole tree half as much as
parsing. Comments are found in the text instead, and the tree is asked only what stands right after each of them.
"""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import tree_sitter as ts

from magicoder.text.docstrings import belongs_elsewhere, clean_comment, clean_docstring, doc_problem, first_paragraph

_MAX_CLIMB = 32
"""Nodes that start where a function starts are few; `a.b().c()…` nests without limit and is given up on."""
_MAX_ATTRIBUTES = 16
_MAX_LOOKUPS = 200_000_000
"""Children looked at in one broken file, about a second."""
_NO_FUNCTION = b"})];,*/.&|=+-%^?!>:"
"""What no function starts with."""
_SPACE = b" \t\r\n\f\v"


class Grammar(Protocol):
    """What this module needs to know of a language (see `magicoder.languages.Language`)."""

    @property
    def grammar(self) -> str: ...  # noqa: D102 - the fields of Language
    @property
    def grammar_function(self) -> str: ...  # noqa: D102
    @property
    def function_nodes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def comment_nodes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def wrapper_nodes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def attribute_nodes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def line_comments(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def block_comment(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def member_context(self) -> tuple[str, str]: ...  # noqa: D102
    @property
    def docstrings(self) -> bool: ...  # noqa: D102
    @property
    def doc_markup(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function with the documentation that belongs to it.

    name           as declared, "" if anonymous (`export default function`)
    first_line     of the comment above, or of the function or its decorator where there is none; counted from 1
    last_line      of the function
    text           these lines, whole and verbatim, without the last newline
    documentation  the comment or docstring as written, "" if there is none
    doc            what it says: no delimiters, first paragraph only
    code_start     offset in `text` (in characters) of the code below the comment
    prompt_end     offset where the original's prompt ends: after the docstring, else after the line with the name
    body_start     offset of the body
    """

    name: str
    first_line: int
    last_line: int
    text: str
    documentation: str
    doc: str
    code_start: int
    prompt_end: int
    body_start: int


def parses(code: str, language: Grammar) -> bool:
    """Whether `code` has no syntax error: no node of the tree is wrong or missing."""
    return any(not tree.root_node.has_error for tree in _trees(_encode(code), language))


def tree_of(text: str, language: Grammar) -> ts.Tree:
    """Return the tree of `text`, encoded as UTF-8; with error nodes where it has syntax errors."""
    return _best_tree(_encode(text), language)


def documented_functions(text: str, language: Grammar) -> list[Function]:
    """Return the functions of a file that say what they do and have a body, in order; nested ones too.

    Rules of the paper's direct-finetuning baseline. Python: the first string of the body. Elsewhere: the comments that
    end right above the function with only whitespace between, joined while one newline apart. On top of these, not
    taken are functions that share a line with other code, that hold a syntax error, whose comment stands behind code
    on its own line, or is a licence, a heading or code. Never raises on malformed text.
    """
    data = _encode(text)
    root = _best_tree(data, language).root_node
    found = (_python_functions if language.docstrings else _commented_functions)(root, data, language)
    return [f for f in found if not doc_problem(f.doc)]


def whole_function(text: str, language: Grammar) -> Function | None:
    """Return the one function that `text` is, documented or not; None if it does not parse as one.

    A method that does not parse alone is read inside a class; lines and offsets are still those of `text`.
    """
    before, after = language.member_context
    for prefix, suffix in [("", "")] + [(f"{before}\n", f"\n{after}")] * bool(before):
        data = _encode(prefix + text + suffix)
        tree = next((t for t in _trees(data, language) if not t.root_node.has_error), None)
        start = _skip_comments(tree.root_node, data, len(prefix), language) if tree else len(data)
        hit = _function_at(tree.root_node, data, start, language) if tree and start < len(data) else None
        if not hit:
            continue
        outer, node = hit
        if language.docstrings:
            function = _with_docstring(outer, node, data)
        else:
            function = _with_comment(outer, node, data, language, above=len(prefix), start=start)
        if function and function.text.strip() == text.strip():
            shift = prefix.count("\n")
            return replace(function, first_line=function.first_line - shift, last_line=function.last_line - shift)
    return None


# ---- parsing


@cache
def _parser(module: str, function: str) -> ts.Parser:
    return ts.Parser(ts.Language(getattr(importlib.import_module(module), function)()))


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


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a lone surrogate is garbage to parse, not a reason to stop


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


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
        start = _next_code(data, attribute.end_byte)
        if start >= len(data):
            return None
    return None


def _is_rubble(root: ts.Node, lookups: int) -> bool:
    """Whether the parser gave up and left all tokens side by side, so that many lookups would take quadratic time."""
    return root.type == "ERROR" and root.child_count * lookups > _MAX_LOOKUPS


def _unwrap(node: ts.Node, language: Grammar) -> ts.Node | None:
    inner: ts.Node | None = node
    while inner is not None and inner.type in language.wrapper_nodes:
        inner = _child(inner, -1)
    return inner if inner is not None and inner.type in language.function_nodes else None


def _python_functions(root: ts.Node, data: bytes, language: Grammar) -> Iterator[Function]:
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
        function = _with_docstring(outer, node, data) if body is not None and _docstring(body) else None
        if function:
            yield function


def _commented_functions(root: ts.Node, data: bytes, language: Grammar) -> Iterator[Function]:
    starts = {
        m.end()
        for pattern in _comment_patterns(language.line_comments, language.block_comment)
        for m in pattern.finditer(data)
    }
    if _is_rubble(root, len(starts)):
        return
    found: dict[int, Function] = {}
    for start in sorted(starts, reverse=True):  # the nearest comment first: `// a` `#[test]` `// b` `fn`
        if start >= len(data) or data[start] in _NO_FUNCTION:
            continue
        hit = _function_at(root, data, start, language)
        above = _comments_above(root, data, start, language) if hit else None
        if hit is None or above is None or hit[1].start_byte in found:
            continue
        function = _with_comment(*hit, data, language, above=above, start=start)
        detached = data.count(b"\n", _previous_code(data, start) + 1, start) > 1
        if function and not belongs_elsewhere(function.documentation, function.doc, detached=detached):
            found[hit[1].start_byte] = function
    yield from reversed(found.values())


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
    first, end = None, _previous_code(data, start)
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
        first, end = begin, _previous_code(data, line)
        if data.count(b"\n", end + 1, begin) != 1:
            break
    return first


def _skip_comments(root: ts.Node, data: bytes, start: int, language: Grammar) -> int:
    start = _next_code(data, start)
    while start < len(data):
        comment = _comment_at(root, start, language)
        if comment is None:
            break
        start = _next_code(data, comment.end_byte)
    return start


def _next_code(data: bytes, index: int) -> int:
    """Return the first byte from `index` on that is not white space."""
    while index < len(data) and data[index] in _SPACE:
        index += 1
    return index


def _previous_code(data: bytes, index: int) -> int:
    """Return the last byte before `index` that is not white space, -1 if there is none."""
    index -= 1
    while index >= 0 and data[index] in _SPACE:
        index -= 1
    return index


# ---- taking functions apart


def _with_comment(
    outer: ts.Node, node: ts.Node, data: bytes, language: Grammar, *, above: int, start: int
) -> Function | None:
    """Make a Function of `node`, with the comments from byte `above` to its code at byte `start`."""
    body = node.child_by_field_name("body")
    if body is None:  # Kotlin's grammar has no such field
        last = _child(node, -1)
        body = last if last is not None and last.type == "function_body" else None
    if body is None:
        return None
    name = _name_node(node)
    named = name.start_byte if name is not None else node.start_byte
    written = _decode(data[above:start]).rstrip()
    line_end = data.find(b"\n", named)
    return _function(
        outer,
        data,
        name=_text(name, data),
        begin=above,
        written=written,
        doc=first_paragraph(clean_comment(written, language.line_comments, language.doc_markup), _text(name, data)),
        code=start,
        prompt=line_end if line_end >= 0 else len(data),
        body=body.start_byte,
    )


def _with_docstring(outer: ts.Node, node: ts.Node, data: bytes) -> Function | None:
    """Make a Function of a Python function, documented or not."""
    body = node.child_by_field_name("body")
    if body is None:
        return None
    literal = _docstring(body)
    content = _string_content(literal, data) if literal is not None else None
    documented = literal is not None and content is not None
    return _function(
        outer,
        data,
        name=_text(node.child_by_field_name("name"), data),
        begin=outer.start_byte,
        written=_text(literal, data) if documented else "",
        doc=first_paragraph(clean_docstring(content or "")),
        code=outer.start_byte,
        prompt=literal.end_byte if literal is not None and documented else body.start_byte,
        body=body.start_byte,
    )


def _docstring(body: ts.Node) -> ts.Node | None:
    """Return the literal that is the first statement of a body, None if it starts otherwise."""
    first = _child(body, 0)
    while first is not None and first.type == "comment":
        first = first.next_named_sibling
    literal = _child(first, 0) if first is not None and first.type == "expression_statement" else None
    return literal if literal is not None and literal.type in ("string", "concatenated_string") else None


def _child(node: ts.Node, index: int) -> ts.Node | None:
    """Return a named child, counted from the end if `index` is negative; None if there is none."""
    count = node.named_child_count
    return node.named_child(index % count) if count else None


def _string_content(literal: ts.Node, data: bytes) -> str | None:
    """Return what stands between the quotes; None for what Python takes for no docstring (bytes, f-strings)."""
    parts = literal.named_children if literal.type == "concatenated_string" else [literal]
    content = []
    for part in parts:
        opening = _child(part, 0) if part.type == "string" else None
        closing = _child(part, -1) if opening is not None else None
        if (
            opening is None
            or closing is None
            or re.search(rb"[bft]", data[opening.start_byte : opening.end_byte].lower())
        ):
            return None
        content.append(_decode(data[opening.end_byte : closing.start_byte]))
    return "".join(content)


def _name_node(node: ts.Node) -> ts.Node | None:
    """Return the name in a declaration; C nests it in declarators: `char *(*f(int))(void)`."""
    name = node.child_by_field_name("name")
    inner = node
    while name is None:
        declarator = inner.child_by_field_name("declarator")
        if declarator is None and inner.type == "parenthesized_declarator":
            declarator = _child(inner, -1)
        if declarator is None:
            return inner if inner != node else None
        inner = declarator
    return name


def _text(node: ts.Node | None, data: bytes) -> str:
    return _decode(data[node.start_byte : node.end_byte]) if node is not None else ""


def _function(
    outer: ts.Node, data: bytes, *, name: str, begin: int, written: str, doc: str, code: int, prompt: int, body: int
) -> Function | None:
    """Put a Function together from byte positions; None if it is broken or does not have its lines to itself."""
    if outer.has_error:
        return None
    start = data.rfind(b"\n", 0, begin) + 1
    last = _previous_code(data, outer.end_byte)
    end = data.find(b"\n", last)
    end = end if end >= 0 else len(data)
    after = data[last + 1 : end].strip(b"; \t\r\f")
    if data[start:begin].strip() or (after and not after.startswith((b"//", b"/*", b"#"))):
        return None
    text = data[start:end]
    ascii_only = text.isascii()

    def offset(index: int) -> int:
        return index - start if ascii_only else len(_decode(data[start:index]))

    first_line = outer.start_point.row - data.count(b"\n", start, outer.start_byte) + 1
    return Function(
        name=name,
        first_line=first_line,
        last_line=first_line + text.count(b"\n"),
        text=_decode(text),
        documentation=written,
        doc=doc,
        code_start=offset(code),
        prompt_end=offset(min(prompt, end)),
        body_start=offset(body),
    )
