"""Windows of lines, drawn our way."""

import itertools
from collections import Counter

from magicoder.text.draws import Draws
from magicoder.text.windows import ExactWindows, Window, draw_windows, without_metadata

TEXT = "".join(f"line {i}\n" for i in range(1, 101))


def rng(key: str = "a") -> Draws:
    return Draws(976, key)


def test_a_window_is_a_run_of_whole_lines() -> None:
    for key in range(200):
        (window,) = draw_windows(TEXT, rng(str(key)))
        lines = TEXT.splitlines(keepends=True)
        assert window.text == "".join(lines[window.first_line - 1 : window.last_line])
        assert 1 <= window.last_line - window.first_line + 1 <= 15


def test_the_same_generator_draws_the_same_window() -> None:
    assert draw_windows(TEXT, rng()) == draw_windows(TEXT, rng())
    assert draw_windows(TEXT, rng("a")) != draw_windows(TEXT, rng("b"))


def test_starts_and_sizes_are_uniform() -> None:
    windows = [draw_windows(TEXT, rng(str(key)))[0] for key in range(6000)]
    starts = Counter(w.first_line for w in windows)
    assert len(starts) == 100
    assert max(starts.values()) < 110  # 60 expected; 110 is six standard deviations away
    sizes = Counter(w.last_line - w.first_line + 1 for w in windows if w.first_line <= 86)
    assert set(sizes) == set(range(1, 16))
    assert max(sizes.values()) < 1.35 * min(sizes.values())


def test_the_last_line_needs_no_newline() -> None:
    assert draw_windows("only", rng()) == [Window(1, 1, "only")]
    assert draw_windows("a\nb", rng(), min_lines=2) == [Window(1, 2, "a\nb")]
    assert draw_windows("a\nb\n", rng(), min_lines=2) == [Window(1, 2, "a\nb\n")]


def test_carriage_returns_stay() -> None:
    assert draw_windows("a\r\nb\r\n", rng(), min_lines=2, max_lines=2) == [Window(1, 2, "a\r\nb\r\n")]


def test_only_newlines_end_lines() -> None:
    text = "a\x0cb\u2028c\x85d\re"
    assert draw_windows(text, rng()) == [Window(1, 1, text)]


def test_a_blank_text_has_no_window() -> None:
    for text in ("", "\n", " \n\t\n", "\r\n\r\n", "\x0c\n"):
        assert draw_windows(text, rng()) == []


def test_a_window_is_never_blank() -> None:
    text = "\n" * 500 + "code\n" + "\n" * 500
    for key in range(100):
        (window,) = draw_windows(text, rng(str(key)))
        assert "code" in window.text
        assert window.first_line <= 501 <= window.last_line


def test_several_windows_do_not_overlap_and_stand_in_order() -> None:
    for key in range(100):
        windows = draw_windows(TEXT, rng(str(key)), count=5)
        assert len(windows) >= 2
        for a, b in itertools.pairwise(windows):
            assert a.last_line < b.first_line


def test_asking_for_more_windows_keeps_the_first_ones() -> None:
    for key in range(50):
        sets = [set(draw_windows(TEXT, rng(str(key)), count=count)) for count in (1, 2, 3, 6)]
        for smaller, larger in itertools.pairwise(sets):
            assert smaller <= larger


def test_a_short_text_gives_fewer_windows_than_asked_for() -> None:
    assert 1 <= len(draw_windows("a\nb\nc\n", rng(), count=10)) <= 3


def test_the_least_number_of_lines_is_kept_where_the_text_has_them() -> None:
    for key in range(200):
        (window,) = draw_windows(TEXT, rng(str(key)), min_lines=10, max_lines=12)
        assert 10 <= window.last_line - window.first_line + 1 <= 12
    assert draw_windows("a\nb\n", rng(), min_lines=10, max_lines=12) == [Window(1, 2, "a\nb\n")]


def test_the_metadata_line_of_starcoderdata_goes() -> None:
    assert without_metadata("<reponame>a/b<filename>c.py<gh_stars>10-100\nimport x\n") == "import x\n"
    assert without_metadata("<gh_stars>0\nimport x\n") == "import x\n"
    assert without_metadata("<filename>c.py") == ""
    assert without_metadata("import x\n<reponame>a\n") == "import x\n<reponame>a\n"
    assert without_metadata("<html>\n") == "<html>\n"


def test_exact_windows_count_lines_by_newlines() -> None:
    """The original also splits at form feeds, but a line number is what an editor shows."""
    text = "a\x0cb\nc\u2028d\ne\n"
    drawn = ExactWindows()
    for _ in range(200):
        window = drawn.draw(text)
        assert window is not None
        at = text.find(window.text)
        assert window.first_line == 1 + text[:at].count("\n")
        assert window.last_line == 1 + text[: at + len(window.text) - 1].count("\n")


def test_an_empty_text_moves_no_exact_window() -> None:
    with_empty, without = ExactWindows(), ExactWindows()
    first = [with_empty.draw(t) for t in (TEXT, "", TEXT)]
    second = [without.draw(t) for t in (TEXT, TEXT)]
    assert first[1] is None
    assert [first[0], first[2]] == second


def test_an_exact_stream_can_begin_at_any_batch() -> None:
    whole = ExactWindows(chunk_size=10)
    windows = [whole.draw(TEXT) for _ in range(35)]
    later = ExactWindows(first_row=20, chunk_size=10)
    assert [later.draw(TEXT) for _ in range(15)] == windows[20:]
