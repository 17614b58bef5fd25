"""A completion pair is the function cut in two, nothing lost, nothing added but the doc's own marks."""

import random

from hypothesis import given
from hypothesis import strategies as st

from magicoder.languages import get
from magicoder.records import Seed
from magicoder.strategies.comment_pairs import CommentPairs
from magicoder.text.syntax import documented_functions

names = (
    st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
    .filter(
        lambda name: (
            name not in {"if", "is", "in", "do", "or", "as", "for", "and", "not", "def", "del", "fun", "val", "var"}
        )
    )
    .map(lambda name: f"f_{name}")
)
words = st.lists(
    st.text(st.characters(categories=("Lu", "Ll", "Lo", "Nd", "So")), min_size=1, max_size=8), min_size=2, max_size=6
).map(lambda parts: "Adds " + " ".join(parts))
indents = st.sampled_from(["", "  ", "    ", "\t"])
statements = st.lists(st.sampled_from(["g(1)", "h(2, 3)", "x = g(4)", "g(x)"]), min_size=1, max_size=5)


def pair(text, language):
    (function,) = documented_functions(text, get(language))
    seed = Seed(
        id="d#L1",
        text=function.text,
        language=language,
        document_id="d",
        repository="",
        commit="",
        path="",
        license="",
        first_line=function.first_line,
        last_line=function.last_line,
        kind="function",
        index=0,
        raw_index=0,
    )
    try:
        next(CommentPairs().write(seed, random.Random(0)))
    except StopIteration as stop:
        return function, stop.value[0]
    raise AssertionError("a prompt was asked")


@given(names, words, statements, indents.filter(bool))
def test_a_python_pair_joins_to_the_function(name, doc, body, indent):
    code = f'def {name}(x):\n    """{doc}\n\n    More.\n    """\n    ' + "\n    ".join(body)
    text = f"class A:\n{indent}" + code.replace("\n", f"\n{indent}") + "\n"
    function, sample = pair(text, "python")
    assert function.doc == doc
    assert sample.instruction + sample.response == code


@given(names, words, statements, indents, st.sampled_from(["java", "csharp", "cpp", "typescript", "php"]))
def test_a_pair_joins_to_the_code_behind_the_doc(name, doc, body, indent, language):
    # The same method in five syntaxes.
    heads = {
        "java": f"public int {name}(int x)",
        "csharp": f"public int {name}(int x)",
        "cpp": f"int {name}(int x)",
        "typescript": f"{name}(x: number)",
        "php": f"public function {name}($x)",
    }
    lines = [line.replace("x", "$x") if language == "php" else line for line in body]
    code = heads[language] + "\n{\n    " + ";\n    ".join(lines) + ";\n}"
    documented = f"/**\n * {doc}\n */\n{code}"
    opening = "<?php\nclass A {\n" if language == "php" else "class A {\n"
    text = opening + indent + documented.replace("\n", f"\n{indent}") + "\n};\n"
    _, sample = pair(text, language)
    assert sample.instruction + sample.response == f"/// {doc}\n{code}"
