"""Mutants: copies of a solution with one small fault each, to measure whether its tests would notice.

    operator     + for -, * for /, << for >> …          comparison   < for <=, == for != …
    boolean      && for ||, a `not` left out            branch       a condition negated
    constant     a number plus one, true for false      return       something empty returned
    statement    a call or an assignment left out

Python is read with `ast` (`mutants_python.py`), the other languages with their tree-sitter grammars, by the kinds of
nodes and tokens that the grammars share. The idea is from DeMillo, Lipton and Sayward (1978); the operators are the
"sufficient" ones of Offutt et al. (1996), and statement deletion.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import tree_sitter as ts

from magicoder.text import mutants_python
from magicoder.text.edits import Edit
from magicoder.text.syntax import Grammar, parses, tree_of

MOST_NODES: Final = 50_000
"""Nodes of a tree that are looked at."""

_COMPARISONS: Final = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "===": "!==", "!==": "===",
    "-eq": "-ne", "-ne": "-eq", "-lt": "-le", "-le": "-lt", "-gt": "-ge", "-ge": "-gt", "-z": "-n", "-n": "-z",
}  # fmt: skip
_BOOLEANS: Final = {"&&": "||", "||": "&&", "and": "or", "or": "and"}
_ARITHMETIC: Final = {
    "+": "-", "-": "+", "*": "+", "/": "*", "%": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "&",
    "+=": "-=", "-=": "+=", "*=": "+=", "/=": "*=", "++": "--", "--": "++",
}  # fmt: skip
_OPERATIONS: Final = (
    "binary_expression", "augmented_assignment_expression", "compound_assignment_expr", "assignment_expression",
    "update_expression", "postfix_unary_expression", "prefix_unary_expression", "assignment_statement", "inc_statement",
    "dec_statement", "additive_expression", "multiplicative_expression", "comparison_expression", "equality_expression",
    "conjunction_expression", "disjunction_expression", "unary_expression", "binary", "list", "assignment",
)  # fmt: skip
"""Node types that hold an operator as a token; the same tokens elsewhere are pointers, generics or flags."""
_NUMBERS: Final = (
    "number_literal", "integer_literal", "decimal_integer_literal", "decimal_floating_point_literal", "int_literal",
    "float_literal", "number", "integer", "float", "real_literal",
)  # fmt: skip
_TRUTHS: Final = {"true": "false", "false": "true"}
_CONDITIONED: Final = (
    "if_statement",
    "while_statement",
    "if_expression",
    "while_expression",
    "do_statement",
    "if",
    "while",
)
_BINDING: Final = ("let_condition", "let_chain", "declaration", "condition_clause", "variable_declaration")
_NO_NEGATION: Final = ("shell", "swift", "kotlin", "ruby")
_RETURNS: Final = {
    "cpp": "return {};",
    "csharp": "return default;",
    "javascript": "return null;",
    "php": "return null;",
    "rust": "return Default::default()",
    "typescript": "return null as any;",
}
_CALLS: Final = (
    "call_expression", "method_invocation", "invocation_expression", "function_call_expression",
    "member_call_expression", "scoped_call_expression", "assignment_expression",
    "augmented_assignment_expression", "compound_assignment_expr",
    "update_expression", "macro_invocation", "await_expression", "throw_expression",
)  # fmt: skip
_EMPTY_STATEMENT: Final = {"go": "", "swift": "", "kotlin": "", "ruby": ""}


class Named(Grammar, Protocol):
    """A language of which the name is known too."""

    @property
    def name(self) -> str: ...  # noqa: D102 - as in Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A faulty copy: what was done to it, where, and its whole text."""

    kind: str
    line: int
    text: str


def mutants(text: str, language: Named, most: int) -> list[Mutant]:
    """Return at most `most` different mutants that parse, in the order of the code.

    Which ones depends on the text alone: kinds take turns, and within a kind the places are drawn at random.
    """
    if not language.grammar:
        return []
    data = text.encode("utf-8", "surrogatepass")
    found = mutants_python.edits(text) if language.name == "python" else _edits(data, text, language)
    seen = {"".join(text.split())}
    chosen: list[tuple[Edit, str]] = []
    for edit in _in_turn(found, text):
        if len(chosen) == most:
            break
        changed = edit.applied(data).decode("utf-8", "surrogatepass")
        key = "".join(changed.split())
        if key not in seen and parses(changed, language):
            seen.add(key)
            chosen.append((edit, changed))
    chosen.sort(key=lambda pair: (pair[0].start, pair[0].end, pair[0].new))
    return [Mutant(kind=e.kind, line=e.line, text=changed) for e, changed in chosen]


def _in_turn(edits: Sequence[Edit], text: str) -> Iterator[Edit]:
    """Yield edits in a random order that depends on the text, one of each kind in turn."""
    rng = random.Random(f"mutants:{text}")
    kinds: dict[str, list[Edit]] = {}
    for edit in edits:
        kinds.setdefault(edit.kind, []).append(edit)
    for of_kind in kinds.values():
        rng.shuffle(of_kind)
    for i in range(max(map(len, kinds.values()), default=0)):
        yield from (of_kind[i] for _, of_kind in sorted(kinds.items()) if i < len(of_kind))


