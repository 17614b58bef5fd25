"""Solutions as a copier disguises them: names of their own renamed, comments stripped. By parsers, not by our lexer."""

import ast
import importlib
import io
import re
import textwrap
import tokenize
import warnings
from collections.abc import Iterator
from itertools import accumulate

import tree_sitter as ts

from magicoder.records import Task
from magicoder.text.identifiers import _KEPT_CALLED

GRAMMARS = {"cpp": "tree_sitter_cpp", "go": "tree_sitter_go", "java": "tree_sitter_java",
            "javascript": "tree_sitter_javascript", "rust": "tree_sitter_rust"}  # fmt: skip
TYPES = {"float64", "int32", "int64", "rune", "i32", "f64"}
HEAD = "def entry():\n"


def disguised(task: Task) -> str:
    """Return the task's reference renamed and without comments.

    Raises:
        AssertionError: it does not parse, alone or as the body of a function.
    """
    if task.language in GRAMMARS:
        return _of_tree(task.reference, task.language)
    source = task.reference.replace("\r\n", "\n")
    flush = textwrap.dedent(source)
    for candidate in (flush, HEAD + textwrap.indent(flush, "    "), HEAD + source, f"{HEAD}    {source}"):
        try:
            with warnings.catch_warnings(action="ignore"):  # invalid escapes, as they were published
                return _of_python(candidate).removeprefix(HEAD)
        except (SyntaxError, tokenize.TokenError):
            continue
    raise AssertionError(f"{task.benchmark} {task.id}: the reference does not parse")


def _bound(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name):
            yield name
        case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
            yield name


def _of_python(source: str) -> str:
    nodes = list(ast.walk(ast.parse(source)))
    kept = {a.asname or a.name for a in nodes if isinstance(a, ast.alias)} | {"self", "cls", "entry"} | _KEPT_CALLED
    own = sorted({name for node in nodes for name in _bound(node)} - kept)
    new = {name: f"renamed_{i}" for i, name in enumerate(own)}
    arguments = {(node.lineno, node.col_offset) for node in nodes if isinstance(node, ast.keyword)}

    def within(braces: re.Match[str]) -> str:
        return re.sub(r"(?<![.\w])[^\W\d]\w*", lambda word: new.get(word[0], word[0]), braces[0])

    edits, before = [], ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            edits.append((token, ""))
            continue
        if token.type == tokenize.STRING and "f" in token.string.partition(token.string[-1])[0].lower():
            edits.append((token, re.sub(r"\{[^{}]*\}", within, token.string)))
        is_argument = (row, len(token.line[:column].encode())) in arguments
        if token.type == tokenize.NAME and token.string in new and before != "." and not is_argument:
            edits.append((token, new[token.string]))
        if token.type != tokenize.NL:
            before = token.string
    starts = [0, *accumulate(map(len, source.splitlines(keepends=True)))]
    for token, put in reversed(edits):
        start, end = (starts[row - 1] + column for row, column in (token.start, token.end))
        source = source[:start] + put + source[end:]
    return source


def _of_tree(source: str, language: str) -> str:
    parser = ts.Parser(ts.Language(importlib.import_module(GRAMMARS[language]).language()))
    data = source.encode()
    types = TYPES | set(re.findall(r"\b[A-Z]\w*[a-z]\w*", source))
    new: dict[str, str] = {}
    edits, stack = [], [parser.parse(data).root_node]
    while stack:
        node = stack.pop()
        name, above = data[node.start_byte : node.end_byte].decode(), data[: node.start_byte]
        if "comment" in node.type:
            edits.append((node.start_byte, node.end_byte, b" "))
        elif node.type == "identifier":
            is_attribute = above.endswith((b".", b"->", b"::")) and not above.endswith(b"..")
            if name not in _KEPT_CALLED | types and not is_attribute:
                edits.append((node.start_byte, node.end_byte, new.setdefault(name, f"renamed{len(new)}").encode()))
        else:
            stack += node.children
    for start, end, put in sorted(edits, reverse=True):
        data = data[:start] + put + data[end:]
    return data.decode()
