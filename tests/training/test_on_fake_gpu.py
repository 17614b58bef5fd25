"""What runs on a GPU only, run on one that computes nothing (fake_gpu.py): operators, shapes, dtypes, devices."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

from magicoder.errors import RecipeError  # noqa: E402
from magicoder.training import attention, eight_bits, loss, models, optimizers, parallel, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from magicoder.training.settings import Adapter, Base, Machine, Optimization, Precision  # noqa: E402
from tests.training.conftest import make_tiny  # noqa: E402
from tests.training.fake_gpu import GPU, Called, fake_gpu  # noqa: E402

FAMILIES = ("llama", "llama-shared", "qwen2", "qwen3", "starcoder2")
KERNEL = "torch_attn._varlen_attn.default"
KERNEL_BACK = "torch_attn._varlen_attn_backward.default"
LAYERS = 2


@pytest.fixture
def gpu() -> Iterator[Called]:
    torch.set_num_threads(1)
    attention.register()
    with fake_gpu() as called:
        yield called


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a configuration each."""
    found = {}
    for name in FAMILIES:
        more = {"llama": {"num_key_value_heads": 4}, "starcoder2": {"sliding_window": None}}.get(name, {})
        config = make_tiny(name.partition("-")[0], **more).config.to_dict()
        found[name] = tmp_path_factory.mktemp(name)
        (found[name] / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return found


@contextlib.contextmanager
def believed() -> Iterator[None]:
    """Compare on the GPU as the proof of `install` does, and find no difference: there are no values to read."""

    def compared(left: Any, right: Any, **_: Any) -> bool:
        assert left.is_cuda
        assert right.is_cuda
        assert left.shape == right.shape
        (left.double() - right.double()).norm()
        return False

    with mock.patch.object(attention, "_differs", compared):
        yield


def loaded(base: Path, layout: str, *, weights: str = "bfloat16", **given: Any) -> Any:
    machine = given.pop("machine", Machine())
    precision = Precision(weights=weights, fp8=given.pop("fp8", False))
    model = models.load(
        Base(model=str(base), random_weights=True), precision, device=GPU, machine=machine, random_seed=1, **given
    )
    with believed():
        assert attention.install(model, layout, longest=40, device=GPU).layout == layout
    return model


def batch(listed: Any, layout: str, *, bounded: bool = False) -> Any:
    rows = ((0, 1, 2, 3, 4),) if layout == "packed" else tuple((i,) for i in range(5))
    micro = MicroBatch(rows, 1 / listed.targets)
    limit = tensors.bound([micro], listed.lengths) if bounded else None
    found = tensors.collate(micro, listed, layout=layout, pad_id=1, device=GPU, bound=limit)
    assert found is not None
    assert {t.device for t in (found.ids, found.positions, found.targets, found.where, found.labels)} == {GPU}
    return found


def step(model: Any, given: Any, *, exact: bool = False) -> None:
    """Forward and backward; every gradient is there, on the GPU, in its weight's dtype."""
    value = loss.loss(model, given, exact=exact)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.is_cuda
    value.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None and p.grad.is_cuda and p.grad.dtype == p.dtype for p in trained)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_row_goes_through_the_kernel_both_ways(gpu: Called, bases: Any, listed: Any, family: str) -> None:
    model = loaded(bases[family], "packed")
    gpu.counts.clear()
    given = batch(listed, "packed")
    assert given.boundaries.dtype == torch.int32
    step(model, given)
    assert gpu.counts[KERNEL] == gpu.counts[KERNEL_BACK] == LAYERS
    assert gpu.counts["aten.mm.dtype"] == 2  # the head, and its gradient, summed in float32
    assert "magicoder.by_example.default" not in gpu.counts
    assert "aten._local_scalar_dense.default" not in gpu.counts  # nothing waits for the GPU


