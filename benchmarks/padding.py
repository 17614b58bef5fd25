"""What padding costs on real rows, by layout, and how fast rows become tokens and steps become micro-batches.

    python benchmarks/padding.py DATA --tokenizer FOLDER_OR_FILE [--max-length 1216] [--resampled 5120]

DATA is what a stage of a training recipe names. `--resampled N` draws N rows from them with replacement, so that a few
real rows give whole steps: their lengths then are real, the sets of 512 are not. Needs transformers.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from magicoder.training import batches, data, encoding, rendering
from magicoder.training.encoded import Encoded
from magicoder.training.settings import Batches, Examples, Stage

PAPER = Batches()


def tokenizer_of(name: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if name.endswith(".json"):
        return PreTrainedTokenizerFast(tokenizer_file=name, bos_token="<s>", eos_token="</s>")
    return AutoTokenizer.from_pretrained(name)


def padding(encoded: Encoded, examples: int) -> None:
    """Print, for each way to form micro-batches, how many tokens are computed for those that are useful."""
    lengths = encoded.lengths
    plan = batches.plan(len(lengths), 1, replace(PAPER, examples=examples), "clean", 42)
    longest = int(lengths.max())
    print(f"\n{len(plan)} steps of {examples} examples; useful tokens of those that are computed")
    useful = sum(int(lengths[i]) for step in plan for i in step.examples)
    print(f"| all padded to the longest ({longest}) | {useful / (longest * examples * len(plan)):.1%} | |")
    ways: list[tuple[str, str, Batches, int]] = [("pairs, the original", "rows", PAPER, 1)]
    ways += [(f"rows of {n}, as they come", "rows", replace(PAPER, micro_batch_rows=n), 1) for n in (8, 16)]
    for name in ("sorted", "packed"):
        for tokens in (16_384, 8192):
            ways += [(f"{name}, {tokens:,} tokens", name, replace(PAPER, micro_batch_tokens=tokens), 1)]
        ways += [(f"{name}, 16,384 tokens, {n} processes", name, PAPER, n) for n in (2, 8)]
    for title, layout, settings, world in ways:
        seconds, made = [], []
        for step in plan:
            start = time.perf_counter()
            made.append(batches.micro_batches(step, lengths, encoded.trained, settings, layout, "clean", world))
            seconds.append(time.perf_counter() - start)
        counted = [batches.fill(micro, lengths, layout) for micro in made]
        share = sum(counted, batches.Fill()).useful
        note = of_one_size(plan, encoded, settings, world) if layout == "packed" else ""
        print(f"| {title} | {share:.1%}{note} | {statistics.median(seconds) * 1e3:.1f} ms |")


def of_one_size(plan: batches.Plan, encoded: Encoded, settings: Batches, world: int) -> str:
    """Say what is useful where the rows of all steps have one size: the whole budget, and the size that costs least."""
    start = time.perf_counter()
    best = batches.row_tokens(plan, encoded.lengths, settings, world)
    took = time.perf_counter() - start
    said = []
    for size in (settings.micro_batch_tokens, best):
        sized = replace(settings, micro_batch_tokens=size)
        counted = [
            batches.fill(
                batches.micro_batches(step, encoded.lengths, encoded.trained, sized, "packed", "clean", world),
                encoded.lengths,
                "packed",
                row_tokens=size,
            )
            for step in plan
        ]
        said.append(f"{sum(counted, batches.Fill()).useful:.1%} at {size:,}")
    return f"; rows of one size: {', '.join(said)} (chosen in {took:.1f} s)"


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds that passed, and those of processors: these say more on a machine that others use, too."""
    start, before = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - before


def speed(source: Any, tokenizer: Any, max_length: int, repeats: int) -> None:
    """Print how long rows take to become an encoded file, beside what the tokenizers library takes for their texts."""
    rows = list(source)
    texts = [segment.text for row in rows for segment in rendering.magicoder(row.messages, "all")]
    core = tokenizer.backend_tokenizer
    chunks = [texts[start : start + 2000] for start in range(0, len(texts), 2000)]

    def bare() -> None:
        for chunk in chunks:
            core.encode_batch_fast(chunk, add_special_tokens=False)

    def usual() -> None:
        for chunk in chunks:
            tokenizer(chunk, add_special_tokens=False)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            made.append(encoding.encode(source, tokenizer, Examples(), max_length, Path(folder)).report.tokens)

    made: list[int] = []
    seconds: dict[str, list[tuple[float, float]]] = {
        "encode_batch_fast alone": [],
        "transformers' __call__ alone": [],
        "encode": [],
    }
    for _ in range(repeats):
        for name, work in zip(seconds, (bare, usual, ours), strict=True):
            seconds[name].append(timed(work))
    print(f"\n{len(rows)} rows, {made[0]:,} tokens; median of {repeats}, side by side; by the clock, and of processors")
    for name, taken in seconds.items():
        wall, cpu = (statistics.median(column) for column in zip(*taken, strict=True))
        print(
            f"| {name} | {wall:.2f} s, {len(rows) / wall:,.0f} rows/s, {made[0] / wall:,.0f} tokens/s | "
            f"{cpu:.2f} s, {len(rows) / cpu:,.0f} rows/s, {made[0] / cpu:,.0f} tokens/s |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--max-length", type=int, default=1216)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--max-examples", type=int, default=0)
    parser.add_argument("--resampled", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=0, help="measure speed, so often")
    given = parser.parse_args()
    tokenizer = tokenizer_of(given.tokenizer)
    source = data.conversations(Stage(name="rows", data=tuple(given.data), max_examples=given.max_examples))
    with tempfile.TemporaryDirectory() as folder:
        encoded = encoding.encode(source, tokenizer, Examples(), given.max_length, Path(folder))
        report = encoded.report
        print(
            f"{report.kept} of {report.rows} rows, mean {report.tokens / report.kept:.0f} tokens, deviation "
            f"{float(np.std(encoded.lengths)):.0f}, {report.trained_tokens / report.tokens:.0%} trained, "
            f"{report.truncated} cut, dropped {report.dropped}"
        )
        if given.resampled:
            encoded = encoded.select(random.Random(0).choices(range(len(encoded)), k=given.resampled))
        padding(encoded, given.examples)
    if given.repeats:
        speed(source, tokenizer, given.max_length, given.repeats)


if __name__ == "__main__":
    main()
