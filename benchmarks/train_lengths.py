"""Make `train_lengths.json`: how long the examples of the training benchmark are. Run by hand; the file is committed.

    python benchmarks/train_lengths.py

The paper's two data sets as estimated from their sizes in bytes (docs/training-measurements.md): tokens of CodeLlama's
tokenizer, log-normal, with a coefficient of variation of 0.45 and cut at 1216 (OSS-Instruct), 0.60 and 1024
(Evol-Instruct), with means of 645 and 667 after the cut. Of each example 40 to 70 % are the
response. 512 of each: a step.
"""

import json
import math
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "train_lengths.json"
SETS = {"oss": (645, 0.45, 1216), "evol": (667, 0.60, 1024)}
EXAMPLES = 512


def lengths(mean: float, variation: float, longest: int, stream: np.random.RandomState) -> np.ndarray:
    """Return lengths with this mean once they are cut at `longest`."""
    spread = math.sqrt(math.log(1 + variation**2))
    drawn = np.exp(spread * stream.standard_normal(EXAMPLES))
    low, high = 1.0, 10.0 * mean
    for _ in range(60):
        middle = (low + high) / 2
        cut = np.clip(drawn * middle, 80, longest).round()
        low, high = (middle, high) if cut.mean() < mean else (low, middle)
    return np.clip(drawn * low, 80, longest).round().astype(int)


def main() -> None:
    stream = np.random.RandomState(42)
    found = {}
    for name, (mean, variation, longest) in SETS.items():
        tokens = lengths(mean, variation, longest, stream)
        responses = np.maximum(1, (tokens * stream.uniform(0.4, 0.7, EXAMPLES)).astype(int))
        found[name] = [[int(t), int(r)] for t, r in zip(tokens, responses, strict=True)]
        print(name, tokens.mean(), (tokens == longest).mean(), responses.sum() / tokens.sum())
    FILE.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
