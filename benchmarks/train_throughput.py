"""How fast we fine-tune, beside the original recipe and TRL, on this machine: a table, and the figures as JSON.

    python benchmarks/train_throughput.py [--out FILE.json] [--only NAME,…] [--size 7b|toy|small]

On a GPU: CodeLlama-7B's shape with random weights, the paper's lengths, everything in under ten minutes; needs torch,
transformers, accelerate and peft, and nothing else. Without a GPU the same at toy size (lengths and micro-batches an
eighth, CPU seconds of one thread; under a minute), as a test of the script. On a GPU every way of training runs in a
process of its own, one after the other, and its figures are written down at once: what was measured is not lost when
time runs out. What the figures mean: docs/training-measurements.md.

`tokens/s` are tokens of examples, without padding, of a whole step of 512 with its update; `response` those that are
trained. MFU is the share of the matrix-product rate that was measured in the same call, and of the data sheet's.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from train_variants.ways import WAYS

HERE = Path(__file__).parent
SHEET = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "B200": 2250e12, "L40S": 362e12, "A6000": 155e12}
"""Products of bfloat16 a second by the data sheet, dense."""
BUDGET_S = 570.0
LEAST_S = 30.0


def device() -> tuple[str, str]:
    """Return `cuda` or `cpu`, and what it is; asked in a process of its own, which then leaves the GPU alone."""
    ask = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    found = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    return ("cuda", found) if found else ("cpu", platform.processor() or platform.machine())


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "accelerate", "peft", "trl", "bitsandbytes"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def run(names: list[str], size: str, kind: str, until: float) -> list[dict[str, Any]]:
    """Measure these ways in one process, and return what it wrote down."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "figures.jsonl"
        command = [sys.executable, "-m", "train_variants", ",".join(names), size, kind, str(out)]
        places = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": places, **({"OMP_NUM_THREADS": "1"} if kind == "cpu" else {})}
        why = ""
        try:
            done = subprocess.run(
                command,
                env=environment,
                timeout=max(1.0, until - time.monotonic()),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=False,
            )
            why = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1] if done.returncode else ""
        except subprocess.TimeoutExpired:
            why = "the time for the whole ran out"
        lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    found = [json.loads(line) for line in lines]
    missing = names[len(found) :]
    return found + [{"variant": name, "what": name, "not_run": why or "it ended without figures"} for name in missing]


def table(found: dict[str, Any]) -> str:
    """Return the figures in Markdown."""
    ways = {one["variant"]: one for one in found["ways"]}
    rate = ways.get("rates", {}).get("product_flops_per_s")
    sheet = next((value for name, value in SHEET.items() if name in found["device"]), None)
    base = ways.get("original", {}).get("tokens_per_s")
    lines = [
        f"{found['date']} · {found['device']} · size {found['size']} · "
        + " · ".join(f"{name} {version}" for name, version in found["versions"].items()),
        "",
    ]
    if rate:
        copies = ways["rates"]["copy_bytes_per_s"]
        lines += [f"Matrix products {rate / 1e12:.2f} TFLOP/s, copies {copies / 1e12:.2f} TB/s.", ""]
    lines += [
        "| | tokens/s | response tokens/s | × original | useful tokens | MFU, measured rate | MFU, data sheet | "
        "peak GiB | hours, both stages | first step, s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found["ways"]:
        if "tokens_per_s" in one:
            flops = one["flops_per_s"]
            cells = [
                one["what"],
                f"{one['tokens_per_s']:,.0f}",
                f"{one['response_tokens_per_s']:,.0f}",
                f"{one['tokens_per_s'] / base:.2f}" if base else "–",
                f"{one['useful']:.1%}",
                f"{flops / rate:.1%}" if rate else "–",
                f"{flops / sheet:.1%}" if sheet else "–",
                f"{one['peak_memory_gib']:.1f}",
                f"{one['hours']:.2f}",
                f"{one['first_step_s']:.0f}" if found["kind"] == "cuda" else "–",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        elif "not_run" in one:
            lines.append(f"| {one['what']} | not run: {one['not_run']} |" + " |" * 8)
    return "\n".join([*lines, "", *_notes(ways)])


def _notes(ways: dict[str, Any]) -> list[str]:
    notes = []
    if "overhead" in ways.get("loop", {}):
        one = ways["loop"]
        notes.append(
            f"The loop takes {one['overhead']:.2%} on top of forward and backward alone "
            f"({one['overhead_ms_per_micro_batch']:.2f} ms a micro-batch)."
        )
    for one in ways.values():
        if "waits_in_a_micro_batch" in one:
            notes.append(f"{one['what']}: waits for the device inside a micro-batch: {one['waits_in_a_micro_batch']}.")
        if "where" in one:
            shares = ", ".join(f"{kind} {share:.0%}" for kind, share in one["where"].items())
            notes.append(f"{one['what']}: the time of a micro-batch: {shares}.")
    return notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON, after each way")
    parser.add_argument("--only", default=",".join(WAYS), help="ways to measure, by name")
    parser.add_argument("--size", choices=("7b", "toy", "small"), help="default: 7b on a GPU, else toy")
    parser.add_argument("--seconds", type=float, default=BUDGET_S, help="for everything")
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    names = given.only.split(",")
    if unknown := set(names) - set(WAYS):
        parser.error(f"no way {', '.join(sorted(unknown))}; there are: {', '.join(WAYS)}")
    kind, name = device()
    size = given.size or ("7b" if kind == "cuda" else "toy")
    found: dict[str, Any] = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "device": name,
        "kind": kind,
        "size": size,
        "versions": versions(),
        "ways": [],
    }
    # A GPU's memory is only whole again in a new process; on a CPU starting one costs more than it measures.
    for group in [[one] for one in names] if kind == "cuda" else [names]:
        if until - time.monotonic() < LEAST_S:
            found["ways"] += [{"variant": n, "what": n, "not_run": "the time for the whole ran out"} for n in group]
        else:
            found["ways"] += run(group, size, kind, until)
        if given.out:
            given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{', '.join(group)}: done", file=sys.stderr, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
