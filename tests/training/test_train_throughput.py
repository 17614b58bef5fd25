"""The benchmark of training runs without a GPU, at toy size, and its figures hang together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_throughput.py"


def test_the_same_script_runs_at_toy_size_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    names = ["rates", "original", "packed-16k", "shared", "sorted", "loop"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--size", "toy", "--only", ",".join(names), "--out", str(out)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TRAIN_THROUGHPUT_STRICT": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    ways = {one["variant"]: one for one in found["ways"]}
    assert list(ways) == names
    assert [one["not_run"] for one in ways.values() if "not_run" in one] == []
    assert ways["original"]["useful"] == pytest.approx(0.82, abs=0.01)  # what dynamic padding of pairs costs
    for name in ("packed-16k", "shared", "sorted"):
        assert ways[name]["useful"] >= 0.97
        assert 0 < ways[name]["response_tokens_per_s"] < ways[name]["tokens_per_s"]
    for one in (ways["original"], ways["packed-16k"], ways["sorted"]):
        steps = one["step_s"]
        assert one["hours"] == pytest.approx((292 * steps["oss"] + 434 * steps["evol"]) / 3600)
        assert f"| {one['what']} | {one['tokens_per_s']:,.0f} |" in done.stdout
    assert len(ways["loop"]["overhead_of_steps"]) >= 5
