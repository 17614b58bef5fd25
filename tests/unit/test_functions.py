"""Which functions are taken for seeds, and why the others are not, in every language that has functions to give."""

import pytest

from magicoder.errors import RecipeError
from magicoder.languages import all_languages, get
from magicoder.text.functions import Functions, Screen, free_names
from magicoder.text.imports import PACKAGE, PROJECT, STANDARD, imports, kind_of
from magicoder.text.syntax import find_functions

# Of each language: a file whose first function is plain, whose second uses a package, and whose third gives no value.
FILES = {
    "c": "#include <stdio.h>\nint add(int a, int b) { int sum = a + b; return sum; }\n"
    'void hush(int a) { a = a + 1; puts("x"); return; }\n',
    "cpp": "#include <vector>\nint add(int a, int b) { int sum = a + b; return sum; }\n"
    "void hush(int a) { a = a + 1; a += 2; }\n",
    "csharp": "class A {\n  int Add(int a, int b) { var sum = a + b; return sum; }\n"
    "  void Hush(int a) { a = a + 1; return; }\n}\n",
    "go": "package p\nfunc Add(a, b int) int { sum := a + b; return sum }\nfunc hush(a int) { a = a + 1; return }\n",
    "java": "class A {\n  int add(int a, int b) { int sum = a + b; return sum; }\n"
    "  void hush(int a) { a = a + 1; return; }\n}\n",
    "javascript": "function add(a, b) { const sum = a + b; return sum }\n"
    "function hush(a) { a = a + 1; [1].map(x => { return x }) }\n",
    "kotlin": "fun add(a: Int, b: Int): Int { val sum = a + b; return sum }\n"
    "fun hush(a: Int) { println(a + 1); println(2) }\n",
    "php": "<?php\nfunction add($a, $b) { $sum = $a + $b; return $sum; }\nfunction hush($a) { $a = $a + 1; return; }\n",
    "python": "def add(a, b):\n    sum = a + b\n    return sum\n\n\n"
    "def hush(a):\n    a += 1\n    [lambda x: x]\n    return\n",
    "ruby": "def add(a, b)\n  sum = a + b\n  sum\nend\n",
    "rust": "fn add(a: i32, b: i32) -> i32 { let sum = a + b; sum }\n"
    'fn hush(a: i32) { let b = a; println!("{}", b); }\n',
    "shell": "add() {\n  local sum=$(($1 + $2))\n  echo $sum\n}\nhush() {\n  local a=$1\n  return 1\n}\n",
    "swift": "func add(_ a: Int, b: Int) -> Int { let sum = a + b; return sum }\n"
    "func hush(a: Int) { let b = a; use(b) }\n",
    "typescript": "function add(a: number, b: number) { const sum = a + b; return sum }\n"
    "function hush(a: number) { a = a + 1; use(a) }\n",
}
ALL = Functions(documented=False)


def objections(text: str, language: str, wanted: Functions, path: str = "src/a.x") -> dict[str, str]:
    screen = Screen(wanted, get(language), name=language, path=path, text=text)
    found = find_functions(text, get(language), documented=wanted.documented)
    return {f.function.name if f.function else f"line {f.line}": screen.objection(f)[0] for f in found}


def only(text: str, language: str = "python", path: str = "src/a.x", **settings: object) -> str:
    (reason,) = objections(text, language, Functions(documented=False, **settings), path).values()  # type: ignore[arg-type]
    return reason


def test_every_language_is_tried() -> None:
    assert set(FILES) == {language.name for language in all_languages()}


@pytest.mark.parametrize("language", FILES)
def test_functions_without_documentation_are_found_when_asked_for(language: str) -> None:
    names = [name.lower() for name in objections(FILES[language], language, ALL)]
    assert names == (["add"] if language == "ruby" else ["add", "hush"])
    assert objections(FILES[language], language, Functions()) == {}


@pytest.mark.parametrize("language", FILES)
def test_only_functions_that_give_a_value_return_something(language: str) -> None:
    found = objections(FILES[language], language, Functions(documented=False, returns=True))
    assert list(found.values()) == ["", "returns_nothing"][: len(found)]


