"""What only a GPU shows: its kernels, the order of its sums, its memory. Skipped where there is none.

MAGICODER_TEST_DEVICE=cpu runs what a CPU can of it, to see that the tests themselves are right.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
np: Any = pytest.importorskip("numpy")
pytest.importorskip("transformers")

from magicoder.training import (  # noqa: E402
    attention,
    lean,
    loss,
    memory,
    models,
    optimizers,
    parallel,
    tensors,
)
from magicoder.training.batches import MicroBatch  # noqa: E402
from magicoder.training.settings import Base, Machine, Optimization, Precision, Stage, Training  # noqa: E402
from tests.training import runs  # noqa: E402
from tests.training.conftest import FAMILIES, ListedExamples, make_tiny  # noqa: E402

DEVICE = torch.device(os.environ.get("MAGICODER_TEST_DEVICE", "cuda"))
IS_GPU = DEVICE.type == "cuda"
pytestmark = [
    pytest.mark.skipif(IS_GPU and not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings(
        "default"
    ),  # of libraries, whose versions on a machine with a GPU are not ours to choose
]
only_gpu = pytest.mark.skipif(not IS_GPU, reason="a CPU cannot do it")
PREFIX = 12


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(mode=False)


@pytest.fixture
def many() -> ListedExamples:
    """Thirty examples of 20 to 300 tokens that begin alike."""
    draw = np.random.RandomState(1)
    once = draw.randint(3, 384, PREFIX)
    pieces = tuple(
        np.concatenate([once, draw.randint(3, 384, size)]).astype(np.int32) for size in draw.randint(8, 288, 30)
    )
    return ListedExamples(pieces, tuple(np.arange(len(p)) >= PREFIX + 1 + len(p) // 4 for p in pieces))


def batch(examples: ListedExamples, layout: str, prefix: int = 0, device: Any = DEVICE) -> tensors.Batch:
    every = tuple(range(len(examples.pieces)))
    rows = (every,) if layout == "packed" else tuple((i,) for i in every)
    micro = MicroBatch(rows, 1 / examples.targets, prefix)
    found = tensors.collate(micro, examples, layout=layout, pad_id=1, device=device)
    assert found is not None
    return found


def gradients(model: Any) -> Any:
    return torch.cat([p.grad.flatten().double().cpu() for p in model.parameters()])


def exact(family: str, examples: ListedExamples, **options: Any) -> Any:
    """The gradients in float64, an example at a time, by transformers' own forward, of weights in bfloat16."""
    model = make_tiny(family, dtype=torch.bfloat16, **options).double()
    for tokens, mask in zip(examples.pieces, examples.marks, strict=True):
        ids = torch.tensor(tokens, dtype=torch.int64)[None]
        labels = torch.where(torch.tensor(mask), ids[0], -100)[1:]
        logits = model(input_ids=ids).logits[0, :-1]
        (torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / examples.targets).backward()
    return gradients(model)


def distance(found: Any, wanted: Any) -> float:
    return float((found - wanted).norm() / wanted.norm())


SHAPES = {family: {"hidden_size": 64, "intermediate_size": 128} for family in FAMILIES}
SHAPES["llama-alone"] = {**SHAPES["llama"], "num_key_value_heads": 4}


