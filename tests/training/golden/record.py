"""Record what the original recipe does to a tiny model, step by step: the figures that `test_golden.py` holds ours to.

Run by hand, in an environment of its own with the versions of the original (Python 3.11; its torch was 2.1):

    python3.11 -m venv golden
    golden/bin/pip install torch==2.13.0 transformers==4.35.0 accelerate==0.24.1 datasets==2.14.7 tokenizers==0.14.1 \\
        'numpy<2' pyarrow==14.0.1
    golden/bin/python tests/training/golden/record.py

It writes `trajectory.json` beside itself: four runs, the paper's learning rate and one of 2e-3 (at which the loss
falls visibly), each with one process and with two. Nothing of Magicoder, ours or the original's, is used: this is the
recipe as its authors describe it, in terms of transformers' own Trainer:

    weights loaded in bfloat16, --bf16, Adafactor, linear schedule, 15 warm-up steps, no clipping, seed 42; the rows
    shuffled with the seed, then by the Trainer; prompt and response tokenized apart; pairs of rows padded
    to the longer on the right; 8 rows a step (the paper: 512) as pairs, 4 in a row for one process, 2 for each of two

The CPU's arithmetic is pinned (`ATEN_CPU_CAPABILITY=default`, one thread, no oneDNN), so that every x86-64 gives the
same numbers under one version of torch.
"""

import base64
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import accelerate
import datasets
import given
import numpy as np
import tokenizers
import torch
import transformers

SEED = 42
IGNORED = -100
PROMPT = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses "
    "to user instructions.\n\n@@ Instruction\n{instruction}\n\n@@ Response\n"
)
RUNS = {"paper": 5e-5, "brisk": 2e-3}
SAMPLED = 5
"""Every fifth weight is written down, as what its bits have moved by; a digest speaks for all of them."""
SAMPLE_AFTER = (12, 24)


def encode(tokenizer: Any, row: dict[str, str], number: int) -> dict[str, Any]:
    """Return a row as the original's: start, prompt, response, end; cut on the right; no loss on the prompt."""
    prompt = tokenizer(PROMPT.format(instruction=row["instruction"]), add_special_tokens=False)["input_ids"]
    response = tokenizer(row["response"], add_special_tokens=False)["input_ids"]
    before = [tokenizer.bos_token_id, *prompt]
    after = [*response, tokenizer.eos_token_id]
    return {
        "row": number,
        "input_ids": (before + after)[: given.MAX_LENGTH],
        "labels": ([IGNORED] * len(before) + after)[: given.MAX_LENGTH],
    }


def pad(lists: list[list[int]], value: int) -> torch.Tensor:
    longest = max(map(len, lists))
    return torch.tensor([one + [value] * (longest - len(one)) for one in lists])


class Collator:
    """Pads a micro-batch to its longest row and says which rows it has."""

    def __init__(self, filler: int) -> None:
        self.filler = filler

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids = pad([row["input_ids"] for row in rows], self.filler)
        return {
            "input_ids": ids,
            "labels": pad([row["labels"] for row in rows], IGNORED),
            "attention_mask": ids.ne(self.filler),
            "rows": torch.tensor([row["row"] for row in rows]),
        }


class Recorder(transformers.TrainerCallback):
    """Notes the weights after each step: how many moved, a digest, and every few steps a sample."""

    def __init__(self, model: Any) -> None:
        self.before = bits(model)
        self.steps: list[dict[str, Any]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        now = bits(model)
        step = {"digest": hashlib.sha256(now.tobytes()).hexdigest(), "moved": int((now != self.before).sum())}
        if state.global_step in SAMPLE_AFTER:
            moved = (now - self.before)[::SAMPLED]
            step["sample"] = base64.b85encode(zlib.compress(moved.tobytes(), 9)).decode()
        self.steps.append(step)


class Trainer(transformers.Trainer):
    """transformers' own, with a note of every micro-batch: its rows, its loss, the learning rate in force."""

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False) -> Any:
        rows = inputs.pop("rows").tolist()
        loss = super().compute_loss(model, inputs, return_outputs)
        self.noted.append({"rows": rows, "loss": loss.item(), "lr": self.optimizer.param_groups[0]["lr"]})
        return loss


