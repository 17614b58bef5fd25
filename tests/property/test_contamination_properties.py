"""The search against its definition, and planted texts against the search."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.records import Task
from magicoder.text.fingerprints import Letters, Marks, marks_of
from magicoder.text.identifiers import code
from magicoder.text.ngrams import Statements, grams_of, plain_words
from magicoder.text.patterns import patterns_of
from magicoder.text.substrings import Automaton, Match, letters, locate, lowered

TEXT = st.text(alphabet=st.sampled_from("abAB \n\r\t#*_.12éΣß\u00a0"), max_size=40)
ANY = st.text(max_size=60)
CALM = settings(deadline=None)


def occurrences(pattern: bytes, text: bytes) -> list[int]:
    return [i for i in range(len(text)) if text.startswith(pattern, i)]


@CALM
@given(st.lists(TEXT, max_size=8), TEXT, st.sampled_from([letters, lowered]))
def test_the_automaton_finds_what_the_naive_search_finds(patterns: list[str], text: str, form) -> None:
    forms = [f for p in patterns if (f := form(p))]
    searched = form(text)
    naive = sorted((start, number) for number, f in enumerate(forms) for start in occurrences(f, searched))
    automaton = Automaton(forms)
    assert [(m.start, m.pattern) for m in automaton.matches(searched)] == naive
    first = next((Match(n, searched.index(f)) for n, f in enumerate(forms) if f in searched), None)
    assert automaton.first(searched) == first


@CALM
@given(ANY, ANY, ANY, st.sampled_from([str, str.upper, str.lower]), st.sampled_from(["", " ", "\r\n", "\n\n\t# "]))
def test_a_planted_text_is_found_whatever_its_case_and_surroundings(before, planted, after, case, space) -> None:
    assert letters(planted.replace("ı", "i")) in letters(
        before + space + case(planted.replace("ı", "i")) + space + after
    )


@CALM
@given(ANY, TEXT, TEXT)
def test_letters_finds_whatever_lowered_finds(before: str, planted: str, after: str) -> None:
    text = before + planted + after
    if lowered(planted) in lowered(text):
        assert letters(planted) in letters(text)


@CALM
@given(ANY, ANY, ANY)
def test_a_position_points_at_the_planted_text(before: str, planted: str, after: str) -> None:
    if form := letters(planted):
        text = before + planted + after
        start = letters(text).index(form)
        assert letters(text[locate(text, start, letters) :])[: len(form) + 8].find(form) in range(8)


@CALM
@given(st.lists(st.tuples(ANY, ANY, ANY), max_size=6), st.integers(1, 30))
def test_every_text_of_every_task_is_searched_for_or_reported(texts, floor: int) -> None:
    tasks = [
        Task(id=str(i), benchmark="b", language="", prompt=p + d, description=d, reference=r)
        for i, (p, d, r) in enumerate(texts)
    ]
    found = patterns_of(tasks, floor)
    reported = {entry.split()[1] for entry in (*found.short, *found.trivial, *found.unsearched)}
    searched = {p.task for p in found.searched}
    assert all(len(p.form) >= floor for p in found.searched)
    assert searched | {entry.split()[1] for entry in found.unsearched} == {t.id for t in tasks}
    for task in tasks:
        whole = letters(task.prompt + task.reference)
        if task.id in searched:
            assert any(p.form in whole for p in found.searched if p.task == task.id)
        else:
            assert len(letters(task.reference)) < floor or task.id in reported


@CALM
@given(st.lists(TEXT, max_size=6), st.lists(TEXT, max_size=5), st.integers(1, 4))
def test_figures_find_what_the_texts_find(patterns: list[str], texts: list[str], n: int) -> None:
    forms = [f for p in patterns if len(f := letters(p)) >= n]
    searched = [letters(text) for text in texts]
    marks = Marks(marks_of([Letters(f) for f in forms], 1, n), 1, n)
    automaton = Automaton(forms)
    assert marks.first([Letters(t) for t in searched]) == [automaton.first(t) for t in searched]


VARIABLES = ["a", "b", "total", "list", "max"]
NAMES = st.sampled_from(VARIABLES)
LINE = st.builds("if {} < {}: {} = len({}[0].size) + {}".format, NAMES, NAMES, NAMES, NAMES, NAMES)


@CALM
@given(
    st.lists(LINE, min_size=2, max_size=6), st.permutations([*VARIABLES, "y", "z"]), st.sampled_from(["", "  # it's"])
)
def test_code_is_known_again_after_any_renaming_that_keeps_names_apart(lines, others, remark: str) -> None:
    new = dict(zip(VARIABLES, others, strict=False))
    text = "\n".join(lines)
    renamed = "\n".join(re.sub(r"\b(?:a|b|total|list|max)\b", lambda m: new[m[0]], line) + remark for line in lines)
    first, second = code(text), code(f"x.y\n{renamed}\nend")
    size = len(first.tokens)
    (match,) = Marks(marks_of([first], 4), 4).first([second])
    assert match == Match(0, 2)
    assert second.strong(2, size) == first.strong(0, size)


@CALM
@given(st.lists(LINE, min_size=1, max_size=3), NAMES, NAMES)
def test_code_in_which_one_name_became_another_that_is_there_is_other_code(lines, one: str, other: str) -> None:
    text = "\n".join(lines) + "\nreturn a, b"
    mixed = re.sub(rf"\b{one}\b", other, text)
    first, second = code(text), code(mixed)
    size = len(first.tokens)
    # A name that is assigned to does not count; that of every other place does.
    read = re.sub(r"\w+ =(?!=)", "=", text)
    used = {name for name in (one, other) if re.search(rf"\b{name}\b", read)}
    assert (first.strong(0, size) == second.strong(0, size)) == (len({one, other} & used) < 2 or one == other)


@CALM
@given(st.lists(st.sampled_from("alpha beta gamma delta".split()), min_size=1, max_size=60), st.integers(0, 40))  # noqa: SIM905
def test_an_overlap_is_the_share_of_the_sequences_that_a_text_holds(words: list[str], cut: int) -> None:
    statement, text = " ".join(words), " ".join(words[cut:])
    grams, held = (
        grams_of(statement),
        {tuple(w) for w in zip(*(plain_words(text)[i:] for i in range(10)), strict=False)},
    )
    if not grams:
        assert len(words) < 10
        return
    (found,) = Statements([grams], 1e-9).first([text])
    expected = sum(grams_of(b" ".join(w).decode())[0] in grams for w in held)
    assert (found.found if found else 0) == expected
