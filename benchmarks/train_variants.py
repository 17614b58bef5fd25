"""One way of training, timed: what `train_throughput.py` starts in a process of its own, and what comes back as JSON.

A way is timed on micro-batches of one step of the committed lengths, spread evenly over it, after two that warm up; the
update by itself. From both come tokens a second and hours of the whole: time follows the tokens that are computed,
padding included, and each step adds an update.
"""

import contextlib
import dataclasses
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

STARTED = time.perf_counter()
LENGTHS = Path(__file__).parent / "train_lengths.json"
STEPS = {"oss": 292, "evol": 434}
LOOP_STEPS = 8


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a measurement is.

    shape        of the model, a Llama
    divisor      lengths are divided by it
    timed        tokens that are timed at least, a repeat
    repeats      how often
    matrix       side of the matrices whose product gives the rate
    rate_s       seconds that the rate is measured for
    """

    shape: dict[str, Any]
    divisor: int
    timed: int
    repeats: int
    matrix: int
    rate_s: float


_LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": False,
}
SIZES = {
    "7b": Size(
        {
            **_LLAMA,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32016,
            "max_position_embeddings": 16384,
            "rope_theta": 1e6,
        },
        divisor=1,
        timed=60_000,
        repeats=2,
        matrix=8192,
        rate_s=3.0,
    ),
    "toy": Size(
        {
            **_LLAMA,
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "vocab_size": 512,
            "max_position_embeddings": 2048,
        },
        divisor=8,
        timed=4_000,
        repeats=2,
        matrix=512,
        rate_s=0.3,
    ),
    "small": Size(
        {
            **_LLAMA,
            "hidden_size": 256,
            "intermediate_size": 688,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "vocab_size": 4096,
            "max_position_embeddings": 2048,
        },
        divisor=8,
        timed=8_000,
        repeats=3,
        matrix=1024,
        rate_s=1.0,
    ),
}
"""CodeLlama-7B's shape; one for a test on a CPU; one whose products outweigh everything else on a CPU."""


