"""Memory does not grow with the corpus, in any stage: four times as much is made into a dataset with the same peak."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.e2e.conftest import environment

FILES, LINES, PART = 200, 600, 40
"""Even the small corpus has several parts, so that holding one part is no growth."""

RECIPE = f"""\
name: memory
corpora: [local_files: {{path: SOURCE}}]
documents: {{part_documents: {PART}}}
generate: {{window: {PART}}}
clean: {{shuffle_seed: SHUFFLE}}
export: {{shard_rows: {PART}}}
strategy: STRATEGY
teacher: TEACHER
"""

# A process's peak can be set back to what it holds now; so each stage has a peak of its own.
PROGRAM = """
import json, sys
from pathlib import Path
from magicoder import pipeline, recipe
from magicoder.engines.local import Local
from magicoder.store import RunFolder

peaks = {}

class Watcher(pipeline.Nobody):
    def done(self, count, *, built):
        assert built
        note(count.stage, count.kept)

def note(stage, rows):
    with open("/proc/self/status") as f:
        peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
    peaks[stage] = peak, rows
    Path("/proc/self/clear_refs").write_text("5")

folder = Path(sys.argv[1])
with RunFolder.locked(folder / "run") as run:
    around = pipeline.Surroundings(engine=Local(workers=1), journal=folder / "journal", watcher=Watcher())
    result = pipeline.run(recipe.read(folder / "recipe.yaml"), run, around)
note("dataset, report", result.summary.rows)
print(json.dumps(peaks))
"""


def write_corpus(folder: Path, files: int) -> None:
    """Each file is one documented function of 60 KB in few words: quickly parsed, and like no other."""
    folder.mkdir()
    rng = Random(files)
    for n in range(files):
        body = "".join(f'    {"ghijkl"[i % 6]} = "{rng.randbytes(45).hex()}"\n' for i in range(LINES))
        text = f'def function_{n}(value):\n    """Return {rng.randbytes(8).hex()} {n} for the value."""\n{body}'
        (folder / f"{n}.py").write_text(f"{text}    return value\n")


def peaks_kb(folder: Path, files: int, values: dict[str, str]) -> dict[str, int]:
    folder.mkdir()
    write_corpus(folder / "source", files)
    recipe = RECIPE
    for name, value in {"SOURCE": str(folder / "source"), **values}.items():
        recipe = recipe.replace(name, value)
    (folder / "recipe.yaml").write_text(recipe)
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    # One arena, one allocator: what is given back is not kept for later by chance.
    settings = environment(folder) | {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=settings)
    peaks = json.loads(done.stdout)
    assert {rows for _, rows in peaks.values()} == {files}, peaks
    return {stage: peak for stage, (peak, _) in peaks.items()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    "values",
    [
        {"STRATEGY": "comment_pairs", "TEACHER": "null", "SHUFFLE": "null"},
        {"STRATEGY": "oss_instruct", "TEACHER": "mock", "SHUFFLE": "666"},
    ],
    ids=["comment_pairs", "oss_instruct"],
)
def test_four_times_the_corpus_takes_the_same_memory(values: dict[str, str], tmp_path: Path) -> None:
    small, large = (peaks_kb(tmp_path / str(n), FILES * n, values) for n in (1, 4))
    # What one stage gave back, another may find still allocated: a stage is held against the highest peak before it.
    highest = dict(zip(small, itertools.accumulate(small.values(), max), strict=True))
    grown = {stage: (highest[stage], large[stage]) for stage in small if large[stage] > 1.12 * highest[stage]}
    assert not grown, f"peak kB of {FILES} and {4 * FILES} files: {grown}"
