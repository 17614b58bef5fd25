"""Examples in one row stay apart: losses and gradients are those of each example alone."""

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

from magicoder.errors import RecipeError  # noqa: E402
from magicoder.training import attention, by_example, loss, models, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from tests.training.conftest import FAMILIES, ListedExamples  # noqa: E402

NARROW_VALUES = {
    "first_k_dense_replace": 2,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}


def micro(examples: ListedExamples, layout: str) -> MicroBatch:
    every = tuple(range(len(examples.pieces)))
    return MicroBatch((every,) if layout == "packed" else tuple((i,) for i in every), 1.0)


def gradients(model: Any) -> Any:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def one_by_one(model: Any, examples: ListedExamples) -> Any:
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
def test_gradients_of_a_micro_batch_are_those_of_its_examples_one_by_one(tiny, listed, family, layout) -> None:
    plain = tiny(family, dtype=torch.float64)
    expected = one_by_one(plain, listed)
    expected.backward()
    model = tiny(family, dtype=torch.float64)
    settled = attention.install(model, layout, longest=40)
    assert settled == attention.Installed(layout, fused=True, shares=layout == "packed")
    batch = tensors.collate(micro(listed, layout), listed, layout=layout, pad_id=1, device="cpu")
    found = loss.loss(model, batch)
    found.backward()
    assert abs(found.item() - expected.item()) <= 1e-6 * abs(expected.item())
    wanted = gradients(plain)
    assert (gradients(model) - wanted).norm() <= 1e-6 * wanted.norm()


def packed_batch(examples: ListedExamples, bound: tensors.Bound | None = None) -> tensors.Batch:
    batch = tensors.collate(micro(examples, "packed"), examples, layout="packed", pad_id=1, device="cpu", bound=bound)
    assert batch is not None
    return batch


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_shorter_than_an_example_are_kept_in_packed_rows(tiny, listed, family) -> None:
    windows = {"sliding_window": 30, "use_sliding_window": True, "max_window_layers": 0}
    plain = tiny(family, dtype=torch.float64, **windows)
    expected = one_by_one(plain, listed)
    expected.backward()
    model = tiny(family, dtype=torch.float64, **windows)
    attention.install(model, "packed", longest=40)
    found = loss.loss(model, packed_batch(listed))
    found.backward()
    assert (gradients(model) - gradients(plain)).norm() <= 1e-6 * gradients(plain).norm()
    if family != "llama":  # which has none
        wide = one_by_one(tiny(family, dtype=torch.float64), listed)
        assert abs(wide.item() - expected.item()) > 1e-6 * abs(expected.item())
        with pytest.raises(RecipeError, match="window of 30 tokens is shorter"):
            attention.install(tiny(family, **windows), "sorted", longest=40)
        assert attention.install(tiny(family, **windows), "sorted", longest=30).layout == "sorted"


def test_filling_a_row_up_changes_nothing(tiny, listed) -> None:
    def found(bound: tensors.Bound | None) -> Any:
        model = tiny("llama", dtype=torch.float64)
        attention.install(model, "packed")
        loss.loss(model, packed_batch(listed, bound)).backward()
        return gradients(model)

    filled = found(tensors.Bound(tokens=256, examples=16, longest=48))
    assert (filled - found(None)).norm() <= 1e-12 * filled.norm()


def test_recomputed_activations_keep_examples_apart(tiny, listed) -> None:
    def found(*, recompute: bool) -> Any:
        model = tiny("llama", dtype=torch.float64).train()
        if recompute:
            models._recompute(model)
        attention.install(model, "packed")
        loss.loss(model, packed_batch(listed)).backward()
        return gradients(model)

    assert torch.equal(found(recompute=True), found(recompute=False))


def test_no_target_belongs_to_another_example(listed) -> None:
    batch = packed_batch(listed)
    ends = batch.boundaries[1:] - 1
    assert (batch.targets[0, ends.long()] == tensors.NO_TARGET).all()
    assert batch.trained == listed.targets == int((batch.targets != tensors.NO_TARGET).sum())
    assert (batch.positions[0, batch.boundaries[:-1].long()] == 0).all()


