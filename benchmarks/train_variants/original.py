"""The original recipe."""

import statistics
from typing import Any

import numpy as np

from train_variants.bench import Bench, Examples
from train_variants.ours import count, random_model
from train_variants.trainer_clock import Clock, callback, of_the_recipe


def original(bench: Bench, *, mask: bool) -> dict[str, Any]:
    """transformers' Trainer: pairs padded to the longer, bfloat16 weights, its Adafactor; with and without a mask."""
    import transformers

    torch = bench.torch
    examples = bench.sets["oss"]
    model = random_model(bench)
    pairs = max(2, -(-bench.size.timed // 3 // (2 * int(examples.lengths.mean()))))
    clock = Clock(bench)
    arguments = transformers.TrainingArguments(
        output_dir=str(bench.folder / "trainer"),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=pairs,
        remove_unused_columns=False,
        dataloader_pin_memory=bench.is_cuda,
        **of_the_recipe(bench),
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=_Rows(examples),
        data_collator=lambda rows: _pair(torch, rows, clock, mask=mask),
        callbacks=[callback(transformers, clock)],
    )
    trainer.train()
    clock.close()
    return bench.result(
        seconds=clock.micro_s,
        computed=statistics.median(clock.computed) if clock.computed else 1,
        update_s=statistics.median(clock.update_s),
        plans={name: _pairs_of(one) for name, one in bench.sets.items()},
        model=count(model),
    ) | {"first_step_s": clock.first_s}


class _Rows:
    """A data set of transformers' Trainer."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> dict[str, Any]:
        ids = self.examples.tokens(i)
        return {"input_ids": ids, "labels": np.where(self.examples.mask(i), ids, -100)}


def _pair(torch: Any, rows: list[dict[str, Any]], clock: Clock, *, mask: bool) -> dict[str, Any]:
    width = max(len(row["input_ids"]) for row in rows)
    ids, labels = np.full((len(rows), width), 2, dtype=np.int64), np.full((len(rows), width), -100, dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row["input_ids"])] = row["input_ids"]
        labels[place, : len(row["labels"])] = row["labels"]
    clock.widths.append(width * len(rows))
    found = {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
    return {**found, "attention_mask": found["input_ids"].ne(2)} if mask else found


def _pairs_of(examples: Examples) -> Any:
    from magicoder.training.batches import Fill

    widths = examples.lengths.reshape(-1, 2).max(axis=1)
    return Fill(int(examples.lengths.sum()), 0, int(2 * widths.sum()))
