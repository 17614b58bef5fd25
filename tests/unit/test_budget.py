"""What a request costs at worst, and the cap that no run exceeds, killed or not."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from magicoder import budget as budgets
from magicoder import prices
from magicoder.budget import Budget
from magicoder.errors import RecipeError, StoreError
from magicoder.prices import NANOS, check_bounded, worst_case
from magicoder.protocols import Purse
from tests.priced import answer, asking, priced

# The worst case


def test_the_worst_case_counts_bytes_allowances_and_every_text() -> None:
    price = priced(1, 2)
    assert worst_case(asking("x" * 100, max_tokens=50, n=3), price) == (100 + 16 + 256 + 2 * 150) / 1e6
    assert worst_case(asking("é" * 100), price) > worst_case(asking("x" * 150), price)
    assert worst_case(asking("x"), price, body_bytes=5000) > worst_case(asking("x" * 4000), price)


def test_a_text_that_grows_when_normalised_counts_at_its_longest() -> None:
    assert prices.prompt_bound(asking("\ufdfa")) >= len("صلى الله عليه وسلم".encode()) + 16 + 256
    assert prices.prompt_bound(asking("\U0001d160")) >= 12 + 16 + 256


def test_a_prompt_without_a_limit_cannot_be_bounded_unless_it_is_free() -> None:
    with pytest.raises(RecipeError, match="set max_tokens"):
        worst_case(asking(max_tokens=None), priced())
    assert worst_case(asking(max_tokens=None), priced(0, 0)) == 0


def test_what_is_billed_otherwise_is_refused() -> None:
    check_bounded({"top_p": None, "reasoning_effort": "low"})
    for name in ("max_tokens", "service_tier", "tools"):
        with pytest.raises(RecipeError, match=f"extra_body sets {name}"):
            check_bounded({name: None})


# The cap


WORST = priced().nanos(100 + 16 + 256, 1000)  # of `asking()`


def test_nothing_is_sent_for_which_there_is_no_room(tmp_path: Path) -> None:
    with Budget.opened(tmp_path / "budget.json", 2.5 * WORST / NANOS, priced()) as budget:
        purse: Purse = budget
        assert [purse.reserve(t, asking(), 90) for t in range(3)] == [True, True, False]
        assert budget.outstanding_usd == 2 * WORST / NANOS
        assert budget.remaining_usd == 0.5 * WORST / NANOS
        assert not budget.affords_nothing(asking(), 90)
        purse.settle(0, answer(50, 400))
        assert budget.spent_usd == priced().usd(50, 400)
        assert purse.reserve(2, asking(), 90)
        purse.settle(1, None)
        purse.settle(2, None, maybe_paid=True)
        assert budget.spent_usd == pytest.approx(priced().usd(50, 400) + WORST / NANOS)
        assert budget.outstanding_usd == 0
        assert budget.note == "$0.00 of $0.01 spent"


def test_the_limit_is_kept_to_the_last_nano_dollar(tmp_path: Path) -> None:
    with Budget.opened(tmp_path / "enough.json", WORST / NANOS, priced()) as budget:
        assert budget.reserve(0, asking(), 0)
        budget.settle(0, None)
    with Budget.opened(tmp_path / "short.json", (WORST - 1) / NANOS, priced()) as budget:
        assert not budget.reserve(0, asking(), 0)


def test_when_even_free_settlements_would_not_help_it_says_so(tmp_path: Path) -> None:
    with Budget.opened(tmp_path / "budget.json", WORST / NANOS, priced()) as budget:
        assert budget.affords_nothing(asking("x" * 101), 0)
        assert budget.reserve(0, asking(), 0)
        budget.settle(0, None, maybe_paid=True)
        assert budget.affords_nothing(asking("", max_tokens=1), 0)


def test_usage_that_a_server_does_not_report_counts_at_its_worst(tmp_path: Path) -> None:
    with Budget.opened(tmp_path / "budget.json", 1.0, priced()) as budget:
        for ticket, (reported, counted) in enumerate(
            [((0, 0), (372, 1000)), ((40, 0), (40, 1000)), ((0, 7), (372, 7)), ((40, 7), (40, 7))]
        ):
            before = budget.spent_usd
            budget.reserve(ticket, asking(), 0)
            budget.settle(ticket, answer(*reported))
            assert budget.spent_usd - before == pytest.approx(priced().usd(*counted), abs=1e-12)


def test_a_retry_counts_the_lost_attempt_in_full(tmp_path: Path) -> None:
    with Budget.opened(tmp_path / "budget.json", 2 * WORST / NANOS, priced()) as budget:
        assert budget.reserve(0, asking(), 0)
        assert budget.again(0)
        assert (budget.spent_usd, budget.outstanding_usd) == (WORST / NANOS, WORST / NANOS)
        assert not budget.again(0)
        assert (budget.spent_usd, budget.outstanding_usd) == (2 * WORST / NANOS, 0)
        budget.settle(0, None, maybe_paid=True)  # what the session hands over then
        assert budget.spent_usd == 2 * WORST / NANOS


def test_a_bill_beyond_the_worst_case_counts_in_full_and_makes_later_reservations_larger(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    limit = 100 * WORST
    with Budget.opened(path, limit / NANOS, priced()) as budget:
        for ticket in range(20):
            assert budget.reserve(ticket, asking(), 0)
        for ticket in range(20):  # ten times max_tokens of hidden reasoning each
            budget.settle(ticket, answer(100, 10_000))
        bill = 20 * priced().nanos(100, 10_000)
        assert budget.spent_usd == bill / NANOS
        assert bill > limit
        assert json.loads(path.read_text())["nano_usd"] >= bill
        assert not budget.reserve(21, asking(), 0)
        assert budget.remaining_usd == 0
    with Budget.opened(path, 2 * limit / NANOS, priced()) as budget:
        budget.reserve(0, asking(), 0)
        budget.settle(0, answer(100, 3000))
        budget.reserve(1, asking(), 0)
        budget.settle(1, answer(100, 2000))
        budget.reserve(2, asking(), 0)
        assert budget.outstanding_usd == priced().usd(372, 3000)  # factors do not pile up


def test_a_clean_end_keeps_exactly_what_was_spent_and_a_higher_limit_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "budget.json"
    with Budget.opened(path, WORST / NANOS, priced()) as budget:
        budget.reserve(0, asking(), 0)
        budget.settle(0, answer(300, 1000))
    spent = priced().nanos(300, 1000)
    assert json.loads(path.read_text()) == {"budget": 1, "nano_usd": spent}
    with Budget.opened(path, WORST / NANOS, priced()) as budget:
        assert budget.spent_usd == spent / NANOS
        assert not budget.reserve(0, asking(), 0)
    with Budget.opened(path, 2 * WORST / NANOS, priced()) as budget:
        assert budget.reserve(0, asking(), 0)


def test_an_error_leaves_what_was_on_its_way_as_spent(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"

    def failing() -> None:
        with Budget.opened(path, 1.0, priced()) as budget:
            budget.reserve(0, asking(), 0)
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    with Budget.opened(path, 1.0, priced()) as budget:
        assert budget.spent_usd == WORST / NANOS


def test_what_a_stopped_run_leaves_under_way_is_settled_by_the_next_one_at_what_it_costs(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    with Budget.opened(path, 2 * WORST / NANOS, priced()) as budget:
        for ticket in range(2):
            assert budget.reserve(ticket, asking(), 0)
        budget.leave({0: b"a", 1: b"b"})
    with Budget.opened(path, 2 * WORST / NANOS, priced()) as budget:
        assert not budget.reserve(7, asking(), 0)
        budget.adopt(7, b"a", asking(), 0)
        assert (budget.spent_usd, budget.outstanding_usd) == (WORST / NANOS, WORST / NANOS)
        budget.settle(7, answer(300, 1000))
    cost = priced().nanos(300, 1000)
    assert json.loads(path.read_text()) == {"budget": 1, "nano_usd": WORST + cost, "under_way": {b"b".hex(): WORST}}
    with Budget.opened(path, 2 * WORST / NANOS, priced()) as budget:
        budget.adopt(0, b"b", asking(), 0)
        budget.settle(0, None)  # it expired
    assert json.loads(path.read_text()) == {"budget": 1, "nano_usd": cost}


def test_what_was_counted_before_a_kill_is_not_counted_again_unless_it_is_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    path.write_text(json.dumps({"budget": 1, "nano_usd": 2 * WORST}))
    with Budget.opened(path, 2 * WORST / NANOS, priced()) as budget:
        budget.adopt(0, b"a", asking(), 0)
        budget.settle(0, answer(300, 1000))
        budget.adopt(1, b"b", asking(), 0)
        assert not budget.cover(1), "it expired, and is to be sent anew"
        budget.settle(1, None)
        assert budget.spent_usd == 2 * WORST / NANOS
    with Budget.opened(path, 3 * WORST / NANOS, priced()) as budget:
        budget.adopt(0, b"b", asking(), 0)
        assert budget.cover(0)
        budget.settle(0, answer(300, 1000))
        assert budget.spent_usd == (2 * WORST + priced().nanos(300, 1000)) / NANOS


KILLED = """
import os, signal, sys
from pathlib import Path
from magicoder.budget import Budget
from tests.priced import answer, asking, priced