@pytest.mark.parametrize("language", FILES)
def test_parameters_are_counted(language: str) -> None:
    for least, reason in ((1, ""), (2, ""), (3, "too_few_parameters")):
        if language == "shell" and least == 2:
            continue  # how many a shell function reads is not counted
        found = objections(FILES[language], language, Functions(documented=False, min_parameters=least))
        assert next(iter(found.values())) == reason


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "class A:\n    def get(self):\n        return self.x\n"),
        ("c", "int f(void) { return 1; }"),
        ("rust", "impl A {\n  fn get(&self) -> i32 { self.x }\n}\n"),
        ("shell", "f() {\n  echo 1\n}\n"),
    ],
)
def test_what_stands_for_the_object_or_for_nothing_is_no_parameter(language: str, text: str) -> None:
    assert only(text, language, min_parameters=1) == "too_few_parameters"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", 'def f(a):\n    """Say."""\n'),
        ("python", "def f(a):\n    # later\n    raise NotImplementedError\n"),
        ("python", 'def f(a):\n    """Say."""\n    return self.b.c(a)\n'),
        ("java", "class A {\n  int f() { return x; }\n}\n"),
        ("go", "package p\nfunc f() int { return 1 }\n"),
        ("kotlin", "fun f(): Int = 1\n"),
        ("csharp", "class A {\n  int F() => 1;\n}\n"),
        ("ruby", "def f\n  @x\nend\n"),
        ("rust", "fn f() -> i32 { 1 }"),
        ("swift", "func f() -> Int { return 1 }"),
        ("shell", "f() {\n  echo 1\n}\n"),
    ],
)
def test_getters_and_stubs_are_trivial(language: str, text: str) -> None:
    assert only(text, language, trivial=False) == "trivial_function"


@pytest.mark.parametrize("language", FILES)
def test_two_statements_are_not_trivial(language: str) -> None:
    assert next(iter(objections(FILES[language], language, Functions(documented=False, trivial=False)).values())) == ""


def test_one_long_statement_is_not_trivial() -> None:
    assert only("def f(a, b):\n    return [x * y for x in a for y in b if x < y]\n", trivial=False) == ""


@pytest.mark.parametrize(
    ("language", "path", "text"),
    [
        ("python", "src/tests/a.py", "def check(a):\n    return a\n"),
        ("python", "pkg/test_a.py", "def check(a):\n    return a\n"),
        ("python", "pkg/a.py", "def test_a():\n    return 1\n"),
        ("python", "pkg/a.py", "class TestA:\n    def check(self):\n        return 1\n"),
        ("python", "pkg/a.py", "@pytest.fixture\ndef thing():\n    return 1\n"),
        ("go", "pkg/a_test.go", "package p\nfunc helper() int { return 1 }\n"),
        ("java", "src/main/A.java", "class A {\n  @Test void works() { run(); }\n}\n"),
        ("java", "src/ListTest.java", "class ListTest {\n  void works() { run(); }\n}\n"),
        ("rust", "src/a.rs", "mod tests {\n    fn helper() -> i32 { 1 }\n}\n"),
        ("csharp", "src/A.cs", "class A {\n  [Fact]\n  void Works() { Run(); }\n}\n"),
        ("typescript", "src/a.spec.ts", "function helper() { return 1 }\n"),
        ("ruby", "spec/a_spec.rb", "def helper\n  1\nend\n"),
        ("cpp", "src/list_unittest.cc", "int helper() { return 1; }\n"),
        ("swift", "Sources/A.swift", "class ATests {\n  func testA() { run() }\n}\n"),
    ],
)
def test_tests_are_known_by_path_name_mark_and_group(language: str, path: str, text: str) -> None:
    assert only(text, language, path=path, tests=False) == "test_function"
    assert only(text, language, path=path) == ""


@pytest.mark.parametrize(
    ("language", "path", "name"),
    [
        ("python", "src/contest/latest.py", "latest"),
        ("go", "attest.go", "Attest"),
        ("java", "src/Fastest.java", "testy"),
    ],
)
def test_words_that_only_hold_test_are_none(language: str, path: str, name: str) -> None:
    text = {
        "python": f"def {name}(a):\n    return a\n",
        "go": f"package p\nfunc {name}() int {{ return 1 }}\n",
        "java": f"class Fastest {{\n  int {name}() {{ return 1; }}\n}}\n",
    }[language]
    assert only(text, language, path=path, tests=False) == ""


def test_sizes_count_the_function_with_its_documentation() -> None:
    text = 'def f(a):\n    """Say."""\n    return a\n'
    assert only(text, max_lines=3, max_characters=len(text) - 1) == ""
    assert only(text, max_lines=2) == "too_long_function"
    assert only(text, max_characters=len(text) - 2) == "too_long_function"
    assert only(text, min_lines=4) == "too_short_function"
    assert only(text, min_characters=1000) == "too_short_function"


def test_methods_and_inner_functions_are_nested_and_namespaces_are_not() -> None:
    text = (
        "def f(a):\n    def g(b):\n        return b\n    return g\n\n\nclass A:\n    def m(self):\n        return 1\n"
    )
    wanted = Functions(documented=False, nested=False)
    assert objections(text, "python", wanted) == {"f": "", "g": "nested_function", "m": "nested_function"}
    assert objections("namespace a {\nint f() { return 1; }\n}\n", "cpp", wanted) == {"f": ""}
    assert objections("export function f() { return 1 }", "typescript", wanted) == {"f": ""}


def test_avoided_words_are_whole_and_of_any_case() -> None:
    assert only("def f(a):\n    return a  # ToDo: more\n", avoid_words=("todo", "fixme")) == "avoided_word"
    assert only("def f(a):\n    return mastodon(a)\n", avoid_words=("todo",)) == ""


def test_a_function_with_a_syntax_error_or_company_on_its_line_is_told() -> None:
    found = objections("def f(a):\n    return (\n\n\ndef g(a):\n    return a\n", "python", ALL)
    assert found["g"] == "" or "does_not_parse" in found.values()
    assert objections("int f() { return 1; } int g() { return 2; }", "c", ALL) == {"line 1": "shares_a_line"}
    java = "class A {\n  int f() { return ((1; }\n}\n"
    assert objections(java, "java", ALL) == {"line 2": "does_not_parse"}


PYTHON = """
import os.path, numpy as np
from collections import (
    OrderedDict as Ordered,  # kept in order
    deque,
)
from .near import thing
from . import other
LIMIT = 3
def {body}
"""


@pytest.mark.parametrize(
    ("body", "standard", "none"),
    [
        ("f(a):\n    return [len(x) for x in a]", "", ""),
        ("f(a):\n    return os.path.join(a)", "", "needs_standard_library"),
        ("f(a):\n    return Ordered(deque(a))", "", "needs_standard_library"),
        ("f(a):\n    return np.array(a)", "needs_package", "needs_package"),
        ("f(a):\n    return a.np.array", "", ""),
        ("f(a: np.ndarray):\n    return a", "needs_package", "needs_package"),
        ("f(a):\n    return thing(a)", "needs_project", "needs_project"),
        ("f(a):\n    return other.of(a)", "needs_project", "needs_project"),
        ("f(a):\n    return a < LIMIT", "needs_file", "needs_file"),
        ("f(np):\n    return np.x", "", ""),
        ("f(a):\n    return f(a - 1)", "", ""),
        ("f(a):\n    print 'x'", "does_not_parse", "does_not_parse"),
    ],
)
def test_python_names_are_resolved_to_the_imports_of_the_file(body: str, standard: str, none: str) -> None:
    for dependencies, reason in (("standard_library", standard), ("none", none)):
        found = objections(PYTHON.format(body=body), "python", Functions(documented=False, dependencies=dependencies))
        assert list(found.values()) == [reason]


def test_allowed_packages_and_avoided_imports() -> None:
    text = PYTHON.format(body="f(a):\n    return np.array(a)")
    assert only(text, dependencies="standard_library", packages=("numpy",)) == ""
    assert only(text, avoid_imports=("numpy",)) == "avoided_import"
    assert only(PYTHON.format(body="f(a):\n    return os.path.join(a)"), avoid_imports=("os",)) == "avoided_import"
    assert only(PYTHON.format(body="f(a):\n    return os.path.join(a)"), avoid_imports=("o", "osx")) == ""


@pytest.mark.parametrize(
    ("language", "text", "names"),
    [
        ("java", "import java.util.List;\nimport static org.a.B.c;\nimport java.io.*;\n",
         "java.util List s|org.a.B c p|java.io  s"),
        ("kotlin", "import kotlin.math.abs\nimport a.b.C as D\n", "kotlin.math abs s|a.b D p"),
        ("csharp", "using System.Linq;\nusing Foo.Bar;\nusing X = A.B;\n", "System.Linq  s|Foo.Bar  p|A.B X p"),
        ("php", "use A\\B\\C;\nuse D\\E as F;\n", "A\\B C p|D F p"),
        ("rust", "use std::fmt::{self, Display as D};\nuse crate::x::Y;\nuse serde::de::*;\n",
         "std::fmt fmt s|std::fmt D s|crate::x::Y Y j|serde::de  p"),
        ("swift", "import Foundation\nimport struct Vapor.X\n", "Foundation  s|Vapor  p"),
        ("c", '#include <stdio.h>\n#include <glib.h>\n#include "a.h"\n', "stdio.h  s|glib.h  p|\"a.h  j"),
        ("cpp", "#include <vector>\n#include <boost/any.hpp>\n", "vector  s|boost/any.hpp  p"),
        ("ruby", "require 'json'\nrequire \"rails\"\nrequire_relative 'a'\n", "json  s|rails  p|\"a  j"),
        ("shell", ". ./lib.sh\nsource x\n", "\"./lib.sh  j|\"x  j"),
        ("javascript", "import fs from 'node:fs'\nimport {a as b} from './x'\nconst {c, d: e} = require('lodash')\n",
         "node:fs fs s|./x b j|lodash c p|lodash e p"),
        ("typescript", "import * as ts from 'typescript'\nimport type {A} from '../a'\n", "typescript ts p|../a A j"),
        ("go", 'import (\n\t"net/http"\n\tx "github.com/a/go-b"\n\t"gopkg.in/yaml.v3"\n)\n',
         "net/http http s|github.com/a/go-b x p|gopkg.in/yaml.v3 yaml p"),
    ],
)  # fmt: skip
def test_imports_are_read_in_every_language(language: str, text: str, names: str) -> None:
    short = {STANDARD: "s", PROJECT: "j", PACKAGE: "p"}
    found = [f"{i.module} {i.name} {short[kind_of(i.module, language)]}" for i in imports(text, language)]
    assert "|".join(found) == names


def test_only_what_a_function_uses_counts_where_imports_have_names() -> None:
    text = "import org.a.B;\nclass A {\n  int f() { return 1; }\n  int g() { return B.x(); }\n}\n"
    assert objections(text, "java", Functions(documented=False, dependencies="standard_library")) == {
        "f": "",
        "g": "needs_package",
    }


def test_imports_without_names_count_for_every_function() -> None:
    assert only('#include "a.h"\nint f() { return 1; }', "c", dependencies="standard_library") == "needs_project"
    assert only("#include <math.h>\nint f() { return 1; }", "c", dependencies="standard_library") == ""
    assert only("#include <math.h>\nint f() { return 1; }", "c", dependencies="none") == "needs_standard_library"


def test_free_names_survive_any_text() -> None:
    assert free_names("def f(a):\n    b = a\n    return g(b) + len(c)\n") == {"g", "c"}
    assert free_names("    def f(self):\n        return x\n") == {"x"}
    assert free_names("def f(:\n") is None
    assert free_names("def f():\n    return '\\d'\n") == set()
    assert free_names("def f():\n    return " + "(" * 5000 + ")" * 5000) is None
    assert free_names("def f():\0") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dependencies": "some"}, "must be one of: any, standard_library, none"),
        ({"packages": ("numpy",)}, "add dependencies: standard_library"),
        ({"min_lines": 0}, "1 <= min_lines"),
        ({"min_characters": 9, "max_characters": 8}, "1 <= min_characters"),
        ({"min_parameters": -1}, "at least 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Functions(**settings)  # type: ignore[arg-type]
