"""Which calls a test is certain to make, and in what order: they can be handed in before the first is answered.

A conversation with a function in a sandbox takes two switches of processes a call. Most tests are asserts one below
the other with written-out arguments, so what they call is known. A function that answers wrong may get calls which the
test does not make any more; that changes no verdict, since the program is ended whatever it does with them.
"""

import ast
from functools import lru_cache
from typing import Any, Final

_MOST: Final = 64

# An expression of these alone evaluates all of its parts, from left to right, inner before outer.
_PLAIN: Final = (ast.Compare, ast.Call, ast.BinOp, ast.UnaryOp, ast.List, ast.Tuple, ast.Attribute, ast.Subscript)


@lru_cache(maxsize=64)
def calls(tests: str, function: str, check: str) -> tuple[tuple[Any, ...], ...]:
    """Return the arguments of the first calls of `function` that `tests` make whatever is answered.

    check    as in `_asserts.Asserts`
    """
    try:
        body = ast.parse(tests).body
    except (SyntaxError, ValueError, RecursionError):
        return ()
    names = {function}
    if check:
        found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == check]
        rest = [node for node in body if node not in found]
        if len(found) != 1 or not found[0].args.args or any(_mentions(node, names) for node in rest):
            return ()
        body = found[0].body
        names.add(found[0].args.args[0].arg)
    made: list[tuple[Any, ...]] = []
    for statement in body:
        if not _mentions(statement, names):
            continue
        if not isinstance(statement, ast.Assert) or not _gather(statement.test, names, made):
            break
    return tuple(made[:_MOST])


def _mentions(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(node))


def _gather(node: ast.expr, names: set[str], made: list[tuple[Any, ...]]) -> bool:
    """Add the calls in an expression, in the order in which they are made; False if that is not certain."""
    if not _mentions(node, names):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
        try:
            arguments = tuple(ast.literal_eval(argument) for argument in node.args)
        except (ValueError, TypeError, RecursionError):
            return False
        if node.keywords:
            return False
        made.append(arguments)
        return True
    if not isinstance(node, _PLAIN) or (isinstance(node, ast.Compare) and len(node.ops) > 1):
        return False
    if isinstance(node, ast.Call) and node.keywords:
        return False
    inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    return all(_gather(child, names, made) for child in inner)
