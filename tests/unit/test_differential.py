"""Functions tested on many inputs: what is sent, what is kept, and what a judge makes of it, without a sandbox."""

import math
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicoder.benchmarks import _differential, _mbpp_inputs, _plain_values
from magicoder.benchmarks._differential import Differential, Recorder, with_questions

numbers = st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans())
leaves = st.one_of(st.none(), numbers, st.text(), st.binary(), st.complex_numbers(allow_nan=False))
hashable = st.one_of(leaves, st.tuples(leaves, leaves))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(hashable, inner), st.sets(hashable)
    ),
    max_leaves=12,
)


@given(values)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    back = _plain_values.loads(_plain_values.dumps(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [Counter("aab"), -math.inf, 2**80, frozenset({1}), [(1, [2.0])], -0.0])
def test_types_survive(value: Any) -> None:
    back = _plain_values.loads(_plain_values.dumps(value))
    assert (repr(back), type(back)) == (repr(value), type(value))


def test_what_is_no_plain_data_is_refused() -> None:
    with pytest.raises(_plain_values.Unwritable, match="object"):
        _plain_values.dumps([object()])


def loaded(code: str) -> Callable[..., Any]:
    """Run a program here, as a sandbox would there."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(with_questions(code), space)
    return space[_differential.ENTRY_POINT]


@pytest.fixture(autouse=True)
def own_limits() -> Iterator[None]:
    """What runs in a sandbox sets limits of its process, which is ours here."""
    limits, handler = resource.getrlimit(resource.RLIMIT_CPU), signal.getsignal(signal.SIGXCPU)
    yield
    resource.setrlimit(resource.RLIMIT_CPU, limits)
    signal.signal(signal.SIGXCPU, handler)


@pytest.fixture
def asked() -> dict[str, Any]:
    return {"benchmark": "humaneval_plus", "number": 0, "function": "f"}


def recorded(tmp_path: Path, code: str, inputs: str, asked: dict[str, Any]) -> Path:
    place = tmp_path / "task.json.z"
    Recorder(**asked, inputs=inputs, place=str(place))(loaded(code))
    _differential.load.cache_clear()
    return place


def judge(place: Path, asked: dict[str, Any], **changed: Any) -> Differential:
    count = len(_differential.load(str(place), "humaneval_plus", 0).digests)
    settings = {
        "answers": "",
        "first": 0,
        "last": count,
        "rule": "equal",
        "atol": 0.0,
        "faults": (),
        "least_cpu_s": 4.0,
    }
    return Differential(**asked, **{**settings, **changed}, place=str(place))


SQUARES = "[" + ",".join(f"[{n}]" for n in range(40)) + "]"


def test_the_canonical_solution_passes_its_own_tests(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return n * n", SQUARES, asked)
    judge(place, asked)(loaded("def f(x): return x ** 2"))


def test_equal_answers_of_other_types_are_looked_at(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return [n, {n}, n > 3]", SQUARES, asked)
    judge(place, asked)(loaded("def f(n): return [float(n), {n, n}, int(n > 3)]"))


def test_a_wrong_answer_is_shown_with_its_input(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return n * n", SQUARES, asked)
    with pytest.raises(AssertionError, match=r"test 21: f\(21\) is 0, expected 441"):
        judge(place, asked)(loaded("def f(n): return 0 if n == 21 else n * n"))


def test_an_exception_counts_where_it_happens_and_no_sooner(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return n", SQUARES, asked)
    with pytest.raises(ZeroDivisionError):
        judge(place, asked)(loaded("def f(n): return n if n != 20 else 1 / 0"))
    with pytest.raises(AssertionError, match="test 19"):
        judge(place, asked)(loaded("def f(n): return n if n < 19 else -1 if n == 19 else 1 / 0"))


def test_a_function_that_is_not_there_is_a_name_error(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return n", SQUARES, asked)
    with pytest.raises(NameError, match="'f' is not defined"):
        judge(place, asked)(loaded("def g(n): return n"))


def test_a_program_may_call_its_functions_what_it_likes(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return n", SQUARES, asked)
    own = "\n".join(f"{name} = None" for name in ("sum", "list", "set", "map", "time", "hashlib", "sys", "len", "min"))
    judge(place, asked)(loaded(f"{own}\ndef f(n): return n"))


def test_what_a_function_does_to_its_last_answer_does_not_matter(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return [n, 0.5]", SQUARES, asked)
    shared = "kept = [0.0, 0.5]\ndef f(n):\n    kept[0] = float(n)\n    return kept"
    judge(place, asked)(loaded(shared))


def test_what_a_function_prints_goes_nowhere(
    tmp_path: Path, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    place = recorded(tmp_path, "def f(n): return n", SQUARES, asked)
    judge(place, asked)(loaded("def f(n):\n    print('noise')\n    return n"))
    assert capsys.readouterr().out == ""


def test_long_lists_of_numbers_are_equal_whatever_their_types(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return [float(i) for i in range(n)]", "[[50],[100000]]", asked)
    judge(place, asked)(loaded("def f(n): return list(range(n))"))
    with pytest.raises(AssertionError, match="test 1"):
        judge(place, asked)(loaded("def f(n): return list(range(n)) if n < 100 else [*range(n - 1), -1.0]"))


def test_large_answers_lie_in_a_file_of_their_own(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return [[i, str(i)] for i in range(n)]", "[[10],[20000]]", asked)
    known = _differential.load(str(place), "humaneval_plus", 0)
    assert known.large[0] is None
    assert known.large[1] is not None
    assert known.expected(1)[-1] == [19999, "19999"]
    with pytest.raises(AssertionError, match="test 1"):
        judge(place, asked)(loaded("def f(n): return [[i, str(i)] for i in range(n)][: 19999]"))


def test_of_very_large_texts_only_the_digest_is_kept(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return [('a' * 1000,)] * n", "[[5000]]", asked)
    known = _differential.load(str(place), "humaneval_plus", 0)
    assert known.decides(0)
    judge(place, asked)(loaded("def f(n): return [('a' * 1000,) for _ in range(n)]"))
    with pytest.raises(AssertionError, match="another text"):
        judge(place, asked)(loaded("def f(n): return [['a' * 1000] for _ in range(n)]"))


def test_a_tolerance_holds_from_the_first_float_on_in_the_harness_and_always_in_strict(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    place = recorded(tmp_path, "def f(n): return n / 2 if n == 3 else n", "[[1],[3],[5]]", asked)
    late = loaded("def f(n): return n / 2 if n == 3 else n + (1e-9 if n == 5 else 0)")
    early = loaded("def f(n): return n / 2 if n == 3 else n + (1e-9 if n == 1 else 0)")
    judge(place, asked, faults=("late-tolerance",))(late)
    judge(place, asked)(late)
    judge(place, asked)(early)
    with pytest.raises(AssertionError, match="test 0"):
        judge(place, asked, faults=("late-tolerance",))(early)


def test_a_range_of_tests_is_run_alone(tmp_path: Path, asked: dict[str, Any]) -> None:
    place = recorded(tmp_path, "def f(n): return n", SQUARES, asked)
    fails_late = "def f(n): return n if n < 30 else -1"
    judge(place, asked, last=30)(loaded(fails_late))
    with pytest.raises(AssertionError, match="test 0: f"):
        judge(place, asked, first=30)(loaded(fails_late))


def test_a_place_is_no_part_of_a_judge(tmp_path: Path, asked: dict[str, Any]) -> None:
    from magicoder.fingerprint import digest

    settings = {"answers": "x", "first": 0, "last": 1, "rule": "equal", "atol": 0.0, "faults": (), "least_cpu_s": 4.0}
    one, two = (Differential(**asked, **settings, place=place) for place in ("/one", "/two"))
    assert digest(one) == digest(two)


def test_inputs_of_mbpp_get_their_types() -> None:
    assert _mbpp_inputs.converted(2, [[[1, 2], [3]]]) == [[(1, 2), (3,)]]
    assert _mbpp_inputs.converted(115, [[[[1], []]]]) == [[[{1}, {}]]]
    assert _mbpp_inputs.converted(124, [["1", "1j"]]) == [[1.0, 1j]]
    assert _mbpp_inputs.converted(580, [[[1, [2, []]]]]) == [[(1, (2, ()))]]
    assert _mbpp_inputs.converted(722, [[{"a": [1]}, 2, 3]]) == [[{"a": (1,)}, 2, 3]]
    assert _mbpp_inputs.converted(278, [[[1, [2]]]]) == [[(1, (2,))]]
    assert _mbpp_inputs.converted(3, [[[1, 2]]]) == [[[1, 2]]]