def test_a_model_called_as_before_computes_as_before(tiny) -> None:
    ids = torch.arange(2, 30)[None]
    model = tiny("llama", attention="sdpa")
    before = model(input_ids=ids, labels=ids).loss
    attention.install(model, "sorted")
    assert torch.allclose(model(input_ids=ids, labels=ids).loss, before)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("mamba", {"state_size": 4, "num_hidden_layers": 2}),
        ("gpt_neox", {"attention_dropout": 0.1}),
        ("gpt2", {"attn_pdrop": 0.1}),
        ("gpt_bigcode", {"attn_pdrop": 0.1}),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}),
        ("bloom", {"n_layer": 2, "n_head": 4}),
        ("deepseek_v3", NARROW_VALUES),
    ],
)
def test_what_cannot_be_packed_is_refused_and_padded_instead(tiny, listed, family, options) -> None:
    with pytest.raises(RecipeError, match=r"packed cannot be used with .* Set it to sorted"):
        attention.install(tiny(family, **options), "packed")
    model = tiny(family, **options)
    settled = attention.install(model, "auto")
    assert settled.layout == "sorted"
    assert settled.why
    expected = one_by_one(tiny(family, **options).eval(), listed).item()
    batch = tensors.collate(micro(listed, "sorted"), listed, layout="sorted", pad_id=1, device="cpu")
    assert loss.loss(model.eval(), batch).item() == pytest.approx(expected, rel=1e-5)


def test_a_model_that_looks_ahead_is_refused(tiny) -> None:
    model = tiny("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    with pytest.raises(RecipeError, match="its own attention is another"):
        attention.install(model, "auto")
    assert model.config._attn_implementation == "eager"  # as it was


def test_scores_that_are_capped_are_refused(tiny) -> None:
    with pytest.raises(RecipeError, match="softcap"):
        attention.install(tiny("gemma2", head_dim=8), "auto")


def test_a_mixing_model_is_found_out_by_running_it(tiny, monkeypatch) -> None:
    def mixes(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **others: Any) -> Any:
        attention._note(others, module)
        result = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, scale=scaling, is_causal=True, enable_gqa=True
        )
        return result.transpose(1, 2), None

    monkeypatch.setattr(attention, "packed", mixes)
    with pytest.raises(RecipeError, match="examples in one row mix"):
        attention.install(tiny("llama"), "packed")
    monkeypatch.undo()
    assert attention.install(tiny("llama"), "packed").layout == "packed"


@pytest.mark.parametrize("key_cuts", [[0, 3, 4, 9, 9, 9], [0, 3, 7, 14, 14, 14]])
@pytest.mark.parametrize("window", [0, 2])
@pytest.mark.parametrize("heads", [2, 4])
def test_the_operations_gradients_are_right(heads, window, key_cuts) -> None:
    draw = torch.Generator().manual_seed(0)
    count = key_cuts[-1]
    sizes = [(9, 4, 3), (count, heads, 3), (count, heads, 3)]
    tensors_ = [torch.randn(size, generator=draw, dtype=torch.float64).requires_grad_() for size in sizes]
    cuts = [torch.tensor(ends, dtype=torch.int32) for ends in ([0, 3, 4, 9, 9, 9], key_cuts)]
    assert torch.autograd.gradcheck(lambda *qkv: by_example.by_example(*qkv, *cuts, 0.3, window), tensors_)


def test_the_operation_is_one_that_can_be_compiled() -> None:
    rows = [torch.randn(9, heads, 4).requires_grad_() for heads in (4, 2, 2)]
    cuts = torch.tensor([0, 4, 9, 9], dtype=torch.int32)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(by_example.by_example, (*rows, cuts, cuts, 0.3, 0), test_utils=checks)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("window", [0, 5])
def test_the_kernel_of_gpus_is_asked_for_what_the_reference_computes(monkeypatch, window, native) -> None:
    """The kernel's documented contract stands in for it: it cannot run here."""

    def documented(query, key, value, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa=False) -> Any:
        assert enable_gqa is native
        assert (key.shape[1] == query.shape[1]) is not native
        assert (max_q, max_k) == (13, 13)
        assert window_size[1] == 0  # nothing ahead
        seen = 0 if window_size[0] == -1 else window_size[0] + 1
        return by_example.by_example(query, key, value, cu_q, cu_k, scale, seen)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", documented)
    monkeypatch.setattr(attention, "_SHARES_HEADS", native)
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randn(count, heads, 8, generator=draw) for count, heads in ((23, 4), (26, 2), (26, 2))]
    cuts = tuple(torch.tensor(ends, dtype=torch.int32) for ends in ([0, 9, 10, 23, 23], [0, 9, 13, 26, 26]))
    found = attention._by_kernel(rows, cuts, 13, 0.3, window)
    assert torch.allclose(found, by_example.by_example(*rows, *cuts, 0.3, window), atol=1e-6)


def test_the_kernels_arguments_are_torchs() -> None:
    import inspect

    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    assert {"scale", "window_size", "enable_gqa"} <= set(known)
    assert list(known)[:7] == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
