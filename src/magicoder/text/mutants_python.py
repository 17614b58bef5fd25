"""Small changes to Python code that sound tests should notice, found in its syntax tree.

A change replaces the text of one node, so that everything else stays as it was written. Not changed: docstrings,
annotations, imports, f-strings (whose parts have no places of their own before Python 3.12), and sums with a literal
text or list in them, whose difference fails at once whatever the tests are.
"""

import ast
from collections.abc import Iterator
from typing import Final

from magicoder.text.edits import Edit
from magicoder.text.programs import parsed

_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_COMPARISON: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_SEQUENCES: Final = (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp)


def edits(text: str) -> list[Edit]:
    """Return every change to `text`, in the order of the code; none if it does not parse."""
    tree = parsed(text)
    if tree is None:
        return []
    lines = text.encode().split(b"\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    found = []
    for kind, node, new in _changes(tree):
        if node.end_lineno is None or node.end_col_offset is None:
            continue
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        found.append(Edit(kind=kind, line=node.lineno, start=begin, end=end, new=new))
    return sorted(found, key=lambda e: (e.start, e.end, e.kind, e.new))


def _changes(tree: ast.Module) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.expr):
            yield from _of_expression(node)
        elif isinstance(node, ast.stmt):
            yield from _of_statement(node)
        stack.extend(_inside(node))


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the children that may be changed."""
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal):
        return
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    docstring = first if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else None
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "keywords") and not isinstance(node, ast.Call):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and child is not docstring:
                yield child


def _of_expression(node: ast.expr) -> Iterator[tuple[str, ast.expr, str]]:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        if not any(_is_sequence(side) for side in (node.left, node.right)):
            new = ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)
            yield "operator", node, f"({ast.unparse(new)})"
    elif isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            ops = [*node.ops]
            ops[i] = _COMPARISON[type(operator)]()
            yield "comparison", node, f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boolean", node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "boolean", node, f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "operator", node, f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.IfExp):
        yield "branch", node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)


def _of_constant(node: ast.Constant) -> Iterator[tuple[str, ast.expr, str]]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", node, repr(not value)
    elif isinstance(value, int | float):
        yield "constant", node, f"({value + 1!r})"
    elif isinstance(value, str | bytes) and len(value) < 200:
        other = "mutated" if isinstance(value, str) else b"mutated"
        yield "constant", node, repr(other if not value else value[:0])


def _of_statement(node: ast.stmt) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    if isinstance(node, ast.If | ast.While):
        yield "branch", node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.Return) and node.value is not None:
        is_none = isinstance(node.value, ast.Constant) and node.value.value is None
        yield "return", node, "return 0" if is_none else "return None"
    elif isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield "statement", node, "pass"
        if not _is_sequence(node.value):
            new = ast.AugAssign(node.target, _ARITHMETIC[type(node.op)](), node.value)
            yield "operator", node, ast.unparse(new)
    elif isinstance(node, ast.Raise | ast.Continue | ast.Break) or _does_something(node):
        yield "statement", node, "pass"


def _does_something(node: ast.stmt) -> bool:
    """Whether a statement is a call, or changes an object: names that are bound would only be missing later."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call | ast.Await)
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)


def _is_sequence(node: ast.expr) -> bool:
    return isinstance(node, _SEQUENCES) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
