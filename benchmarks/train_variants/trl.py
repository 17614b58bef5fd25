"""Another trainer: TRL's."""

import importlib.util
import statistics
from typing import Any

from train_variants.bench import Bench, NotRunError
from train_variants.ours import count, random_model
from train_variants.trainer_clock import Clock, callback, of_the_recipe


def trl(bench: Bench) -> dict[str, Any]:
    """TRL's trainer with its own packing into rows of 8K tokens, if it is installed."""
    if importlib.util.find_spec("trl") is None or importlib.util.find_spec("datasets") is None:
        raise NotRunError("trl and datasets are not installed")
    import datasets
    import transformers
    from trl import SFTConfig, SFTTrainer

    from magicoder.training.batches import Fill

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
        max_length=size,
        packing=True,
        packing_strategy="bfd",
        gradient_checkpointing=False,
        **of_the_recipe(bench),
    )
    clock = Clock(bench)
    model = random_model(bench)
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(bench.base),
        callbacks=[callback(transformers, clock)],
    )
    inner = trainer.data_collator

    def counted(features: Any) -> Any:
        batch = inner(features)
        clock.widths.append(int(batch["input_ids"].numel()))
        return batch

    trainer.data_collator = counted
    trainer.train()
    clock.close()
    useful = {name: int(one.lengths.sum()) for name, one in bench.sets.items()}
    return bench.result(
        seconds=clock.micro_s,
        computed=int(statistics.median(clock.computed)),
        update_s=statistics.median(clock.update_s),
        plans={name: Fill(tokens, 0, tokens) for name, tokens in useful.items()},
        model=count(model),
    ) | {"first_step_s": clock.first_s}
