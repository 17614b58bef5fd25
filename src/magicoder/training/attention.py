"""Attention that keeps examples apart, and the proof that it does.

Packed: examples stand one behind the other in one row, and each attends to itself alone. A GPU computes that with
torch's variable-length kernel, everything else example by example. No mask is ever made: a mask of ones, a cache or a
forgotten argument silently turns a packed row into one long text in common trainers. Our forward passes
none of them. What examples share at their beginning may stand once (`shared_prefix`).

Padded (`sorted`, `rows`): an example a row, padding on the right. Causal attention never looks there.

`install` does not trust configurations. It runs the model on two short examples and compares: an example must not
change when its neighbour does, and must come out as it does alone, with its own beginning and with a shared one. What
fails is refused, with what works instead.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch.nn import functional

from magicoder.errors import RecipeError
from magicoder.training import loss, shared_prefix
from magicoder.training.by_example import by_example
from magicoder.training.tensors import Batch

PACKED: Final = "magicoder_packed"
PADDED: Final = "magicoder_padded"
_UNSUPPORTED: Final = ("softcap", "s_aux", "sinks", "position_bias", "head_mask")
"""Arguments of attention functions that neither kernel knows."""
_KERNEL_WIDTH: Final = 256
"""The variable-length kernel takes heads no wider than this, ..."""
_KERNEL_MULTIPLE: Final = 8
"""... in multiples of this: it refuses others, where torch's other kernels pad them."""
_FIRST: Final = 9
"""Tokens of the first of the two examples on which a model is proved; the second has 17."""
_SHARED: Final = 4
"""Tokens that both begin with where they share a prefix."""
_TOLERANCES: Final = {
    torch.float64: (1e-9, 1e-5),  # models make some of it in float32
    torch.float32: (1e-6, 1e-4),
    torch.float16: (2e-3, 1e-2),
    torch.bfloat16: (1e-2, 6e-2),
}
"""Relative distances that rounding explains, where products have equal shapes and where they have not."""
_SHARES_HEADS: Final = torch.__version__ >= (2, 12)
"""Whether the kernel takes fewer heads of keys than of queries; before, keys and values are repeated."""


class _Unfit(Exception):  # noqa: N818 - a verdict on a model
    """This model cannot be computed right in this layout, and why."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What `install` settled.

    layout  `packed`, `sorted` or `rows`
    fused   whether logits are made in pieces (loss.Head)
    why     "" or why it is not the layout that was hoped for
    shares  whether examples of a packed row can share what they begin with
    """

    layout: str
    fused: bool
    why: str = ""
    shares: bool = False


def install(model: Any, layout: str, *, longest: int = 0, device: Any = None) -> Installed:
    """Prepare `model` (peft or not) for `loss.loss` in `layout`, and prove on it that examples stay apart.

    layout   `packed`, `sorted`, `rows`, or `auto`: packed where that is possible, else sorted
    longest  tokens of the longest example of the run, for windows of attention; 0: seen when it comes
    device   where it will compute, if it is not there yet

    Call it once the model is whole (adapters, quantization) and on its device, before it is compiled or spread. What is
    never whole is prepared by `install_as`.

    Raises:
        RecipeError: the layout is impossible for this model or device; names one that works.
    """
    whole = loss.core(model)
    register()
    why = ""
    if layout in ("auto", "packed"):
        try:
            fused = _try(whole, "packed", longest, device)
        except _Unfit as reason:
            if layout == "packed":
                raise RecipeError(
                    f"batches.layout: packed cannot be used with {_name(whole)}: {reason}. Set it to sorted (or auto)."
                ) from None
            why = str(reason)
        else:
            return _settle(whole, Installed("packed", fused, shares=_shares(whole)))
    chosen = "sorted" if layout == "auto" else layout
    try:
        return _settle(whole, Installed(chosen, _try(whole, chosen, longest, device), why))
    except _Unfit as reason:
        raise RecipeError(
            f"base.model: {_name(whole)} cannot be trained here: {reason}. Take a causal language model whose "
            "attention transformers computes with SDPA (Llama, Qwen, DeepSeek, StarCoder2, Mistral, …)."
        ) from None


