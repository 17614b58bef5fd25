"""Small training runs on disk for tests: a base without weights, rows, a recipe; and the command on them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import yaml

from magicoder.training import metrics

WORDS = ("list", "map", "set", "graph", "tree", "queue", "stack", "string", "number", "matrix", "file", "token")
PRELUDE = (
    "import sys, torch; torch.set_num_threads(1); from magicoder.cli import main; "
    "sys.argv[0] = 'magicoder'; main(prog_name='magicoder')"
)


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    """Rows of several lengths that are not all alike."""
    return [
        {
            "instruction": f"Write a function that sorts a {WORDS[i % len(WORDS)]} of {i} items.",
            "response": "\n".join(f"def step_{i}_{n}(x):\n    return x + {n * i % 7}" for n in range(1 + (i * 7) % 5)),
        }
        for i in range(start, start + count)
    ]


def write_rows(path: Path, found: list[dict[str, Any]]) -> Path:
    """Write a table in JSON Lines."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in found))
    return path


def base(folder: Path, tokenizer: Any, family: str = "llama", **config: Any) -> Path:
    """Write a base model of which the weights are drawn."""
    import transformers

    tokenizer.save_pretrained(folder)
    shape = transformers.AutoConfig.for_model(
        family,
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "bos_token_id": 0,
            "eos_token_id": 1,
            **config,
        },
    )
    shape.save_pretrained(folder)
    return folder


def recipe(folder: Path, model: Path, data: Path, **changes: Any) -> Path:
    """Write a recipe of one stage; `changes` replace whole fields."""
    value = {
        "name": "small",
        "base": {"model": str(model), "random_weights": True},
        "stages": [{"name": "one", "data": [str(data)], "epochs": 2, "max_length": 160}],
        "batches": {"examples": 8, "layout": "packed", "micro_batch_tokens": 400},
        "optimization": {"optimizer": "adamw", "learning_rate": 1e-3, "warmup_steps": 2},
        "precision": {"weights": "float32"},
        "machine": {"device": "cpu"},
        "checkpoints": {"every_steps": 3},
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


def run(*arguments: str | Path) -> int:
    """Run the command in this process and return its exit code."""
    from magicoder.cli import main

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = main(["train", *map(str, arguments), "--quiet"], standalone_mode=False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return int(code or 0)


def started(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    """Start the command in a process of its own."""
    command = [sys.executable, "-c", PRELUDE, "train", *map(str, arguments), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def weights(out: Path, stage: str = "one") -> dict[str, Any]:
    """The weights of the last checkpoint of a stage, all bits of them."""
    from safetensors.torch import load_file

    last = sorted((out / "stages" / stage / "checkpoints").glob("step-*"))[-1]
    return dict(load_file(last / "model.safetensors"))


def figures(out: Path, stage: str = "one") -> list[dict[str, Any]]:
    """What was told of the steps of a stage."""
    return [line for line in metrics.read(out / "stages" / stage) if "loss" in line]
