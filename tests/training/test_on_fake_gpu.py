"""What runs on a GPU only, run on one that computes nothing (fake_gpu.py): operators, shapes, dtypes, devices."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

torch: Any = pytest.importorskip("torch")
np: Any = pytest.importorskip("numpy")
pytest.importorskip("transformers")

from magicoder.errors import RecipeError  # noqa: E402
from magicoder.training import attention, eight_bits, lean, loop, loss, models, optimizers, parallel, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from magicoder.training.settings import (  # noqa: E402
    Adapter,
    Base,
    Batches,
    Machine,
    Optimization,
    Precision,
    Stage,
    Training,
)
from tests.training.conftest import make_tiny  # noqa: E402
from tests.training.fake_gpu import GPU, Gpu, fake_gpu  # noqa: E402

FAMILIES = ("llama", "llama-shared", "qwen2", "qwen3", "starcoder2")
KERNEL = "torch_attn._varlen_attn.default"
KERNEL_BACK = "torch_attn._varlen_attn_backward.default"
WAITS = "aten._local_scalar_dense.default"
NO_ORDER = ("bincount", "cumsum", "histc", "kthvalue", "median", "nll_loss2d_forward", "put_", "scatter_reduce")
"""Operators that raise where a fixed order of sums is asked for (torch.use_deterministic_algorithms), as far as
language models could use them."""
LAYERS = 2


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    torch.set_num_threads(1)
    attention.register()
    with fake_gpu() as gpu:
        yield gpu


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
    """Compare as the proofs do, and find no difference: there are no values to read."""

    def compared(left: Any, right: Any, **_: Any) -> bool:
        assert left.is_cuda
        assert right.is_cuda
        assert left.shape == right.shape
        (left.double() - right.double()).norm()
        return False

    with mock.patch.object(attention, "_differs", compared), mock.patch.object(lean, "_proved", return_value=True):
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
def test_a_packed_row_goes_through_the_kernel_both_ways(gpu: Gpu, bases: Any, listed: Any, family: str) -> None:
    model = loaded(bases[family], "packed")
    gpu.counts.clear()
    given = batch(listed, "packed")
    assert given.boundaries.dtype == torch.int32
    step(model, given)
    assert gpu.counts[KERNEL] == gpu.counts[KERNEL_BACK] == LAYERS
    assert gpu.counts["aten.mm.dtype"] == 2  # the head, and its gradient, summed in float32
    assert "magicoder.by_example.default" not in gpu.counts
    assert WAITS not in gpu.counts


def test_heads_that_the_kernel_refuses_are_refused_before_it_is_asked(gpu: Gpu, tiny: Any) -> None:
    model = tiny("llama", dtype=torch.bfloat16, head_dim=12)
    with pytest.raises(RecipeError, match="heads are 12 wide; the kernel takes multiples of 8"):
        attention.install(model, "packed", device=GPU)


def test_older_gpus_pad_and_have_no_eight_bits(bases: Any) -> None:
    torch.set_num_threads(1)
    attention.register()
    base = Base(model=str(bases["llama"]), random_weights=True)
    with fake_gpu((7, 5)), believed():
        model = models.load(base, Precision(), device=GPU)
        found = attention.install(model, "auto", longest=40, device=GPU)
        assert found.layout == "sorted"
        assert "Ampere" in found.why
    with fake_gpu((8, 6)), pytest.raises(RecipeError, match="no products in 8 bits"):
        models.load(base, Precision(fp8=True), device=GPU, machine=Machine(compile=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weights", ["bfloat16", "float32"])
def test_padded_rows_get_a_fast_kernel(gpu: Gpu, bases: Any, listed: Any, family: str, weights: str) -> None:
    model = loaded(bases[family], "sorted", weights=weights)
    gpu.counts.clear()
    step(model, batch(listed, "sorted"))
    kind = "flash" if weights == "bfloat16" else "efficient"
    assert gpu.counts[f"aten._scaled_dot_product_{kind}_attention.default"] == LAYERS
    assert gpu.counts[f"aten._scaled_dot_product_{kind}_attention_backward.default"] == LAYERS


def test_the_original_loss(gpu: Gpu, bases: Any, listed: Any) -> None:
    step(loaded(bases["llama"], "rows"), batch(listed, "rows"), exact=True)
    assert "aten.mm.dtype" not in gpu.counts


@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
@pytest.mark.parametrize("weights", ["bfloat16", "float32"])
@pytest.mark.parametrize("master", [True, False])
def test_updates_stay_on_the_gpu(gpu: Gpu, bases: Any, listed: Any, optimizer: str, weights: str, master: bool) -> None:
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
    assert WAITS not in gpu.counts


@pytest.mark.parametrize("layout", ["packed", "sorted"])
def test_recomputed_layers_run_twice(gpu: Gpu, bases: Any, listed: Any, layout: str) -> None:
    model = loaded(bases["llama-shared"], layout, machine=Machine(checkpointing=True))
    gpu.counts.clear()
    step(model, batch(listed, layout))
    kernel = KERNEL if layout == "packed" else "aten._scaled_dot_product_flash_attention.default"
    assert gpu.counts[kernel] == 2 * LAYERS


@pytest.mark.parametrize("family", ["llama", "starcoder2"])
def test_adapters(gpu: Gpu, bases: Any, listed: Any, family: str) -> None:
    pytest.importorskip("peft")
    model = loaded(bases[family], "packed", adapter=Adapter(rank=8, dropout=0.1))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    step(model, batch(listed, "packed"))
    assert gpu.counts["aten.mm.dtype"] >= 1


def test_products_in_eight_bits(gpu: Gpu, bases: Any, listed: Any) -> None:
    model = loaded(bases["qwen2"], "packed", machine=Machine(compile=True), fp8=True)
    changed = eight_bits.apply(models.layers(model))
    assert changed == 7 * LAYERS
    step(model, batch(listed, "packed", bounded=True))
    assert gpu.counts["aten._scaled_mm.default"] == 3 * changed


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's own
@pytest.mark.filterwarnings("ignore:.* should not be instantiated")  # torch's own way to trace a function
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own look at inputs
@pytest.mark.parametrize("fp8", [False, True])
def test_compiled_layers_are_traced_in_one_piece(gpu: Gpu, bases: Any, listed: Any, fp8: bool) -> None:
    """By torch's own tracer; what it compiles to, a GPU has to show."""
    torch._dynamo.reset()
    model = loaded(bases["qwen2"], "packed", machine=Machine(compile=True), fp8=fp8)
    models.compile_layers(model, "packed", backend="eager", fullgraph=True)
    gpu.counts.clear()
    step(model, batch(listed, "packed", bounded=True))
    assert gpu.counts[KERNEL_BACK] == LAYERS
    assert ("aten._scaled_mm.default" in gpu.counts) is fp8