def test_heads_that_the_kernel_refuses_are_refused_before_it_is_asked(gpu: Called, tiny: Any) -> None:
    model = tiny("llama", dtype=torch.bfloat16, head_dim=12)
    with pytest.raises(RecipeError, match="heads are 12 wide; the kernel takes multiples of 8"):
        attention.install(model, "packed", device=GPU)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weights", ["bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["sorted", "rows"])
def test_padded_rows_get_a_fast_kernel(
    gpu: Called, bases: Any, listed: Any, family: str, weights: str, layout: str
) -> None:
    model = loaded(bases[family], layout, weights=weights)
    gpu.counts.clear()
    step(model, batch(listed, layout))
    kind = "flash" if weights == "bfloat16" else "efficient"
    assert gpu.counts[f"aten._scaled_dot_product_{kind}_attention.default"] == LAYERS
    assert gpu.counts[f"aten._scaled_dot_product_{kind}_attention_backward.default"] == LAYERS


def test_the_original_loss(gpu: Called, bases: Any, listed: Any) -> None:
    step(loaded(bases["llama"], "rows"), batch(listed, "rows"), exact=True)
    assert "aten.mm.dtype" not in gpu.counts


@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
@pytest.mark.parametrize("weights", ["bfloat16", "float32"])
@pytest.mark.parametrize("master", [True, False])
def test_updates_stay_on_the_gpu(
    gpu: Called, bases: Any, listed: Any, optimizer: str, weights: str, master: bool
) -> None:
    model = loaded(bases["qwen2"], "sorted", weights=weights)
    made = optimizers.build(
        model.named_parameters(),
        Optimization(optimizer=optimizer, weight_decay=0.1),
        Precision(weights=weights, master=master),
        world=parallel.World(device=GPU),
    )
    step(model, batch(listed, "sorted"))
    gpu.counts.clear()
    norm = made.clip(1.0)
    assert norm.is_cuda
    made.step(1e-3)
    made.zero_grad()
    kept = {name: held for name, held in made.state().items() if not name.endswith(".step")}
    assert {held.device for held in kept.values()} == {GPU}
    assert any(name.endswith("remainder") for name in kept) is (master and weights == "bfloat16")
    assert "aten._local_scalar_dense.default" not in gpu.counts  # nothing waits for the GPU


@pytest.mark.parametrize("layout", ["packed", "sorted"])
def test_recomputed_layers_run_twice(gpu: Called, bases: Any, listed: Any, layout: str) -> None:
    model = loaded(bases["llama-shared"], layout, machine=Machine(checkpointing=True))
    gpu.counts.clear()
    step(model, batch(listed, layout))
    kernel = KERNEL if layout == "packed" else "aten._scaled_dot_product_flash_attention.default"
    assert gpu.counts[kernel] == 2 * LAYERS


@pytest.mark.parametrize("family", ["llama", "starcoder2"])
def test_adapters(gpu: Called, bases: Any, listed: Any, family: str) -> None:
    pytest.importorskip("peft")
    model = loaded(bases[family], "packed", adapter=Adapter(rank=8, dropout=0.1))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    step(model, batch(listed, "packed"))
    assert gpu.counts["aten.mm.dtype"] >= 1


def test_products_in_eight_bits(gpu: Called, bases: Any, listed: Any) -> None:
    model = loaded(bases["qwen2"], "packed", machine=Machine(compile=True), fp8=True)
    changed = eight_bits.apply(models.layers(model))
    assert changed == 7 * LAYERS
    step(model, batch(listed, "packed", bounded=True))
    assert gpu.counts["aten._scaled_mm.default"] == 3 * changed


def test_the_loss_on_held_out_examples(gpu: Called, bases: Any, listed: Any) -> None:
    model = loaded(bases["llama"], "packed")
    with mock.patch.object(torch.Tensor, "item", lambda tensor: 1.0 if tensor.is_cuda else None):
        assert loss.held_out(model, [batch(listed, "packed")]) == (1.0, listed.targets)
