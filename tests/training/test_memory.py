"""What a step is said to hold, beside what it is reckoned to hold and what a step on a CPU does hold."""

import json
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

from magicoder.training import (  # noqa: E402
    attention,
    estimate,
    lean,
    loss,
    memory,
    models,
    optimizers,
    parallel,
)
from magicoder.training.hardware import GPU  # noqa: E402
from magicoder.training.settings import (  # noqa: E402
    Adapter,
    Base,
    Machine,
    Optimization,
    Precision,
    Stage,
    Training,
)
from tests.training.conftest import make_tiny  # noqa: E402

WIDTH, INNER, LAYERS, WORDS, HEADS = 64, 160, 3, 384, 4
TOKENS = 4096
SHAPE = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "tie_word_embeddings": False,
}
PARAMETERS = LAYERS * (4 * WIDTH**2 + 3 * WIDTH * INNER + 2 * WIDTH) + 2 * WORDS * WIDTH + WIDTH


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("llama"), make_tiny("llama", **SHAPE))


def written(folder: Path, model: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()), encoding="utf-8")
    return folder


def peak(base: Path, *, tokens: int = TOKENS, **given: Any) -> memory.Peak:
    training = Training(name="x", base=Base(model=str(base)), stages=(Stage(name="x", data=("x",)),), **given)
    found = memory.simulate(training, tokens=tokens, examples=tokens // 64, longest=128, share=0.5)
    assert found.simulated
    return found


@pytest.mark.parametrize(
    ("given", "master", "kept"),
    [
        ({}, 2, 0.0),
        ({"mode": "paper-exact"}, 0, 0.0),
        ({"precision": Precision(weights="float32")}, 0, 0.0),
        ({"optimization": Optimization(optimizer="adamw")}, 2, 8.0),
    ],
)
def test_what_stands_beside_a_weight(base: Path, given: Any, master: int, kept: float) -> None:
    found = peak(base, **given)
    size = 4 if "precision" in given else 2
    assert found.trained == size * PARAMETERS
    assert found.weights == pytest.approx(size * PARAMETERS, rel=0.02)  # and frequencies of positions
    assert found.gradients == pytest.approx(size * PARAMETERS, rel=0.02)  # every tensor ends at 512 bytes
    assert found.master == pytest.approx(master * PARAMETERS, rel=0.02)
    if kept:
        assert found.optimizer == pytest.approx(kept * PARAMETERS, rel=0.02)
    else:
        assert found.optimizer < 0.2 * PARAMETERS  # a number a row and a column


def a_token(*, lean: bool) -> float:
    """Bytes kept of a token in a layer of bfloat16, by hand."""
    norms = 2 * (2 * WIDTH + 4 + 2 * WIDTH) if lean else 2 * (4 * WIDTH + 4 + 2 * WIDTH + 2 * WIDTH)
    attended = 4 * 2 * WIDTH + 4 * HEADS  # queries, keys, values, the result, and a number a head
    return norms + attended + (2 if lean else 4) * 2 * INNER


def test_activations_are_what_they_are_by_hand(base: Path) -> None:
    """As they grow with tokens; layers apart from the embedding, the end and the loss."""
    for changed, given in ((True, {}), (False, {"mode": "paper-exact"})):
        few, many = (peak(base, tokens=n, **given).activations for n in (TOKENS, 2 * TOKENS))
        by_hand = LAYERS * a_token(lean=changed)
        at_the_end = 12 * WIDTH + (10 * WORDS if not changed else 0) + 1500
        assert by_hand < (many - few) / TOKENS < by_hand + at_the_end


def test_more_tokens_need_more_and_recomputed_layers_less(base: Path) -> None:
    sizes = [peak(base, tokens=n).activations for n in (256, 1024, 4096, 8192)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)
    assert peak(base, machine=Machine(checkpointing=True)).activations < 0.7 * sizes[2]


def test_compiled_layers_keep_less_than_they_would_as_they_are_written(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = peak(base, machine=Machine(compile=True)).activations
    monkeypatch.setattr(lean, "helps", lambda _: False)
    assert compiled < 0.95 * peak(base).activations


def test_a_shared_beginning_makes_keys_longer(base: Path) -> None:
    """By so many keys and values of bfloat16 a layer."""
    training = Training(name="x", base=Base(model=str(base)), stages=(Stage(name="x", data=("x",)),))
    plain, shared = (
        memory.simulate(training, tokens=TOKENS, examples=64, longest=128, share=0.5, prefix=prefix).activations
        for prefix in (0, 16)
    )
    assert shared - plain == pytest.approx(LAYERS * 64 * 16 * 2 * 2 * WIDTH, rel=0.3)


def test_adapters_leave_weights_alone(base: Path) -> None:
    pytest.importorskip("peft")
    whole, added = peak(base), peak(base, adapter=Adapter(rank=4))
    quantized = peak(base, adapter=Adapter(rank=4, quantized=True))
    assert added.trained == 2 * 4 * LAYERS * (4 * 2 * WIDTH + 3 * (WIDTH + INNER))
    assert added.gradients < 0.2 * whole.gradients
    assert added.weights > whole.weights
    # Embeddings and head stay in 16 bits.
    inside = PARAMETERS - 2 * WORDS * WIDTH - (2 * LAYERS + 1) * WIDTH
    assert added.weights - quantized.weights == pytest.approx((2 - memory.FOUR_BITS) * inside, rel=1e-3)


def test_a_step_on_a_cpu_holds_as_much(base: Path) -> None:
    """The same count over a real step; there attention is made example by example, and keeps nothing of its own."""
    torch.set_num_threads(1)
    precision = Precision(weights="float32")
    model = models.load(Base(model=str(base), random_weights=True), precision, device="cpu")
    attention.install(model, "packed")
    lean.apply(model)
    made = optimizers.build(model.named_parameters(), Optimization(), precision, world=parallel.World())
    batch = memory._batch(TOKENS, 64, 64, 0.5)
    cuts = torch.arange(0, TOKENS + 1, 64, dtype=torch.int32)
    for tensor in (batch.ids, batch.labels):
        tensor.zero_()
    batch.positions[:] = torch.arange(TOKENS) % 64
    batch.where[:] = torch.arange(TOKENS // 2)
    real = memory.Batch(
        batch.ids, batch.positions, batch.ids, cuts, 64, batch.where, batch.labels, 1.0, TOKENS, TOKENS // 2
    )  # fmt: skip
    held = memory._Held()
    held.add([*model.parameters(), *model.buffers(), *made.state().values()])
    with held:
        loss.loss(model, real).backward()
        activations = held.above(lambda: loss.loss(model, real).backward())
        update = held.above(lambda: made.step(1e-3))
    expected = peak(base, precision=precision)
    assert expected.update == pytest.approx(update, rel=0.02)
    assert expected.activations == pytest.approx(activations, rel=0.05)


def test_a_model_that_reads_values_is_reckoned(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")

    monkeypatch.setattr(loss, "loss", refuse)
    training = Training(name="x", base=Base(model=str(base)), stages=(Stage(name="x", data=("x",)),))
    found = memory.simulate(training, tokens=TOKENS, examples=64, longest=64, share=0.5)
    assert not found.simulated
    assert found.activations == TOKENS * LAYERS * (24 * WIDTH + 8 * INNER)
    assert found.gradients == found.trained


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "starcoder2", "mistral", "gemma", "mixtral"])
def test_families(tmp_path: Path, family: str) -> None:
    found = peak(written(tmp_path, make_tiny(family, **SHAPE)))
    assert found.activations > TOKENS * LAYERS * 8 * WIDTH


@pytest.mark.parametrize(
    ("family", "given", "on_gpu", "layout", "why"),
    [
        ("llama", {}, True, "packed", ""),
        ("llama", {}, False, "packed", ""),
        ("llama", {"precision": Precision(weights="float32")}, True, "sorted", "computes in 16 bits"),
        ("gpt_neox", {}, True, "sorted", "attention_dropout"),
    ],
)
def test_a_plan_packs_what_the_run_will_pack(
    tmp_path: Path, family: str, given: Any, on_gpu: bool, layout: str, why: str
) -> None:
    dropout = {"attention_dropout": 0.1} if family == "gpt_neox" else {}
    base = Base(model=str(written(tmp_path, make_tiny(family, **dropout))))
    training = Training(name="x", base=base, stages=(Stage(name="x", data=("x",)),), **given)
    settled, notes = estimate._settled(training, 300, on_gpu=on_gpu)
    assert settled.layout == layout
    assert why in "".join(notes)
    assert bool(notes) is (layout != "packed")


def test_a_spread_model_keeps_a_share_and_auto_spreads_what_is_too_large(base: Path) -> None:
    found = peak(base)
    whole, part = estimate._parts(found, 1), estimate._parts(found, 4)
    assert part["weights"] == whole["weights"] / 4
    assert part["gradients"] == whole["gradients"] / 4
    assert part["whole layers"] > 0
    assert whole["all"] == pytest.approx(sum(size for name, size in whole.items() if name != "all"))
    states = (found.weights + found.master + found.gradients + found.optimizer) / 2**30
    training = Training(name="x", base=Base(model=str(base)), stages=(Stage(name="x", data=("x",)),))
    roomy, narrow = GPU(1, states / parallel.WHOLE * 1.01), GPU(1, states / parallel.WHOLE * 0.99)
    assert not estimate._is_spread(training, found, roomy, 4)
    assert estimate._is_spread(training, found, narrow, 4)
    assert not estimate._is_spread(training, found, narrow, 1)