with Budget.opened(Path(sys.argv[1]), float(sys.argv[2]), priced()) as budget:
    for ticket in range(int(sys.argv[3])):
        assert budget.reserve(ticket, asking(), 0)
        if ticket >= 5:
            budget.settle(ticket - 5, answer(300, 900))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_nothing_is_forgotten_and_at_most_one_step_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    limit = 1000 * WORST
    command = [sys.executable, "-c", KILLED, str(path), str(limit / NANOS), "40"]
    ended = subprocess.run(command, cwd=Path(__file__).parent.parent.parent, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    paid = 35 * priced().nanos(300, 900)
    with Budget.opened(path, limit / NANOS, priced()) as budget:
        found = round(budget.spent_usd * NANOS)
        assert paid + 5 * priced().nanos(300, 900) <= found <= paid + 6 * WORST + limit // 100


def test_the_mark_is_written_about_a_hundred_times_however_many_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []
    write = budgets.write_atomic
    monkeypatch.setattr(budgets, "write_atomic", lambda path, data: (writes.append(data), write(path, data)))
    with Budget.opened(tmp_path / "budget.json", 3000 * WORST / NANOS, priced()) as budget:
        for ticket in range(5000):
            if not budget.reserve(ticket, asking(), 0):
                break
            budget.settle(ticket, answer(300, 900))
            mark = json.loads(writes[-1])["nano_usd"]
            assert round((budget.spent_usd + budget.outstanding_usd) * NANOS) <= mark <= 3000 * WORST
    assert ticket > 3000
    assert len(writes) <= 110


def test_a_full_disk_is_explained_and_nothing_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    path = tmp_path / "budget.json"
    with Budget.opened(path, 1.0, priced()) as budget:
        with monkeypatch.context() as patch:
            patch.setattr(budgets, "write_atomic", full)
            with pytest.raises(StoreError, match="disk is full"):
                budget.reserve(0, asking(), 0)
        assert budget.outstanding_usd == 0
        assert budget.reserve(0, asking(), 0)
        budget.settle(0, None)
    assert json.loads(path.read_text())["nano_usd"] == 0


def test_two_runs_cannot_spend_from_one_budget(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    with (
        Budget.opened(path, 1.0, priced()),
        pytest.raises(StoreError, match=f"process {os.getpid()}.*is spending"),
        Budget.opened(path, 1.0, priced()),
    ):
        pass
    with Budget.opened(path, 1.0, priced()):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "damaged"), ("[]", "damaged"), ('{"budget": 1, "nano_usd": -1}', "damaged"),
     ('{"budget": 1, "nano_usd": 1.5}', "damaged"), ('{"budget": 1, "nano_usd": 1, "under_way": [1]}', "damaged"),
     ('{"budget": 1, "nano_usd": 1, "under_way": {"a": 2}}', "damaged"),
     ('{"budget": 2, "nano_usd": 1}', "another version")],
)  # fmt: skip
def test_a_damaged_budget_is_never_guessed_at(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "budget.json"
    path.write_text(content)
    with pytest.raises(StoreError, match=message), Budget.opened(path, 1.0, priced()):
        pass
    assert path.read_text() == content


def test_a_budget_needs_a_price_and_an_amount(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    with pytest.raises(RecipeError, match="usd_per_million_prompt_tokens and usd_per_million_completion_tokens"):
        Budget.opened(path, 1.0, None).__enter__()
    for amount in (-1.0, float("nan"), float("inf")):
        with pytest.raises(RecipeError, match="amount in US dollars"):
            Budget.opened(path, amount, priced()).__enter__()
