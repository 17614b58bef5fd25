"""The loss of a micro-batch: cross-entropy over its targets, without ever holding all logits at once.

A token's logits are as many numbers as the vocabulary is large; of 16,384 tokens and 152,000 words they take 10 GB in
float32, and as much again for their gradient. `linear_cross_entropy` makes them in pieces and keeps only what the
backward pass needs: the gradients of the hidden states and of the head, the latter summed in float32. Sums in bfloat16,
piece by piece, are a known cause of drift (Liger-Kernel #512, #830).
"""

import inspect
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn import functional

from magicoder.training import balancing
from magicoder.training.tensors import Batch

_PIECE: Final = 2**27
"""Logits made at once: 0.5 GiB in float32."""
_WORDS: Final = 2**15
"""Rows of the head whose gradient is made at once."""


@dataclass(frozen=True, slots=True)
class Head:
    """How hidden states become logits: `softcap * tanh(scale * (hidden @ weight.T) / softcap)`; softcap 0: none.

    fused   False: the model's own forward makes the logits, all at once (a head with a bias, with adapters, or one that
            does something else)
    """

    fused: bool
    scale: float = 1.0
    softcap: float = 0.0


def core(model: Any) -> Any:
    """Return transformers' model inside what peft wraps around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def loss(model: Any, batch: Batch, *, exact: bool = False) -> Any:
    """Return `batch.weight` times the sum of the cross-entropies of all targets: a scalar, float32 or wider.

    exact   as the original computed it: all logits in the weights' type, then float32, the mean over the targets of the
            micro-batch, divided by the number of micro-batches of the step, which `batch.weight` implies

    `attention.install` must have been called. The model is called as a module, so that hooks around it run.
    """
    return model(magicoder=batch, exact=exact)


def held_out(model: Any, batches: Iterable[Batch]) -> tuple[float, int]:
    """Return the sum of the cross-entropies over all targets of `batches`, and the number of targets.

    Only sums are kept, so memory does not grow with the number of examples. No gradients, no dropout.
    """
    total, count = None, 0
    with evaluation(model), torch.no_grad():
        for batch in batches:
            part = model(magicoder=batch, weighted=False).double()
            total = part if total is None else total + part
            count += batch.trained
    return (0.0 if total is None else float(total.item()), count)


@contextmanager
def evaluation(model: Any) -> Any:
    """Switch dropout off for a while."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def wrap_forward(model: Any, head: Head) -> None:
    """Let `model(magicoder=batch)` return a loss; every other call goes to the forward that it had.

    The loss is computed inside the module's call because FSDP gathers the weights of the head there.
    """
    original = getattr(model, "magicoder_forward", model.forward)
    model.magicoder_forward, model.magicoder_head = original, head
    balance = balancing.of(model)
    keeps = "logits_to_keep" in inspect.signature(original).parameters

    def forward(
        *args: Any, magicoder: Batch | None = None, exact: bool = False, weighted: bool = True, **kwargs: Any
    ) -> Any:
        if magicoder is None:
            return original(*args, **kwargs)
        if exact:
            found = original(**inputs(magicoder))
            total = _original_loss(found.logits, magicoder)
        else:
            total, found = _fused(model, head, magicoder) if head.fused else _plain(original, magicoder, some=keeps)
            total = total * magicoder.weight if weighted else total
        return total + balance.loss(found.router_logits, magicoder) if balance and weighted else total

    model.forward = forward


def inputs(batch: Batch) -> dict[str, Any]:
    """Return what a model's trunk is called with: never a mask, never a cache (either would undo the separation)."""
    if batch.boundaries is None:
        return {"input_ids": batch.ids, "use_cache": False}
    shared = batch.keys
    return {
        "input_ids": batch.ids,
        "position_ids": batch.positions,
        "use_cache": False,
        "cu_seq_lens_q": batch.boundaries,
        "cu_seq_lens_k": batch.boundaries if shared is None else shared.boundaries,
        "max_length_q": batch.longest,
        "max_length_k": batch.longest,
        **({} if shared is None else {"magicoder_keys": shared}),
    }


