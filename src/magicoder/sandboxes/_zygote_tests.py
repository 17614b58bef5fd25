"""Comparisons in tests that share a program's process: an object that equals everything does not pass.

Only where a program's text could define what equality means; what it then costs is a second compilation of the tests.
Runs inside jails, in whatever Python is there: the standard library only.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable
from typing import Any, Final

_AST: Final = dict(vars(ast))  # before a program can replace any of it
_NAME: Final = "__compare__"
_SUSPECT: Final = ("__eq", "__ne", "type(", "setattr", "exec(", "eval(", "mock")
_PLAIN: Final = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, type(None))


def suspicious(source: str) -> bool:
    """Whether a program may say itself what is equal to its answers."""
    return any(word in source for word in _SUSPECT)


def guarded(text: str, name: str, space: dict[str, Any], program: str) -> types.CodeType:
    """Compile tests so that `==` and `!=` first look at what is compared; `program` is the file name of the program.

    Raises:
        SyntaxError, ValueError: as `compile` does.
    """
    from unittest import mock  # has an object that equals everything

    vars(ast).update(_AST)
    tree = _Guard().visit(ast.parse(text, name))
    theirs = (program, "<string>") if "ANY" in text else (program, "<string>", mock.__file__)
    space[_NAME] = _comparison(theirs)
    return compile(ast.fix_missing_locations(tree), name, "exec", dont_inherit=True)


class _Guard(ast.NodeTransformer):
    visit, generic_visit = ast.NodeTransformer.visit, ast.NodeTransformer.generic_visit  # not what becomes of theirs

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            return node
        equal = ast.Constant(isinstance(node.ops[0], ast.Eq))
        call = ast.Call(ast.Name(_NAME, ast.Load()), [node.left, node.comparators[0], equal], [])
        return ast.copy_location(call, node)


def _comparison(theirs: tuple[str, ...]) -> Callable[[Any, Any, bool], Any]:
    def claims(value: Any, other: Any, depth: int = 0) -> bool:
        """Whether `value` says that it equals `other` and, by a method of the program's, things unlike it too."""
        if depth < 3 and type(value) in (list, tuple) and type(other) in (list, tuple):
            return any(claims(v, o, depth + 1) for v, o in zip(value, other, strict=False))
        if depth < 3 and type(value) is dict and type(other) is dict:
            return any(claims(v, other[k], depth + 1) for k, v in list(value.items()) if k in other)
        if type(other) not in _PLAIN or type(value) in _PLAIN or not _defines_equality(value, theirs):
            return False
        try:
            return all(bool(value == unlike) for unlike in (other, *_unlike(other)))
        except Exception:  # an honest class may want more of what it is compared with
            return False

    def compare(left: Any, right: Any, equal: bool) -> Any:  # noqa: FBT001 - as the guard writes it
        if claims(left, right) or claims(right, left):
            raise AssertionError("the program's object claims to equal values of which no two are equal")
        return left == right if equal else left != right

    return compare


def _defines_equality(value: Any, theirs: tuple[str, ...]) -> bool:
    for base in type.mro(type(value)):
        found = base.__dict__.get("__eq__")
        if found is not None:
            code = getattr(found, "__code__", None)
            return base is not object if code is None else code.co_filename in theirs
    return False


def _unlike(value: Any) -> list[Any]:
    """Values of the same kind that are not equal to `value`, nor to each other."""
    if value is None or isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float, complex)):
        return [value + 1, value - 7]
    if isinstance(value, str):
        return [value + "~", "~" * (len(value) + 3)]
    if isinstance(value, bytes):
        return [value + b"~", b"~" * (len(value) + 3)]
    if isinstance(value, (list, tuple)):
        return [type(value)([*value, 0]), type(value)([*value, value])]
    if isinstance(value, dict):
        return [{**value, "~": 0}, {**value, "~~": 1}]
    return [type(value)([*value, "~"]), type(value)([*value, "~~"])]
