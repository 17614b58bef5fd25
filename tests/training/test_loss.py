"""The loss in pieces is the loss: its value, its gradients, under any weights; and the original's, to the bit."""

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

from torch.nn import functional  # noqa: E402

from magicoder.training import attention, loss, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from tests.training.conftest import FAMILIES, ListedExamples  # noqa: E402


def inputs(dtype: Any = torch.float64, tokens: int = 37, width: int = 16, words: int = 53) -> tuple[Any, ...]:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(words, width, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()
    labels = torch.randint(0, words, (tokens,), generator=draw)
    factors = torch.rand(tokens, generator=draw, dtype=torch.float64)
    return hidden, weight, labels, factors


@pytest.mark.parametrize("piece", [1, 8, 37, 100])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, 0.0), (0.25, 0.0), (1.0, 3.0), (2.0, 5.0)])
def test_loss_and_gradients_in_pieces_are_those_of_whole_logits(piece, scale, softcap) -> None:
    hidden, weight, labels, factors = inputs()
    logits = hidden @ weight.t() * scale
    if softcap:
        logits = torch.tanh(logits / softcap) * softcap
    expected = (functional.cross_entropy(logits, labels, reduction="none") * factors).sum()
    upstream = 0.37  # an arbitrary gradient from above
    wanted = torch.autograd.grad(expected, (hidden, weight), torch.tensor(upstream, dtype=torch.float64))
    found = loss.linear_cross_entropy(
        hidden, weight, labels, scale=scale, softcap=softcap, token_weights=factors, piece=piece
    )
    gradients = torch.autograd.grad(found, (hidden, weight), torch.tensor(upstream, dtype=torch.float64))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    for left, right in zip(gradients, wanted, strict=True):
        assert (left - right).norm() <= 1e-12 * right.norm()


def test_the_gradient_check_of_autograd_holds() -> None:
    hidden, weight, labels, factors = inputs(tokens=5, width=4, words=7)
    assert torch.autograd.gradcheck(
        lambda h, w: loss.linear_cross_entropy(h, w, labels, softcap=2.0, token_weights=factors, piece=2),
        (hidden, weight),
    )


def test_the_gradient_of_a_bfloat16_head_does_not_depend_on_the_pieces() -> None:
    hidden, weight, labels, _ = inputs(torch.bfloat16, tokens=512)
    exact = [t.detach().double().requires_grad_() for t in (hidden, weight)]
    functional.cross_entropy(exact[0] @ exact[1].t(), labels, reduction="sum").backward()

    def error(piece: int) -> float:
        weight.grad = None
        loss.linear_cross_entropy(hidden, weight, labels, piece=piece).backward()
        return float((weight.grad.double() - exact[1].grad).norm() / exact[1].grad.norm())

    whole = error(512)
    assert error(4) <= 1.05 * whole + 1e-6  # sums rounded to bfloat16 piece by piece are many times worse
    assert whole < 5e-3


def test_frozen_weights_get_no_gradient_and_cost_none() -> None:
    hidden, weight, labels, _ = inputs()
    weight.requires_grad_(False)
    loss.linear_cross_entropy(hidden, weight, labels).backward()
    assert weight.grad is None
    assert hidden.grad is not None
    with torch.no_grad():
        assert not loss.linear_cross_entropy(hidden, weight, labels).requires_grad


def micro(examples: ListedExamples, layout: str, weight: float) -> MicroBatch:
    every = tuple(range(len(examples.pieces)))
    return MicroBatch((every,) if layout == "packed" else tuple((i,) for i in every), weight)


def transformers_loss(model: Any, examples: ListedExamples) -> Any:
    """The mean over all targets as transformers' own loss function makes it, from right-padded rows with a mask."""
    width = int(examples.lengths.max())
    ids = torch.ones(len(examples.pieces), width, dtype=torch.int64)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for row, (piece, mark) in enumerate(zip(examples.pieces, examples.marks, strict=True)):
        ids[row, : len(piece)] = torch.tensor(piece)
        labels[row, : len(piece)] = torch.where(torch.tensor(mark), ids[row, : len(piece)], -100)
        mask[row, : len(piece)] = 1
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


