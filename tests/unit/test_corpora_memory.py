"""Memory does not grow with the source: ten times as much is read with the same peak."""

import gzip
import subprocess
import sys
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TEXT = Random(1).randbytes(3 << 16).hex()  # 384 kB that compresses by a half only

# Peak resident memory above what the imports take, in kB: of a process of its own, since a peak never falls. Not
# getrusage: its peak starts with that of the process that started this one.
PROGRAM = """
import sys
from magicoder.corpora.local_files import LocalFiles
from magicoder.corpora.tables import Tables
from magicoder.corpora.archives import Archives
kind = {"files": LocalFiles, "parquet": Tables, "lines": Tables, "tar": Archives}[sys.argv[1]]
def peak():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
before = peak()
total = sum(d.size for d in kind(path=sys.argv[2]).documents(1 << 20))
print(peak() - before, total)
"""


def peak(kind: str, path: Path) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, kind, str(path)], check=True, capture_output=True, text=True)
    used, total = done.stdout.split()
    return int(used), int(total)


def make(kind: str, path: Path, count: int) -> Path:
    texts = (TEXT[i % 1000 : i % 1000 + 60_000] for i in range(count))
    if kind == "files":
        for i, text in enumerate(texts):
            (path / str(i % 10)).mkdir(parents=True, exist_ok=True)
            (path / str(i % 10) / f"{i}.py").write_text(text)
    elif kind == "parquet":
        path = path.with_suffix(".parquet")
        schema = pa.schema([("content", pa.string())])
        with pq.ParquetWriter(path, schema, use_dictionary=False, write_batch_size=16) as writer:
            writer.write_table(pa.table({"content": list(texts)}, schema=schema), row_group_size=1 << 20)
    elif kind == "lines":
        path = path.with_suffix(".jsonl.gz")
        with gzip.open(path, "wb", compresslevel=1) as f:
            f.writelines(f'{{"content": "{text}"}}\n'.encode() for text in texts)
    else:
        import tarfile

        folder = make("files", path, count)
        path = path.with_suffix(".tar.gz")
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            archive.add(folder, "x")
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["files", "parquet", "lines", "tar"])
def test_ten_times_as_much_is_read_with_the_same_memory(kind: str, tmp_path: Path) -> None:
    (small, little), (large, much) = (peak(kind, make(kind, tmp_path / str(n), n)) for n in (120, 1200))
    assert (little, much) == (120 * 60_000, 1200 * 60_000)
    assert large < small + 24_000, f"{small} kB for 7 MB, {large} kB for 72 MB"
