"""Examples in one row stay apart: losses and gradients are those of each example alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

from magicoder.training import attention, loss, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from tests.training.conftest import FAMILIES  # noqa: E402

LENGTHS = (17, 1, 40, 5, 33)


@dataclass
class Examples:
    """Encoded examples as plain lists."""

    pieces: list[Any]
    marks: list[Any]

    @property
    def lengths(self) -> Any:
        return np.array([len(p) for p in self.pieces], dtype=np.int32)

    def tokens(self, index: int) -> Any:
        return self.pieces[index]

    def mask(self, index: int) -> Any:
        return self.marks[index]


@pytest.fixture
def examples() -> Examples:
    draw = np.random.default_rng(0)
    pieces = [draw.integers(3, 384, size).astype(np.int32) for size in LENGTHS]
    marks = [np.arange(size) >= max(1, size // 3) for size in LENGTHS]
    return Examples(pieces, marks)


def rows(examples: Examples, layout: str, weight: float = 1.0) -> MicroBatch:
    every = tuple(range(len(examples.pieces)))
    return MicroBatch((every,) if layout == "packed" else tuple((i,) for i in every), weight)


def gradients(model: Any) -> Any:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def one_by_one(model: Any, examples: Examples) -> Any:
    """The sum of the losses by transformers' own forward, an example at a time."""
    total = 0.0
    for tokens, mask in zip(examples.pieces, examples.marks, strict=True):
        if len(tokens) < 2:
            continue
        ids = torch.tensor(tokens, dtype=torch.int64)[None]
        labels = torch.where(torch.tensor(mask), ids[0], -100)
        logits = model(input_ids=ids).logits[0]
        total = total + torch.nn.functional.cross_entropy(logits[:-1], labels[1:], reduction="sum")
    return total


@pytest.mark.parametrize("layout", ["packed", "sorted", "rows"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_a_micro_batch_are_those_of_its_examples_one_by_one(tiny, examples, family, layout) -> None:
    plain = tiny(family, dtype=torch.float64)
    expected = one_by_one(plain, examples)
    expected.backward()
    model = tiny(family, dtype=torch.float64)
    settled = attention.install(model, layout, longest=40)
    assert settled == attention.Installed(layout, fused=True)
    batch = tensors.collate(rows(examples, layout), examples, layout=layout, pad_id=1, device="cpu")
    found = loss.loss(model, batch)
    found.backward()
    assert abs(found.item() - expected.item()) <= 1e-6 * abs(expected.item())
    wanted = gradients(plain)
    assert (gradients(model) - wanted).norm() <= 1e-6 * wanted.norm()
