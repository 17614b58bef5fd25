"""Beside transformers' own Trainer, which weighs every trained token of a step alike, on the same batches."""

from pathlib import Path
from typing import Any

import pytest

from magicoder.training import batches
from magicoder.training.encoded import Encoded
from magicoder.training.settings import Batches
from tests.training import runs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

pytestmark = pytest.mark.filterwarnings("default")  # of libraries, which are not ours to mend

RATE = 1e-3


class Ordered(torch.utils.data.Dataset):  # type: ignore[misc, unused-ignore]
    """The examples in the order in which our steps have them."""

    def __init__(self, encoded: Encoded, order: list[int]) -> None:
        self.encoded, self.order = encoded, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> dict[str, Any]:
        ids, mask = self.encoded.tokens(self.order[place]).copy(), self.encoded.mask(self.order[place]).copy()
        return {"ids": torch.tensor(ids, dtype=torch.long), "mask": torch.tensor(mask)}


def padded(rows: list[dict[str, Any]]) -> dict[str, Any]:
    pad = torch.nn.utils.rnn.pad_sequence
    labels = [torch.where(row["mask"], row["ids"], -100) for row in rows]
    return {
        "input_ids": pad([row["ids"] for row in rows], batch_first=True, padding_value=1),
        "labels": pad(labels, batch_first=True, padding_value=-100),
        "attention_mask": pad([torch.ones_like(row["ids"]) for row in rows], batch_first=True),
    }


class InOrder(transformers.Trainer):  # type: ignore[misc, unused-ignore]
    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_losses_are_those_of_the_trainer(tmp_path: Path, tokenizer: Any, accumulation: int) -> None:
    model = runs.base(tmp_path / "base", tokenizer)
    data = runs.write_rows(tmp_path / "rows.jsonl", runs.rows(40))
    how = {"optimizer": "adamw", "learning_rate": RATE, "schedule": "constant", "warmup_steps": 0}
    recipe = runs.recipe(tmp_path, model, data, optimization=how, checkpoints={"every_steps": 1, "keep": 20})
    assert runs.run(recipe, "--out", tmp_path / "run") == 0

    encoded = Encoded.open(next((tmp_path / "run" / "examples" / "one").iterdir()))
    plan = batches.plan(len(encoded), 2, Batches(examples=8), "clean", 42)
    order = [example for step in plan for example in step.examples]
    ours = [line["loss"] for line in runs.figures(tmp_path / "run")]

    config = transformers.AutoConfig.from_pretrained(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(42)
        theirs = transformers.AutoModelForCausalLM.from_config(config)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "theirs"),
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
        max_steps=len(plan),
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        optim="adamw_torch",
        weight_decay=0.0,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=0,
    )
    losses: list[float] = []

    class Told(transformers.TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in logs:
                losses.append(float(logs["loss"]))

    InOrder(
        model=theirs,
        args=arguments,
        train_dataset=Ordered(encoded, order),
        data_collator=padded,
        callbacks=[Told()],
    ).train()
    assert len(losses) == len(ours) == 10
    assert losses == pytest.approx(ours, rel=1e-5, abs=1e-5)
