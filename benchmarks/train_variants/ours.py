"""Our way: the functions that the loop is made of, called one by one."""

import dataclasses
import statistics
import types
from typing import Any

from train_variants.bench import Bench, spread_over


def settings_of(bench: Bench, **given: Any) -> Any:
    from magicoder.training import settings

    return types.SimpleNamespace(
        base=settings.Base(model=str(bench.base), random_weights=True),
        precision=settings.Precision(fp8=given.get("fp8", False)),
        machine=settings.Machine(
            device=bench.device.type,
            compile=given.get("compiled", False),
            deterministic=not given.get("any_order", False),
        ),
        adapter=settings.Adapter(rank=64) if given.get("lora") else None,
        optimization=settings.Optimization(),
        batches=settings.Batches(
            examples=512,
            layout=given["layout"],
            micro_batch_tokens=bench.tokens(given["tokens"]),
            share_prefix=given.get("shared", False),
        ),
    )


def random_model(bench: Bench, of: Any = None) -> Any:
    from magicoder.training import models

    of = of or settings_of(bench, layout="rows", tokens=16_384)
    return models.load(
        of.base, of.precision, device=bench.device, adapter=of.adapter, machine=of.machine, random_seed=1
    )


def count(model: Any) -> Any:
    from magicoder.training import models

    return models.count(model)


@dataclasses.dataclass
class Ours:
    """Our model, optimizer and micro-batches, made of the functions that the loop is made of."""

    bench: Bench
    of: Any
    layout: str
    model: Any
    optimizer: Any
    work: list[Any]
    plans: dict[str, Any]
    bound: Any

    def batch(self, micro: Any) -> Any:
        from magicoder.training import tensors

        return tensors.collate(
            micro, self.bench.sets["oss"], layout=self.layout, pad_id=2, device=self.bench.device, bound=self.bound
        )

    def backward(self, batch: Any) -> Any:
        from magicoder.training import loss

        value = loss.loss(self.model, batch)
        value.backward()
        return value.detach()

    def computed(self, micro: Any) -> int:
        lengths = self.bench.sets["oss"].lengths
        if self.layout == "packed" and self.bound is not None:
            return int(self.bound.tokens)
        rows = micro.tokens(lengths)
        return max(rows) * len(rows)


def prepared(bench: Bench, **given: Any) -> Ours:
    from magicoder.training import attention, batches, lean, models, optimizers, parallel, tensors

    of = settings_of(bench, **given)
    if bench.is_cuda and of.machine.deterministic:
        parallel.repeatable()
    model = random_model(bench, of)
    installed = attention.install(model, of.batches.layout, longest=int(bench.sets["oss"].lengths.max()))
    if of.machine.compile and (bench.is_cuda or given["tokens"] == 8_192):
        # On a CPU the graphs are run as they are, and once: compiled kernels are not worth a minute there.
        models.compile_layers(model, installed.layout, **({} if bench.is_cuda else {"backend": "aot_eager"}))
    elif bench.is_cuda and not of.machine.compile and given.get("lean", True):
        lean.apply(model)  # as the loop does
    optimizer = optimizers.build(
        model.named_parameters(), of.optimization, of.precision, world=parallel.World(device=bench.device)
    )
    work, plans = [], {}
    bounds = []
    for name, examples in bench.sets.items():
        step = batches.Step(1, 0.0, tuple(range(len(examples))))
        prefix = examples.prefix if of.batches.share_prefix and installed.shares else 0
        micro = batches.micro_batches(
            step, examples.lengths, examples.trained, of.batches, installed.layout, "clean", 1, prefix=prefix
        )
        full = [one for one in micro[0] if one.rows]
        work = full if name == "oss" else work
        bounds.append(tensors.bound(full, examples.lengths))
        row_tokens = bounds[-1].tokens if installed.layout == "packed" else 0
        plans[name] = batches.fill(micro, examples.lengths, installed.layout, row_tokens=row_tokens)
    bound = bounds[0] if installed.layout == "packed" else None
    return Ours(bench, of, installed.layout, model, optimizer, work, plans, bound)


def ours(bench: Bench, **given: Any) -> dict[str, Any]:
    """Our loop's parts: collate, loss, backward; an update that keeps exact float32 weights."""
    one = prepared(bench, **given)
    picks = spread_over(one.work, one.computed, bench.size.timed)
    one.backward(one.batch(picks[0]))
    waits = _waits(one, picks[-1])
    one.optimizer.step(5e-5)
    one.optimizer.zero_grad()
    first = bench.since_start()
    seconds, updates = [], []
    for _ in range(bench.size.repeats):
        began = bench.now()
        for micro in picks:
            one.backward(one.batch(micro))
        seconds.append(bench.now() - began)
        began = bench.now()
        one.optimizer.step(5e-5)
        one.optimizer.zero_grad()
        updates.append(bench.now() - began)
    found = bench.result(
        seconds=seconds,
        computed=sum(map(one.computed, picks)),
        update_s=statistics.median(updates),
        plans=one.plans,
        model=count(one.model),
    )
    found |= {"layout": one.layout, "first_step_s": first, "waits_in_a_micro_batch": waits}
    return found | ({"where": _where(one, picks[0])} if given.get("profiled") else {})


def _waits(one: Ours, micro: Any) -> str:
    """Say whether a micro-batch waits for the device anywhere (torch's own check, which raises)."""
    torch = one.bench.torch
    if not one.bench.is_cuda:
        one.backward(one.batch(micro))
        return "not a GPU"
    torch.cuda.set_sync_debug_mode("error")
    try:
        one.backward(one.batch(micro))
    except RuntimeError as reason:
        return str(reason).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "none"


_KINDS = {
    "attention": ("flash", "fmha", "attention", "by_example"),
    "products": ("gemm", "cutlass", "nvjet", "xmma", "::mm", "::addmm", "::bmm", "linear"),
    "copies": ("memcpy", "memset", "copy", "cat"),
}
"""What the names of kernels say; the first kind that fits (those of flash attention name cutlass, too)."""


def _where(one: Ours, micro: Any) -> dict[str, float]:
    """Return where the time of a micro-batch goes, in shares."""
    from torch.profiler import ProfilerActivity, profile

    kind = ProfilerActivity.CUDA if one.bench.is_cuda else ProfilerActivity.CPU
    batch = one.batch(micro)
    with profile(activities=[kind]) as seen:
        one.backward(batch)
        one.bench.now()
    found = dict.fromkeys([*_KINDS, "other"], 0.0)
    for event in seen.key_averages():
        spent = event.self_device_time_total if one.bench.is_cuda else event.self_cpu_time_total
        name = event.key.lower()
        found[next((kind for kind, marks in _KINDS.items() if any(m in name for m in marks)), "other")] += spent
    whole = sum(found.values()) or 1.0
    return {kind: round(spent / whole, 4) for kind, spent in found.items()}