def bits(model: Any) -> np.ndarray:
    """Return all weights as they lie in memory, tensors in the order of their names."""
    parts = sorted(model.named_parameters())
    assert all(tensor.dtype == torch.bfloat16 for _, tensor in parts)
    return np.concatenate([tensor.detach().flatten().view(torch.int16).numpy() for _, tensor in parts])


def arguments(folder: Path, rate: float, processes: int) -> Any:
    return transformers.TrainingArguments(
        output_dir=str(folder / "out"),
        num_train_epochs=given.EPOCHS,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4 // processes,
        learning_rate=rate,
        lr_scheduler_type="linear",
        warmup_steps=15,
        max_grad_norm=-1,
        optim="adafactor",
        bf16=True,
        seed=SEED,
        group_by_length=False,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=True,
        ddp_backend="gloo" if processes > 1 else None,
    )


def one_process(folder: Path, rate: float, processes: int) -> None:
    """Train; what this process saw goes to a file of its own."""
    torch.set_num_threads(1)
    torch.backends.mkldnn.set_flags(False)
    rank = int(os.environ.get("RANK", "0"))
    settings = arguments(folder, rate, processes)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", torch_dtype=torch.bfloat16)
    encoded = [encode(tokenizer, row, number) for number, row in enumerate(given.rows())]
    rows = datasets.Dataset.from_list(encoded).shuffle(seed=settings.seed)
    recorder = Recorder(model)
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=rows,
        data_collator=Collator(tokenizer.eos_token_id),
        callbacks=[recorder],
    )
    trainer.noted = []
    trainer.train()
    (folder / f"rank{rank}.json").write_text(
        json.dumps(
            {
                "micro": trainer.noted,
                "steps": recorder.steps,
                "lengths": [len(row["input_ids"]) for row in encoded],
                "trained": [sum(label != IGNORED for label in row["labels"]) for row in encoded],
                "ids": hashlib.sha256(json.dumps([row["input_ids"] for row in encoded]).encode()).hexdigest(),
                "first_ids": encoded[0]["input_ids"],
            }
        ),
        encoding="utf-8",
    )


def joined(ranks: list[dict[str, Any]], processes: int) -> dict[str, Any]:
    """Return a run from what its processes saw: the loss of a step is the mean of its micro-batches' means."""
    each = 4 // processes
    steps = []
    for number, after in enumerate(ranks[0]["steps"]):
        micro = [rank["micro"][number * each : (number + 1) * each] for rank in ranks]
        losses = [one["loss"] for rank in micro for one in rank]
        rates = {one["lr"] for rank in micro for one in rank}
        assert len(rates) == 1
        assert all(rank["steps"][number]["digest"] == after["digest"] for rank in ranks)
        steps.append(
            {
                "lr": rates.pop(),
                "loss": sum(losses) / len(losses),
                "rows": [[one["rows"] for one in rank] for rank in micro],
                **after,
            }
        )
    assert all(len(rank["micro"]) == len(steps) * each for rank in ranks)
    return {"processes": processes, "steps": steps}


def main() -> None:
    if len(sys.argv) == 4:
        one_process(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
        return
    runs: dict[str, Any] = {}
    for name, rate in RUNS.items():
        for processes in (1, 2):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                given.write_model(folder / "model")
                launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611"]
                command = [sys.executable, *(launcher if processes > 1 else []), __file__]
                environment = {**os.environ, **given.ARITHMETIC}
                subprocess.run([*command, place, str(rate), str(processes)], check=True, env=environment)
                ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]
            runs[f"{name}-{processes}"] = {"learning_rate": rate, **joined(ranks, processes)}
            print(
                name, processes, [round(step["loss"], 4) for step in runs[f"{name}-{processes}"]["steps"]], flush=True
            )
    found = {
        "made_with": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "numpy": np.__version__,
            **{tool.__name__: tool.__version__ for tool in (accelerate, datasets, tokenizers, torch, transformers)},
        },
        "tokens": {name: ranks[0][name] for name in ("lengths", "trained", "ids", "first_ids")},
        "sampled_every": SAMPLED,
        "runs": runs,
    }
    given.TRAJECTORY.write_text(json.dumps(found, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
