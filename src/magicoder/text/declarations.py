"""Taking a function apart: its name, documentation, code and body, from a node of a tree-sitter tree."""

import re
from dataclasses import dataclass
from typing import Protocol

import tree_sitter as ts

from magicoder.text.docstrings import clean_comment, clean_docstring, first_paragraph

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


def encode(text: str) -> bytes:
    """Return the bytes that a tree's places count in."""
    return text.encode("utf-8", "surrogatepass")  # a lone surrogate is garbage to parse, not a reason to stop


def decode(data: bytes) -> str:
    """Return what `encode` was given."""
    return data.decode("utf-8", "surrogatepass")


def next_code(data: bytes, index: int) -> int:
    """Return the first byte from `index` on that is not white space."""
    while index < len(data) and data[index] in _SPACE:
        index += 1
    return index


def previous_code(data: bytes, index: int) -> int:
    """Return the last byte before `index` that is not white space, -1 if there is none."""
    index -= 1
    while index >= 0 and data[index] in _SPACE:
        index -= 1
    return index


def body_of(node: ts.Node) -> ts.Node | None:
    """Return the body of a function, None of a declaration without one."""
    body = node.child_by_field_name("body")
    if body is None:  # Kotlin's grammar has no such field
        last = child_at(node, -1)
        body = last if last is not None and last.type == "function_body" else None
    return body


def with_comment(
    outer: ts.Node, node: ts.Node, data: bytes, language: Grammar, *, above: int, start: int
) -> Function | None:
    """Make a Function of `node`, with the comments from byte `above` to its code at byte `start`."""
    body = body_of(node)
    if body is None:
        return None
    name = _name_node(node)
    named = name.start_byte if name is not None else node.start_byte
    written = decode(data[above:start]).rstrip()
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


def with_docstring(outer: ts.Node, node: ts.Node, data: bytes) -> Function | None:
    """Make a Function of a Python function, documented or not."""
    body = node.child_by_field_name("body")
    if body is None:
        return None
    literal = docstring_of(body)
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


def docstring_of(body: ts.Node) -> ts.Node | None:
    """Return the literal that is the first statement of a body, None if it starts otherwise."""
    first = child_at(body, 0)
    while first is not None and first.type == "comment":
        first = first.next_named_sibling
    literal = child_at(first, 0) if first is not None and first.type == "expression_statement" else None
    return literal if literal is not None and literal.type in ("string", "concatenated_string") else None


def child_at(node: ts.Node, index: int) -> ts.Node | None:
    """Return a named child, counted from the end if `index` is negative; None if there is none."""
    count = node.named_child_count
    return node.named_child(index % count) if count else None


def _string_content(literal: ts.Node, data: bytes) -> str | None:
    """Return what stands between the quotes; None for what Python takes for no docstring (bytes, f-strings)."""
    parts = literal.named_children if literal.type == "concatenated_string" else [literal]
    content = []
    for part in parts:
        opening = child_at(part, 0) if part.type == "string" else None
        closing = child_at(part, -1) if opening is not None else None
        if (
            opening is None
            or closing is None
            or re.search(rb"[bft]", data[opening.start_byte : opening.end_byte].lower())
        ):
            return None
        content.append(decode(data[opening.end_byte : closing.start_byte]))
    return "".join(content)


def _name_node(node: ts.Node) -> ts.Node | None:
    """Return the name in a declaration; C nests it in declarators: `char *(*f(int))(void)`."""
    name = node.child_by_field_name("name")
    inner = node
    while name is None:
        declarator = inner.child_by_field_name("declarator")
        if declarator is None and inner.type == "parenthesized_declarator":
            declarator = child_at(inner, -1)
        if declarator is None:
            return inner if inner != node else None
        inner = declarator
    return name


def _text(node: ts.Node | None, data: bytes) -> str:
    return decode(data[node.start_byte : node.end_byte]) if node is not None else ""


def _function(
    outer: ts.Node, data: bytes, *, name: str, begin: int, written: str, doc: str, code: int, prompt: int, body: int
) -> Function | None:
    """Put a Function together from byte positions; None if it is broken or does not have its lines to itself."""
    if outer.has_error:
        return None
    start = data.rfind(b"\n", 0, begin) + 1
    last = previous_code(data, outer.end_byte)
    end = data.find(b"\n", last)
    end = end if end >= 0 else len(data)
    after = data[last + 1 : end].strip(b"; \t\r\f")
    if data[start:begin].strip() or (after and not after.startswith((b"//", b"/*", b"#"))):
        return None
    text = data[start:end]
    ascii_only = text.isascii()

    def offset(index: int) -> int:
        return index - start if ascii_only else len(decode(data[start:index]))

    first_line = outer.start_point.row - data.count(b"\n", start, outer.start_byte) + 1
    return Function(
        name=name,
        first_line=first_line,
        last_line=first_line + text.count(b"\n"),
        text=decode(text),
        documentation=written,
        doc=doc,
        code_start=offset(code),
        prompt_end=offset(min(prompt, end)),
        body_start=offset(body),
    )
