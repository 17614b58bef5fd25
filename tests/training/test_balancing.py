"""The balancing loss of experts: what transformers adds for one batch, whatever the layout; a mean over a step's."""

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

from magicoder.errors import RecipeError  # noqa: E402
from magicoder.training import attention, balancing, loss, models, parallel, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from tests.training.conftest import ListedExamples, make_tiny  # noqa: E402
from tests.training.processes import together  # noqa: E402

EXPERTS: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
}
STEP = [(0, 1), (2,), (3,)]


def examples() -> ListedExamples:
    draw = np.random.default_rng(0)
    sizes = (17, 9, 40, 33)
    pieces = tuple(draw.integers(3, 384, size).astype(np.int32) for size in sizes)
    return ListedExamples(pieces, tuple(np.arange(size) >= 3 for size in sizes))


def tiny(family: str, *, asked: bool = True, **config: Any) -> Any:
    wanted = {**EXPERTS.get(family, {}), "router_aux_loss_coef": 0.5, **config}
    return make_tiny(family, output_router_logits=asked, **wanted)


def theirs(model: Any, chosen: tuple[int, ...]) -> tuple[Any, Any, int]:
    """transformers' loss on padded rows: with the balancing loss, the latter alone, and the number of targets."""
    data = examples()
    width = max(len(data.pieces[i]) for i in chosen)
    ids, mask, labels = torch.ones(3, len(chosen), width, dtype=torch.long)
    mask[:], labels[:] = 0, -100
    for row, i in enumerate(chosen):
        size = len(data.pieces[i])
        ids[row, :size] = torch.from_numpy(data.pieces[i]).long()
        mask[row, :size] = 1
        labels[row, :size] = torch.where(torch.from_numpy(data.marks[i]), ids[row, :size], -100)
    found = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False)
    return found.loss, found.aux_loss, int((labels[:, 1:] != -100).sum())


def ours(model: Any, chosen: tuple[int, ...], layout: str, weight: float, *, exact: bool = False) -> Any:
    micro = MicroBatch((chosen,) if layout == "packed" else tuple((i,) for i in chosen), weight)
    batch = tensors.collate(micro, examples(), layout=layout, pad_id=1, device="cpu")
    return loss.loss(model, batch, exact=exact)


def gradients(model: Any) -> dict[str, Any]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[n] - other[n]).norm() / other[n].norm().clamp_min(1e-12)) for n in one)


@pytest.mark.parametrize("layout", ["packed", "sorted", "rows"])
@pytest.mark.parametrize("family", EXPERTS)
def test_a_batch_has_the_loss_and_the_gradients_of_transformers(family: str, layout: str) -> None:
    chosen = (0, 2, 3)
    reference, model = tiny(family), tiny(family)
    attention.install(model, layout)
    expected, balance, count = theirs(reference, chosen)
    assert balance > 0
    expected.backward()
    found = ours(model, chosen, layout, 1 / count, exact=layout == "rows")
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert apart(gradients(model), gradients(reference)) < 1e-5


