"""What all ways of training share: the examples, the base, the clock, and how figures follow from times."""

import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train_variants.sizes import SIZES, Size

STARTED = time.perf_counter()
LENGTHS = Path(__file__).parents[1] / "train_lengths.json"
STEPS = {"oss": 292, "evol": 434}
"""Of the paper's two stages."""
PREFIX = {"oss": 40, "evol": 31}
"""Tokens that all examples of a stage begin with: the paper's template, by estimate."""


class NotRunError(Exception):
    """Why a way could not be measured here."""


class Examples:
    """Random tokens in the committed lengths; what the loop reads of encoded examples."""

    def __init__(self, name: str, size: Size) -> None:
        pairs = np.array(json.loads(LENGTHS.read_text(encoding="utf-8"))[name])
        self.lengths = np.maximum(8, pairs[:, 0] // size.divisor).astype(np.int32)
        self.prefix = PREFIX[name] // size.divisor
        self.trained = np.clip(pairs[:, 1] // size.divisor, 1, self.lengths - self.prefix - 1).astype(np.int32)
        words = size.shape["vocab_size"]
        self._tokens = [
            np.random.RandomState(i).randint(3, words, n).astype(np.int32) for i, n in enumerate(self.lengths)
        ]
        for tokens in self._tokens:
            tokens[: self.prefix] = np.arange(3, 3 + self.prefix)

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
        self, *, seconds: Sequence[float], computed: int, update_s: float, plans: dict[str, Any], model: Any
    ) -> dict[str, Any]:
        """Return the figures of a way.

        seconds   of each repeat, over `computed` tokens, padding included
        plans     of each set: what the micro-batches of a step hold (`batches.Fill`)
        """
        per_token = statistics.median(seconds) / computed
        steps = {name: plans[name].computed * per_token + update_s for name in plans}
        examples = self.sets["oss"]
        held = plans["oss"]
        again = held.shared // examples.prefix * model.flops([examples.prefix])
        return {
            "repeats_s": [round(s, 4) for s in seconds],
            "timed_tokens": computed,
            "update_s": update_s,
            "useful": held.useful,
            "step_s": steps,
            "tokens_per_s": held.tokens / steps["oss"],
            "response_tokens_per_s": int(examples.trained.sum()) / steps["oss"],
            "flops_per_s": (model.flops(examples.lengths) - again) / steps["oss"],
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
