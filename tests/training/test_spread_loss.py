"""The loss of a model that is spread over processes: gradients are those of one process with the whole model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

from magicoder.training import adapters, attention, loss, parallel, saving, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from magicoder.training.settings import Adapter  # noqa: E402
from tests.training.conftest import ListedExamples, make_tiny, make_tokenizer  # noqa: E402
from tests.training.processes import together  # noqa: E402

STRATEGIES = ("ddp", "fsdp2")
KINDS = ("plain", "tied", "adapters")
ADAPTERS = {"plain": None, "tied": None, "adapters": Adapter(rank=4)}
WORK = [[(0, 1), (2,)], [(3,), ()]]  # the second process has nothing to do in the end


def examples() -> ListedExamples:
    draw = np.random.default_rng(0)
    sizes = (17, 9, 40, 33)
    pieces = tuple(draw.integers(3, 384, size).astype(np.int32) for size in sizes)
    return ListedExamples(pieces, tuple(np.arange(size) >= 3 for size in sizes))


def model_of(kind: str) -> Any:
    torch.manual_seed(0)  # for the adapters
    model = make_tiny("qwen2", dtype=torch.float64, tie_word_embeddings=kind == "tied")
    return model if ADAPTERS[kind] is None else adapters.attach(model, ADAPTERS[kind])


def learn(model: Any, work: list[tuple[int, ...]]) -> None:
    data = examples()
    how: dict[str, Any] = {"layout": "packed", "pad_id": 1, "device": "cpu"}
    for pack in work:
        batch = tensors.collate(MicroBatch((pack,) if pack else (), 1 / data.targets), data, **how)
        if batch is None:
            batch = tensors.idle(**how)
        loss.loss(model, batch).backward()


def all_of(world: parallel.World, folder: str) -> dict[tuple[str, str], Any]:
    return {(strategy, kind): one(world, strategy, kind, Path(folder)) for strategy in STRATEGIES for kind in KINDS}


def one(world: parallel.World, strategy: str, kind: str, folder: Path) -> Any:
    model = model_of(kind)
    attention.install(model, "packed")
    model = parallel.spread(model, strategy, world)
    total, count = loss.held_out(model, [batch_of_all(world.rank)])
    learn(model, WORK[world.rank])
    world.sum_gradients(model.parameters())
    found = {name: parallel.whole(p.grad).clone() for name, p in model.named_parameters() if p.grad is not None}
    saving.save(model, make_tokenizer(), folder / f"{strategy}-{kind}", world=world, adapter=ADAPTERS[kind])
    return found, total, count


def batch_of_all(rank: int) -> Any:
    data = examples()
    return tensors.collate(MicroBatch(((rank, rank + 2),), 1.0), data, layout="packed", pad_id=1, device="cpu")


@pytest.fixture(scope="module")
def spread(tmp_path_factory) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("spread")
    return folder, together(all_of, str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_spread_model_learns_and_is_saved_as_a_whole_one(tmp_path, spread, strategy, kind) -> None:
    folder, answers = spread
    alone = model_of(kind)
    attention.install(alone, "packed")
    sums = [loss.held_out(alone, [batch_of_all(rank)]) for rank in range(2)]
    learn(alone, WORK[0] + WORK[1])
    expected = {name: p.grad for name, p in alone.named_parameters() if p.grad is not None}
    saving.save(alone, make_tokenizer(), tmp_path, adapter=ADAPTERS[kind])
    for answer, (wanted_total, wanted_count) in zip(answers, sums, strict=True):
        found, total, count = answer[strategy, kind]
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            assert (gradient - expected[name]).norm() <= 1e-9 * expected[name].norm() + 1e-15
        assert (total, count) == (pytest.approx(wanted_total), wanted_count)
    for path in sorted(tmp_path.rglob("*")):
        if path.suffix in (".json", ".safetensors"):
            assert (folder / f"{strategy}-{kind}" / path.relative_to(tmp_path)).read_bytes() == path.read_bytes()
