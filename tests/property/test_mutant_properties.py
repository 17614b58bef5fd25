"""Mutants and programs of any text: never an error, always valid, always the same."""

import ast

from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.languages import all_languages, executable, get
from magicoder.text.mutants import mutants
from magicoder.text.programs import check_of, code_of, without_start
from magicoder.text.syntax import parses

FENCES = {name: language.name for language in (*all_languages(), *executable()) for name in language.fences}
LANGUAGES = [language.name for language in all_languages()]

atoms = st.sampled_from(["a", "b", "0", "1", "2.5", "True", "'x'", "None", "[a]", "f(a)", "a[0]", "-a", "f'{a + 1}'"])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "//", "%", "<<", "&", "**"]), inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["<", "<=", "==", "is", "in", "not in"]), inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("(not {})".format, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("[x for x in {} if {}]".format, inner, inner),
    ),
    max_leaves=8,
)
statements = st.one_of(
    st.builds("c = {}".format, expressions),
    st.builds("a += {}".format, expressions),
    st.builds("a.b = {}".format, expressions),
    st.builds("f({}, k={})".format, expressions, expressions),
    st.builds("return {}".format, expressions),
    st.builds("raise E({})".format, expressions),
    st.builds("assert {}, 'é 🎲'".format, expressions),
)
functions = st.builds(
    "def g(a, b: int = {}):\n    'é'\n    if {}:\n        {}\n    while {}:\n        break\n    {}; {}\n".format,
    expressions, expressions, statements, expressions, statements, statements,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(functions)
def test_every_mutant_of_python_compiles_to_something_else(text: str) -> None:
    python = get("python")
    found = mutants(text, python, 50)
    assert found == mutants(text, python, 50)
    assert len({"".join(m.text.split()) for m in found} | {"".join(text.split())}) == len(found) + 1
    for mutant in found:
        ast.parse(mutant.text)
        assert parses(mutant.text, python)
    assert mutants(text, python, 3) == [m for m in found if m in mutants(text, python, 3)]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200), st.sampled_from(LANGUAGES))
def test_no_text_is_an_error(text: str, language: str) -> None:
    for mutant in mutants(text, get(language), 5):
        assert parses(mutant.text, get(language))
    without_start(text)
    code = code_of(f"{text}\n```{language}\n{text}\n```\n```\n{text}", language, FENCES)
    if code is not None:
        assert check_of(code, "", "").program.files
        assert check_of(code, "x", "assert").checked == "tests"


@settings(max_examples=100, deadline=None)
@given(st.lists(functions, min_size=1, max_size=3))
def test_taking_the_start_away_keeps_the_lines(parts: list[str]) -> None:
    text = "\n".join([*parts, "if __name__ == '__main__':\n    g()\n", *parts])
    assert without_start(text).count("\n") == text.count("\n")
    assert "__main__" not in without_start(text)
