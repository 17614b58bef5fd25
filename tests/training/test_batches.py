from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.errors import RecipeError
from magicoder.training import batches, order
from magicoder.training.batches import MicroBatch, Step
from magicoder.training.settings import Batches

PAPER = Batches()
LAYOUTS = ("packed", "sorted", "rows")


def realistic(count: int = 5120) -> np.ndarray[Any, Any]:
    """Lengths as those of OSS-Instruct: log-normal, cut at the paper's window."""
    drawn = np.random.RandomState(0).lognormal(6.2, 0.45, count)
    return np.clip(drawn, 60, 1216).astype(np.int32)


def examples_of(micro: tuple[tuple[MicroBatch, ...], ...]) -> list[int]:
    return [i for hand in micro for one in hand for row in one.rows for i in row]


class TestPlan:
    @pytest.mark.parametrize(("count", "examples", "epochs"), [(1000, 64, 3), (64, 64, 2), (130, 64, 5), (65, 1, 1)])
    def test_every_step_has_exactly_the_given_examples(self, count: int, examples: int, epochs: int) -> None:
        plan = batches.plan(count, epochs, Batches(examples=examples), "clean", 42)
        steps = list(plan)
        assert len(plan) == len(steps) == epochs * (count // examples)
        assert {len(step.examples) for step in steps} == {examples}
        assert [step.number for step in steps] == list(range(1, len(steps) + 1))
        seen = Counter(i for step in steps for i in step.examples)
        assert max(seen.values()) <= epochs
        assert plan.unused == epochs * count - sum(seen.values())
        assert steps[-1].epoch == pytest.approx(len(steps) * examples / count)

    def test_an_epoch_is_whole_before_the_next_begins(self) -> None:
        plan = batches.plan(100, 3, Batches(examples=10), "clean", 42)
        seen = [i for step in plan for i in step.examples]
        epochs = [seen[start : start + 100] for start in (0, 100, 200)]
        assert all(sorted(epoch) == list(range(100)) for epoch in epochs)
        assert epochs[0] != epochs[1] != epochs[2]
        assert plan.unused == 0

    def test_too_few_examples_are_one_step_an_epoch(self) -> None:
        plan = batches.plan(7, 3, PAPER, "clean", 42)
        assert [sorted(step.examples) for step in plan] == [list(range(7))] * 3
        assert [step.epoch for step in plan] == [1.0, 2.0, 3.0]

    def test_the_seed_decides_the_order(self) -> None:
        first, again, other = (list(batches.plan(100, 1, Batches(examples=10), "clean", seed)) for seed in (1, 1, 2))
        assert first == again != other

    def test_the_order_never_changes_with_a_library(self) -> None:
        assert order.shuffled(10, 0, 42).tolist() == [7, 5, 9, 4, 3, 2, 8, 0, 6, 1]

    def test_steps_can_be_counted_from_the_end_and_sliced(self) -> None:
        plan = batches.plan(100, 1, Batches(examples=10), "clean", 42)
        assert plan[-1] == plan[9]
        assert plan[2:4] == [plan[2], plan[3]]
        with pytest.raises(IndexError):
            plan[10]

    @pytest.mark.parametrize("mode", ["clean", "paper-exact"])
    def test_nothing_to_train_on_is_refused(self, mode: str) -> None:
        with pytest.raises(RecipeError, match="no example is left"):
            batches.plan(0, 2, PAPER, mode, 42)

    def test_steps_that_the_original_cannot_form_are_refused(self) -> None:
        with pytest.raises(RecipeError, match="no multiple of 4"):
            batches.plan(100, 2, Batches(examples=10), "paper-exact", 42)


class TestTheOriginalsSteps:
    """Numbers of the paper: 75,197 rows of OSS-Instruct, 111,183 of Evol-Instruct."""

    @pytest.mark.parametrize(("rows", "pairs_a_process", "steps"), [(75_197, 18_800, 292), (111_183, 27_796, 434)])
    def test_the_papers_rows_make_its_steps(self, rows: int, pairs_a_process: int, steps: int) -> None:
        pytest.importorskip("torch")
        pairs = -(-rows // 2)
        assert pairs_a_process == -(-pairs // 2)
        plan = batches.plan(rows, 2, PAPER, "paper-exact", 42)
        assert len(plan) == steps == pairs_a_process // 128 * 2
        assert plan.unused == 2 * 4 * pairs_a_process - 512 * steps
        assert {step.sizes for step in (plan[0], plan[steps // 2], plan[-1])} == {(2,) * 256}
        # The second epoch begins within a step, not with one: what is left of the first goes before it.
        assert plan[steps // 2 - 1].epoch < 1 < plan[steps // 2].epoch
        assert plan[steps // 2].epoch == (steps // 2 + 1) * 512 / (4 * pairs_a_process)

    @pytest.mark.parametrize(("rows", "steps"), [(75_197, 292), (111_183, 434)])
    def test_the_clean_mode_has_as_many_steps(self, rows: int, steps: int) -> None:
        assert len(batches.plan(rows, 2, PAPER, "clean", 42)) == steps

    def test_one_process_takes_single_rows_at_an_epochs_end(self) -> None:
        pytest.importorskip("torch")
        plan = batches.plan(7, 2, Batches(examples=4), "paper-exact", 42, world=1)
        assert [step.sizes for step in plan] == [(2, 2), (2, 1), (2, 2), (2, 1)]
        micro = batches.micro_batches(plan[1], [5] * 7, [3] * 7, Batches(examples=4), "rows", "paper-exact")
        assert [len(one.rows) for one in micro[0]] == [2, 1]
        # A mean of means: the single row of the second one weighs as much as two of the first.
        assert [one.weight for one in micro[0]] == [1 / (2 * 6), 1 / (2 * 3)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("world", [1, 2, 3, 8])
class TestMicroBatches:
    def test_a_step_is_computed_once_by_processes_with_equally_many(self, layout: str, world: int) -> None:
        lengths = realistic()
        plan = batches.plan(len(lengths), 1, PAPER, "clean", 42)
        for step in plan[:4]:
            micro = batches.micro_batches(step, lengths, lengths // 2, PAPER, layout, "clean", world)
            assert sorted(examples_of(micro)) == sorted(step.examples)
            assert len(micro) == world
            assert len({len(hand) for hand in micro}) == 1

    def test_the_budget_is_kept(self, layout: str, world: int) -> None:
        lengths = realistic(512)
        small = replace(PAPER, micro_batch_tokens=4096, micro_batch_rows=3)
        step = batches.plan(512, 1, small, "clean", 42)[0]
        for one in sum(batches.micro_batches(step, lengths, lengths, small, layout, "clean", world), ()):
            if layout == "rows":
                assert len(one.rows) <= 3
            elif layout == "packed":
                assert len(one.rows) <= 1
                assert all(sum(lengths[list(row)]) <= 4096 for row in one.rows)
            elif one.rows:
                assert len(one.rows) * max(lengths[row[0]] for row in one.rows) <= 4096

    def test_every_trained_token_of_a_step_weighs_the_same(self, layout: str, world: int) -> None:
        lengths = realistic(512)
        trained = lengths // 3
        step = batches.plan(512, 1, PAPER, "clean", 42)[0]
        micro = batches.micro_batches(step, lengths, trained, PAPER, layout, "clean", world)
        weights = {one.weight for hand in micro for one in hand if one.rows}
        assert weights == {1 / int(trained.sum())}

    def test_processes_without_examples_compute_nothing(self, layout: str, world: int) -> None:
        micro = batches.micro_batches(Step(1, 1.0, (4,)), [9] * 5, [3] * 5, PAPER, layout, "clean", world)
        assert examples_of(micro) == [4]
        assert [len(hand) for hand in micro] == [1] * world
        assert sorted(one.weight for hand in micro for one in hand) == [0.0] * (world - 1) + [1 / 3]


class TestPaperExact:
    def test_pairs_go_to_the_processes_in_turn(self) -> None:
        step = Step(1, 1.0, tuple(range(8)), (2, 2, 2, 2))
        trained = [1, 2, 3, 4, 5, 6, 7, 8]
        micro = batches.micro_batches(step, [9] * 8, trained, Batches(examples=8), "rows", "paper-exact", 2)
        assert [[one.rows for one in hand] for hand in micro] == [
            [((0,), (1,)), ((4,), (5,))],
            [((2,), (3,)), ((6,), (7,))],
        ]
        assert [one.weight for one in micro[0]] == [1 / (4 * 3), 1 / (4 * 11)]

    def test_one_process_can_take_the_steps_of_two(self) -> None:
        step = Step(1, 1.0, tuple(range(8)), (2, 2, 2, 2))
        two, one, three = (
            batches.micro_batches(step, [9] * 8, range(1, 9), Batches(examples=8), "rows", "paper-exact", world)
            for world in (2, 1, 3)
        )
        assert {one for hand in two for one in hand} == set(one[0])
        assert {one for hand in three for one in hand} == {*one[0], MicroBatch((), 0.0)}

    def test_a_pair_without_trained_tokens_weighs_nothing(self) -> None:
        micro = batches.micro_batches(Step(1, 1.0, (0, 1)), [9, 9], [0, 0], Batches(examples=2), "rows", "paper-exact")
        assert micro == ((MicroBatch(((0,), (1,)), 0.0),),)


def test_an_example_longer_than_a_micro_batch_is_refused() -> None:
    step = Step(1, 1.0, (0, 1))
    for layout in ("packed", "sorted"):
        with pytest.raises(RecipeError, match=r"has 5000 tokens, more than batches.micro_batch_tokens \(4096\)"):
            batches.micro_batches(step, [10, 5000], [1, 1], Batches(micro_batch_tokens=4096), layout, "clean")


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 200), min_size=1, max_size=60),
    world=st.integers(1, 5),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 3),
)
def test_steps_and_micro_batches_lose_and_double_nothing(
    lengths: list[int], world: int, layout: str, seed: int
) -> None:
    small = Batches(examples=16, micro_batch_tokens=256, micro_batch_rows=3)
    for step in batches.plan(len(lengths), 2, small, "clean", seed):
        micro = batches.micro_batches(step, lengths, lengths, small, layout, "clean", world)
        assert sorted(examples_of(micro)) == sorted(step.examples)
        total = sum(one.weight * sum(lengths[i] for row in one.rows for i in row) for hand in micro for one in hand)
        assert total == pytest.approx(1.0)
        found = batches.fill(micro, lengths, layout)
        assert found.tokens == sum(lengths[i] for i in step.examples) <= found.computed
        assert not found.shared


@pytest.mark.parametrize(("layout", "at_least"), [("packed", 0.97), ("sorted", 0.97)])
def test_hardly_a_token_is_padding(layout: str, at_least: float) -> None:
    lengths = realistic()
    plan = batches.plan(len(lengths), 1, PAPER, "clean", 42)
    for world in (1, 2, 8):
        counted = [
            batches.fill(batches.micro_batches(step, lengths, lengths, PAPER, layout, "clean", world), lengths, layout)
            for step in plan
        ]
        assert sum(counted, batches.Fill()).useful >= at_least


def test_the_size_of_rows_is_chosen_for_the_steps() -> None:
    lengths = realistic()
    plan = batches.plan(len(lengths), 1, PAPER, "clean", 42)
    for world in (1, 2, 8):
        size = batches.row_tokens(plan, lengths, PAPER, world)
        assert 1216 <= size <= PAPER.micro_batch_tokens

        def share(tokens: int, world: int = world) -> float:
            settings = replace(PAPER, micro_batch_tokens=tokens)
            made = (batches.micro_batches(step, lengths, lengths, settings, "packed", "clean", world) for step in plan)
            counted = [batches.fill(micro, lengths, "packed", row_tokens=tokens) for micro in made]
            return sum(counted, batches.Fill()).useful

        assert share(size) >= max(0.95, share(PAPER.micro_batch_tokens))


def test_rows_are_never_chosen_shorter_than_the_longest_example() -> None:
    plan = batches.plan(4, 1, Batches(examples=4), "clean", 42)
    assert batches.row_tokens(plan, [900, 10, 10, 10], Batches(examples=4, micro_batch_tokens=1000)) >= 900
    assert batches.row_tokens(plan, [9000, 10, 10, 10], Batches(examples=4, micro_batch_tokens=1000)) == 1000


def test_rows_of_one_size_count_as_such() -> None:
    micro = ((MicroBatch(((0, 1),), 1.0), MicroBatch((), 0.0)),)
    assert batches.fill(micro, [10, 20], "packed") == batches.Fill(30, 0, 64)
    assert batches.fill(micro, [10, 20], "packed", row_tokens=100) == batches.Fill(30, 0, 100)
    assert batches.fill(((MicroBatch(((0,), (1,)), 1.0),),), [10, 20], "sorted") == batches.Fill(30, 0, 40)