@pytest.mark.parametrize("layout", ["packed", "sorted", "rows"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_transformers_in_float32(tiny, listed, family, layout) -> None:
    expected = transformers_loss(tiny(family, attention="sdpa"), listed).item()
    model = tiny(family)
    attention.install(model, layout)
    batch = tensors.collate(micro(listed, layout, 1 / listed.targets), listed, layout=layout, pad_id=1, device="cpu")
    assert loss.loss(model, batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", ["gemma2", "granite", "cohere", "gpt2"])
def test_heads_that_scale_or_cap_or_are_unknown_give_the_models_own_loss(tiny, listed, family) -> None:
    options: dict[str, Any] = {
        "gemma2": {"head_dim": 8, "final_logit_softcapping": 0.5, "attn_logit_softcapping": None},
        "granite": {"logits_scaling": 8.0},
        "cohere": {"logit_scale": 0.25},
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    }[family]
    expected = transformers_loss(tiny(family, **options).eval(), listed)
    model = tiny(family, **options)
    settled = attention.install(model, "sorted")
    batch = tensors.collate(
        micro(listed, "sorted", 1 / listed.targets), listed, layout="sorted", pad_id=1, device="cpu"
    )
    found = loss.loss(model, batch)
    assert settled.fused
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    if family != "gpt2":
        assert model.magicoder_head.scale != 1.0 or model.magicoder_head.softcap


@pytest.mark.parametrize("layout", ["packed", "sorted"])
def test_a_head_with_a_bias_is_left_to_the_model(tiny, listed, layout) -> None:
    def biased() -> Any:
        model = tiny("llama")
        head = torch.nn.Linear(32, 384)
        head.weight.data = model.lm_head.weight.data
        head.bias.data = torch.linspace(-1, 1, 384)
        model.lm_head = head
        return model

    expected = transformers_loss(biased(), listed).item()
    model = biased()
    assert not attention.install(model, layout).fused
    batch = tensors.collate(micro(listed, layout, 1 / listed.targets), listed, layout=layout, pad_id=1, device="cpu")
    found = loss.loss(model, batch)
    found.backward()
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert model.lm_head.bias.grad.norm() > 0


def test_the_originals_loss_is_reproduced_to_the_bit(tiny, listed) -> None:
    """transformers 4.35: logits as float32, mean over the targets of two rows, divided by the accumulation steps."""
    heads = {"num_key_value_heads": 4}  # as many as of queries, as in the paper's models
    plain = tiny("llama", attention="eager", dtype=torch.bfloat16, **heads)
    width = 40
    ids = torch.ones(2, width, dtype=torch.int64)
    labels = torch.full_like(ids, -100)
    for row, index in enumerate((0, 2)):
        piece, mark = torch.tensor(listed.pieces[index]).long(), torch.tensor(listed.marks[index])
        ids[row, : len(piece)], labels[row, : len(piece)] = piece, torch.where(mark, piece, -100)
    logits = plain(input_ids=ids, use_cache=False).logits.float()
    entropy = torch.nn.CrossEntropyLoss()(logits[..., :-1, :].reshape(-1, 384), labels[..., 1:].reshape(-1))
    (entropy / 256).backward()
    model = tiny("llama", dtype=torch.bfloat16, **heads)
    attention.install(model, "rows")
    trained = int((labels[:, 1:] != -100).sum())
    batch = tensors.collate(
        MicroBatch(((0,), (2,)), 1 / (256 * trained)), listed, layout="rows", pad_id=1, device="cpu"
    )
    found = loss.loss(model, batch, exact=True)
    found.backward()
    assert found.item() == entropy.item() / 256
    for left, right in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(left.grad, right.grad)


@pytest.mark.parametrize("exact", [False, True])
def test_a_batch_without_targets_gives_gradients_of_zero(tiny, exact) -> None:
    model = tiny("llama")
    layout = "rows" if exact else "packed"
    attention.install(model, layout)
    found = loss.loss(model, tensors.idle(layout=layout, pad_id=1, device="cpu"), exact=exact)
    found.backward()
    assert found.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_losses_on_held_out_examples_are_summed_without_dropout(tiny, listed) -> None:
    model = tiny("llama", attention_dropout=0.5)
    expected = transformers_loss(tiny("llama"), listed).item()
    attention.install(model, "sorted")
    model.train()
    parts = [MicroBatch(((0,), (1,), (2,)), 0.5), MicroBatch(((3,), (4,)), 0.125)]
    batches = [tensors.collate(part, listed, layout="sorted", pad_id=1, device="cpu") for part in parts]
    total, count = loss.held_out(model, batches)
    assert count == listed.targets
    assert total / count == pytest.approx(expected, rel=1e-5)
    assert model.training
    assert loss.held_out(model, []) == (0.0, 0)


def test_losses_of_a_step_add_up_whatever_the_micro_batches(tiny, listed) -> None:
    def gradients(cuts: list[tuple[int, ...]]) -> Any:
        model = tiny("llama", dtype=torch.float64)
        attention.install(model, "packed")
        for cut in cuts:
            part = MicroBatch((cut,), 1 / listed.targets)
            loss.loss(model, tensors.collate(part, listed, layout="packed", pad_id=1, device="cpu")).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    whole = gradients([(0, 1, 2, 3, 4)])
    for cuts in ([(0,), (1,), (2,), (3,), (4,)], [(4, 0), (1, 3, 2)]):
        assert (gradients(cuts) - whole).norm() <= 1e-9 * whole.norm()


def test_the_mask_decides_what_is_learned(listed) -> None:
    batch = tensors.collate(micro(listed, "packed", 1.0), listed, layout="packed", pad_id=1, device="cpu")
    starts = np.cumsum([0, *listed.lengths])
    for index, (piece, mark) in enumerate(zip(listed.pieces, listed.marks, strict=True)):
        targets = batch.targets[0, starts[index] : starts[index + 1]].tolist()
        expected = [int(piece[j + 1]) if j + 1 < len(piece) and mark[j + 1] else -100 for j in range(len(piece))]
        assert targets == expected
