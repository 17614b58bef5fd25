"""From answers to programs: which blocks count, how they are joined, what a start is."""

import json
from pathlib import Path

import pytest

from magicoder.languages import all_languages, get
from magicoder.text.programs import Code, check_of, code_of, set_aside, without_start
from magicoder.text.sections import find_sections
from magicoder.text.syntax import parses

FENCES = {name: language.name for language in all_languages() for name in language.fences}


def fenced(*blocks: tuple[str, str]) -> str:
    return "\n\nand then\n\n".join(f"```{name}\n{code}\n```" for name, code in blocks)


def code(language: str, *blocks: tuple[str, str]) -> Code | None:
    return code_of(fenced(*blocks), language, FENCES)


def test_prose_output_and_other_languages_are_no_code_of_the_solution() -> None:
    found = code("python", ("bash", "pip install x"), ("python", "x = 1"), ("", "Output: 1"), ("json", "{}"))
    assert found == Code(language="python", pieces=("x = 1\n",))


def test_nameless_blocks_count_where_no_block_has_a_name() -> None:
    assert code("python", ("", "x = 1")) == Code(language="python", pieces=("x = 1\n",))


def test_a_solution_in_another_language_is_taken_as_what_it_is() -> None:
    found = code("cpp", ("python", "x = 1"), ("python", "y = x"), ("bash", "ls"))
    assert found is not None
    assert found.language == "python"


def test_an_answer_without_blocks_has_no_code() -> None:
    assert code_of("Just think about it.", "python", FENCES) is None
    assert code_of("```python\n\n```", "python", FENCES) is None


def test_a_later_version_replaces_an_earlier_one_and_an_example_of_use_does_not() -> None:
    first, better, use = "def f(x):\n    return x\n", "def f(x):\n    return x + 1\n", "print(f(1))\n"
    found = code("python", ("python", first), ("python", better), ("python", use))
    assert found is not None
    assert found.pieces == (better + "\n", use + "\n")


def test_an_interactive_session_and_blocks_that_do_not_parse_are_left_out_beside_code_that_does() -> None:
    found = code("python", ("python", "def f(): return 1"), ("python", ">>> f()\n1"), ("python", "f( ->"))
    assert found is not None
    assert found.pieces == ("def f(): return 1\n",)


def test_the_start_of_a_python_program_is_out_of_the_way_of_tests_and_kept_without_them() -> None:
    text = "def f():\n    return 1\n\nif __name__ == '__main__':\n    print(input())\nx = 2\n"
    assert without_start(text) == "def f():\n    return 1\n\n\n\nx = 2\n"
    solution = Code(language="python", pieces=("def f():\n    return 1\nif __name__ == '__main__':\n    f()\n",))
    check = check_of(solution, "assert f() == 1\n", "assert")
    assert check.checked == "tests"
    assert "__main__" not in check.program.files[0][1]
    assert check.program.tests == "assert f() == 1\n"
    assert "__main__" in check_of(solution, "", "").program.files[0][1]


def test_a_program_that_reads_its_input_is_compiled_only() -> None:
    check = check_of(Code(language="python", pieces=("n = int(input())\n",)), "", "")
    assert check.checked == "compile"
    exec(check.program.files[0][1], {})


@pytest.mark.parametrize("examples", ["1", "2"])
def test_doctests_run_in_the_solutions_name_space_and_fail_as_asserts(examples: str) -> None:
    solution = Code(language="python", pieces=("def f(x):\n    return x\n",))
    program = check_of(solution, f">>> f(1)\n{examples}\n", "doctest").program
    space: dict[str, object] = {"__name__": "solution"}
    exec(program.files[0][1], space)
    if examples == "1":
        exec(program.tests, space)
    else:
        with pytest.raises(AssertionError, match=r"f\(1\) printed '1', not '2'"):
            exec(program.tests, space)