def install_as(model: Any, proved: Any) -> Installed:
    """Prepare `model`, which nobody can run yet, as `proved` was: one of the same configuration with fewer layers."""
    whole, shorter = loss.core(model), loss.core(proved)
    if _supports(whole):
        whole.set_attn_implementation(shorter.config._attn_implementation)
    head = shorter.magicoder_head if is_plain(whole.get_output_embeddings()) else loss.Head(fused=False)
    loss.wrap_forward(whole, head)
    return _settle(whole, replace(shorter.magicoder_installed, fused=head.fused))


def _settle(model: Any, installed: Installed) -> Installed:
    model.magicoder_installed = installed
    return installed


def register() -> None:
    """Make the two attention functions known to transformers; again is no harm.

    No function for masks is registered under their names: transformers then makes no mask and looks at no positions.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed)
    AttentionInterface.register(PADDED, padded)


def packed(  # noqa: PLR0917 - transformers' signature
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seq_lens_q: Any = None,
    cu_seq_lens_k: Any = None,
    max_length_q: int | None = None,
    magicoder_keys: shared_prefix.Keys | None = None,
    **others: Any,
) -> tuple[Any, None]:
    """Attention of a packed row; query [1, heads, N, width], key and value [1, fewer heads, N, width].

    `cu_seq_lens_q`, `cu_seq_lens_k` and `max_length_q` are the boundaries of queries and keys and the longest example,
    `magicoder_keys` where keys are if there is a shared prefix. Nothing here waits for the GPU.

    Raises:
        RecipeError: the model asks for what the kernel cannot do.
    """
    _check(attention_mask, dropout, others)
    if value.shape[-1] != key.shape[-1]:
        raise RecipeError("the heads of its values are not as wide as those of its keys, as the kernel wants them")
    if cu_seq_lens_q is None or cu_seq_lens_k is None or max_length_q is None:
        raise RecipeError("it does not pass the boundaries of examples on to its attention")
    _note(others, module)
    window = int(sliding_window or 0)
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    rows = [tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value)]
    if magicoder_keys is not None:
        rows[1:] = [shared_prefix.lengthened(tensor, magicoder_keys) for tensor in rows[1:]]
    cuts = (cu_seq_lens_q, cu_seq_lens_k)
    if not query.is_cpu:  # a GPU, or `meta`, where `memory` counts what it would keep
        return _by_kernel(rows, cuts, max_length_q, scale, window).unsqueeze(0), None
    return by_example(*rows, *cuts, scale, window).unsqueeze(0), None


def padded(  # noqa: PLR0917 - transformers' signature
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Any, None]:
    """Causal attention of rows padded on the right; no mask, so that the fast kernels apply."""
    _check(attention_mask, 0.0, others)
    _note(others, module)
    if sliding_window and sliding_window < query.shape[2]:
        raise RecipeError(f"a window of {sliding_window} tokens needs a mask here; use layout: packed")
    if not query.is_cuda and query.dtype == torch.bfloat16:
        return _written_out(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling, dropout), None
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and query.is_cuda and query.dtype == torch.float32:  # the fast kernel for float32 cannot share heads
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
        groups = 1
    result = functional.scaled_dot_product_attention(
        query, key, value, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=groups > 1
    )
    return result.transpose(1, 2).contiguous(), None


def _written_out(query: Any, key: Any, value: Any, scale: float, dropout: float) -> Any:
    """Causal attention as transformers writes it out, rounded where it rounds; [B, T, heads, width].

    For bfloat16 on a CPU, where it makes runs equal to the bit to those of the original recipe there
    (tests/training/golden): torch's fused attention rounds elsewhere.
    """
    if query.shape[1] != key.shape[1]:
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
    scores = torch.matmul(query, key.transpose(2, 3)) * scale
    ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
    weights = torch.softmax(scores.masked_fill(ahead, float("-inf")), dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(functional.dropout(weights, dropout), value).transpose(1, 2).contiguous()


def _check(mask: Any, dropout: float, others: dict[str, Any]) -> None:
    if mask is not None:
        raise RecipeError("it makes an attention mask of its own")
    if dropout:
        raise RecipeError("its attention_dropout is not 0, which packed attention lacks")
    for name in _UNSUPPORTED:
        if others.get(name) is not None:
            raise RecipeError(f"its attention uses `{name}`, which the fast kernels lack")


def _note(others: dict[str, Any], module: Any) -> None:
    seen = others.get("magicoder_seen")
    if seen is not None:
        seen.append(module)


def _by_kernel(rows: Sequence[Any], cuts: tuple[Any, Any], longest: int, scale: float, window: int) -> Any:
    """Flash attention over examples of different lengths (torch 2.11 or later); [N, heads, width].

    Where an example has more keys than queries, causal attention is aligned at the end, as in FlashAttention 2.1 and
    later.
    """
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = rows
    if torch.compiler.is_compiling():  # so that the layout of the results is known beforehand; the copies are fused
        query, key, value = (tensor.contiguous() for tensor in rows)
    heads, shared = query.shape[1], key.shape[1]
    options: dict[str, Any] = {}
    if heads != shared:
        if _SHARES_HEADS:
            options["enable_gqa"] = True
        else:
            key, value = (tensor.repeat_interleave(heads // shared, dim=1) for tensor in (key, value))
    # A window of w tokens counts the token itself; the kernel counts those to its left.
    left = window - 1 if window else -1
    return varlen_attn(query, key, value, *cuts, longest, longest, scale=scale, window_size=(left, 0), **options)


def _try(model: Any, layout: str, longest: int, device: Any) -> bool:
    """Switch the model to `layout` and prove it; returns whether logits are made in pieces.

    Raises:
        _Unfit: this model, in this layout, on this device, would not compute what it should.
    """
    before = model.config._attn_implementation
    before = "sdpa" if before in (PACKED, PADDED) else before
    _suits(model, layout, longest, device)
    fits = _supports(model)
    try:
        if layout == "packed" and not fits:
            raise _Unfit("its attention cannot be exchanged (transformers' AttentionInterface)")
        with loss.evaluation(model), torch.no_grad():
            if fits:
                model.set_attn_implementation(before)
            own = model.base_model(input_ids=_sample(model)[0][_FIRST:].unsqueeze(0), use_cache=False)[0].squeeze(0)
            if fits:
                model.set_attn_implementation(PACKED if layout == "packed" else PADDED)
            _prove(model, layout, own)
            if layout == "packed":
                _as_in_training(model)
            head = _head(model)
    except (_Unfit, RecipeError, RuntimeError, TypeError) as reason:
        model.set_attn_implementation(before) if fits else None
        raise _Unfit(str(reason).strip().rstrip(".")) from reason
    loss.wrap_forward(model, head)
    return head.fused


def _name(model: Any) -> str:
    return str(getattr(model.config, "name_or_path", "") or model.config.model_type)


def _supports(model: Any) -> bool:
    can = getattr(model, "_can_set_attn_implementation", None)
    return bool(can()) if can is not None else True


def _suits(model: Any, layout: str, longest: int, device: Any) -> None:
    """What is known without running it."""
    config = model.config
    windows = {w for w in (getattr(config, "sliding_window", None), getattr(config, "window_size", None)) if w}
    active = getattr(config, "use_sliding_window", True)
    if layout == "packed":
        weight = next(p for p in model.parameters() if p.is_floating_point())
        _kernel(weight.device if device is None else torch.device(device), weight.dtype, config)
        if getattr(config, "attention_dropout", 0.0):
            raise _Unfit("its attention_dropout is not 0, which packed attention lacks")
    elif active and any(isinstance(w, int) and w < longest for w in windows):
        raise _Unfit(f"its window of {min(windows)} tokens is shorter than the longest example; use layout: packed")
    if getattr(config, "attention_chunk_size", None) and config.attention_chunk_size < longest:
        raise _Unfit("it attends in chunks that are shorter than the longest example")


def _kernel(device: Any, dtype: Any, config: Any) -> None:
    """Refuse packing where the device has no attention for it."""
    if device.type == "cpu":
        return
    if device.type != "cuda":
        raise _Unfit(f"there is no variable-length attention for {device.type}")
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        raise _Unfit(f"torch {torch.__version__} has no variable-length attention (2.11 or later has)") from None
    if "window_size" not in inspect.signature(varlen_attn).parameters:
        raise _Unfit(f"the variable-length attention of torch {torch.__version__} is too old (2.11 or later)")
    if torch.cuda.is_available() and torch.cuda.get_device_capability(device) < (8, 0):
        raise _Unfit("variable-length attention needs an Ampere GPU (A100, RTX 30) or a later one")
    if dtype not in (torch.bfloat16, torch.float16):
        raise _Unfit(f"variable-length attention computes in 16 bits and the weights are {dtype}".replace("torch.", ""))
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if width > _KERNEL_WIDTH or width % _KERNEL_MULTIPLE:
        raise _Unfit(
            f"its heads are {width} wide; the kernel takes multiples of {_KERNEL_MULTIPLE} up to {_KERNEL_WIDTH}"
        )


def _prove(model: Any, layout: str, own: Any) -> None:
    """Run the model on two examples and on changed copies of them; `own` is the second by the model's own attention.

    The facts: our attention is the model's; it does not look ahead; and in a packed row the second example does not
    depend on the first and comes out as it does alone, so its positions begin anew.
    """
    ids, other = _sample(model)
    first, second = ids[:_FIRST], ids[_FIRST:]
    seen: list[Any] = []
    alone = _hidden(model, _example(second), None)
    if _differs(own, alone):
        raise _Unfit("its own attention is another than plain causal attention (it looks ahead, or adds something)")
    changed = torch.cat([second[:-1], second[-1:] + 1])
    if _differs(alone[:-1], _hidden(model, _example(changed), None)[:-1], equal_shapes=True):
        raise _Unfit("it looks ahead: what it computes at a token depends on later ones (not a causal language model)")
    if layout != "packed":
        return
    together = _hidden(model, _pair(first, second), seen)[_FIRST:]
    if not seen:
        raise _Unfit("its attention does not go through transformers' AttentionInterface")
    if _differs(together, _hidden(model, _pair(other, second), None)[_FIRST:], equal_shapes=True):
        raise _Unfit("examples in one row mix (linear attention, convolutions or a recurrent state)")
    if _differs(together, alone):
        raise _Unfit("an example in a packed row does not come out as it does alone (its positions do not begin anew)")


def _shares(model: Any) -> bool:
    """Whether two examples that share their beginning come out as each does alone: the same facts as in `_prove`."""
    ids, _ = _sample(model)
    first, second = ids[:_FIRST], torch.cat([ids[:_SHARED], ids[_FIRST:]])
    changed = second.clone()
    changed[_SHARED] += 1

    def row(left: Any, right: Any) -> tuple[Any, Any]:
        found = _hidden(model, _sharing(left, right), None)
        return found[:_FIRST], found[_FIRST:]

    try:
        with loss.evaluation(model), torch.no_grad():
            left, right = row(first, second)
            left_again, right_again = row(first, changed)
            alone = [_hidden(model, _example(example), None) for example in (first, second)]
    except (RecipeError, RuntimeError, TypeError):
        return False
    apart = not _differs(left, left_again, equal_shapes=True)
    # Were attention aligned at the beginning, a token would not see the one in front of it.
    seen = not torch.equal(right[1], right_again[1])
    return apart and seen and not _differs(left, alone[0]) and not _differs(right, alone[1][_SHARED:])


def _as_in_training(model: Any) -> None:
    """Run a packed row with dropout on: configurations have many names for that of attention, which no kernel has.

    Raises:
        RecipeError: the model asks its attention for it.
    """
    ids, _ = _sample(model)
    model.train()
    try:
        with torch.random.fork_rng(devices=[ids.device] if ids.is_cuda else []):
            _hidden(model, _pair(ids[:_FIRST], ids[_FIRST:]), None)
    finally:
        model.eval()


def _sample(model: Any) -> tuple[Any, Any]:
    size = min(int(model.get_input_embeddings().weight.shape[0]), 4096)
    device = model.get_input_embeddings().weight.device
    numbers = torch.arange(1, 27, device=device)
    return (numbers * 7919 + 3) % (size - 2), (numbers[:_FIRST] * 104729 + 11) % (size - 2)


def _example(ids: Any) -> Batch:
    return _pair(ids)


def _sharing(first: Any, second: Any) -> Batch:
    """A packed row of two examples that share their first tokens."""
    once, rests = first[:_SHARED], (first[_SHARED:], second[_SHARED:])
    plain = _pair(once, *rests)
    places = plain.positions[0].clone()
    places[_SHARED:] += _SHARED
    keys = shared_prefix.keys(plain.boundaries.tolist(), _SHARED)
    moved = shared_prefix.Keys(*(torch.from_numpy(part).to(once.device) for part in keys))
    return replace(plain, positions=places.unsqueeze(0), longest=plain.longest + _SHARED, keys=moved)


def _pair(*examples: Any) -> Batch:
    ids = torch.cat(examples).unsqueeze(0)
    sizes = [len(example) for example in examples]
    positions = torch.cat([torch.arange(size, device=ids.device) for size in sizes]).unsqueeze(0)
    cuts = torch.tensor([0, *sizes], device=ids.device).cumsum(0).to(torch.int32)
    none = ids.new_zeros(0)
    return Batch(ids, positions, ids, cuts, max(sizes), none, none, 1.0, sum(sizes), 0)


def _hidden(model: Any, batch: Batch, seen: list[Any] | None) -> Any:
    """The last hidden states of a packed row, [N, D]; of a padded one where the model is not packed."""
    if model.config._attn_implementation != PACKED:
        batch = replace(batch, boundaries=None)
    extra = {} if seen is None else {"magicoder_seen": seen}
    return model.base_model(**loss.inputs(batch), **extra)[0].squeeze(0)


def _differs(left: Any, right: Any, *, equal_shapes: bool = False) -> bool:
    """Whether two results differ by more than rounding does; products of equal shapes are rounded alike."""
    strict, loose = _TOLERANCES[left.dtype]
    if left.is_cuda and left.dtype == torch.float32:
        strict, loose = _TOLERANCES[torch.float16]  # products in TF32 keep as many bits
    distance = (left.double() - right.double()).norm() / left.double().norm().clamp_min(1e-30)
    return not bool(distance <= (strict if equal_shapes else loose))  # a NaN differs


def is_plain(head: Any) -> bool:
    """Whether it is a product with a matrix and nothing else; with adapters it is not."""
    return type(head) is torch.nn.Linear and head.bias is None


def _head(model: Any) -> loss.Head:
    """Find out by comparing logits how the head works; what is not understood is left to the model's own forward."""
    config, head, trunk = model.config, model.get_output_embeddings(), model.base_model
    own = loss.Head(fused=False)
    if not is_plain(head) or trunk is model:
        return own
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = float(getattr(config, "final_logit_softcapping", None) or 0.0)
    batch = _example(_sample(model)[0])
    if model.config._attn_implementation != PACKED:
        batch = replace(batch, boundaries=None)
    original = getattr(model, "magicoder_forward", model.forward)
    expected = original(**loss.inputs(batch)).logits[0]
    logits = head(trunk(**loss.inputs(batch))[0][0]) * scale
    if softcap:
        logits = torch.tanh(logits / softcap) * softcap
    return own if _differs(expected, logits) else loss.Head(fused=True, scale=scale, softcap=softcap)
