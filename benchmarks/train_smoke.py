"""Seconds for the whole of training on a CPU: both stages, LoRA, and a run that is killed and goes on.

    python benchmarks/train_smoke.py

`magicoder train` on a model of two layers with random weights and a tokenizer made on the spot, one thread. The target
is 60 s together (start-up of torch and transformers included, four times); the killed run must end with the same
weights, bit for bit, as the one that was left alone.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPE: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
ROWS = 192
EPOCHS = 2
EXAMPLES = 32


def rows(verb: str) -> list[dict[str, str]]:
    return [
        {
            "instruction": f"Write a function that returns {number} {verb} its argument, and nothing else.",
            "response": "```python\ndef f(x):\n" + "    x += 1\n" * (number % 9) + f"    return {number} {verb} x\n```",
        }
        for number in range(ROWS)
    ]


def prepare(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    data = {"oss": rows("plus"), "evol": rows("times")}
    for name, made in data.items():
        text = "".join(json.dumps(row) + "\n" for row in made)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE["vocab_size"],
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([text for made in data.values() for row in made for text in row.values()], trainer)
    base = folder / "base"
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>").save_pretrained(base)
    (base / "config.json").write_text(json.dumps(SHAPE), encoding="utf-8")


def recipe(folder: Path, name: str, **more: Any) -> Path:
    stages = [
        {"name": stage, "data": [str(folder / f"{stage}.jsonl")], "epochs": EPOCHS, "max_length": length}
        for stage, length in (("oss", 304), ("evol", 256))
    ]
    settings = {
        "name": name,
        "base": {"model": str(folder / "base"), "random_weights": True},
        "stages": stages,
        "batches": {"examples": EXAMPLES, "micro_batch_tokens": 2048},
        "optimization": {"learning_rate": 1e-3, "warmup_steps": 3},
        "checkpoints": {"every_steps": 2},
        "machine": {"device": "cpu"},
        **more,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def command(folder: Path, path: Path, run: str) -> list[str]:
    return [sys.executable, "-m", "magicoder", "train", str(path), "--out", str(folder / run), "--quiet"]


def timed(arguments: list[str]) -> tuple[float, float]:
    """Return wall and CPU seconds of a command that must succeed."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu


def killed(arguments: list[str], figures: Path) -> tuple[float, float]:
    """Start the command and kill it once the second stage has made four steps; return wall and CPU seconds."""
    before, began = os.times(), time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if figures.exists() and figures.read_bytes().count(b"\n") >= 4:
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(0.005)
    if process.returncode != -signal.SIGKILL:
        sys.exit("it ended before it could be killed")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu


def digest(folder: Path) -> str:
    files = sorted((folder / "stages" / "evol" / "model").glob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def main() -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        both = recipe(folder, "both")
        parts = {"both stages": timed(command(folder, both, "whole"))}
        lora = recipe(folder, "lora", adapter={"rank": 8, "alpha": 16})
        parts["LoRA, both stages"] = timed(command(folder, lora, "lora"))
        again = command(folder, both, "again")
        parts["killed in the second stage"] = killed(again, folder / "again" / "stages" / "evol" / "metrics.jsonl")
        parts["gone on with"] = timed(again)
        equal = digest(folder / "whole") == digest(folder / "again")
    print("| | wall s | CPU s |\n|---|---|---|")
    for name, (wall, cpu) in parts.items():
        print(f"| {name} | {wall:.1f} | {cpu:.1f} |")
    print(f"| together | {sum(w for w, _ in parts.values()):.1f} | {sum(c for _, c in parts.values()):.1f} |")
    print(f"\nThe killed run's weights are those of the other, bit for bit: {'yes' if equal else 'NO'}")
    sys.exit(not equal)


if __name__ == "__main__":
    main()
