"""Rules on answers: what counts as unfinished, refused, prose; and what only looks like it."""

import pytest

from magicoder.text import answers
from magicoder.text.codeblocks import code_blocks


def unfinished(code: str, name: str = "python") -> str:
    return answers.unfinished(code_blocks(f"Here:\n\n```{name}\n{code}```\n"))


@pytest.mark.parametrize(
    ("name", "code", "why"),
    [
        ("python", "x = 1  # TODO: more\n", "to do in line 4"),
        ("python", "def f():\n    # your code here\n    return 1\n", "left out in line 5"),
        ("python", "def f(a):\n    pass\n", "f has no body in line 4"),
        ("python", "def f(a):\n    '''Add.'''\n    ...\n", "f has no body in line 4"),
        ("python", "def f(a):\n    '''Add.'''\n", "f has no body in line 4"),
        (
            "python",
            "class A:\n    def f(self):\n        raise NotImplementedError('later')\n",
            "f has no body in line 5",
        ),
        ("python", "async def f():\n    raise NotImplementedError\n", "f has no body in line 4"),
        ("python", "def f(:\n    raise NotImplementedError\n", "not implemented in line 5"),
        ("python", "def f():\n    return 1\n\n# ... rest of the code\n", "left out in line 7"),
        ("rust", "fn f() -> u8 {\n    unimplemented!()\n}\n", "not implemented in line 5"),
        ("rust", "fn f() -> u8 { todo!() }\n", "not implemented in line 4"),
        ("csharp", "int F() { throw new NotImplementedException(); }\n", "not implemented in line 4"),
        ("java", 'throw new UnsupportedOperationException("Not implemented yet");\n', "not implemented in line 4"),
        ("go", 'panic("not implemented")\n', "not implemented in line 4"),
        ("kotlin", 'fun f(): Int = TODO("later")\n', "not implemented in line 4"),
        ("swift", 'fatalError("not implemented")\n', "not implemented in line 4"),
        ("php", "throw new \\Exception('Not implemented');\n", "not implemented in line 4"),
        ("cpp", "int f() {\n    // Implementation goes here\n}\n", "left out in line 5"),
        ("typescript", "/* FIXME(me): slow */\n", "to do in line 4"),
    ],
)
def test_unfinished_code_is_named_with_its_line(name: str, code: str, why: str) -> None:
    assert unfinished(code, name) == why


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("python", "class Missing(Exception):\n    pass\n"),
        ("python", "try:\n    f()\nexcept OSError:\n    pass\n"),
        ("python", "from abc import abstractmethod\nclass A:\n    @abstractmethod\n    def f(self):\n        pass\n"),
        ("python", "class A(Protocol[T]):\n    def f(self) -> int: ...\n"),
        ("python", "class A(abc.ABC):\n    def f(self):\n        raise NotImplementedError\n"),
        ("python", "@overload\ndef f(a: int) -> int: ...\n"),
        ("python", "def f(kind):\n    if kind:\n        return 1\n    raise NotImplementedError(kind)\n"),
        ("python", "def add_todo(todo_list, todo):\n    todo_list.append(todo)\n"),
        ("python", "print('# not a comment')\nx[...] = 0\n"),
        ("java", 'throw new IllegalArgumentException("negative");\n'),
        ("javascript", "const todo = list.todo();\n"),
    ],
)
def test_what_is_meant_so_is_finished(name: str, code: str) -> None:
    assert unfinished(code, name) == ""


def test_an_answer_cut_off_inside_its_code_is_unfinished() -> None:
    assert answers.unfinished(code_blocks("One.\n```c\nint f() {")) == "the block in line 2 is not closed"


def test_blocks_without_a_name_are_in_the_language_of_the_seed() -> None:
    blocks = code_blocks("```\ndef f():\n    pass\n```\n")
    assert answers.unfinished(blocks, is_python=True) == "f has no body in line 2"
    assert answers.unfinished(blocks) == ""


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I apologize, the task is not clear to me.",
        "As an AI language model, I have no access to files.",
        "```python\nx = 1\n```\nPlease provide more details about the task.",
        "The provided snippet is incomplete, so this is a guess.",
        "Step one.\n" * 60 + "Unfortunately I cannot complete the rest.",
    ],
)
def test_apologies_and_requests_are_refusals(text: str) -> None:
    assert answers.is_refusal(text, code_blocks(text))


@pytest.mark.parametrize(
    "text",
    [
        "The function returns None where it cannot help it.",
        "```python\nprint(\"I'm sorry, I can't help\")\n```",
        "We sort first. " * 60 + "I cannot provide a shorter proof. " + "Then we merge. " * 60,
        "You can provide more details by raising the level of the log.",
    ],
)
def test_what_a_program_says_or_prose_about_it_is_no_refusal(text: str) -> None:
    assert not answers.is_refusal(text, code_blocks(text))


def test_unfenced_code_is_code_and_prose_is_prose() -> None:
    assert answers.is_prose("Use a loop.\n\nThen add; this is it.\n", [])
    assert not answers.is_prose("Use this:\n\nfor i in range(3):\n    print(i)\n", [])
    assert not answers.is_prose("int f() {\n  return 1;\n}", [])
    fenced = "See:\n```\nwords\n```"
    assert not answers.is_prose(fenced, code_blocks(fenced))


def test_lengths_are_counted_in_words_and_filled_lines() -> None:
    text = "Two words\nand three more\n```c\nint a;\n\nint b;\n```\n```c\nint c;\n```\n"
    blocks = code_blocks(text)
    assert answers.words(text) == 15
    assert answers.words_before(text, blocks[0]) == 5
    assert answers.lines_of_code(blocks) == 3
    assert [answers.outside(n, (3, 5)) for n in (2, 3, 5, 6)] == ["too_short", "", "", "too_long"]
    assert answers.outside(7, ()) == ""
