"""Mutants: every kind in every language, valid, different, always the same ones."""

import ast
import json
from pathlib import Path

import pytest

from magicoder.languages import get
from magicoder.text.mutants import mutants
from magicoder.text.sections import find_sections
from magicoder.text.syntax import parses

PYTHON = '''\
"""Documentation with 1 + 1."""

import os


def f(items: list[int], most: int = 3) -> int:
    """Return 1 + 1."""
    total = 0
    for item in items:
        if not item or (item > most and item != 7):
            continue
        total += item * 2
    items.append(total)
    return total if total >= 0 else -1
'''


def kinds(text: str, language: str, most: int = 1000) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for mutant in mutants(text, get(language), most):
        before, after = text.split("\n"), mutant.text.split("\n")
        changed = [b for a, b in zip(before, after, strict=False) if a != b] or after[len(before) :]
        found.setdefault(mutant.kind, []).append(changed[0].strip() if changed else "")
    return found


def test_each_kind_of_fault_is_put_into_python() -> None:
    found = kinds(PYTHON, "python")
    assert sorted(found) == ["boolean", "branch", "comparison", "constant", "operator", "return", "statement"]
    assert "total += (item + 2)" in found["operator"]
    assert "total -= item * 2" in found["operator"]
    assert "if not item or ((item >= most) and item != 7):" in found["comparison"]
    assert "if (not (not item or (item > most and item != 7))):" in found["branch"]
    assert "return None" in found["return"]
    assert "pass" in found["statement"]


def test_docstrings_annotations_and_imports_are_left_alone() -> None:
    for mutant in mutants(PYTHON, get("python"), 1000):
        assert mutant.text.startswith('"""Documentation with 1 + 1."""\n\nimport os\n')
        assert '"""Return 1 + 1."""' in mutant.text
        assert "items: list[int], most: int = " in mutant.text


def test_every_mutant_parses_differs_and_names_its_line() -> None:
    found = mutants(PYTHON, get("python"), 1000)
    assert len({m.text for m in found} | {PYTHON}) == len(found) + 1
    original = PYTHON.split("\n")
    for mutant in found:
        ast.parse(mutant.text)
        first = next(i for i, (a, b) in enumerate(zip(original, mutant.text.split("\n"), strict=False), 1) if a != b)
        assert first == mutant.line


def test_the_same_text_gives_the_same_mutants_and_few_are_of_many_kinds() -> None:
    few = mutants(PYTHON, get("python"), 7)
    assert few == mutants(PYTHON, get("python"), 7)
    assert len({m.kind for m in few}) == 7


def test_text_is_not_subtracted_and_an_f_string_is_left_alone() -> None:
    text = 'def f(name):\n    return "hello " + name + f"{1 + 2}"\n'
    assert "operator" not in kinds(text, "python")


def test_code_without_a_place_for_a_fault_and_code_that_does_not_parse_have_no_mutants() -> None:
    assert mutants("import os\n", get("python"), 5) == []
    assert mutants("def f(:\n", get("python"), 5) == []
    assert mutants("", get("rust"), 5) == []


LANGUAGES = {
    "c": ("int f(int a) { if (a > 1 && a < 9) { g(a); a += 2; } return a + 1; }", 5),
    "cpp": ("int f(int a) { if (a > 1 && a < 9) { g(a); a += 2; } return a + 1; }", 6),
    "csharp": ("class A { int F(int a) { if (a > 1 && a < 9) { G(a); a += 2; } return a + 1; } }", 6),
    "go": (
        "package main\n\nfunc f(a int) int {\n\tif a > 1 && a < 9 {\n\t\tg(a)\n\t\ta += 2\n\t}\n\treturn a + 1\n}",
        5,
    ),
    "java": ("class A { int f(int a) { if (a > 1 && a < 9) { g(a); a += 2; } return a + 1; } }", 6),
    "javascript": ("function f(a) { if (a > 1 && a < 9) { g(a); a += 2; } return a + 1; }", 6),
    "php": ("<?php\nfunction f($a) { if ($a > 1 && $a < 9) { g($a); $a += 2; } return $a + 1; }", 6),
    "rust": ("fn f(mut a: i32) -> i32 { if a > 1 && a < 9 { g(a); a += 2; } return a + 1; }", 6),
    "shell": ('f() {\n  if [ "$1" -gt 1 ] && [ "$1" -lt 9 ]; then\n    g "$1"\n  fi\n  return 1\n}', 4),
    "swift": ("func f(_ a: Int) -> Int { var b = a\n if a > 1 && a < 9 { b += 2 }\n return b + 1 }", 4),
    "typescript": ("function f(a: number): number { if (a > 1 && a < 9) { g(a); a += 2; } return a + 1; }", 6),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_faults_of_most_kinds_are_put_into_every_language(language: str) -> None:
    text, least = LANGUAGES[language]
    found = mutants(text, get(language), 1000)
    assert len({m.kind for m in found}) >= least
    assert all(parses(m.text, get(language)) and m.text != text for m in found)


def test_generics_and_pointers_are_not_taken_for_operators() -> None:
    assert mutants("std::vector<int> *f(int &a);\n", get("cpp"), 100) == []


def test_every_recorded_solution_gives_mutants(shared_data: Path) -> None:
    for line in (shared_data / "recorded_teacher/oss_instruct.jsonl").read_bytes().splitlines():
        row = json.loads(line)
        sections = find_sections(row["response"])
        assert sections is not None
        code = sections.solution.split("```")[1].partition("\n")[2]
        found = mutants(code, get(row["lang"]), 5)
        assert len(found) == 5, row["id"]
