"""Examples that begin with the same tokens compute them once a row, and nothing else changes."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicoder.training import batches, encoded
from magicoder.training.batches import MicroBatch
from magicoder.training.settings import Batches

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

from magicoder.errors import RecipeError  # noqa: E402
from magicoder.training import attention, loss, models, shared_prefix, tensors  # noqa: E402
from tests.training.conftest import FAMILIES, ListedExamples  # noqa: E402
from tests.training.test_attention import gradients, one_by_one  # noqa: E402

PREFIX = 6
SIZES = (20, 7, 31, 12)
"""Tokens of examples behind the prefix: of one, only the first is none that is learned."""


@pytest.fixture
def alike() -> ListedExamples:
    draw = np.random.RandomState(3)
    once = draw.randint(2, 384, PREFIX)
    pieces = [np.concatenate([once, draw.randint(2, 384, size)]) for size in SIZES]
    marks = [
        np.arange(len(piece)) >= PREFIX + (1 if place == 1 else size // 3)
        for place, (piece, size) in enumerate(zip(pieces, SIZES, strict=True))
    ]
    return ListedExamples(pieces, marks)


def collated(examples: ListedExamples, prefix: int = PREFIX, bound: tensors.Bound | None = None) -> tensors.Batch:
    micro = MicroBatch((tuple(range(len(examples.pieces))),), 1.0, prefix)
    batch = tensors.collate(micro, examples, layout="packed", pad_id=1, device="cpu", bound=bound)
    assert batch is not None
    return batch


BOUNDS = [None, tensors.Bound(tokens=256, examples=16, longest=48, prefix=PREFIX)]


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("window", [0, 9])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_examples_one_by_one(tiny, alike, family, window, bound) -> None:
    options = {"sliding_window": window, "use_sliding_window": True, "max_window_layers": 0} if window else {}
    plain = tiny(family, dtype=torch.float64, **options)
    expected = one_by_one(plain, alike)
    expected.backward()
    model = tiny(family, dtype=torch.float64, **options)
    assert attention.install(model, "packed").shares
    batch = collated(alike, bound=bound)
    assert batch.tokens == PREFIX + sum(SIZES)
    found = loss.loss(model, batch)
    found.backward()
    assert abs(found.item() - expected.item()) <= 1e-6 * abs(expected.item())
    wanted = gradients(plain)
    assert (gradients(model) - wanted).norm() <= 1e-6 * wanted.norm()


def test_in_float32_the_gradients_are_as_near_as_those_of_whole_examples(tiny, alike) -> None:
    exact = tiny("llama", dtype=torch.float64)
    one_by_one(exact, alike).backward()
    distances = []
    for prefix in (PREFIX, 0):
        model = tiny("llama")
        attention.install(model, "packed")
        loss.loss(model, collated(alike, prefix)).backward()
        distances.append(float((gradients(model).double() - gradients(exact)).norm() / gradients(exact).norm()))
    assert max(distances) <= 1e-6


def test_recomputed_activations_change_nothing(tiny, alike) -> None:
    def found(*, recompute: bool) -> Any:
        model = tiny("llama", dtype=torch.float64).train()
        if recompute:
            models._recompute(model)
        attention.install(model, "packed")
        loss.loss(model, collated(alike)).backward()
        return gradients(model)

    assert torch.equal(found(recompute=True), found(recompute=False))


def test_what_the_kernel_leaves_beyond_the_boundaries_is_no_gradient() -> None:
    cuts = [0, 2, 5, 6, 6, 6]
    places = shared_prefix.Keys(*(torch.from_numpy(part) for part in shared_prefix.keys(cuts, 2)))
    tensor = torch.randn(6, 1, 3, dtype=torch.float64).requires_grad_()
    made = shared_prefix.lengthened(tensor, places)
    used = int(places.boundaries[-1])
    assert used == 2 + (2 + 3) + (2 + 1)
    assert torch.equal(made[:used], tensor[[0, 1, 0, 1, 2, 3, 4, 0, 1, 5]])
    gradient = torch.randn_like(made)
    gradient[used:] = torch.nan
    made.backward(gradient)
    again = tensor.detach().clone().requires_grad_()
    again[[0, 1, 0, 1, 2, 3, 4, 0, 1, 5]].backward(gradient[:used])
    assert torch.allclose(tensor.grad, again.grad)


def test_the_operation_is_one_that_can_be_compiled() -> None:
    places = shared_prefix.Keys(*(torch.from_numpy(part) for part in shared_prefix.keys([0, 2, 5, 6], 2)))
    tensor = torch.randn(6, 2, 3).requires_grad_()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(shared_prefix._lengthened, (tensor, *places[1:]), test_utils=checks)


def test_a_batch_that_trains_nothing_has_the_shape_of_its_stage(alike) -> None:
    bound = BOUNDS[1]
    batch, idle = collated(alike, bound=bound), tensors.idle(layout="packed", pad_id=1, device="cpu", bound=bound)
    assert idle.trained == 0
    assert idle.keys is not None
    assert batch.keys is not None
    assert [part.shape for part in idle.keys] == [part.shape for part in batch.keys]


def test_a_model_whose_attention_is_aligned_at_the_beginning_shares_nothing(tiny, monkeypatch) -> None:
    """What a kernel does with fewer queries than keys is proved, not trusted."""
    from magicoder.training import by_example

    real = by_example.by_example

    def at_the_beginning(query, key, value, cuts, key_cuts, scale, window) -> Any:
        parts = []
        for (a, b), (c, _) in zip(pairwise(cuts), pairwise(key_cuts), strict=True):
            ends = torch.tensor([0, b - a], dtype=torch.int32)
            parts.append(real(query[a:b], key[c : c + b - a], value[c : c + b - a], ends, ends, scale, window))
        return torch.cat(parts)

    monkeypatch.setattr(attention, "by_example", at_the_beginning)
    for family in FAMILIES:
        for dtype in (torch.float32, torch.bfloat16):
            settled = attention.install(tiny(family, dtype=dtype), "packed")
            assert (settled.layout, settled.shares) == ("packed", False)


# Which tokens are shared.


def written(folder: Any, rows: list[tuple[list[int], list[bool]]]) -> encoded.Encoded:
    examples = [encoded.Example(str(i), tokens, mask) for i, (tokens, mask) in enumerate(rows)]
    return encoded.write(folder, examples, key="k")


def test_the_prefix_is_what_all_begin_with_and_none_learns(tmp_path) -> None:
    rows = [([5, 6, 7, 8, 9], [False] * 3 + [True] * 2), ([5, 6, 7, 1, 2, 3], [False] * 4 + [True] * 2)]
    assert written(tmp_path / "a", rows).prefix == 2  # the last before the first learned token predicts it
    assert written(tmp_path / "b", [*rows, ([5, 6, 3, 4, 4], [False] * 4 + [True])]).prefix == 2
    assert written(tmp_path / "c", [*rows, ([5, 1, 3, 4, 4], [False] * 4 + [True])]).prefix == 1
    assert written(tmp_path / "d", [*rows, ([5, 6], [False] * 2)]).prefix == 1  # something is left of each
    assert written(tmp_path / "e", [*rows, ([4, 6, 7, 8], [False] * 3 + [True])]).prefix == 0
    assert written(tmp_path / "f", [([5, 6, 7], [False, True, True])]).prefix == 0
    assert written(tmp_path / "g", rows).select([1]).prefix == 3


def test_the_prefix_of_many_examples_is_that_of_a_loop(tmp_path) -> None:
    draw = np.random.RandomState(1)
    rows = []
    for _ in range(2500):  # more than a batch of the file
        tokens = [1, 2, 3, 4, 5, 6, 7, *draw.randint(8, 10, draw.randint(3, 9)).tolist()]
        start = draw.randint(7, len(tokens))
        rows.append((tokens, [i >= start for i in range(len(tokens))]))
    found = written(tmp_path, rows)
    assert found.prefix == 6
    first = [mask.index(True) for _, mask in rows]
    assert min(first) == 7
    late = found.select([i for i in range(len(rows)) if first[i] >= 9 and rows[i][0][7] == 8])
    assert late.prefix in (8, 9)
    assert len(late)


@given(
    rests=st.lists(st.integers(2, 60), min_size=1, max_size=50),
    prefix=st.integers(1, 40),
    world=st.sampled_from([1, 2, 3]),
)
def test_micro_batches_hold_the_prefix_once_a_row(rests: list[int], prefix: int, world: int) -> None:
    lengths = [prefix + rest for rest in rests]
    settings = Batches(examples=len(rests), micro_batch_tokens=128)
    step = batches.plan(len(rests), 1, settings, "clean", 1)[0]
    micro = batches.micro_batches(step, lengths, rests, settings, "packed", "clean", world, prefix=prefix)
    assert sorted(i for hand in micro for one in hand for i in one.examples) == list(range(len(rests)))
    rows = [one for hand in micro for one in hand if one.rows]
    assert all(sum(one.tokens(lengths)) <= 128 for one in rows)
    found = batches.fill(micro, lengths, "packed")
    assert found.tokens == sum(lengths)
    assert found.tokens - found.shared == sum(rests) + prefix * len(rows) <= found.computed


def test_other_layouts_share_nothing() -> None:
    step = batches.plan(4, 1, Batches(examples=4), "clean", 1)[0]
    for layout, mode in (("sorted", "clean"), ("rows", "clean"), ("packed", "paper-exact")):
        micro = batches.micro_batches(step, [50] * 4, [9] * 4, Batches(examples=4), layout, mode, prefix=20)
        assert not any(one.prefix for hand in micro for one in hand)


def test_a_short_prefix_or_one_that_nobody_wants_shared_is_not() -> None:
    settings = Batches()
    assert batches.shared(20, [600, 600], settings) == 20
    assert batches.shared(18, [600, 600], settings) == 0
    assert batches.shared(200, [600, 600], replace(settings, share_prefix=False)) == 0


def test_rows_of_one_size_are_chosen_with_the_prefix_in_mind() -> None:
    lengths = np.random.RandomState(0).randint(80, 700, 600)
    plan = batches.plan(600, 1, Batches(examples=300), "clean", 1)
    settings = Batches(examples=300, micro_batch_tokens=2048)
    size = batches.row_tokens(plan, lengths, settings, prefix=60)
    sized = replace(settings, micro_batch_tokens=size)
    for step in plan:
        micro = batches.micro_batches(step, lengths, lengths, sized, "packed", "clean", prefix=60)
        assert max(sum(one.tokens(lengths)) for one in micro[0]) <= size


def test_an_example_that_is_only_prefix_cannot_be() -> None:
    with pytest.raises(RecipeError, match="an example has 200 tokens"):
        batches.micro_batches(
            batches.Step(1, 1.0, (0,)), [200], [9], Batches(micro_batch_tokens=128), "packed", "clean", prefix=20
        )
