"""Layers that are compiled are compiled once: packed batches have one shape, whatever is in them."""

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")

from magicoder.training import attention, loss, models, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from tests.training.conftest import FAMILIES, ListedExamples  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own look at inputs

PACKS = [(0, 1, 2), (3,), (0, 4, 5, 6, 7), (8, 9), (1, 3, 8), (10, 11, 12, 4, 5, 6)]


@pytest.fixture
def many() -> ListedExamples:
    draw = np.random.default_rng(1)
    sizes = [17, 5, 40, 64, 3, 9, 11, 2, 30, 31, 8, 20, 13]
    pieces = tuple(draw.integers(3, 384, size).astype(np.int32) for size in sizes)
    return ListedExamples(pieces, tuple(np.arange(size) >= 2 for size in sizes))


@pytest.fixture(autouse=True)
def fresh() -> Any:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def step(model: Any, many: ListedExamples, pack: tuple[int, ...], bound: tensors.Bound) -> None:
    micro = MicroBatch((pack,), 1.0, bound.prefix)
    batch = tensors.collate(micro, many, layout="packed", pad_id=1, device="cpu", bound=bound)
    loss.loss(model, batch).backward()


def gradients(model: Any) -> Any:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def behind(prefix: tuple[int, ...], many: ListedExamples) -> ListedExamples:
    """The examples, all of which begin with the same tokens."""
    pieces = tuple(np.array([*prefix, *piece], dtype=np.int32) for piece in many.pieces)
    marks = tuple(np.array([False] * len(prefix) + [False, *mark[1:]]) for mark in many.marks)
    return ListedExamples(pieces, marks)


@pytest.mark.parametrize("prefix", [(), (5, 6, 7)])
@pytest.mark.parametrize(("family", "recompute"), [*((family, False) for family in FAMILIES), ("llama", True)])
def test_packed_layers_are_compiled_once_whatever_the_number_of_examples(tiny, many, family, recompute, prefix) -> None:
    many = behind(prefix, many)
    bound = tensors.bound([MicroBatch((pack,), 1.0, len(prefix)) for pack in PACKS], many.lengths)
    assert bound == tensors.Bound(tokens=128, examples=8, longest=64 + len(prefix), prefix=len(prefix))
    plain = tiny(family, num_hidden_layers=3).train()
    attention.install(plain, "packed")
    model = tiny(family, num_hidden_layers=3).train()
    if recompute:
        models._recompute(model)
    attention.install(model, "packed")
    models.compile_layers(model, "packed", backend="aot_eager")
    step(model, many, PACKS[0], bound)
    seen = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert seen > 0
    with torch._dynamo.config.patch(error_on_recompile=True):
        for pack in PACKS[1:]:
            step(model, many, pack, bound)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == seen
    assert not torch._dynamo.utils.counters["graph_break"]
    for pack in PACKS:
        step(plain, many, pack, bound)
    assert (gradients(model) - gradients(plain)).norm() <= 1e-5 * gradients(plain).norm()


def test_every_layer_shares_what_was_compiled(tiny, many) -> None:
    bound = tensors.bound([MicroBatch((PACKS[0],), 1.0)], many.lengths)
    graphs = []
    for count in (2, 6):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        model = tiny("llama", num_hidden_layers=count)
        attention.install(model, "packed")
        models.compile_layers(model, "packed", backend="aot_eager")
        step(model, many, PACKS[0], bound)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1] > 0


def test_padded_layers_are_compiled_for_any_shape(tiny, many) -> None:
    plain, model = tiny("llama").train(), tiny("llama").train()
    for one in (plain, model):
        attention.install(one, "sorted")
    models.compile_layers(model, "sorted", backend="aot_eager")
    shapes = [((0,), (1,), (2,)), ((3,), (4,)), ((5,), (6,), (7,), (8,)), ((0,), (2,), (3,), (9,), (10,))]
    graphs = []
    for rows in shapes:
        for one in (plain, model):
            batch = tensors.collate(MicroBatch(rows, 1.0), many, layout="sorted", pad_id=1, device="cpu")
            loss.loss(one, batch).backward()
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[-1] > 0
    assert (gradients(model) - gradients(plain)).norm() <= 1e-5 * gradients(plain).norm()
