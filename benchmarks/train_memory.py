"""What a training step holds at its peak, simulated for models of 7 and 15 billion weights; no GPU is needed.

    python benchmarks/train_memory.py                 # two minutes
    python benchmarks/train_memory.py --only codellama-7b --tokens 8192

Every operator of two micro-batches and an update is run on tensors without memory (magicoder.training.memory), and what
is alive is added up. Simulated allocations, not measured on a GPU: fragmentation, the workspaces of matrix products and
the driver's context are not in it.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import torch
from train_variants.sizes import SIZES

from magicoder.training import memory
from magicoder.training.settings import (
    Adapter,
    Base,
    Machine,
    Optimization,
    Stage,
    Training,
)

GIB: Final = 2**30
LONGEST, MEAN, SHARE = 1216, 645, 0.55
"""Tokens of the longest and of the mean example, and the share that is learned (benchmarks/train_lengths.py)."""

_COMMON: Final = {"bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False}
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "codellama-7b": SIZES["7b"].shape,
    "qwen2.5-coder-7b": {
        **_COMMON,
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
    },
    "starcoder2-15b": {
        **_COMMON,
        "model_type": "starcoder2",
        "hidden_size": 6144,
        "intermediate_size": 24576,
        "num_hidden_layers": 40,
        "num_attention_heads": 48,
        "num_key_value_heads": 4,
        "vocab_size": 49152,
        "max_position_embeddings": 16384,
        "use_bias": True,
        "sliding_window": 4096,
    },
}
WAYS: Final[dict[str, dict[str, Any]]] = {
    "full, Adafactor, exact master": {},
    "the same, layers compiled": {"machine": Machine(compile=True)},
    "the same, layers recomputed": {"machine": Machine(checkpointing=True)},
    "full, AdamW, exact master": {"optimization": Optimization(optimizer="adamw")},
    "LoRA of rank 64": {"adapter": Adapter(rank=64)},
    "QLoRA of rank 64": {"adapter": Adapter(rank=64, quantized=True)},
    "QLoRA, layers recomputed": {"adapter": Adapter(rank=64, quantized=True), "machine": Machine(checkpointing=True)},
}


def simulated(folder: Path, shape: str, tokens: int, way: dict[str, Any]) -> tuple[dict[str, float], float]:
    """Return GiB by part, and all of it."""
    (folder / "config.json").write_text(json.dumps(SHAPES[shape]), encoding="utf-8")
    training = Training(name="x", base=Base(model=str(folder)), stages=(Stage(name="x", data=("x",)),), **way)
    peak = memory.simulate(training, tokens=tokens, examples=tokens // MEAN + 1, longest=LONGEST, share=SHARE)
    assert peak.simulated
    parts = {
        "weights": peak.weights,
        "master": peak.master,
        "gradients": peak.gradients,
        "optimizer": peak.optimizer,
        "activations": peak.activations,
        "update": peak.update,
    }
    found = {name: size / GIB for name, size in parts.items()}
    states = sum(size for name, size in found.items() if name not in {"activations", "update"})
    return found, states + max(found["activations"], found["update"])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--only", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    asked.add_argument("--tokens", nargs="*", type=int, default=[4_096, 8_192, 16_384], help="of a micro-batch")
    given = asked.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    heads = [f"{tokens:,} tokens" for tokens in given.tokens]
    print(f"| | weights | kept beside them | gradients | an update | {' | '.join(heads)} |")
    print("|---" * (5 + len(heads)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for shape in given.only:
            for name, way in WAYS.items():
                found = [simulated(Path(folder), shape, tokens, way) for tokens in given.tokens]
                parts = found[0][0]
                sizes = [parts["weights"], parts["master"] + parts["optimizer"], parts["gradients"], parts["update"]]
                cells = [f"{size:.1f}" for size in sizes] + [f"**{whole:.1f}**" for _, whole in found]
                print(f"| {shape}, {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s, torch {torch.__version__}", file=sys.stderr)


if __name__ == "__main__":
    main()
