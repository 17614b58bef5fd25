"""Small training runs on disk for tests: a base without weights, rows, a recipe; and the command on them."""

import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import orjson
import yaml

from magicoder.training import metrics
from magicoder.training.launch import MEETING
from tests.training.processes import context

WORDS = ("list", "map", "set", "graph", "tree", "queue", "stack", "string", "number", "matrix", "file", "token")


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


class Started:
    """The command in a process of its own, forked from one that has loaded what it needs."""

    def __init__(self, folder: Path, *arguments: str | Path, **environment: str) -> None:
        """`folder` takes what it says; `environment` is set in it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._said = folder / f"said-{environment.get('RANK', '0')}.txt"
        self._process = context().Process(target=_command, args=(self._said, list(map(str, arguments)), environment))
        self._process.start()
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        code: int | None = self._process.exitcode
        return code

    def send(self, number: int) -> None:
        """Send a signal, if it is still there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def ended(self, timeout_s: float = 120.0) -> int:
        """Wait for its end, and return its exit code; one that hangs is killed and fails the test."""
        self._process.join(timeout_s)
        code: int | None = self._process.exitcode
        if code is None:
            self._process.kill()
        assert code is not None, f"it hangs; it said {self.said}"
        return code

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self._said.read_text(errors="replace")


def _command(said: Path, arguments: list[str], environment: dict[str, str]) -> None:
    import torch

    from magicoder.cli import main

    os.setsid()  # as a person's command: signals for it are not for the tests
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    torch.set_num_threads(1)
    os.environ |= {"OMP_NUM_THREADS": "1", **environment}
    sys.argv = ["magicoder", "train", *arguments, "--quiet"]
    main(prog_name="magicoder")


def members(folder: Path, *arguments: str | Path, size: int = 2) -> list[Started]:
    """Start the command in `size` processes that are one run, as torchrun would."""
    meeting = folder / f"meeting-{uuid.uuid4().hex}"
    common = {"WORLD_SIZE": str(size), MEETING: str(meeting), "GLOO_SOCKET_IFNAME": "lo"}
    return [Started(folder, *arguments, RANK=str(r), LOCAL_RANK=str(r), **common) for r in range(size)]


def until(process: Started, out: Path, steps: int) -> None:
    """Wait until so many steps are written down, or the process has ended."""
    while process.poll() is None and len(seen(out)) < steps:
        time.sleep(0.002)


def seen(out: Path, stage: str = "one") -> list[dict[str, Any]]:
    """`figures` of a run that is going on."""
    try:
        return figures(out, stage)
    except (OSError, ValueError):  # it is being written
        return []


def weights(out: Path, stage: str = "one") -> dict[str, Any]:
    """The weights of the last checkpoint of a stage, all bits of them."""
    from safetensors.torch import load_file

    last = sorted((out / "stages" / stage / "checkpoints").glob("step-*"))[-1]
    return dict(load_file(last / "model.safetensors"))


def figures(out: Path, stage: str = "one") -> list[dict[str, Any]]:
    """What was told of the steps of a stage."""
    return [line for line in metrics.read(out / "stages" / stage) if "loss" in line]
