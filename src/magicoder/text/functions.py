"""Which functions make good seeds: the filters of SelfCodeAlign (StarCoder2-Instruct) that need no model.

Each looks at one function and the file around it; a function that one of them objects to comes with the reason. The
original also runs a type checker and asks a model whether the docstring says enough: neither is done here.
"""

import builtins
import re
import symtable
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import tree_sitter as ts

from magicoder.errors import RecipeError
from magicoder.text.declarations import Function, Grammar, body_of
from magicoder.text.imports import PACKAGE, PROJECT, STANDARD, Import, imports, is_known, kind_of
from magicoder.text.syntax import Found

DEPENDENCIES: Final = ("any", "standard_library", "none")
TRIVIAL_WORDS: Final = 8
"""A body of one statement with fewer words (names, keywords, numbers) is trivial."""

_TEST_PATH = re.compile(
    r"(?:^|/)(?:tests?|testing|testdata|specs?|__tests__|unittests?|androidTest|[\w.]+\.Tests?)/"
    r"|(?:^|/)(?:test_[^/]*|conftest|[^/]*[_.-](?:test|tests|spec|unittest)|(?:[^/]*[a-z0-9])?(?:Tests?|TestCase|Spec))"
    r"\.\w+$"
)
_TEST_NAME = re.compile(r"^(?:[tT]est(?:$|[_A-Z0-9])|(?:setUp|tearDown)(?:$|[A-Z]))|_tests?$")
_TEST_GROUP = re.compile(r"^(?:tests?|Tests?[A-Z_]\w*|\w*(?:Tests?|TestCase|_tests?))$")
_TEST_MARK = re.compile(
    rb"@(?:\w+\.)*(?:Test|ParameterizedTest|Before|After|BeforeEach|AfterEach|pytest\.\w+|Suite|test)\b"
    rb"|#\[(?:\w+::)*(?:test|bench)\b|\[(?:Test|TestMethod|TestCase|Fact|Theory|SetUp|TearDown)\b"
)
_NO_PARAMETERS = frozenset(
    ("comment", "line_comment", "block_comment", "keyword_separator", "positional_separator", "self_parameter")
)
_BLOCKS = frozenset(
    ("block", "statement_list", "statements", "compound_statement", "body_statement", "statement_block")
)
_INNER = frozenset(
    (
        *("lambda", "lambda_expression", "lambda_literal", "closure_expression", "arrow_function"),
        *("function_expression", "generator_function", "anonymous_function", "func_literal", "do_block"),
        *("anonymous_function_creation_expression", "anonymous_method_expression", "local_function_statement"),
        *("function_definition", "function_declaration", "function_item", "method_declaration"),
        *("method_definition", "method", "singleton_method"),
    )
)
_PRINTS = re.compile(rb"(?:^|[\s;&|({])(?:echo|printf|cat|print)\b")
_SHELL_PARAMETERS = re.compile(rb"\$\{?[1-9@*]")
_WORD = re.compile(rb"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Functions:
    """Which functions are taken. As it stands, every documented one is; SelfCodeAlign's values are in docs/seeds.md.

    documented        only functions that say what they do: a docstring, or a comment right above
    nested            also methods, and functions inside of others; False takes those at the top of a file alone
    min_lines, max_lines            of the function with its documentation; None: any number
    min_characters, max_characters  likewise
    min_parameters    `self` and its like not counted; a shell function has one if it reads `$1`, `$@` or `$*`
    returns           only functions that return a value (of a shell function: that print something)
    trivial           also functions of no statement, or one of fewer than eight words (getters, stubs, delegations)
    tests             also tests, by path, name, annotation or the group they stand in
    dependencies      `any`; `standard_library`: what a function uses of the file's imports comes with the language or
                      is in `packages`; `none`: it uses no import at all. In Python, both also ask that it uses nothing
                      else of its file
    packages          modules that `standard_library` allows besides
    avoid_imports     modules that no function may use
    avoid_words       words that may not stand in a function, in any case of letters (`todo`)
    """

    documented: bool = True
    nested: bool = True
    min_lines: int = 1
    max_lines: int | None = None
    min_characters: int = 1
    max_characters: int | None = None
    min_parameters: int = 0
    returns: bool = False
    trivial: bool = True
    tests: bool = True
    dependencies: str = "any"
    packages: tuple[str, ...] = ()
    avoid_imports: tuple[str, ...] = ()
    avoid_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dependencies not in DEPENDENCIES:
            raise RecipeError(f"dependencies is {self.dependencies!r}; it must be one of: {', '.join(DEPENDENCIES)}")
        if self.packages and self.dependencies != "standard_library":
            raise RecipeError("packages are allowed besides the standard library: add dependencies: standard_library")
        for name in ("lines", "characters"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low < 1 or (high is not None and high < low):
                raise RecipeError(f"min_{name} {low} and max_{name} {high} must be 1 <= min_{name} <= max_{name}")
        if self.min_parameters < 0:
            raise RecipeError(f"min_parameters is {self.min_parameters}; it must be at least 0")


class Screen:
    """The filters over one file of `language`, whose name is `name` and whose path in its repository is `path`."""

    def __init__(self, settings: Functions, language: Grammar, *, name: str, path: str, text: str) -> None:
        self._wanted = settings
        self._language = language
        self._name = name
        self._text = text
        self._in_tests = not settings.tests and _TEST_PATH.search(path) is not None
        words = "|".join(re.escape(word) for word in settings.avoid_words)
        self._avoided = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE) if words else None

    def objection(self, found: Found) -> tuple[str, str]:
        """Return why a function is not taken, and a detail; ("", "") if it is. Cheap questions come first."""
        function, node, wanted = found.function, found.node, self._wanted
        if function is None:
            return found.problem, ""
        size = self._size(function)
        if size[0]:
            return size
        if not wanted.nested and _groups(node):
            return "nested_function", ""
        if not wanted.tests and (self._in_tests or _is_test(function, node)):
            return "test_function", ""
        if self._avoided and (word := self._avoided.search(function.text)):
            return "avoided_word", word[0].lower()
        if wanted.min_parameters and (count := _parameters(node)) < wanted.min_parameters:
            return "too_few_parameters", f"{count} parameters"
        if not wanted.trivial and _is_trivial(node, self._language):
            return "trivial_function", ""
        if wanted.returns and not _returns(node, self._language):
            return "returns_nothing", ""
        return self._dependency(function)

    def _size(self, function: Function) -> tuple[str, str]:
        wanted, lines, signs = self._wanted, function.text.count("\n") + 1, len(function.text)
        for amount, unit, low, high in (
            (lines, "lines", wanted.min_lines, wanted.max_lines),
            (signs, "characters", wanted.min_characters, wanted.max_characters),
        ):
            if amount < low:
                return "too_short_function", f"{amount} {unit}"
            if high is not None and amount > high:
                return "too_long_function", f"{amount} {unit}"
        return "", ""

    @cached_property
    def _imports(self) -> list[Import]:
        return imports(self._text, self._name)

    def _dependency(self, function: Function) -> tuple[str, str]:
        wanted = self._wanted
        if wanted.dependencies == "any" and not wanted.avoid_imports:
            return "", ""
        if not is_known(self._name):
            return "imports_unknown", self._name
        names = free_names(function.text) if self._name == "python" else set(re.findall(r"\w+", function.text))
        if names is None:
            return "does_not_parse", "no Python of this version"
        used = [i for i in self._imports if not i.name or i.name in names]
        for module in (i.module for i in used):
            if _is_listed(module, wanted.avoid_imports):
                return "avoided_import", module
            if wanted.dependencies == "any":
                continue
            kind = kind_of(module, self._name)
            if wanted.dependencies == "none" or (kind != STANDARD and not _is_listed(module, wanted.packages)):
                return {STANDARD: "needs_standard_library", PROJECT: "needs_project", PACKAGE: "needs_package"}[
                    kind
                ], module
        if self._name == "python" and wanted.dependencies != "any":
            others = sorted(names - {i.name for i in used})
            return ("needs_file", ", ".join(others[:3])) if others else ("", "")
        return "", ""


def free_names(source: str) -> set[str] | None:
    """Return the names that a Python function takes from outside, builtins aside; None if it is no Python of today."""
    code = f"if 1:\n{source}" if source[:1] in (" ", "\t") else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is said of strings in other people's code
            top = symtable.symtable(code, "function", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    own = {s.get_name() for s in top.get_symbols() if s.is_assigned()}
    names = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = list(top.get_children())
    while tables:
        table = tables.pop()
        names |= {s.get_name() for s in table.get_symbols() if s.is_global()}
        tables += table.get_children()
    return {n for n in names - own if not hasattr(builtins, n) and n not in ("__name__", "__file__", "__class__")}


def _is_listed(module: str, listed: tuple[str, ...]) -> bool:
    return any(re.match(rf"{re.escape(name)}(?:\W|$)", module) for name in listed)


def _groups(node: ts.Node) -> list[ts.Node]:
    """Return what a function stands in, innermost first: classes, modules, functions; namespaces and files are none."""
    found, above = [], node.parent
    while above is not None:
        kind = above.type
        if kind in _INNER or re.search(
            r"^(?:class|struct|impl|trait|mod|module|interface|enum|object|protocol|record)(?:_|$)", kind
        ):
            found.append(above)
        above = above.parent
    return found if found and found[-1].type != "module" else found[:-1]


def _is_test(function: Function, node: ts.Node) -> bool:
    if _TEST_NAME.search(function.name) or _TEST_MARK.search(
        function.text[: function.body_start].encode("utf-8", "replace")
    ):
        return True
    for group in _groups(node):
        name = group.child_by_field_name("name")
        if name is not None and _TEST_GROUP.match((name.text or b"").decode("utf-8", "replace")):
            return True
    return False


def _parameters(node: ts.Node) -> int:
    parameters = None
    inner: ts.Node | None = node
    while parameters is None and inner is not None:
        parameters = inner.child_by_field_name("parameters")
        inner = inner.child_by_field_name("declarator")
    if parameters is None:
        lists = [c for c in node.named_children if c.type == "function_value_parameters"]
        parameters = lists[0] if lists else None
    if parameters is None:
        body = body_of(node)
        swift = sum(child.type == "parameter" for child in node.named_children)
        in_shell = body is not None and node.type == "function_definition" and body.type == "compound_statement"
        return swift or int(in_shell and _SHELL_PARAMETERS.search((body.text if body else b"") or b"") is not None)
    found = [p for p in parameters.named_children if p.type not in _NO_PARAMETERS]
    if found and (found[0].text or b"") in (b"self", b"cls", b"void"):
        found = found[1:]
    # Go: `x, y int` is one node.
    return sum(max(1, len(p.children_by_field_name("name"))) for p in found)


def _statements(body: ts.Node, language: Grammar) -> list[ts.Node]:
    node = body
    while True:
        inside = [c for c in node.named_children if c.type not in language.comment_nodes]
        if len(inside) != 1 or inside[0].type not in _BLOCKS:
            return inside
        node = inside[0]


def _is_trivial(node: ts.Node, language: Grammar) -> bool:
    body = body_of(node)
    statements = _statements(body, language) if body is not None else []
    if language.docstrings and statements and statements[0].type == "expression_statement":
        first = statements[0].named_child(0) if statements[0].named_child_count else None
        statements = (
            statements[1:] if first is not None and first.type in ("string", "concatenated_string") else statements
        )
    return len(statements) == 0 or (
        len(statements) == 1 and len(_WORD.findall(statements[0].text or b"")) < TRIVIAL_WORDS
    )


def _returns(node: ts.Node, language: Grammar) -> bool:
    """Whether a value comes out: by `return` with one, by an expression for a body, or by the declared type."""
    body = body_of(node)
    if body is None or node.type in ("method", "singleton_method"):  # Ruby: always, the last value
        return body is not None
    text = body.text or b""
    if node.type == "function_definition" and body.type == "compound_statement" and language.line_comments == ("#",):
        return _PRINTS.search(text) is not None  # a shell's `return` is a status
    if node.type == "function_item":  # Rust: the last expression
        declared = node.child_by_field_name("return_type")
        return declared is not None and (declared.text or b"") not in (b"()", b"!")
    if body.type == "arrow_expression_clause":
        declared = node.child_by_field_name("returns") or node.child_by_field_name("type")
        return declared is None or (declared.text or b"") != b"void"
    if body.type == "function_body" and text.startswith(b"="):  # Kotlin
        return True
    signature = (node.text or b"")[: body.start_byte - node.start_byte]
    if body.type == "function_body" and b"->" in signature and len(_statements(body, language)) == 1:  # Swift
        return True
    return any(
        _returns_value(node, body.start_byte + match.start(), language) for match in re.finditer(rb"\breturn\b", text)
    )


def _returns_value(function: ts.Node, at: int, language: Grammar) -> bool:
    """Whether the word at byte `at` is a `return` with a value, and of this function rather than of one inside."""
    token = function.descendant_for_byte_range(at, at + 6)
    if token is None or token.type not in (
        "return",
        "return_statement",
        "control_transfer_statement",
        "return_expression",
    ):
        return False
    statement = token.parent if token.type == "return" else token
    if statement is None or not any(c.type not in language.comment_nodes for c in statement.named_children):
        return False
    above = statement.parent
    while above is not None and above.type not in _INNER:
        above = above.parent
    return above is not None and above.id == function.id
