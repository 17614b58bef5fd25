"""Micro-batches as tensors: what stands where, and what never does."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch: Any = pytest.importorskip("torch")

import numpy as np  # noqa: E402

from magicoder.training import tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from tests.training.conftest import ListedExamples  # noqa: E402

sizes_ = st.lists(st.integers(1, 50), min_size=1, max_size=9)


def examples(sizes: list[int]) -> ListedExamples:
    pieces = tuple(np.arange(size, dtype=np.int32) + 100 * (place + 1) for place, size in enumerate(sizes))
    return ListedExamples(pieces, tuple(np.arange(size) % 3 > 0 for size in sizes))


def every(data: ListedExamples, layout: str) -> MicroBatch:
    order = tuple(range(len(data.pieces)))
    return MicroBatch((order,) if layout == "packed" else tuple((i,) for i in order), 0.25)


@given(sizes_, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_packed_row_holds_every_example_once_and_apart(sizes, bounded) -> None:
    data = examples(sizes)
    bound = tensors.Bound(tokens=512, examples=16, longest=50) if bounded else None
    batch = tensors.collate(every(data, "packed"), data, layout="packed", pad_id=7, device="cpu", bound=bound)
    assert batch is not None
    cuts = batch.boundaries.tolist()
    assert batch.boundaries.dtype == torch.int32
    assert cuts == sorted(cuts)
    assert (cuts[0], cuts[-1]) == (0, batch.ids.shape[1])
    assert max(b - a for a, b in pairwise(cuts)) <= batch.longest
    for place, piece in enumerate(data.pieces):
        part = slice(cuts[place], cuts[place + 1])
        assert batch.ids[0, part].tolist() == piece.tolist()
        assert batch.positions[0, part].tolist() == list(range(len(piece)))
    assert (batch.ids[0, sum(sizes) :] == 7).all()
    assert (batch.targets[0, sum(sizes) :] == tensors.NO_TARGET).all()
    assert (batch.tokens, batch.trained, batch.weight) == (sum(sizes), data.targets, 0.25)
    assert batch.ids.shape[1] == 512 if bounded else batch.ids.shape[1] - sum(sizes) < 64
    if bounded:
        assert len(cuts) == 16 + 11 + 1


@given(sizes_, st.sampled_from(["sorted", "rows"]))
@settings(max_examples=40, deadline=None)
def test_padding_stands_on_the_right_and_is_never_a_target(sizes, layout) -> None:
    data = examples(sizes)
    batch = tensors.collate(every(data, layout), data, layout=layout, pad_id=7, device="cpu")
    assert batch is not None
    assert batch.boundaries is None
    assert batch.ids.shape == (len(sizes), max(sizes))
    for row, piece in enumerate(data.pieces):
        assert batch.ids[row].tolist() == [*piece.tolist(), *[7] * (max(sizes) - len(piece))]
        assert (batch.targets[row, len(piece) - 1 :] == tensors.NO_TARGET).all()


@given(sizes_, st.sampled_from(["packed", "sorted", "rows"]))
@settings(max_examples=40, deadline=None)
def test_labels_are_the_tokens_behind_the_positions_that_have_a_target(sizes, layout) -> None:
    data = examples(sizes)
    batch = tensors.collate(every(data, layout), data, layout=layout, pad_id=7, device="cpu")
    assert batch is not None
    flat = batch.ids.flatten()
    assert torch.equal(batch.labels, batch.targets.flatten()[batch.where])
    assert torch.equal(batch.labels, flat[batch.where + 1])
    assert sorted(batch.labels.tolist()) == sorted(
        int(token) for piece, mark in zip(data.pieces, data.marks, strict=True) for token in piece[1:][mark[1:]]
    )


def test_an_empty_micro_batch_is_none_and_an_idle_one_has_the_stages_shape() -> None:
    data = examples([5, 6])
    assert tensors.collate(MicroBatch((), 1.0), data, layout="packed", pad_id=7, device="cpu") is None
    bound = tensors.bound([every(data, "packed"), MicroBatch((), 1.0)], data.lengths)
    assert bound == tensors.Bound(tokens=64, examples=8, longest=6)
    full = tensors.collate(every(data, "packed"), data, layout="packed", pad_id=7, device="cpu", bound=bound)
    idle = tensors.idle(layout="packed", pad_id=7, device="cpu", bound=bound)
    assert full is not None
    assert idle.ids.shape == full.ids.shape
    assert idle.boundaries.shape == full.boundaries.shape
    assert (idle.trained, idle.tokens, idle.weight, idle.longest) == (0, 0, 0.0, full.longest)


def test_a_micro_batch_beyond_the_bound_of_its_stage_is_an_error_of_ours() -> None:
    data = examples([40, 40])
    bound = tensors.Bound(tokens=64, examples=8, longest=40)
    with pytest.raises(AssertionError, match="larger than the bound"):
        tensors.collate(every(data, "packed"), data, layout="packed", pad_id=7, device="cpu", bound=bound)
