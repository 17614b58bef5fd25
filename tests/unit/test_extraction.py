"""From an answer to a program: every way in which models wrap, cut, repeat and decorate code."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from magicoder import languages
from magicoder.benchmarks import _programs
from magicoder.benchmarks.humaneval_x import HumanEvalX
from magicoder.benchmarks.multipl_e import LANGUAGES
from magicoder.text.extraction import Wanted, continued, entry_point_of, extract, is_open
from magicoder.text.syntax import parses

PYTHON_PROMPT = '''from typing import List


def poly(xs: List[float], x: float) -> float:
    """Evaluate."""
    return sum(c * x**i for i, c in enumerate(xs))


def find_zero(xs: List[float]) -> float:
    """Find x such that poly(xs, x) is 0."""
'''
JAVA_PROMPT = """import java.util.*;
class Problem {
    // Add.
    public static long add(long a, long b) {
"""
JAVA_TESTS = """    }
    public static void main(String[] args) {
    assert(add(1, 2) == 3);
    }

}
"""
JS_PROMPT = "//Add.\nfunction add(a, b){\n"
JS_TESTS = "const assert = require('node:assert');\n\nfunction test() {\n  assert.equal(add(1, 2), 3);\n}\n\ntest();\n"
BODY = "    return 0.0\n"


def python(entry_point: str = "f", prompt: str = "") -> Wanted:
    return _programs.wanted("python", entry_point, prompt, "")


def run(code: str, call: str) -> object:
    space: dict[str, object] = {}
    exec(code, space)
    return eval(call, space)


# ---- where the code is


def test_the_fenced_block_is_the_program() -> None:
    found = extract("Sure!\n```python\ndef f(x):\n    return x\n```\nThis returns x.", python())
    assert (found.code, found.rule) == ("def f(x):\n    return x\n", "fence")


def test_an_answer_that_is_all_code_needs_no_fence() -> None:
    found = extract("def f(x):\n    return x\n", python())
    assert (found.code, found.rule) == ("def f(x):\n    return x\n", "whole")


def test_prose_around_code_without_fences_is_left_away() -> None:
    answer = "Here is what you asked for:\n\nimport math\n\ndef f(x):\n    return math.ceil(x)\n\nHope this helps you!"
    found = extract(answer, python())
    assert found.code.strip() == "import math\n\ndef f(x):\n    return math.ceil(x)"
    assert found.rule == "prose"


def test_words_that_happen_to_parse_are_no_code() -> None:
    found = extract("def f(x):\n    return x\n\nDone\nthis is it", python())
    assert run(found.code, "f(4)") == 4


def test_a_block_without_a_name_counts_where_none_has_one() -> None:
    assert extract("```\ndef f(x):\n    return x\n```", python()).code == "def f(x):\n    return x\n"


def test_a_block_of_the_wrong_name_counts_where_it_defines_the_function() -> None:
    found = extract("```text\n3\n```\n```py3\ndef f(x):\n    return x\n```", python())
    assert found.code == "def f(x):\n    return x\n"


def test_pieces_in_several_blocks_are_joined() -> None:
    found = extract(
        "A helper:\n```python\ndef g(x):\n    return 2 * x\n```\nThen:\n```python\ndef f(x):\n    return g(x)\n```",
        python(),
    )
    assert run(found.code, "f(2)") == 4


def test_a_later_version_replaces_an_earlier_one() -> None:
    found = extract(
        "```python\ndef f(x):\n    return 0\n```\nThat is wrong. Better:\n```python\ndef f(x):\n    return x\n```",
        python(),
    )
    assert found.code == "def f(x):\n    return x\n"
    assert found.note == "of 2 blocks 1 count"


def test_a_block_of_output_does_not_spoil_the_program() -> None:
    found = extract("```python\ndef f(x):\n    return x\n```\nIt prints:\n```\n>>> f(3)\n3\n```", python())
    assert found.code == "def f(x):\n    return x\n"


def test_reasoning_before_the_answer_is_left_away() -> None:
    answer = "<think>\n```python\ndef f(x):\n    return 1\n```\nno\n</think>\n```python\ndef f(x):\n    return x\n```"
    found = extract(answer, python())
    assert run(found.code, "f(7)") == 7
    assert "reasoning" in found.note


def test_windows_line_ends_are_read() -> None:
    assert extract("```python\r\ndef f(x):\r\n    return x\r\n```\r\n", python()).code == "def f(x):\n    return x\n"


@pytest.mark.parametrize("answer", ["", "I cannot do that.", "```\n```", "\x00\ud800", "```python"])
def test_an_answer_without_code_is_never_an_error(answer: str) -> None:
    found = extract(answer, python())
    assert found.rule in ("nothing", "whole", "completion")


def test_nothing_is_said_of_an_empty_answer() -> None:
    assert extract("", python()).rule == "nothing"


# ---- truncated


def test_a_last_fence_that_never_closes_is_read() -> None:
    found = extract("```python\ndef f(x):\n    return x\n", python())
    assert found.code == "def f(x):\n    return x\n"


def test_a_truncated_tail_is_cut_back_to_the_last_complete_definition() -> None:
    found = extract("```python\ndef f(x):\n    return x\n\ndef test_f():\n    assert f(1) == (1, [", python())
    assert run(found.code, "f(1)") == 1
    assert found.rule == "truncated"


def test_a_function_that_is_itself_truncated_is_kept_and_flagged() -> None:
    found = extract("```python\ndef f(x):\n    return (x +", python())
    assert "def f(x)" in found.code
    assert "does not parse" in found.note


def test_a_brace_too_many_is_cut() -> None:
    wanted = _programs.wanted("javascript", "add", JS_PROMPT, JS_TESTS)
    found = extract("```js\n  function add(a, b){\n    return a + b;\n  }\n}\n```", wanted)
    assert parses(found.code, languages.get("javascript"))


# ---- what the answer leaves to the prompt


def test_what_the_prompt_had_before_the_function_is_put_back() -> None:
    found = extract(
        f"```python\ndef find_zero(xs: List[float]) -> float:\n{BODY}```", python("find_zero", PYTHON_PROMPT)
    )
    assert run(found.code, "find_zero([1, 2])") == 0.0
    assert "def poly" in found.code


def test_what_the_answer_has_itself_is_not_put_back_again() -> None:
    found = extract(f"```python\n{PYTHON_PROMPT}{BODY}```", python("find_zero", PYTHON_PROMPT))
    assert found.code == PYTHON_PROMPT + BODY


def test_a_body_alone_continues_the_prompt() -> None:
    found = extract(f"```python\n{BODY}```", python("find_zero", PYTHON_PROMPT))
    assert found.code == PYTHON_PROMPT + BODY
    assert found.note == "the rest of the function"


@pytest.mark.parametrize(
    "body", ["y = x + 1\nreturn y", "y = x + 1\n    return y", "if x:\n    return x + 1\nreturn 1"]
)
def test_a_body_that_lost_its_indent_still_continues_the_prompt(body: str) -> None:
    prompt = 'def f(x):\n    """Add one."""\n'
    for answer in (body, f"```python\n{body}\n```"):
        assert run(extract(answer, python("f", prompt)).code, "f(1)") == 2


def test_a_function_of_another_name_is_named() -> None:
    wanted = _programs.wanted("rust", "find_volume", "fn find_volume(a: i64) -> i64 {\n", "}\n")
    found = extract("```rust\n/// Volume.\nfn findVolume(a: i64) -> i64 {\n    a\n}\n```", wanted)
    assert found.note == "defines findVolume, not find_volume"


def test_what_a_grammar_cannot_read_is_still_rid_of_what_the_tests_bring() -> None:
    tests = "}\nint main() {\n    assert(f(1) == 1);\n}\n"
    wanted = _programs.wanted("cpp", "f", "#include<any>\nlong f(std::any x) {\n", tests)
    strange = (
        "long f(std::any x) {\n    if (x.type() == typeid(int)) { return std::any_cast<int>(x); } else if(1) @ {}\n}\n"
    )
    found = extract(f"```cpp\n{strange}\nint main() {{\n    return 0;\n}}\n```", wanted)
    assert "main" not in found.code


def test_future_imports_stay_first() -> None:
    answer = "```python\nfrom __future__ import annotations\ndef find_zero(xs):\n    return poly(xs, 0)\n```"
    found = extract(answer, python("find_zero", PYTHON_PROMPT))
    assert run(found.code, "find_zero([3])") == 3


def test_a_lone_method_is_put_into_the_class_of_the_prompt() -> None:
    wanted = _programs.wanted("java", "add", JAVA_PROMPT, JAVA_TESTS)
    found = extract("```java\npublic static long add(long a, long b) {\n    return a + b;\n}\n```", wanted)
    assert found.code.startswith("import java.util.*;\nclass Problem {\n")
    assert parses(found.code, languages.get("java"))


def test_a_brace_that_was_repeated_is_not_doubled() -> None:
    wanted = _programs.wanted("java", "add", JAVA_PROMPT, JAVA_TESTS)
    found = extract("```java\n    {\n        return a + b;\n    }\n}\n```", wanted)
    assert parses(found.code, languages.get("java"))


# ---- what stands in the way of tests


def test_main_guards_and_examples_are_cut() -> None:
    answer = """```python
import sys
sys.setrecursionlimit(10000)
def f(x):
    return x
limit = 3
result = f(input())
print(result)
for case in [1, 2]:
    print(f(case))
assert f(2) == 3
if result:
    raise SystemExit(1)
if __name__ == "__main__":
    f(0)
```"""
    found = extract(answer, python())
    assert found.code == "import sys\nsys.setrecursionlimit(10000)\ndef f(x):\n    return x\nlimit = 3\n"
    assert found.note == "without examples, the main guard"


def test_what_the_function_needs_is_kept_behind_it() -> None:
    answer = "```python\ndef f(x):\n    return table[x]\ntable = {}\ntable.update({1: 2})\nf = memo(f)\n```"
    assert "table.update({1: 2})\nf = memo(f)\n" in extract(answer, python()).code


def test_a_whole_program_keeps_its_start() -> None:
    answer = "```python\ndef f(x):\n    print(x)\nif __name__ == '__main__':\n    f(input())\n```"
    assert "f(input())" in extract(answer, python("")).code


def test_definitions_that_the_tests_bring_are_cut() -> None:
    wanted = _programs.wanted("java", "add", JAVA_PROMPT, JAVA_TESTS)
    start = "    public static void main(String[] a) { add(1, 2); }\n"
    answer = f"```java\n{JAVA_PROMPT}        return a + b;\n    }}\n{start}}}\n```"
    found = extract(answer, wanted)
    assert "main" not in found.code
    assert found.note == "without what the tests bring (main)"


def test_an_import_that_the_tests_repeat_is_cut() -> None:
    wanted = _programs.wanted("javascript", "add", JS_PROMPT, JS_TESTS)
    found = extract(
        "```js\nconst assert = require('assert');\nfunction add(a, b) { return a + b; }\nconsole.log(add(1, 2));\n```",
        wanted,
    )
    assert found.code == "function add(a, b) { return a + b; }\n"


def test_a_second_class_with_a_start_of_its_own_is_cut() -> None:
    wanted = _programs.wanted("java", "add", JAVA_PROMPT, JAVA_TESTS)
    start = "class Start {\n    public static void main(String[] a) { System.exit(0); }\n}\n"
    helper = "class Helper {\n    static long one() { return 1; }\n}\n"
    found = extract(f"```java\n{start}{JAVA_PROMPT}        return a + b;\n    }}\n}}\n{helper}```", wanted)
    assert "Start" not in found.code
    assert "Helper" in found.code


def test_tests_that_the_model_wrote_do_not_run_beside_those_that_decide() -> None:
    go = _programs.wanted("go", "f", "package f_test\n\nfunc f(x int) int {\n", "func TestF(t *testing.T) {\n}\n")
    own = "func TestOwn(t *testing.T) {\n}\n\nfunc ExampleF() {\n}\n\nfunc main() {\n\tTestOwn(nil)\n}\n\n"
    own += "func Testify() {\n}\n"
    found = extract(f"```go\npackage f_test\n\nfunc f(x int) int {{\n\treturn x\n}}\n\n{own}```", go)
    assert "TestOwn" not in found.code
    assert "ExampleF" not in found.code
    assert "Testify" in found.code
    rust = _programs.wanted("rust", "f", "fn f(x: i64) -> i64 {\n", "#[cfg(test)]\nmod tests {\n}\n")
    answer = "```rust\nfn f(x: i64) -> i64 {\n    x\n}\n\n#[cfg(test)]\nmod tests {\n}\n```"
    assert extract(answer, rust).code.strip() == "fn f(x: i64) -> i64 {\n    x\n}"


def test_a_union_of_the_prompt_is_put_back_whole_and_once() -> None:
    prompt = "union U {\n    long a;\n    bool b;\n};\nU f(long x) {\n"
    wanted = _programs.wanted("cpp", "f", prompt, "}\nint main() {}\n")
    lone = extract("```cpp\nU f(long x) {\n    return U();\n}\n```", wanted).code
    assert lone == "union U {\n    long a;\n    bool b;\n};\nU f(long x) {\n    return U();\n}\n"
    assert extract(f"```cpp\n{lone}```", wanted).code == lone


# ---- raw completions


def test_a_completion_ends_at_the_first_stop_sequence() -> None:
    found = continued("    return 1\n\nprint(1)\ndef g():\n", python("f", "def f():\n"), ("\ndef ", "\nprint"))
    assert found.code == "def f():\n    return 1\n"
    assert found.rule == "completion"


def test_a_completion_that_begins_to_chat_is_read_as_an_answer() -> None:
    found = continued("```python\ndef f():\n    return 1\n```\nHere", python("f", "def f():\n"), ("\ndef ",))
    assert run(found.code, "f()") == 1


def test_a_tail_that_was_begun_and_not_ended_is_cut_where_tests_do_not_close_the_function() -> None:
    found = continued("    return 1\n\ndef g():\n    return (", python("f", "def f():\n"), (), whole=True)
    assert run(found.code, "f()") == 1


# ---- names and braces


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("#include<b>\n// f(x)\nstd::vector<long> add(std::vector<long> lst, long k) {\n", "add"),
        ("#!/bin/bash\n# $1 is a string\nadd() {\n", "add"),
        ("sub add {\n    my($a, $b) = @_;\n", "add"),
        ("# f\nadd <- function(a, b) {", "add"),
        ("#lang racket\n;; f\n(define (add a b)\n", "add"),
        ("local function add(a, b)\n", "add"),
        ('"""Add.\n>>> add(1)\n"""\nfunction add(a::Int64)::Int64 \n', "add"),
        ("class Problem {\n    // f\n    public static Optional<Long> add(ArrayList<Long> a) {\n", "add"),
        ("const poly = (a) => {\n  return a;\n}\n/* x */\nconst add = (a, b) => {\n", "add"),
        ("x = 3\n", ""),
    ],
)
def test_the_entry_point_is_the_last_function_that_a_prompt_begins(prompt: str, name: str) -> None:
    assert entry_point_of(prompt) == name


def test_an_open_function_is_told_from_a_closed_one() -> None:
    shell = _programs.wanted("shell", "add", "", "}\n")
    closed = "add() {\n    echo ${1//a/b} '{' # }\n}\n"
    assert not is_open(closed, shell)
    assert is_open(closed.rstrip().removesuffix("}"), shell)


@pytest.mark.parametrize(
    "given", [JAVA_PROMPT + "        return a + b;\n", JAVA_PROMPT + "        return a + b;\n    }\n}\n"]
)
def test_tests_go_into_the_class_whether_the_function_is_closed_or_not(given: str) -> None:
    wanted = _programs.wanted("java", "add", JAVA_PROMPT, JAVA_TESTS)
    whole = _programs.joined(given, JAVA_TESTS, wanted)
    assert parses(whole, languages.get("java"))
    assert "assert(add(1, 2) == 3)" in whole
    assert _programs.joined(whole, JAVA_TESTS, wanted) == whole


def test_go_files_import_what_is_used_and_nothing_else() -> None:
    code = 'package main\n\nimport (\n\t"fmt"\n\t"os"\n)\n\n'
    code += "func F(s string) []string {\n\t// os.Exit\n\treturn strings.Fields(s)\n}\n"
    text = _programs.go_file(code, 'func TestF(t *testing.T) {\n\tfmt.Println(F("a"))\n}\n')
    assert [line for line in text.split("\n") if line.startswith("import")] == [
        'import "fmt"',
        'import "strings"',
        'import "testing"',
    ]


# ---- real answers


@pytest.mark.parametrize("short", ["cs", "java", "js", "php", "ts"])
def test_real_chat_answers_give_programs_that_parse(shared_data: Path, short: str) -> None:
    path = shared_data / "recorded_completions" / "qwen2_chat_multipl_e" / f"generations_{short}.jsonl.gz"
    language = languages.get(LANGUAGES[short])
    bad: Counter[str] = Counter()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            wanted = _programs.wanted(language.name, entry_point_of(row["prompt"]), row["prompt"], row["tests"])
            found = extract(row["generation"], wanted)
            if not parses(_programs.joined(found.code, row["tests"], wanted), language):
                bad[row["task_id"]] += 1
    broken = {
        "java": ["HumanEval_13_greatest_common_divisor"],  # cut by its limit
        "js": ["HumanEval_104_unique_digits", "HumanEval_51_remove_vowels"],  # the model's error; the tests' own
        "ts": ["HumanEval_107_even_odd_palindrome"],  # methods without a class
    }
    assert sorted(bad) == broken.get(short, [])


def wrappings(given: str, rest: str, fence: str, unfinished: str) -> dict[str, str]:
    """Return what models make of the right program `given + rest`, by a name for each habit."""
    whole = given + rest
    head = "Sure, here is the function:\n\n"
    tail = "\n\nIt walks over the input once, so it's linear.\nLet me know if you need more!"
    return {
        "a fence": f"{head}```{fence}\n{whole}```{tail}",
        "a fence without a name": f"```\n{whole}\n```",
        "code alone": whole,
        "prose without fences": f"{head}{whole}{tail}",
        "the body in a fence": f"{head}```{fence}\n{rest}```{tail}",
        "the body alone": rest,
        "a fence that stays open": f"{head}```{fence}\n{whole}",
        "the question first": f"The task:\n```{fence}\n{given}\n```\nThe answer:\n```{fence}\n{whole}```{tail}",
        "output behind it": f"```{fence}\n{whole}```\nOutput:\n```\n[1, 2]\nTrue\n```\n```text\nfoo\n```",
        "a tail that is cut": f"```{fence}\n{whole}\n{unfinished}",
    }


@pytest.mark.parametrize(
    ("short", "unfinished"),
    [
        ("cpp", "int helper(int x) {\n  return (x +"),
        ("go", "func helper(x int) int {\n  return (x"),
        ("java", "class Helper {\n  int f(int x) { return (x"),
        ("js", "const helper = (x) => {\n  return (x +"),
        ("python", "def helper(x):\n    return (x +"),
        ("rust", "fn helper(x: i64) -> i64 {\n  (x"),
    ],
)
def test_a_right_program_is_found_however_it_is_wrapped(shared_data: Path, short: str, unfinished: str) -> None:
    suite = HumanEvalX().suite(str(shared_data), only=short)
    lost = []
    for task in suite.tasks[::12]:
        language = languages.get(task.language)
        given = suite.problems[task.id].given
        rest = "".join(task.reference.split()).rstrip("}")
        for habit, answer in wrappings(given, task.reference, language.fences[0], unfinished).items():
            code = suite.program_text(task, answer, "chat").code
            if rest not in "".join(code.split()) or not parses(code, language):
                lost.append((task.id, habit))
    assert lost == []
