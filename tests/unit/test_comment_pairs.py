"""Comment-function pairs: what stands in instruction and response, and what is refused and why."""

import random

import pytest

from magicoder.errors import RecipeError, Unusable
from magicoder.languages import get
from magicoder.records import Seed
from magicoder.strategies.comment_pairs import CommentPairs
from magicoder.text.syntax import parses

JAVA = """\
    /**
     * Adds two
     * numbers.
     *
     * @param a one
     */
    @Override
    public int add(int a) {
        return a;
    }"""
PYTHON = '''\
    @staticmethod
    def add(a, b):
        """Add two numbers.

        >>> add(1, 2)
        3
        """
        return a + b'''


def seed(text, language):
    return Seed(
        id="r@c:p#L3",
        text=text,
        language=language,
        document_id="r@c:p",
        repository="r",
        commit="c",
        path="p",
        license="MIT",
        first_line=3,
        last_line=3 + text.count("\n"),
        kind="function",
        index=0,
        raw_index=0,
    )


def write(text, language, style="completion"):
    """Drive the generator; it must finish without asking a teacher."""
    generator = CommentPairs(style=style).write(seed(text, language), random.Random(0))
    with pytest.raises(StopIteration) as stop:
        next(generator)
    (sample,) = stop.value.value
    return sample


def reason(text, language, style="completion"):
    with pytest.raises(Unusable) as refused:
        next(CommentPairs(style=style).write(seed(text, language), random.Random(0)))
    return refused.value.reason


def test_a_python_prompt_ends_with_the_docstring():
    sample = write(PYTHON, "python")
    assert sample.instruction == (
        '@staticmethod\ndef add(a, b):\n    """Add two numbers.\n\n    >>> add(1, 2)\n    3\n    """'
    )
    assert sample.response == "\n    return a + b"


def test_elsewhere_the_prompt_is_the_doc_as_line_comments_and_the_code_up_to_the_name():
    sample = write(JAVA, "java")
    assert sample.instruction == "/// Adds two\n/// numbers.\n@Override\npublic int add(int a) {"
    assert sample.response == "\n    return a;\n}"


def test_shell_docs_are_written_with_three_hashes():
    sample = write("# Adds.\nadd() {\n  echo 1\n}", "shell")
    assert sample.instruction == "### Adds.\nadd() {"


def test_the_sample_leads_back_to_its_seed():
    sample = write(JAVA, "java")
    assert sample.id == "r@c:p#L3/comment_pairs[0]"
    assert (sample.seed, sample.license, sample.teacher, sample.tests, sample.test_format) == (JAVA, "MIT", "", "", "")


def test_doctests_become_the_tests():
    sample = write(PYTHON, "python")
    assert (sample.tests, sample.test_format) == (">>> add(1, 2)\n3", "doctest")


def test_doctest_blocks_are_told_apart_and_prose_left_out():
    examples = '    First:\n\n      >>> f(1)\n      1\n\n    then:\n\n      >>> for i in "\\n":\n      ...     f(i)\n'
    text = f'def f(a):\n    r"""Do.\n\n{examples}    """\n    return a'
    assert write(text, "python").tests == '>>> f(1)\n1\n\n>>> for i in "\\n":\n...     f(i)'


def test_escapes_in_a_docstring_are_read_as_python_reads_them():
    text = 'def f():\n    """Do \\d.\n\n    >>> f("\\\\n")\n    1\n    """\n    return 1'
    assert write(text, "python").tests == '>>> f("\\n")\n1'


def test_the_instruction_style_asks_in_words_and_answers_in_a_block():
    sample = write(JAVA, "java", "instruction")
    assert sample.instruction.startswith("Write a Java function that does the following.\n\nAdds two\nnumbers.\n\n")
    assert sample.instruction.endswith("```java\n@Override\npublic int add(int a)\n```")
    assert sample.response.startswith("```java\n/**\n * Adds two")
    assert sample.response.endswith("    return a;\n}\n```")


def test_the_python_signature_comes_without_the_docstring():
    sample = write(PYTHON, "python", "instruction")
    assert sample.instruction.endswith("```python\n@staticmethod\ndef add(a, b):\n```")
    assert sample.tests == ">>> add(1, 2)\n3"


def test_a_fence_in_the_code_gets_a_longer_fence_around_it():
    sample = write('def f():\n    """Do.\n\n    ```\n    x\n    ```\n    """\n    return 1', "python", "instruction")
    assert sample.response.startswith("````python\n")
    assert sample.response.endswith("\n````")


def test_lines_with_less_indentation_than_the_first_are_left_as_they_are():
    text = "    // Adds.\n    int f() {\n#ifdef X\n        g();\n#endif\n        return 1;\n    }"
    sample = write(text, "cpp")
    assert sample.response == "\n#ifdef X\n    g();\n#endif\n    return 1;\n}"


def test_windows_line_ends_become_newlines():
    sample = write("// Adds.\r\nvoid f() {\r\n  g();\r\n}\r", "c")
    assert "\r" not in sample.instruction + sample.response.rstrip("\r")
    assert parses(sample.instruction + sample.response, get("c"))


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("def f(:\n    return 1", "python", "does_not_parse"),
        ("x = 1", "python", "does_not_parse"),
        ("// Adds.\nvoid f() {", "c", "does_not_parse"),
        ("def f():\n    return 1", "python", "no_docstring"),
        ("void f() {\n  g();\n}", "c", "no_docstring"),
        ('def f():\n    """  """\n    return 1', "python", "empty_doc"),
        ("/** @return it */\nint f() {\n  return 1;\n}", "java", "empty_doc"),
        ("// ----------\nvoid f() {\n  g();\n}", "c", "repeated_character_doc"),
        ('def f():\n    """Do."""', "python", "empty_body"),
        ('def f():\n    """Do."""\n    ...', "python", "empty_body"),
        ("// Adds.\nvoid f() { g(); }", "c", "empty_body"),
        ("// Adds.\nvoid f() {\n}", "c", "empty_body"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(text, language, expected):
    assert reason(text, language) == expected


def test_a_function_on_one_line_is_fine_in_the_instruction_style():
    assert write("// Adds.\nvoid f() { g(); }", "c", "instruction").response == "```c\n// Adds.\nvoid f() { g(); }\n```"
    assert reason("// Adds.\nvoid f() { }", "c", "instruction") == "empty_body"


def test_an_unknown_style_is_an_error_that_lists_the_styles():
    with pytest.raises(RecipeError, match="completion, instruction"):
        CommentPairs(style="chat")
