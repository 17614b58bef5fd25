"""Who passes whose tests: which solution is believed, and how hard the problem is called."""

import pytest

from magicoder.text.agreement import Choice, choose, difficulty

Y, N = True, False


def test_those_who_pass_each_others_tests_are_believed() -> None:
    choice = choose([[Y, N, N, N], [N, Y, Y, Y], [N, Y, Y, Y], [N, Y, Y, Y]])
    assert (choice.best, choice.tests) == (1, (1, 2, 3))
    assert (choice.pass_rate, choice.agreement) == (0.75, 0.75)


def test_passing_its_own_tests_alone_counts_for_nothing() -> None:
    choice = choose([[N, N, N], [N, Y, N], [Y, N, N]])
    assert (choice.best, choice.tests) == (2, (0,))


def test_of_equals_the_first_is_taken() -> None:
    assert choose([[Y, Y], [Y, Y]]).best == 0
    assert choose([[Y, N], [N, Y]]).best == 0


def test_where_nobody_passes_anything_the_first_stands_and_the_problem_is_failed() -> None:
    choice = choose([[N, N], [N, N]])
    assert choice == Choice(best=0, tests=(), pass_rate=0.0, agreement=0.0)
    assert difficulty(choice, "kodcode") == "fail"
    assert difficulty(choice, "rstar_coder") == "unsettled"


def test_one_who_passes_more_than_the_chosen_tests_passes_them() -> None:
    choice = choose([[Y, Y, N], [Y, Y, N], [Y, Y, Y]])
    assert (choice.best, choice.pass_rate, choice.agreement) == (0, 1.0, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("rate", "word"), [(1.0, "easy"), (0.7, "easy"), (2 / 3, "medium"), (1 / 3, "medium"), (0.3, "hard"), (0.0, "fail")]
)
def test_the_bands_of_kodcode(rate: float, word: str) -> None:
    assert difficulty(Choice(best=0, tests=(), pass_rate=rate, agreement=0.0), "kodcode") == word


@pytest.mark.parametrize(("share", "word"), [(1.0, "agreed"), (0.6, "agreed"), (0.4, "contested"), (0.39, "unsettled")])
def test_the_bands_of_rstar_coder(share: float, word: str) -> None:
    assert difficulty(Choice(best=0, tests=(), pass_rate=0.0, agreement=share), "rstar_coder") == word
