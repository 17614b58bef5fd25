"""The search against its definition, and planted texts against the search."""

from hypothesis import given
from hypothesis import strategies as st

from magicoder.records import Task
from magicoder.stages.decontaminate import patterns_of
from magicoder.text.substrings import Automaton, Match, letters, locate, lowered

TEXT = st.text(alphabet=st.sampled_from("abAB \n\r\t#*_.12éΣß\u00a0"), max_size=40)
ANY = st.text(max_size=60)


def occurrences(pattern: bytes, text: bytes) -> list[int]:
    return [i for i in range(len(text)) if text.startswith(pattern, i)]


@given(st.lists(TEXT, max_size=8), TEXT, st.sampled_from([letters, lowered]))
def test_the_automaton_finds_what_the_naive_search_finds(patterns: list[str], text: str, form) -> None:
    forms = [f for p in patterns if (f := form(p))]
    searched = form(text)
    naive = sorted((start, number) for number, f in enumerate(forms) for start in occurrences(f, searched))
    automaton = Automaton(forms)
    assert [(m.start, m.pattern) for m in automaton.matches(searched)] == naive
    first = next((Match(n, searched.index(f)) for n, f in enumerate(forms) if f in searched), None)
    assert automaton.first(searched) == first


@given(ANY, ANY, ANY, st.sampled_from([str, str.upper, str.lower]), st.sampled_from(["", " ", "\r\n", "\n\n\t# "]))
def test_a_planted_text_is_found_whatever_its_case_and_surroundings(before, planted, after, case, space) -> None:
    assert letters(planted.replace("ı", "i")) in letters(
        before + space + case(planted.replace("ı", "i")) + space + after
    )


@given(ANY, TEXT, TEXT)
def test_letters_finds_whatever_lowered_finds(before: str, planted: str, after: str) -> None:
    text = before + planted + after
    if lowered(planted) in lowered(text):
        assert letters(planted) in letters(text)


@given(ANY, ANY, ANY)
def test_a_position_points_at_the_planted_text(before: str, planted: str, after: str) -> None:
    if form := letters(planted):
        text = before + planted + after
        start = letters(text).index(form)
        assert letters(text[locate(text, start, letters) :])[: len(form) + 8].find(form) in range(8)


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