def linear_cross_entropy(
    hidden: Any,
    weight: Any,
    labels: Any,
    *,
    scale: float = 1.0,
    softcap: float = 0.0,
    token_weights: Any = None,
    piece: int = 0,
) -> Any:
    """Return the sum over tokens of `token_weights` times the cross-entropy of `hidden @ weight.T` against `labels`.

    hidden [M, D], weight [V, D], labels [M] int64, token_weights [M] or None; the result is a scalar in float32, or
    float64 if `hidden` is. `token_weights` are constants: no gradient flows to them.

    piece   tokens whose logits are made at once; 0: as many as 0.5 GiB hold
    """
    size = piece or max(256, _PIECE // weight.shape[0] // 256 * 256)
    gradients = (
        torch.is_grad_enabled() and hidden.requires_grad,
        torch.is_grad_enabled() and weight.requires_grad,
    )
    return _LinearCrossEntropy.apply(hidden, weight, labels, token_weights, (scale, softcap, size, gradients))


class _LinearCrossEntropy(torch.autograd.Function):
    """Makes the gradients along with the loss, as for a gradient of 1; backward multiplies them with the real one."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd's signature
        ctx: Any, hidden: Any, weight: Any, labels: Any, token_weights: Any, settings: Any
    ) -> Any:
        scale, softcap, size, (for_hidden, for_weight) = settings
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        total = torch.zeros((), dtype=wide, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if for_hidden else None
        d_weight = torch.zeros(weight.shape, dtype=wide, device=weight.device) if for_weight else None
        for start in range(0, hidden.shape[0], size):
            part = slice(start, start + size)
            logits = _product(hidden[part], weight.t(), wide)
            logits.mul_(scale) if scale != 1.0 else None
            if softcap:
                logits.div_(softcap).tanh_().mul_(softcap)
            norms = torch.logsumexp(logits, dim=-1)
            index = labels[part].unsqueeze(1)
            losses = norms - logits.gather(1, index).squeeze(1)
            total += losses.sum() if token_weights is None else (losses * token_weights[part]).sum()
            if not (for_hidden or for_weight):
                continue
            slope = (1 - (logits / softcap).square_()) if softcap else None
            logits.sub_(norms.unsqueeze(1)).exp_()  # now probabilities
            logits.scatter_add_(1, index, torch.full_like(index, -1, dtype=wide))
            if token_weights is not None:
                logits.mul_(token_weights[part].unsqueeze(1))
            if slope is not None:
                logits.mul_(slope)
            logits.mul_(scale) if scale != 1.0 else None
            d_logits = logits.to(hidden.dtype)
            if d_hidden is not None:
                torch.mm(d_logits, weight, out=d_hidden[part])
            if d_weight is not None:
                for words in range(0, weight.shape[0], _WORDS):  # no second float32 copy of a head of 152,000 words
                    some = slice(words, words + _WORDS)
                    d_weight[some] += _product(d_logits[:, some].t(), hidden[part], wide)
        ctx.save_for_backward(d_hidden, d_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:  # type: ignore[override, unused-ignore]
        d_hidden, d_weight = ctx.saved_tensors
        for_hidden = None if d_hidden is None else (d_hidden * gradient).to(d_hidden.dtype)
        for_weight = None
        if d_weight is not None:  # rounded once, here
            for_weight = torch.empty(d_weight.shape, dtype=ctx.weight_dtype, device=d_weight.device)
            torch.mul(d_weight, gradient, out=for_weight)
        return for_hidden, for_weight, None, None, None


def _product(left: Any, right: Any, dtype: Any) -> Any:
    """Return `left @ right` with a result in `dtype`: on a GPU its sums are never rounded to the inputs' type."""
    if left.dtype == dtype:
        return left @ right
    if not left.is_cpu:  # a GPU, or `meta`, where `memory` counts what it would hold
        return torch.mm(left, right, out_dtype=dtype)
    return left.to(dtype) @ right.to(dtype)


def _fused(model: Any, head: Head, batch: Batch) -> tuple[Any, Any]:
    """The sum of the losses, and what the trunk said; positions without a target (the prompts) never reach the head."""
    found = model.base_model(**inputs(batch))
    hidden = found[0].flatten(0, 1)
    weight = model.get_output_embeddings().weight
    if not batch.trained:  # a loss all the same: gradients of zero, the head's too, which spread weights want from all
        return (hidden.sum(dtype=torch.float32) + weight.sum(dtype=torch.float32)) * 0.0, found
    chosen = hidden.index_select(0, batch.where)
    return linear_cross_entropy(chosen, weight, batch.labels, scale=head.scale, softcap=head.softcap), found


def _plain(original: Any, batch: Batch, *, some: bool) -> tuple[Any, Any]:
    """The sum of the losses by the model's own logits, and what the model said.

    some  it can make logits of chosen positions alone: those that have a target
    """
    keep = {"logits_to_keep": batch.where} if some and batch.trained and batch.ids.shape[0] == 1 else {}
    found = original(**inputs(batch), **keep)
    if not batch.trained:
        return found.logits.float().sum() * 0.0, found
    logits = found.logits[0] if keep else found.logits.flatten(0, 1).index_select(0, batch.where)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return functional.cross_entropy(wide, batch.labels, reduction="sum"), found


def _original_loss(logits: Any, batch: Batch) -> Any:
    """The mean over the targets of the micro-batch, times its share of the step (transformers 4.35, `Trainer`)."""
    if not batch.trained or not batch.weight:
        return logits.float().sum() * 0.0
    shifted = logits[:, :-1].contiguous().float()  # the last position has no target
    mean = functional.cross_entropy(shifted.flatten(0, 1), batch.targets[:, :-1].flatten(), reduction="mean")
    micro_batches = round(1 / (batch.weight * batch.trained))
    return mean / micro_batches