@pytest.mark.parametrize("window", [0, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_packed_rows_give_what_single_examples_give(many, shape, window) -> None:
    """As near to float64 as padded rows in bfloat16 are, with the prefix once a row and with every example."""
    family = shape.partition("-")[0]
    if window and family == "llama":
        pytest.skip("it has no windows")
    options = {
        **SHAPES[shape],
        "sliding_window": window or None,
        "use_sliding_window": bool(window),
        "max_window_layers": 0,
    }
    wanted = exact(family, many, **options)
    distances = {}
    for name, layout, prefix in (("each", "packed", 0), ("once", "packed", PREFIX), ("padded", "sorted", 0)):
        if window and layout == "sorted":
            continue
        model = make_tiny(family, dtype=torch.bfloat16, attention="sdpa", **options).to(DEVICE)
        settled = attention.install(model, layout, longest=300)
        assert settled == attention.Installed(layout, fused=True, shares=layout == "packed")
        loss.loss(model, batch(many, layout, prefix)).backward()
        distances[name] = distance(gradients(model), wanted)
    print(shape, window, distances)
    least = distances.get("padded", 0.02)
    assert distances["each"] <= 1.3 * least + 0.002
    assert distances["once"] <= 1.3 * least + 0.002


def test_padded_rows_in_float32(many) -> None:
    model = make_tiny("llama", attention="sdpa").to(DEVICE)
    plain = make_tiny("llama", attention="sdpa").double()
    attention.install(model, "sorted", longest=300)
    attention.install(plain, "sorted", longest=300)
    loss.loss(model, batch(many, "sorted")).backward()
    loss.loss(plain, batch(many, "sorted", device="cpu")).backward()
    assert distance(gradients(model), gradients(plain)) <= 1e-4


@only_gpu
def test_sums_in_one_order_give_the_same_bits_each_time(many) -> None:
    parallel.repeatable()
    found = []
    for _ in range(4):
        model = make_tiny("llama", dtype=torch.bfloat16, attention="sdpa", **SHAPES["llama"]).to(DEVICE)
        attention.install(model, "packed")
        loss.loss(model, batch(many, "packed", PREFIX)).backward()
        found.append(gradients(model))
    assert all(torch.equal(one, found[0]) for one in found)


@only_gpu
@pytest.mark.parametrize("layout", ["packed", "sorted"])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_micro_batch_waits_for_nothing(many, layout, ordered) -> None:
    if ordered:
        parallel.repeatable()
    model = make_tiny("llama", dtype=torch.bfloat16, attention="sdpa", **SHAPES["llama"]).to(DEVICE)
    attention.install(model, layout, longest=300)
    lean.apply(model)
    prefix = PREFIX if layout == "packed" else 0
    loss.loss(model, batch(many, layout, prefix)).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss.loss(model, batch(many, layout, prefix)).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_keep_less_compute_the_same(many, family) -> None:
    found, losses, peaks = [], [], []
    for changed in (False, True):
        model = make_tiny(family, dtype=torch.bfloat16, attention="sdpa", **SHAPES[family]).to(DEVICE)
        attention.install(model, "packed")
        if changed:
            assert lean.apply(model)
        given = batch(many, "packed")
        if IS_GPU:
            torch.cuda.reset_peak_memory_stats()
        value = loss.loss(model, given)
        value.backward()
        peaks.append(torch.cuda.max_memory_allocated() if IS_GPU else 0)
        losses.append(value.item())
        found.append(gradients(model))
    assert losses[0] == losses[1]
    assert distance(found[1], found[0]) <= 5e-3
    assert peaks[1] < peaks[0] or not IS_GPU


@pytest.mark.parametrize("name", ["adafactor", "adamw"])
@pytest.mark.parametrize("master", [True, False])
def test_an_update_is_that_of_a_cpu(name, master) -> None:
    ends = []
    for device in (torch.device("cpu"), DEVICE):
        draw = torch.Generator().manual_seed(0)
        weights = [
            torch.nn.Parameter(torch.randn(shape, generator=draw).bfloat16().to(device)) for shape in ((96, 64), (64,))
        ]
        optimizer = optimizers.build(
            [(str(i), w) for i, w in enumerate(weights)],
            Optimization(optimizer=name, warmup_steps=0, max_grad_norm=1.0),
            Precision(master=master),
            world=parallel.World(device=device),
        )
        for _ in range(5):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=draw).bfloat16().to(device)
            optimizer.clip(1.0)
            optimizer.step(1e-2)
            optimizer.zero_grad()
        ends.append(torch.cat([w.detach().double().cpu().flatten() for w in weights]))
    assert distance(ends[1], ends[0]) <= 1e-3


# Whole runs.


def recipe(folder: Path, model: Path, data: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {
        "precision": {"weights": "bfloat16"},
        "machine": {"device": DEVICE.type},
        "held_out": {"examples": 4, "every_steps": 2},
        **changes,
    }
    return runs.recipe(folder, model, data, **given)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A base whose products have sizes that 8 bits can do."""
    return runs.base(tmp_path_factory.mktemp("wide"), tokenizer, hidden_size=64, intermediate_size=128)


@pytest.mark.parametrize("layout", ["packed", "sorted"])
@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
def test_a_run_that_was_stopped_ends_with_the_same_bits(tmp_path, wide, data, optimizer, layout, monkeypatch) -> None:
    given = {
        "optimization": {"optimizer": optimizer, "learning_rate": 1e-3, "warmup_steps": 2},
        "batches": {"examples": 8, "layout": layout, "micro_batch_tokens": 700},
    }
    one, other = recipe(tmp_path / "a", wide, data, **given), recipe(tmp_path / "b", wide, data, **given)
    assert runs.run(one, "--out", tmp_path / "whole") == 0
    out = tmp_path / "stopped"
    written = out / "stages" / "one" / "metrics.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr("magicoder.finetuning._stop", lambda: lambda: written.exists() and len(runs.figures(out)) >= 4)
        assert runs.run(other, "--out", out) == 130
    assert 0 < len(runs.figures(out)) < len(runs.figures(tmp_path / "whole"))
    assert runs.run(other, "--out", out) == 0
    left, right = runs.weights(tmp_path / "whole"), runs.weights(out)
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("fp8", [False, pytest.param(True, marks=only_gpu)])
def test_compiled_layers_learn_what_others_learn(tmp_path, wide, data, fp8) -> None:
    plain, compiled = (
        recipe(tmp_path / "a", wide, data),
        recipe(
            tmp_path / "b",
            wide,
            data,
            machine={"device": DEVICE.type, "compile": True},
            precision={"weights": "bfloat16", "fp8": fp8},
        ),
    )
    assert runs.run(plain, "--out", tmp_path / "plain") == 0
    assert runs.run(compiled, "--out", tmp_path / "compiled") == 0
    losses = [[f["loss"] for f in runs.figures(tmp_path / name)] for name in ("plain", "compiled")]
    print(losses)
    assert losses[1] == pytest.approx(losses[0], rel=0.03 if fp8 else 0.005)


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": {"rank": 4}},
        {"machine": {"device": DEVICE.type, "checkpointing": True}},
        {"mode": "paper-exact", "batches": {"examples": 8, "processes": 1}},
        {"precision": {"weights": "float32"}, "batches": {"examples": 8, "layout": "auto"}},
        {"backend": "trl", "batches": {"examples": 8}, "precision": {"weights": "float32"}},
    ],
    ids=["lora", "recomputed", "exact", "float32", "trl"],
)
def test_every_way_of_training_learns(tmp_path, wide, data, changes) -> None:
    if changes.get("backend"):
        pytest.importorskip("trl")
    assert runs.run(recipe(tmp_path, wide, data, **changes), "--out", tmp_path / "run") == 0
    losses = [figures["loss"] for figures in runs.figures(tmp_path / "run")]
    assert losses[-1] < losses[0]


# Memory.

SHAPE = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 32_000,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}


@only_gpu
@pytest.mark.parametrize("tokens", [4096, 8192])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_holds_what_a_plan_simulates(tmp_path, tokens, checkpointing) -> None:
    """Allocated at the peak of two micro-batches and an update, beside the sum of the plan's parts."""
    from transformers import AutoConfig

    (tmp_path / "config.json").write_text(
        json.dumps(AutoConfig.for_model("llama", **SHAPE).to_dict()), encoding="utf-8"
    )
    base, machine = Base(model=str(tmp_path), random_weights=True), Machine(checkpointing=checkpointing)
    training = Training(name="x", base=base, stages=(Stage(name="x", data=("x",)),), machine=machine)
    count = tokens // 512
    plan = memory.simulate(training, tokens=tokens, examples=count, longest=512, share=0.5)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    model = models.load(base, training.precision, device=DEVICE, machine=machine, random_seed=1)
    model.train()
    attention.install(model, "packed")
    if not checkpointing:
        lean.apply(model)
    optimizer = optimizers.build(
        model.named_parameters(), training.optimization, Precision(master=True), world=parallel.World(device=DEVICE)
    )
    draw = np.random.RandomState(0)
    pieces = tuple(draw.randint(3, 32_000, 512).astype(np.int32) for _ in range(count))
    examples = ListedExamples(pieces, tuple(np.arange(512) >= 256 for _ in pieces))
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        loss.loss(model, batch(examples, "packed")).backward()
    optimizer.step(1e-4)
    measured = torch.cuda.max_memory_allocated() - before
    simulated = plan.weights + plan.master + plan.gradients + plan.optimizer + max(plan.activations, plan.update)
    print(tokens, checkpointing, measured / 2**20, simulated / 2**20)
    assert measured == pytest.approx(simulated, rel=0.05)
