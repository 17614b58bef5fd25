"""The same recipe gives the same bytes: with compiled loops and without, in one process and in two."""

import hashlib
import importlib.util
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Command

FILES = 120

# Read by each interpreter of a run as it starts, the workers' too.
HIDE_NUMBA = "import sys\nsys.modules['numba'] = None\n"
# Where numba is in memory, kernels are used from few texts on. What they took part in is written down at the end.
LOAD_NUMBA = """\
import atexit, sys
from pathlib import Path
import numba
def say():
    used = sorted(name for name in sys.modules if name.startswith("magicoder.kernels."))
    Path(__file__).with_name("used").write_text("\\n".join(used))
atexit.register(say)
"""
RECIPE = """\
name: same
corpora:
  - tables: {{path: {source}}}
strategy: oss_instruct
teacher: mock
seeds: {{per_document: 2}}
documents: {{part_documents: 32}}
"""


def digests(run: Path) -> dict[str, str]:
    """Return what was published, and for each stage what its content comes to."""
    files = sorted(p for p in (run / "dataset").rglob("*") if p.is_file())
    found = {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    for manifest in sorted(run.glob("*/manifest.json")):
        found[manifest.parent.name] = json.loads(manifest.read_text())["content"]
    return found


@pytest.mark.timeout(900)
def test_neither_numba_nor_the_number_of_workers_changes_a_byte(
    magicoder: Command, shared_data: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec("numba") is None:
        pytest.skip("numba is not installed: pip install 'magicoder[fast]'")
    rows = pq.read_table(shared_data / "corpus_sample.parquet")
    pq.write_table(rows.take(list(range(0, len(rows), len(rows) // FILES))), tmp_path / "some.parquet")
    (tmp_path / "same.yaml").write_text(RECIPE.format(source=tmp_path / "some.parquet"))
    made = []
    for name, customised, workers in (("plain", HIDE_NUMBA, 1), ("fast", LOAD_NUMBA, 1), ("fast_2", LOAD_NUMBA, 2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(customised)
        done = magicoder(
            *(
                "run",
                "same.yaml",
                "--workers",
                workers,
                "--out",
                folder / "run",
                "--journal",
                folder / "journal.sqlite",
            ),
            env={"PYTHONPATH": str(folder)},
            timeout=400,
        )
        assert done.returncode == 0, done.stderr
        made.append(digests(folder / "run"))
    assert {"distinct_files", "seeds", "screened", "distinct_rows", "dataset/SHA256SUMS"} <= set(made[0])
    assert made[1] == made[0]
    assert made[2] == made[0]
    used = (tmp_path / "fast" / "used").read_text().split()
    assert {"magicoder.kernels.shingles", "magicoder.kernels.windows"} <= set(used)