def _edits(data: bytes, text: str, language: Named) -> list[Edit]:
    found = []
    for node in _nodes(tree_of(text, language).root_node):
        for rule in (_token, _constant, _condition, _result, _statement):
            edit = rule(node, data, language.name)
            if edit is not None:
                found.append(edit)
    return sorted(found, key=lambda e: (e.start, e.end, e.kind, e.new))


def _nodes(root: ts.Node) -> Iterator[ts.Node]:
    """Yield nodes in the order of the code, but not what is broken."""
    stack, count = [root], 0
    while stack and count < MOST_NODES:
        node = stack.pop()
        count += 1
        if node.is_error or node.is_missing:
            continue
        yield node
        stack.extend(reversed(node.children))


def _edit(kind: str, node: ts.Node, new: str) -> Edit:
    return Edit(kind=kind, line=node.start_point[0] + 1, start=node.start_byte, end=node.end_byte, new=new)


def _token(node: ts.Node, data: bytes, _language: str) -> Edit | None:
    """Change an operator."""
    parent = node.parent
    if node.child_count or parent is None or parent.type not in _OPERATIONS:
        return None
    word = data[node.start_byte : node.end_byte].decode("utf-8", "replace")
    if node.is_named and node.type != "test_operator":
        return None
    if word in "+-&*" and parent.type == "unary_expression":
        return None  # a sign, an address, what a pointer points to
    if word == "+" and any(_is_text(child) for child in parent.children):
        return None  # texts joined have no difference
    for kind, words in (("comparison", _COMPARISONS), ("boolean", _BOOLEANS), ("operator", _ARITHMETIC)):
        if word in words:
            return _edit(kind, node, words[word])
    return None


def _is_text(node: ts.Node) -> bool:
    return "string" in node.type or "template" in node.type or "encapsed" in node.type


def _constant(node: ts.Node, data: bytes, _language: str) -> Edit | None:
    """Change a number or a truth value."""
    text = data[node.start_byte : node.end_byte].decode("utf-8", "replace")
    if text in _TRUTHS and (node.child_count == 0 or node.type in ("boolean_literal", "boolean")):
        is_inner = node.parent is not None and node.parent.type in ("boolean_literal", "boolean")
        return None if is_inner else _edit("constant", node, _TRUTHS[text])
    if node.type not in _NUMBERS or node.child_count:
        return None
    digits = text.rstrip("uUlL")
    if digits.isascii() and digits.isdecimal() and (digits == "0" or not digits.startswith("0")):
        return _edit("constant", node, f"{int(digits) + 1}{text[len(digits) :]}")
    return None


def _condition(node: ts.Node, data: bytes, language: str) -> Edit | None:
    """Negate the condition of a branch or a loop."""
    if node.type not in _CONDITIONED or language in _NO_NEGATION:
        return None
    condition = node.child_by_field_name("condition")
    if condition is not None and condition.type == "condition_clause":  # C++; an initialiser may stand before it
        condition = condition.child_by_field_name("value") if condition.named_child_count == 1 else None
    if condition is None or condition.type in _BINDING:
        return None
    text = data[condition.start_byte : condition.end_byte].decode("utf-8", "surrogatepass")
    return _edit("branch", condition, f"(!{text})" if text.startswith("(") and text.endswith(")") else f"!({text})")


def _result(node: ts.Node, data: bytes, language: str) -> Edit | None:
    """Return something empty."""
    if node.type not in ("return_statement", "return_expression") or not node.named_child_count:
        return None
    new = _RETURNS.get(language) if language != "java" else _java_return(node, data)
    return _edit("return", node, new) if new else None


def _java_return(node: ts.Node, data: bytes) -> str:
    method: ts.Node | None = node
    while method is not None and method.type not in ("method_declaration", "lambda_expression"):
        method = method.parent
    kind = method.child_by_field_name("type") if method is not None and method.type == "method_declaration" else None
    if kind is None:
        return ""
    name = data[kind.start_byte : kind.end_byte]
    numbers = (b"int", b"long", b"short", b"byte", b"char", b"float", b"double")
    return "return false;" if name == b"boolean" else "return 0;" if name in numbers else "return null;"


def _statement(node: ts.Node, data: bytes, language: str) -> Edit | None:
    """Leave out a call or an assignment that stands by itself."""
    if language == "shell":
        is_alone = node.type == "command" and node.parent is not None and node.parent.type in (
            "program", "compound_statement", "do_group", "if_statement", "else_clause",
        )  # fmt: skip
        return _edit("statement", node, ":") if is_alone else None
    if node.type != "expression_statement" or not node.named_child_count:
        return None
    first = node.named_child(0)
    if first is None or first.type not in _CALLS:
        return None
    ends = data[node.start_byte : node.end_byte].rstrip().endswith(b";")
    if not ends and language == "rust":
        return None  # what a block comes to
    return _edit("statement", node, _EMPTY_STATEMENT.get(language, ";"))
