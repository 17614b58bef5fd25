"""The learning rate of each step, in both modes."""

import pytest

from magicoder.training.schedule import learning_rate
from magicoder.training.settings import SCHEDULES, Optimization

PAPER = Optimization()


def rates(total: int, optimization: Optimization, mode: str) -> list[float]:
    return [learning_rate(step, total, optimization, mode) for step in range(1, total + 1)]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("total", "warmup"), [(292, 15), (434, 15), (20, 0), (20, 1), (7, 7), (5, 15)])
def test_paper_exact_rates_are_those_of_transformers(schedule: str, total: int, warmup: int) -> None:
    torch = pytest.importorskip("torch")
    optimization = pytest.importorskip("transformers.optimization")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PAPER.learning_rate)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = optimization.get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    expected = []
    for _ in range(total):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = rates(total, Optimization(schedule=schedule, warmup_steps=warmup), "paper-exact")
    assert ours == expected


def test_the_original_moves_nothing_in_its_first_step() -> None:
    assert learning_rate(1, 292, PAPER, "paper-exact") == 0.0
    assert learning_rate(16, 292, PAPER, "paper-exact") == 5e-5


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 15])
def test_clean_rates_reach_the_peak_at_the_end_of_the_warm_up_and_are_never_zero(schedule: str, warmup: int) -> None:
    found = rates(292, Optimization(schedule=schedule, warmup_steps=warmup), "clean")
    assert found[max(warmup, 1) - 1] == max(found) == 5e-5
    assert min(found) > 0
    rising, falling = found[: max(warmup, 1)], found[max(warmup, 1) - 1 :]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)


def test_a_run_shorter_than_its_warm_up_only_rises() -> None:
    assert rates(3, PAPER, "clean") == pytest.approx([5e-5 / 15, 1e-4 / 15, 1.5e-4 / 15])


def test_a_step_outside_the_run_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        learning_rate(0, 10, PAPER, "clean")