@pytest.mark.parametrize("family", ["llama", "qwen3", "starcoder2"])
def test_layers_that_keep_less(gpu: Gpu, bases: Any, listed: Any, family: str) -> None:
    model = loaded(bases[family], "packed")
    with believed():
        assert lean.apply(model)
    gpu.counts.clear()
    step(model, batch(listed, "packed"))
    assert gpu.counts[KERNEL] == gpu.counts[KERNEL_BACK] == LAYERS
    assert WAITS not in gpu.counts


@pytest.mark.parametrize("family", ["llama", "llama-shared"])
@pytest.mark.parametrize("bounded", [False, True])
def test_a_shared_beginning(gpu: Gpu, bases: Any, family: str, bounded: bool) -> None:
    model = loaded(bases[family], "packed")
    examples = Alike()
    micro = MicroBatch((tuple(range(4)),), 1.0, 8)
    limit = tensors.bound([micro], examples.lengths) if bounded else None
    given = tensors.collate(micro, examples, layout="packed", pad_id=1, device=GPU, bound=limit)
    assert given is not None
    assert given.keys is not None
    assert {part.device for part in given.keys} == {GPU}
    gpu.counts.clear()
    step(model, given)
    assert gpu.counts["magicoder.lengthened.default"] == 2 * LAYERS
    assert gpu.counts[KERNEL_BACK] == LAYERS
    assert WAITS not in gpu.counts


class Alike:
    """Four examples of 32 tokens, of which the first eight are the same."""

    def __init__(self) -> None:
        self.lengths = np.full(4, 32, dtype=np.int32)
        self.trained = np.full(4, 16, dtype=np.int32)
        self.prefix = 8

    def __len__(self) -> int:
        return 4

    def id(self, i: int) -> str:
        return str(i)

    def tokens(self, i: int) -> Any:
        return np.concatenate([np.arange(8), np.arange(24) + 3 * i]).astype(np.int32)

    def mask(self, _i: int) -> Any:
        return np.arange(32) >= 16


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"optimization": Optimization(max_grad_norm=1.0)},
        {"batches": Batches(examples=4, layout="sorted")},
        {"mode": "paper-exact"},
        {"machine": Machine(checkpointing=True)},
        {"adapter": Adapter(rank=4)},
    ],
    ids=["packed", "clipped", "sorted", "exact", "recomputed", "lora"],
)
def test_a_step_of_the_loop_waits_once_for_its_loss(gpu: Gpu, model: Path, tmp_path: Path, given: Any) -> None:
    training = Training(
        name="x",
        base=Base(model=str(model), random_weights=True),
        stages=(Stage(name="one", data=("x",)),),
        **{"batches": Batches(examples=4), **given},
    )
    course = loop.Course(
        training=training,
        stage=training.stages[0],
        base=training.base,
        learned=Alike(),
        aside={},
        folder=tmp_path,
        key="x",
        tell=print,
    )
    with believed(), parallel.start(training.machine) as world:
        assert world.device == GPU
        assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        made = loop.Loop(course, world, mock.Mock(), lambda: False)
    gpu.counts.clear()
    figures = made._step(made.plan[0])
    assert figures["loss"] == 1.0
    assert figures["mfu"] > 0
    assert figures["peak_memory_gib"] == 0
    assert gpu.counts[WAITS] == (2 if training.optimization.max_grad_norm else 1)
    assert {name.split(".")[1] for name in gpu.counts} & set(NO_ORDER) == set()


def test_an_order_of_sums_is_only_asked_for_where_it_is_wanted(gpu: Gpu) -> None:
    with parallel.start(Machine(deterministic=False)) as world:
        assert world.device == GPU
        assert not torch.are_deterministic_algorithms_enabled()


def test_the_loss_on_held_out_examples(gpu: Gpu, bases: Any, listed: Any) -> None:
    model = loaded(bases["llama"], "packed")
    gpu.counts.clear()
    assert loss.held_out(model, [batch(listed, "packed")] * 3) == (1.0, 3 * listed.targets)
    assert gpu.counts[WAITS] == 1