@pytest.mark.parametrize("is_bound", [False, True])
@pytest.mark.parametrize("family", EXPERTS)
def test_a_shared_prefix_counts_with_each_example(family: str, is_bound: bool) -> None:
    found = []
    data = examples()
    once = data.pieces[2][:6]
    pieces = tuple(np.concatenate([once, piece]) for piece in data.pieces)
    alike = ListedExamples(pieces, tuple(np.arange(len(piece)) >= 9 for piece in pieces))
    for prefix in (0, 6):
        model = tiny(family)
        attention.install(model, "packed")
        bound = tensors.Bound(tokens=192, examples=8, longest=46, prefix=prefix) if is_bound else None
        micro = MicroBatch(((0, 1, 3),), 0.01, prefix)
        batch = tensors.collate(micro, alike, layout="packed", pad_id=1, device="cpu", bound=bound)
        value = loss.loss(model, batch)
        value.backward()
        found.append((value.item(), gradients(model)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
    assert apart(found[1][1], found[0][1]) < 1e-5


@pytest.mark.parametrize("exact", [False, True])
def test_a_step_has_the_mean_of_its_micro_batches(exact: bool) -> None:
    reference, model = tiny("mixtral"), tiny("mixtral")
    attention.install(model, "rows")
    parts = [theirs(reference, chosen) for chosen in STEP]
    whole = sum(count for *_, count in parts)
    weights = [1 / (len(STEP) * count) if exact else 1 / whole for *_, count in parts]
    wanted = sum(value * weight * count for (value, _, count), weight in zip(parts, weights, strict=True))
    found = [ours(model, c, "rows", w, exact=exact) for c, w in zip(STEP, weights, strict=True)]
    assert sum(found).item() == pytest.approx(wanted.item(), rel=1e-6)


def test_held_out_losses_and_empty_micro_batches_are_without_it() -> None:
    plain, model = tiny("mixtral", asked=False), tiny("mixtral")
    how: dict[str, Any] = {"layout": "packed", "pad_id": 1, "device": "cpu"}
    for one in (plain, model):
        attention.install(one, "packed")
    batch = tensors.collate(MicroBatch(((0, 1),), 1.0), examples(), **how)
    assert loss.held_out(model, [batch]) == loss.held_out(plain, [batch])
    value = loss.loss(model, tensors.idle(**how))
    value.backward()
    assert value.item() == 0
    assert all((g == 0).all() for g in gradients(model).values())


def learned(model: Any, world: parallel.World) -> dict[str, Any]:
    """The gradients of the step; process 1 has one micro-batch of it, and an empty one."""
    mine = STEP if world.size == 1 else [STEP[:2], [STEP[2], ()]][world.rank]
    how: dict[str, Any] = {"layout": "packed", "pad_id": 1, "device": "cpu"}
    for chosen in mine:
        micro = MicroBatch((chosen,) if chosen else (), 1 / examples().targets)
        batch = tensors.collate(micro, examples(), **how) or tensors.idle(**how)
        loss.loss(model, batch).backward()
    world.sum_gradients(model.parameters())
    return {name: parallel.whole(p.grad).clone() for name, p in model.named_parameters() if p.grad is not None}


def one_of_two(world: parallel.World) -> dict[str, dict[str, Any]]:
    found = {}
    for strategy in ("ddp", "fsdp2"):
        model = tiny("mixtral")
        attention.install(model, "packed")
        found[strategy] = learned(parallel.spread(model, strategy, world), world)
    return found


def test_two_processes_learn_what_one_does() -> None:
    alone = tiny("mixtral")
    attention.install(alone, "packed")
    expected = learned(alone, parallel.World())
    without = tiny("mixtral", asked=False)
    attention.install(without, "packed")
    routers = [name for name in expected if ".gate." in name]
    assert routers
    assert apart({n: learned(without, parallel.World())[n] for n in routers}, {n: expected[n] for n in routers}) > 1e-2
    for found in together(one_of_two):
        assert apart(found["ddp"], expected) < 1e-6
        assert apart(found["fsdp2"], expected) < 1e-6


@pytest.mark.filterwarnings("default")
def test_compiled_and_recomputed_layers_are_balanced_too() -> None:
    expected = []
    for change in ("nothing", "compiled", "recomputed"):
        model = tiny("mixtral")
        if change == "recomputed":
            models._recompute(model)
        attention.install(model, "packed")
        if change == "compiled":
            models.compile_layers(model, "packed", backend="aot_eager")
        value = ours(model, (0, 2), "packed", 0.01)
        value.backward()
        expected.append((value.item(), gradients(model)))
    for value, found in expected[1:]:
        assert value == pytest.approx(expected[0][0], rel=1e-6)
        assert apart({n.replace("_orig_mod.", ""): g for n, g in found.items()}, expected[0][1]) < 1e-5


def test_a_model_that_has_no_such_loss_is_refused_if_it_asks() -> None:
    assert balancing.of(tiny("mixtral", asked=False)) is None
    assert balancing.of(make_tiny("llama")) is None
    with pytest.raises(RecipeError, match=r"output_router_logits.*LlamaForCausalLM"):
        attention.install(make_tiny("llama", output_router_logits=True), "packed")
