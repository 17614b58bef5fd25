"""Fenced code blocks, as models write them."""

import pytest

from magicoder.text.codeblocks import CodeBlock, code_blocks


def test_a_block_has_its_name_its_code_and_its_line() -> None:
    text = "Here:\n\n```Python\nx = 1\n\ny = 2\n```\ndone"
    assert code_blocks(text) == [CodeBlock(name="python", code="x = 1\n\ny = 2\n", first_line=3, closed=True)]


def test_text_without_fences_has_no_blocks() -> None:
    assert code_blocks("x = 1\n    indented\n`code`") == []
    assert code_blocks("") == []


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ("", ""),
        ("c++", "c++"),
        ("  C#  ", "c#"),
        ("python title=x.py", "python"),
        ("js{1,3}", "js"),
        ("{.rust .numberLines}", "rust"),
        ("rust,ignore", "rust"),
        ("python:src/a.py", "python"),
    ],
)
def test_the_name_is_the_first_word_of_the_info_string(info: str, name: str) -> None:
    assert code_blocks(f"```{info}\nx\n```")[0].name == name


def test_tildes_are_fences_and_hold_backticks() -> None:
    assert code_blocks("~~~md\n```py\nx\n```\n~~~") == [
        CodeBlock(name="md", code="```py\nx\n```\n", first_line=1, closed=True)
    ]


def test_a_longer_fence_holds_a_shorter_one() -> None:
    found = code_blocks("````markdown\n```python\nx\n```\n````\n```sh\nls\n`````")
    assert [(b.name, b.code) for b in found] == [("markdown", "```python\nx\n```\n"), ("sh", "ls\n")]


def test_a_fence_with_a_name_does_not_close_a_block() -> None:
    assert [b.code for b in code_blocks("```\na\n```python\nb\n```\n")] == ["a\n```python\nb\n"]


def test_a_block_cut_off_by_the_end_is_kept_and_said_to_be_open() -> None:
    assert code_blocks("```rust\nfn main() {\n    1") == [
        CodeBlock(name="rust", code="fn main() {\n    1\n", first_line=1, closed=False)
    ]
    assert code_blocks("```rust\nfn main() {\n") == [
        CodeBlock(name="rust", code="fn main() {\n", first_line=1, closed=False)
    ]
    assert code_blocks("text\n```") == [CodeBlock(name="", code="", first_line=2, closed=False)]


def test_the_indent_of_the_fence_is_taken_off_the_code() -> None:
    text = "1. Do:\n\n   ```py\n   if x:\n       y\n z\n   ```\n"
    assert code_blocks(text)[0].code == "if x:\n    y\nz\n"


def test_carriage_returns_do_not_hide_a_fence() -> None:
    assert code_blocks("```py\r\nx\r\n```\r\n") == [CodeBlock(name="py", code="x\r\n", first_line=1, closed=True)]


def test_a_code_span_of_three_backticks_opens_nothing() -> None:
    assert code_blocks("```x``` is a span\n") == []