class Examples:
    """Random tokens in the committed lengths; what the loop reads of encoded examples."""

    prefix = 0

    def __init__(self, name: str, size: Size) -> None:
        pairs = np.array(json.loads(LENGTHS.read_text(encoding="utf-8"))[name])
        self.lengths = np.maximum(8, pairs[:, 0] // size.divisor).astype(np.int32)
        self.trained = np.clip(pairs[:, 1] // size.divisor, 1, self.lengths - 2).astype(np.int32)
        words = size.shape["vocab_size"]
        self._tokens = [
            np.random.RandomState(i).randint(3, words, n).astype(np.int32) for i, n in enumerate(self.lengths)
        ]

    def __len__(self) -> int:
        return len(self.lengths)

    def id(self, i: int) -> str:
        return str(i)

    def tokens(self, i: int) -> np.ndarray:
        return self._tokens[i]

    def mask(self, i: int) -> np.ndarray:
        mask = np.zeros(self.lengths[i], dtype=bool)
        mask[-self.trained[i] :] = True
        return mask


class Bench:
    """Everything that the ways of training share: sizes, examples, the model's folder, the clock."""

    def __init__(self, size: str, device: str, folder: Path) -> None:
        import torch

        self.torch = torch
        self.size = SIZES[size]
        self.device = torch.device(device)
        self.sets = {name: Examples(name, self.size) for name in STEPS}
        self.base = folder / "base"
        self.folder = folder
        if device == "cpu":
            torch.set_num_threads(1)
        _write_base(self.base, self.size)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def tokens(self, of_full_size: int) -> int:
        return of_full_size // self.size.divisor

    def now(self) -> float:
        """Return seconds once the GPU has done what it was given; of a CPU those that this process computed for.

        The latter because a CPU that runs this as a test is shared, and one thread's time is what it used of it.
        """
        if self.is_cuda:
            self.torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def since_start(self) -> float:
        """Return seconds since this process began: imports, weights and compiling are in it."""
        if self.is_cuda:
            self.torch.cuda.synchronize()
        return time.perf_counter() - STARTED

    def memory_gib(self) -> float:
        if self.is_cuda:
            return self.torch.cuda.max_memory_allocated() / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    def result(
        self, *, seconds: Sequence[float], computed: int, update_s: float, plans: dict[str, tuple[int, int]], model: Any
    ) -> dict[str, Any]:
        """Return the figures of a way.

        seconds   of each repeat, over `computed` tokens, padding included
        plans     of each set: useful and computed tokens of a step
        """
        per_token = statistics.median(seconds) / computed
        steps = {name: plans[name][1] * per_token + update_s for name in plans}
        examples = self.sets["oss"]
        useful, whole = plans["oss"]
        return {
            "repeats_s": [round(s, 4) for s in seconds],
            "timed_tokens": computed,
            "update_s": update_s,
            "useful": useful / whole,
            "step_s": steps,
            "tokens_per_s": useful / steps["oss"],
            "response_tokens_per_s": int(examples.trained.sum()) / steps["oss"],
            "flops_per_s": model.flops(examples.lengths) / steps["oss"],
            "hours": sum(STEPS[name] * steps[name] for name in steps) / 3600,
            "peak_memory_gib": self.memory_gib(),
        }


def _write_base(folder: Path, size: Size) -> None:
    """Write a configuration and a tokenizer of three words: all that a model with random weights needs."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(size.shape), encoding="utf-8")
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def spread_over(items: Sequence[Any], tokens: Callable[[Any], int], least: int) -> list[Any]:
    """Return evenly spaced items with at least `least` tokens together."""
    whole = sum(map(tokens, items))
    count = min(len(items), max(1, -(-len(items) * least // whole)))
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, count)]


# The device.


def rates(bench: Bench) -> dict[str, Any]:
    """Products of square matrices in bfloat16, and copies: reading and writing."""
    torch, size = bench.torch, bench.size
    left = torch.randn(size.matrix, size.matrix, device=bench.device, dtype=torch.bfloat16)
    right = torch.randn_like(left)
    product = _repeated(bench, lambda: torch.mm(left, right))
    source = torch.empty(size.matrix * size.matrix * 8, device=bench.device, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    copy = _repeated(bench, lambda: target.copy_(source))
    return {"product_flops_per_s": 2 * size.matrix**3 / product, "copy_bytes_per_s": 4 * source.numel() / copy}


def _repeated(bench: Bench, work: Callable[[], Any]) -> float:
    """Return seconds of one call, over about `rate_s` seconds: long enough for clocks to settle."""
    work()
    began = bench.now()
    work()
    count = max(3, int(bench.size.rate_s / max(1e-6, bench.now() - began)))
    began = bench.now()
    for _ in range(count):
        work()
    return (bench.now() - began) / count


# The original recipe.


def original(bench: Bench, *, mask: bool) -> dict[str, Any]:
    """transformers' Trainer: pairs padded to the longer, bfloat16 weights, its Adafactor; with and without a mask."""
    import transformers

    torch = bench.torch
    examples = bench.sets["oss"]
    model = _random_model(bench)
    pairs = max(2, -(-bench.size.timed // 3 // (2 * int(examples.lengths.mean()))))
    clock = _Clock(bench)
    arguments = transformers.TrainingArguments(
        output_dir=str(bench.folder / "trainer"),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=pairs,
        max_steps=4,
        learning_rate=5e-5,
        warmup_steps=1,
        max_grad_norm=0.0,
        optim="adafactor",
        bf16=True,
        use_cpu=not bench.is_cuda,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=bench.is_cuda,
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=_Rows(examples),
        data_collator=lambda rows: _pair(torch, rows, clock, mask=mask),
        callbacks=[_callback(transformers, clock)],
    )
    trainer.train()
    clock.close()
    return bench.result(
        seconds=clock.micro_s,
        computed=statistics.median(clock.computed) if clock.computed else 1,
        update_s=statistics.median(clock.update_s),
        plans={name: _pairs_of(one) for name, one in bench.sets.items()},
        model=_count(model),
    ) | {"first_step_s": clock.first_s}


class _Clock:
    """Seconds of the micro-batches and of the update of each step but the first, and the tokens that were computed."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.widths = bench, []
        self.micro_s: list[float] = []
        self.update_s: list[float] = []
        self.computed: list[float] = []
        self.first_s = 0.0
        self.at = 0.0
        self.used = 0

    def begin(self) -> None:
        self.at = self.bench.now()

    def accumulated(self, micro_batches: int) -> None:
        now = self.bench.now()
        mine = self.widths[self.used : self.used + micro_batches]
        self.used += micro_batches
        self.micro_s.append((now - self.at) / sum(mine))
        self.computed.append(float(sum(mine)))
        self.at = now

    def updated(self) -> None:
        now = self.bench.now()
        self.update_s.append(now - self.at)
        self.first_s = self.first_s or self.bench.since_start()

    def close(self) -> None:
        """Leave out the first step; bring the others, of different tokens, to the median number of tokens."""
        self.computed = self.computed[1:]
        middle = statistics.median(self.computed)
        self.micro_s = [per_token * middle for per_token in self.micro_s[1:]]
        self.update_s = self.update_s[1:]


class _Rows:
    """A data set of transformers' Trainer."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> dict[str, Any]:
        ids = self.examples.tokens(i)
        return {"input_ids": ids, "labels": np.where(self.examples.mask(i), ids, -100)}


def _pair(torch: Any, rows: list[dict[str, Any]], clock: _Clock, *, mask: bool) -> dict[str, Any]:
    width = max(len(row["input_ids"]) for row in rows)
    ids, labels = np.full((len(rows), width), 2, dtype=np.int64), np.full((len(rows), width), -100, dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row["input_ids"])] = row["input_ids"]
        labels[place, : len(row["labels"])] = row["labels"]
    clock.widths.append(width * len(rows))
    found = {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
    return {**found, "attention_mask": found["input_ids"].ne(2)} if mask else found


def _callback(transformers: Any, clock: _Clock) -> Any:
    class Callback(transformers.TrainerCallback):
        def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
            clock.begin()

        def on_pre_optimizer_step(self, args: Any, _state: Any, _control: Any, **_: Any) -> None:
            clock.accumulated(args.gradient_accumulation_steps)

        def on_optimizer_step(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
            clock.updated()

    return Callback()


def _pairs_of(examples: Examples) -> tuple[int, int]:
    widths = examples.lengths.reshape(-1, 2).max(axis=1)
    return int(examples.lengths.sum()), int(2 * widths.sum())


# Ours.


def _settings(bench: Bench, **given: Any) -> Any:
    from magicoder.training import settings

    return types.SimpleNamespace(
        base=settings.Base(model=str(bench.base), random_weights=True),
        precision=settings.Precision(fp8=given.get("fp8", False)),
        machine=settings.Machine(device=bench.device.type, compile=given.get("compiled", False)),
        adapter=settings.Adapter(rank=64) if given.get("lora") else None,
        optimization=settings.Optimization(),
        batches=settings.Batches(
            examples=512, layout=given["layout"], micro_batch_tokens=bench.tokens(given["tokens"])
        ),
    )


def _random_model(bench: Bench, of: Any = None) -> Any:
    from magicoder.training import models

    of = of or _settings(bench, layout="rows", tokens=16_384)
    return models.load(
        of.base, of.precision, device=bench.device, adapter=of.adapter, machine=of.machine, random_seed=1
    )


def _count(model: Any) -> Any:
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
    plans: dict[str, tuple[int, int]]
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
        rows = [sum(int(lengths[i]) for i in row) for row in micro.rows]
        return max(rows) * len(rows)


def prepared(bench: Bench, **given: Any) -> Ours:
    from magicoder.training import attention, batches, models, optimizers, parallel, tensors

    of = _settings(bench, **given)
    model = _random_model(bench, of)
    installed = attention.install(model, of.batches.layout, longest=int(bench.sets["oss"].lengths.max()))
    if of.machine.compile and (bench.is_cuda or given["tokens"] == 8_192):
        # On a CPU the graphs are run as they are, and once: compiled kernels are not worth a minute there.
        models.compile_layers(model, installed.layout, **({} if bench.is_cuda else {"backend": "aot_eager"}))
    optimizer = optimizers.build(
        model.named_parameters(), of.optimization, of.precision, world=parallel.World(device=bench.device)
    )
    work, plans = [], {}
    bounds = []
    for name, examples in bench.sets.items():
        step = batches.Step(1, 0.0, tuple(range(len(examples))))
        micro = batches.micro_batches(
            step, examples.lengths, examples.trained, of.batches, installed.layout, "clean", 1
        )
        full = [one for one in micro[0] if one.rows]
        work = full if name == "oss" else work
        bounds.append(tensors.bound(full, examples.lengths))
        row_tokens = bounds[-1].tokens if installed.layout == "packed" else 0
        filled = batches.fill(micro, examples.lengths, installed.layout, row_tokens=row_tokens)
        plans[name] = (filled.tokens, filled.computed)
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
        model=_count(one.model),
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
    "products": ("gemm", "cutlass", "nvjet", "xmma", "::mm", "::addmm", "::bmm", "linear"),
    "attention": ("flash", "fmha", "attention", "by_example"),
    "copies": ("memcpy", "memset", "copy", "cat"),
}


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


# The loop.


class _Enough(BaseException):
    """The loop has run long enough."""


class _Tick:
    """The loop's progress: after each step a bare step over the same micro-batches, so that both see one machine."""

    def __init__(self, one: Ours, work: list[list[Any]]) -> None:
        self.one, self.work = one, work
        self.loop_s: list[float] = []
        self.bare_s: list[float] = []
        self.update_s: list[float] = []
        self.at = 0.0

    def expect(self, *_: Any) -> None:
        """Say how many there will be: nobody asks."""

    def tick(self, count: int = 1, note: str = "") -> None:
        del note
        now = self.one.bench.now()
        if count:
            self.loop_s.append(now - self.at)
            self._bare(self.work[len(self.loop_s) - 1])
        if len(self.loop_s) == len(self.work):
            raise _Enough
        self.at = self.one.bench.now()

    def _bare(self, micro_batches: list[Any]) -> None:
        held = [self.one.batch(micro) for micro in micro_batches]
        began = self.one.bench.now()
        for batch in held:
            self.one.backward(batch)
        middle = self.one.bench.now()
        self.one.optimizer.step(5e-5)
        self.one.optimizer.zero_grad()
        self.bare_s.append(middle - began)
        self.update_s.append(self.one.bench.now() - middle)


def loop(bench: Bench) -> dict[str, Any]:
    """Steps of the loop itself beside forward and backward alone of the same micro-batches, in turn."""
    from magicoder.training import batches, parallel, settings
    from magicoder.training import loop as training_loop

    one = prepared(bench, layout="packed", tokens=8_192)
    share = dataclasses.replace(one.of.batches, examples=64, layout="packed")
    examples = bench.sets["oss"]
    stage = settings.Stage(name="oss", data=("lengths",), epochs=2)
    training = settings.Training(
        name="loop",
        base=one.of.base,
        stages=(stage,),
        batches=share,
        machine=one.of.machine,
        checkpoints=settings.Checkpoints(every_steps=0),
    )
    plan = batches.plan(len(examples), 2, share, "clean", training.random_seed)
    work = [
        list(batches.micro_batches(step, examples.lengths, examples.trained, share, "packed", "clean", 1)[0])
        for step in plan[:LOOP_STEPS]
    ]
    one.bound = None
    course = training_loop.Course(
        training=training,
        stage=stage,
        base=training.base,
        learned=examples,
        aside={},
        folder=bench.folder / "stage",
        key="benchmark",
        tell=print,
    )
    course.folder.mkdir()
    clock = _Tick(one, work)
    with contextlib.suppress(_Enough), parallel.start(training.machine) as world:
        training_loop.train(course, world, clock, lambda: False)
    over = [
        (whole - update - bare) / bare
        for whole, bare, update in zip(clock.loop_s[1:], clock.bare_s[1:], clock.update_s[1:], strict=True)
    ]
    count = statistics.mean(map(len, work))
    return {
        "overhead": statistics.median(over),
        "overhead_of_steps": [round(value, 4) for value in over],
        "bare_s": statistics.median(clock.bare_s),
        "micro_batches": count,
        "overhead_ms_per_micro_batch": statistics.median(over) * statistics.median(clock.bare_s) / count * 1e3,
        "peak_memory_gib": bench.memory_gib(),
    }


# Other trainers.


def trl(bench: Bench) -> dict[str, Any]:
    """TRL's trainer with its own packing into rows of 8K tokens, if it is installed."""
    if importlib.util.find_spec("trl") is None or importlib.util.find_spec("datasets") is None:
        raise NotRunError("trl and datasets are not installed")
    import datasets
    import transformers
    from trl import SFTConfig, SFTTrainer

    examples, size = bench.sets["oss"], bench.tokens(8_192)
    rows = [
        {"input_ids": examples.tokens(i).tolist(), "completion_mask": examples.mask(i).astype(int).tolist()}
        for i in range(len(examples))
    ]
    accumulation = max(1, bench.size.timed // 3 // size)
    arguments = SFTConfig(
        output_dir=str(bench.folder / "trl"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=accumulation,
        max_steps=4,
        max_length=size,
        packing=True,
        packing_strategy="bfd",
        learning_rate=5e-5,
        warmup_steps=1,
        max_grad_norm=0.0,
        optim="adafactor",
        bf16=True,
        gradient_checkpointing=False,
        use_cpu=not bench.is_cuda,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    clock = _Clock(bench)
    model = _random_model(bench)
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(bench.base),
        callbacks=[_callback(transformers, clock)],
    )
    inner = trainer.data_collator

    def counted(features: Any) -> Any:
        batch = inner(features)
        clock.widths.append(int(batch["input_ids"].numel()))
        return batch

    trainer.data_collator = counted
    trainer.train()
    clock.close()
    useful = int(examples.lengths.sum())
    return bench.result(
        seconds=clock.micro_s,
        computed=int(statistics.median(clock.computed)),
        update_s=statistics.median(clock.update_s),
        plans={"oss": (useful, useful), "evol": (int(bench.sets["evol"].lengths.sum()),) * 2},
        model=_count(model),
    ) | {"first_step_s": clock.first_s}


class NotRunError(Exception):
    """Why a way could not be measured here."""


VARIANTS: dict[str, tuple[str, Callable[[Bench], dict[str, Any]]]] = {
    "rates": ("matrix products and copies", rates),
    "original": ("the original recipe, mask as it had", lambda b: original(b, mask=True)),
    "original-no-mask": ("the original recipe without a mask", lambda b: original(b, mask=False)),
    "packed-8k": ("ours, packed, 8K tokens", lambda b: ours(b, layout="packed", tokens=8_192)),
    "packed-8k-compiled": (
        "ours, packed, 8K, compiled",
        lambda b: ours(b, layout="packed", tokens=8_192, compiled=True),
    ),
    "packed-16k": (
        "ours, packed, 16K, compiled",
        lambda b: ours(b, layout="packed", tokens=16_384, compiled=True, profiled=True),
    ),
    "sorted": ("ours, sorted rows, 16K", lambda b: ours(b, layout="sorted", tokens=16_384)),
    "fp8": (
        "ours, packed, 16K, compiled, fp8",
        lambda b: ours(b, layout="packed", tokens=16_384, compiled=True, fp8=True),
    ),
    "lora": (
        "ours, LoRA of rank 64, packed, 16K, compiled",
        lambda b: ours(b, layout="packed", tokens=16_384, compiled=True, lora=True),
    ),
    "loop": ("the loop beside bare forward and backward, 8K", loop),
    "trl": ("TRL's trainer, packed, 8K", trl),
}


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for packages that are not here, with whatever is looked for in them."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        del path, target
        here = fullname.partition(".")[0] in self.names
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if here else None

    def create_module(self, spec: Any) -> Any:
        return mock.MagicMock(__name__=spec.name, __spec__=spec)

    def exec_module(self, module: Any) -> None:
        if module.__name__ == "orjson":
            module.JSONDecodeError = json.JSONDecodeError
            module.OPT_SORT_KEYS = module.OPT_INDENT_2 = module.OPT_APPEND_NEWLINE = 0
            module.loads = json.loads
            module.dumps = lambda value, *_, **__: json.dumps(value).encode()


def stand_in() -> None:
    """Put stand-ins in the place of packages that our modules import and these measurements hardly call.

    So a machine with nothing but torch, transformers, accelerate and peft can run them.
    """
    wanted = ("orjson", "pyarrow", "yaml", "click", "aiohttp", "tree_sitter")
    sys.meta_path.append(_Absent({name for name in wanted if importlib.util.find_spec(name) is None}))


@contextlib.contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


def measure(name: str, size: str, device: str) -> dict[str, Any]:
    """Return a way's figures, or why there are none."""
    import torch

    from magicoder.errors import MagicoderError

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    with _place() as folder:
        try:
            found = VARIANTS[name][1](Bench(size, device, folder))
        except (NotRunError, MagicoderError) as reason:
            found = {"not_run": str(reason)}
        except torch.OutOfMemoryError as reason:
            found = {"not_run": f"out of memory: {str(reason).splitlines()[0]}"}
        except Exception as reason:
            if os.environ.get("TRAIN_THROUGHPUT_STRICT"):
                raise
            found = {"not_run": f"{type(reason).__name__}: {str(reason).strip().splitlines()[0][:300]}"}
    return {"variant": name, "what": VARIANTS[name][0], **found, "took_s": round(time.perf_counter() - began, 1)}


def main() -> None:
    names, size, device, out = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parent.parent / "src"))
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    stand_in()
    for name in names.split(","):
        with Path(out).open("a", encoding="utf-8") as file:
            file.write(json.dumps(measure(name, size, device)) + "\n")


if __name__ == "__main__":
    main()
