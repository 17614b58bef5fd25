"""Reading Parquet files, and counting tokens: ours beside other tools, MB of text per CPU second of one process.

    python benchmarks/reading.py --env polars=ENVS/polars/bin/python --env duckdb=… --env datasets=…

Reading: the columns path and content of `corpus_sample.parquet` (MAGICODER_DATA, else ../shared/data), once to warm up,
then rounds, interleaved. "ours, columns" is what a run does with a corpus, every row with id and origin, in columns;
"ours, files" makes a record of each row; "ours, a part" is how stages read each other's parts, here of the same rows
written as a stage does.

Tokens: a byte-level BPE of 2,000 tokens, trained on the sample, in `tokenizers` (as a tokenizer.json) and in tiktoken
(as ranks); ours counts by the first where a recipe gives a file and by the second where it names an encoding. Needs
`pip install 'magicoder[tokenizer]'`.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

from magicoder.store.parts import write_part
from magicoder.tokens import tokenizer

HERE = Path(__file__).parent
SAMPLE = Path(os.environ.get("MAGICODER_DATA") or HERE.parent.parent / "shared" / "data") / "corpus_sample.parquet"
PEERS = {
    "pyarrow": "pyarrow",
    "pyarrow, rows": "pyarrow",
    "polars": "polars",
    "duckdb": "duckdb",
    "datasets": "datasets",
}
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
VOCABULARY, TRAINED_ON, COUNTED = 2000, 60, 200


def reading(rounds: int, pythons: dict[str, str], folder: Path) -> None:
    table = pq.read_table(SAMPLE, columns=["path", "content"])
    megabytes = sum(map(len, (text.encode() for text in table["content"].to_pylist()))) / 1e6
    strings = pa.schema([("path", pa.string()), ("content", pa.string())])
    pq.write_table(table.cast(strings), folder / "corpus.parquet", compression="zstd", row_group_size=2000)
    write_part(folder / "part.parquet", table.cast(strings))
    ways = {way: pythons.get(way.partition(",")[0], sys.executable) for way in PEERS}
    ways = {way: python for way, python in ways.items() if python != sys.executable or _is_here(PEERS[way])}
    ways |= {"ours, files": sys.executable, "ours, columns": sys.executable, "ours, a part": sys.executable}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, python in ways.items():
            file = folder / ("part.parquet" if way == "ours, a part" else "corpus.parquet")
            command = [python, str(HERE / "rivals" / "reading.py"), way, str(file), "3"]
            quiet = {**os.environ, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=quiet)
            taken[way].append(median(json.loads(done.stdout)))
    print(f"\nReading {table.num_rows:,} rows, {megabytes:.0f} MB\n{'':<16}{'MB/s':>8}{'of pyarrow':>12}")
    for way, seconds in taken.items():
        ratio = median(p / s for p, s in zip(taken["pyarrow"], seconds, strict=True))
        print(f"{way:<16}{megabytes / median(seconds):>8,.0f}{ratio:>12.2f}")


def _is_here(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def tokens(rounds: int, folder: Path) -> None:
    if not (_is_here("tokenizers") and _is_here("tiktoken")):
        print("\nno token counts: pip install 'magicoder[tokenizer]'")
        return
    import tiktoken
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    texts = pq.read_table(SAMPLE, columns=["content"])["content"].to_pylist()[:: 10_700 // COUNTED]
    whole = Tokenizer(models.BPE())
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=sorted(alphabet), show_progress=False)
    whole.train_from_iterator(texts[:: max(len(texts) // TRAINED_ON, 1)], trainer)
    whole.save(str(folder / "tokenizer.json"))
    ranks = tiktoken.Encoding("trained", pat_str=PATTERN, mergeable_ranks=_ranks(whole), special_tokens={})
    ways: dict[str, Callable[[str], int]] = {
        "tokenizers": lambda text: len(whole.encode(text, add_special_tokens=False).ids),
        "tiktoken": lambda text: len(ranks.encode_ordinary(text)),
        "ours, a tokenizer.json": tokenizer(folder / "tokenizer.json").count,
        "ours, the estimate": tokenizer().count,
    }
    counts = {name: [count(text) for text in texts] for name, count in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, count in ways.items():
            before = time.process_time()
            for text in texts:
                count(text)
            taken[name].append(time.process_time() - before)
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"\nTokens of {len(texts):,} texts, {size:.1f} MB\n{'':<24}{'MB/s':>8}{'of tiktoken':>13}{'tokens':>12}")
    for name, seconds in taken.items():
        ratio = median(t / s for t, s in zip(taken["tiktoken"], seconds, strict=True))
        print(f"{name:<24}{size / median(seconds):>8.1f}{ratio:>13.2f}{sum(counts[name]):>12,}")
    alike = sum(a == b for a, b in zip(counts["tokenizers"], counts["tiktoken"], strict=True))
    print(f"{alike:,} texts have as many tokens in both")


def _ranks(whole: "Tokenizer") -> dict[bytes, int]:  # type: ignore[name-defined]  # noqa: F821 - an optional package
    """Return the vocabulary as bytes; byte-level BPE writes each byte as a printable character."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    byte_of = {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}
    return {bytes(byte_of[c] for c in token): rank for token, rank in whole.get_vocab().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", action="append", default=[], metavar="NAME=PYTHON", help="a peer's interpreter")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("reading", "tokens"), help="leave the rest out")
    given = parser.parse_args()
    if not SAMPLE.exists():
        print(f"skipped: {SAMPLE} is not there; set MAGICODER_DATA to a folder with corpus_sample.parquet")
        return
    with tempfile.TemporaryDirectory(dir=".") as name:
        if given.only in (None, "reading"):
            reading(given.rounds, dict(pair.split("=", 1) for pair in given.env), Path(name))
        if given.only in (None, "tokens"):
            tokens(given.rounds, Path(name))


if __name__ == "__main__":
    main()