def test_an_exception_in_a_doctest_is_that_exception() -> None:
    program = check_of(Code(language="python", pieces=("x = 1\n",)), ">>> y\n1\n", "doctest").program
    with pytest.raises(NameError):
        exec(program.files[0][1] + program.tests, {})


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("cpp", "int f() { return 1; }\n"),
        ("java", "public class A { int f() { return 1; } }\n"),
        ("rust", "fn f() -> i32 { 1 }\n"),
        ("go", "package main\n\nfunc f() int { return 1 }\n"),
        ("csharp", "class A { int F() { return 1; } }\n"),
    ],
)
def test_what_has_no_start_gets_an_empty_one_and_is_compiled(language: str, text: str) -> None:
    check = check_of(Code(language=language, pieces=(text,)), "", "")
    assert check.checked == "compile"
    whole = "\n".join(t for _, t in check.program.files)
    assert parses(whole, get(language))
    assert check_of(Code(language=language, pieces=(whole,)), "", "").checked == "run"


def test_tests_in_a_compiled_language_bring_their_own_start() -> None:
    solution = Code(language="rust", pieces=('fn f() -> i32 { 1 }\nfn main() { println!("{}", f()); }\n',))
    program = check_of(solution, "fn main() { assert_eq!(f(), 1); }\n", "assert").program
    text = program.files[0][1]
    assert text.count("fn main(") == 1
    assert "fn main_of_solution()" in text
    assert set_aside(Code(language="python", pieces=("main()",))).pieces == ("main()",)


def test_imports_of_tests_move_to_the_top_where_they_have_to_stand() -> None:
    solution = Code(
        language="go",
        pieces=('package main\n\nimport (\n\t"fmt"\n\t"os"\n)\n\nfunc main() { fmt.Println(os.Args) }\n',),
    )
    text = check_of(
        solution, 'import "fmt"\nimport m "math"\n\nfunc main() { fmt.Println(m.Pi) }\n', "assert"
    ).program.files[0][1]
    assert parses(text, get("go"))
    assert text.startswith('package main\nimport "fmt"\nimport "os"\nimport m "math"\n')
    assert (text.count("package"), text.count('"fmt"')) == (1, 1)
    solution = Code(language="kotlin", pieces=("package a.b\n\nimport kotlin.math.abs\n\nfun f() = abs(-1)\n",))
    text = check_of(solution, "import kotlin.math.max\n\nfun main() { max(1, 2) }\n", "assert").program.files[0][1]
    assert text.startswith("package a.b\nimport kotlin.math.abs\nimport kotlin.math.max\n")


def test_java_classes_become_files_of_their_names_and_the_one_that_starts_is_first() -> None:
    found = code(
        "java",
        ("java", "public class A { }"),
        ("java", "public class Main { public static void main(String[] a) { } }"),
    )
    assert found is not None
    assert [name for name, _ in check_of(found, "", "").program.files] == ["Main.java", "A.java"]


def test_php_opens_once_and_go_names_one_package() -> None:
    found = code("php", ("php", "<?php\nfunction f() {}"), ("php", "<?php\nf();"))
    assert found is not None
    assert check_of(found, "", "").program.files[0][1].count("<?php") == 1
    found = code("go", ("go", "package solve\n\nfunc f() {}"), ("go", "package main\n\nfunc main() { f() }"))
    assert found is not None
    assert check_of(found, "", "").program.files[0][1].count("package main") == 1


def test_every_recorded_answer_becomes_a_program_that_parses(shared_data: Path) -> None:
    rows = [
        json.loads(line) for line in (shared_data / "recorded_teacher/oss_instruct.jsonl").read_bytes().splitlines()
    ]
    for row in rows:
        sections = find_sections(row["response"])
        assert sections is not None
        found = code_of(sections.solution, row["lang"], FENCES)
        assert found is not None, row["id"]
        check = check_of(found, row["tests"] or "", "assert" if row["tests"] else "")
        assert all(parses(text, get(found.language)) for _, text in check.program.files), row["id"]
        assert (check.checked == "tests") == bool(row["tests"])
