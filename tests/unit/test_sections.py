"""Teachers' answers taken apart, by the original's rule and by the tolerant one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicoder.text.sections import Parsed, find_sections, is_blank, parse_original, parse_tolerant

PROBLEM = "Write `twice(x)`.\n\n```python\ndef twice(x): ...\n```"
SOLUTION = "Multiply.\n\n```python\ndef twice(x):\n    return 2 * x\n```"


def answer(problem: str, solution: str) -> str:
    return f"{problem}\n{PROBLEM}\n\n{solution}\n{SOLUTION}\n"


# --- the original's rule ---


def test_the_original_takes_what_stands_between_the_first_headers() -> None:
    assert parse_original(answer("[Problem Description]", "[Solution]")) == (PROBLEM, SOLUTION)
    assert parse_original(answer("**[problem DESCRIPTION]**:", "## 2. [SOLUTION]")) == (PROBLEM, SOLUTION)


def test_the_original_loses_what_stands_on_a_header_line() -> None:
    assert parse_original("[Problem Description] one\ntwo\n[Solution] three\nfour") == ("two", "four")


def test_the_original_needs_both_headers_in_order_on_different_lines() -> None:
    assert parse_original("[Problem Description]\nx\n") is None
    assert parse_original("[Solution]\nx\n") is None
    assert parse_original("[Solution]\nx\n[Problem Description]\ny\n") is None
    assert parse_original("[Problem Description] and [Solution]\nx\n[Solution]\ny") is None
    assert parse_original("**Problem Description**\nx\n**Solution**\ny") is None


def test_the_original_may_give_empty_sections() -> None:
    assert parse_original("[Problem Description]\n[Solution]\n") == ("", "")


def test_the_original_cuts_at_a_mention_and_the_tolerant_rule_does_not() -> None:
    text = "[Problem Description]\nGive it under the [Solution] header.\nMore.\n\n[Solution]\ncode\n"
    assert parse_original(text) == ("", "More.\n\n[Solution]\ncode")
    assert parse_tolerant(text) == Parsed("Give it under the [Solution] header.\nMore.", "code", "tolerant")


def test_the_original_splits_at_every_line_end_that_python_knows() -> None:
    assert parse_original("[Problem Description]\x0cx\u2028[Solution]\ry") == ("x", "y")
    assert parse_original("[Problem Description]\r\na\r\nb\r\n[Solution]\r\nc") == ("a\r\nb", "c")


# --- the tolerant rule ---

HEADERS = [
    ("[Problem Description]", "[Solution]"),
    ("**[Problem Description]**", "**[Solution]**"),
    ("# [Problem Description]", "# [Solution]"),
    ("### [Problem Description]:", "### [Solution]:"),
    ("1. [Problem Description]:", "2. [Solution]:"),
    ("**1. [Problem Description]:**", "**2. [Solution]:**"),
    ("[Problem Description]: ", "[Solution]: "),
    ("[problem description]", "[SOLUTION]"),
]
OTHER_HEADERS = [
    ("**Problem Description**", "**Solution**"),
    ("**Problem Description:**", "**Solution:**"),
    ("__Problem Description__:", "__Solution__:"),
    ("### Problem Description:", "### Solution:"),
    ("### 1. **Problem Description**", "### 2. **Solution**"),
    ("## Problem", "## Solution"),
    ("# Problem Statement", "# Solution"),
    ("## Programming Problem", "## Complete Solution"),
    ("Problem:", "Solution:"),
    ("Problem Description", "Solution"),
    ("1) Problem Description", "2) Solution"),
    ("(1) Problem:", "(2) Solution:"),
    ("Section 1: Problem Description", "Section 2: Solution"),
    (r"\[Problem Description\]", r"\[Solution\]"),
    ("【Problem Description】", "【Solution】"),
    ("[Problem Statement]", "[Solution]"),
    ("[**Problem Description**]", "[**Solution**]"),
    ("Problem Description\n===================", "Solution\n--------"),
    ("📝 **Problem Description**", "💡 **Solution**"),
    ("### Problem Description", "### Solution (Python)"),
    ("## Problem Description", "## Solution in Python"),
    ("[Problem Description]", "## Solution"),
    ("## Problem Description", "[Solution]"),
]


@pytest.mark.parametrize(("problem", "solution"), HEADERS)
def test_headers_of_the_original_are_read_alike(problem: str, solution: str) -> None:
    text = answer(problem, solution)
    assert parse_original(text) == (PROBLEM, SOLUTION)
    assert parse_tolerant(text) == Parsed(PROBLEM, SOLUTION, "original")


@pytest.mark.parametrize(("problem", "solution"), OTHER_HEADERS)
def test_headers_that_models_write_are_read(problem: str, solution: str) -> None:
    assert parse_tolerant(answer(problem, solution)) == Parsed(PROBLEM, SOLUTION, "tolerant")


@pytest.mark.parametrize(("problem", "solution"), HEADERS + OTHER_HEADERS)
def test_carriage_returns_hide_no_header(problem: str, solution: str) -> None:
    parsed = parse_tolerant(answer(problem, solution).replace("\n", "\r\n"))
    assert parsed is not None
    assert parsed[:2] == (PROBLEM.replace("\n", "\r\n"), SOLUTION.replace("\n", "\r\n"))


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("[Problem Description]: Add numbers.", "Add numbers."),
        ("**[Problem Description]**: Add numbers.", "Add numbers."),
        ("**Problem:** Add numbers.", "Add numbers."),
        ("Problem: Add `a` and **b**.", "Add `a` and **b**."),
        ("Problem: `add(a, b)`", "`add(a, b)`"),
        ("## Problem Description: Sums", "Sums"),
        ("## Problem Description - Sums", "Sums"),
        ("**Problem: Sums of all**", "**Sums of all**"),
        ("[Problem Description] Add numbers.", "Add numbers."),
    ],
)
def test_text_on_the_header_line_is_kept(line: str, kept: str) -> None:
    parsed = parse_tolerant(f"{line}\nMore.\n\n**Solution**: a + b\n")
    assert parsed is not None
    assert parsed[:2] == (f"{kept}\nMore.", "a + b")


def test_a_preamble_is_left_out() -> None:
    text = "Sure! Here are the [Problem Description] and [Solution]:\n\n" + answer(
        "[Problem Description]", "[Solution]"
    )
    assert parse_original(text) is None
    assert parse_tolerant(text) == Parsed(PROBLEM, SOLUTION, "tolerant")
    text = "Sure! Here's the [Problem Description]:\n\nAdd.\n\nAnd this is the [Solution]:\n\na + b"
    assert parse_tolerant(text) == Parsed("Add.", "a + b", "original")


@pytest.mark.parametrize(
    "sentence",
    [
        "Problems of this kind are common.",
        "Solutions are welcome.",
        "Solution classes must be final.",
        "The solution: any of them.",
        "[Solution](#solution) is below.",
        "[Solution] must be fast, says the guideline.",
        "Put the [Solution] last.",
        "solution",
        "Solution().run(3)",
        "solution.py: the file to write",
        "- Solution: a list of pairs",
        "## Solution format",
        "    Solution:",
        "> 3. Solutions",
    ],
)
def test_a_sentence_that_begins_like_a_header_is_none(sentence: str) -> None:
    text = f"## Problem Description\nWords.\n{sentence}\nWords.\n\n## Solution\ncode\n"
    parsed = parse_tolerant(text)
    assert parsed == Parsed(f"Words.\n{sentence}\nWords.", "code", "tolerant")
    assert parse_tolerant(f"## Problem Description\nWords.\n{sentence}\n") is None


def test_a_header_inside_a_code_block_is_none() -> None:
    inside = "Words.\n\n```markdown\n# Solution\n[Solution]\n```\n\n~~~~\n[Solution]\n~~~\n~~~~"
    text = f"[Problem Description]\n{inside}\n\n[Solution]\ncode\n"
    assert parse_tolerant(text) == Parsed(inside, "code", "tolerant")
    assert parse_tolerant(f"[Problem Description]\n{inside}\n") is None


def test_a_code_block_that_never_ends_is_not_cut() -> None:
    assert parse_tolerant("[Problem Description]\nWords.\n```python\nx = 1\n\n[Solution]\ncode\n") is None


@pytest.mark.parametrize("tag", ["think", "thinking", "reasoning"])
def test_thoughts_are_left_out(tag: str) -> None:
    thoughts = "Let me draft:\n[Problem Description]\ndraft\n[Solution]\ndraft\n```\nopen\n```\n"
    text = answer("[Problem Description]", "[Solution]")
    for before in (f"<{tag}>\n{thoughts}</{tag}>\n\n", f"\n<{tag}>{thoughts}</{tag}>", f"{thoughts}\n</{tag}>\n"):
        assert parse_tolerant(before + text) == Parsed(PROBLEM, SOLUTION, "tolerant")
    assert parse_tolerant(f"<{tag}>\n{thoughts}") is None


def test_a_closing_tag_in_code_is_the_answers_own() -> None:
    problem = "Parse this:\n```\n<think>\n</think>\n```"
    text = f"[Problem Description]\n{problem}\n[Solution]\nx\n"
    assert parse_tolerant(text) == Parsed(problem, "x", "original")


@pytest.mark.parametrize("info", ["", "markdown", "md", "text"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_an_answer_in_one_code_block_is_unwrapped(info: str, end: str) -> None:
    for header in (("[Problem Description]", "[Solution]"), ("## Problem", "## Solution")):
        text = answer(*header)
        for ticks in ("```", "````"):
            parsed = parse_tolerant(f"Here you are:\n\n{ticks}{info}\n{text}{ticks}{end}")
            assert parsed is not None
            assert parsed[:2] == (PROBLEM, SOLUTION)


def test_an_example_in_a_code_block_is_not_unwrapped() -> None:
    problem = "Read a form:\n```text\nProblem: name\nSolution: text\n```\nand print it."
    assert parse_tolerant(f"## Problem\n{problem}\n\n## Solution\ncode") == Parsed(problem, "code", "tolerant")


@pytest.mark.parametrize("nothing", ["", "   \n\n", "---", "```python\n```", "\n***\n", "```\n\n```"])
def test_a_section_with_nothing_in_it_is_not_accepted(nothing: str) -> None:
    assert is_blank(nothing)
    for text in (
        f"[Problem Description]\n{nothing}\n[Solution]\nx",
        f"[Problem Description]\nx\n[Solution]\n{nothing}",
    ):
        assert parse_tolerant(text) is None
        assert find_sections(text) is not None


def test_code_without_letters_is_something() -> None:
    assert not is_blank("```\n++[>+<-].\n```")


def test_an_outline_at_the_top_does_not_hide_the_sections() -> None:
    text = "1. [Problem Description]\n2. [Solution]\n\n" + answer("## Problem Description", "## Solution")
    parsed = parse_tolerant(text)
    assert parsed == Parsed(PROBLEM, SOLUTION, "tolerant")


def test_labels_inside_the_solution_do_not_count_where_headers_do() -> None:
    solution = "Problem: it is slow.\n\nSolution: a cache.\n\n```python\nx\n```"
    assert parse_tolerant(f"[Problem Description]\nAdd.\n[Solution]\n{solution}") == Parsed(
        "Add.", solution, "original"
    )


# --- any text ---

pieces = st.sampled_from(
    [
        "[Problem Description]", "**Problem:** a", "## Problem", "Problem:", "[Solution]", "## Solution", "Solution: b",
        "the [Solution] of", "```", "```python", "~~~~", "x = 1", "", "---", "<think>", "</think>", "words",
        "2. [Solution]:",
    ]
)  # fmt: skip


@given(st.lists(pieces, max_size=14))
def test_sections_are_parts_of_the_answer_and_whole_blocks(lines: list[str]) -> None:
    text = "\n".join(lines)
    parsed = parse_tolerant(text)
    if parsed is None:
        return
    assert not is_blank(parsed.problem)
    assert not is_blank(parsed.solution)
    assert parsed.parser == ("original" if parse_original(text) == parsed[:2] else "tolerant")
    assert open_block(parsed.problem.split("\n")) == ""
    kept = (parsed.problem + "\n" + parsed.solution).split("\n")
    assert all(any(line in whole for whole in lines) for line in kept)


@pytest.mark.parametrize(
    "run", ["*", "_", "#", " ", "\t", ">", "`", "[", "[ ", "1.", "(1", "- ", "Solution ", "Problem: ", "<think>"]
)
def test_a_very_long_line_takes_no_more_than_linear_time(run: str) -> None:
    """A quadratic rule would take minutes here, and the suite's limit would end it."""
    for text in (run * 400_000, "# " + run * 400_000, "[Solution" + run * 400_000):
        assert find_sections(f"{text}\n{text}") is None


@given(st.text(max_size=300))
def test_no_text_raises(text: str) -> None:
    parse_original(text)
    parse_tolerant(text)


def open_block(lines: list[str]) -> str:
    """Return the fence that is open after `lines`, "" if none."""
    fence = ""
    for line in lines:
        if not fence and line[:3] in ("```", "~~~"):
            fence = line.rstrip("python")
        elif fence and line.startswith(fence):
            fence = "" if line.strip("`~") == "" else fence
    return fence
