"""Memory stays with a process that works through many parts, and arrays from before live on."""

import subprocess
import sys

PROGRAM = """
import gc
import pyarrow as pa
from magicoder.store.memory import keep_pages
before = pa.array(["text"] * 1000)
for _ in range(2):
    keep_pages()
after = pa.array(["text"] * 1000)
assert before.equals(after)
del before
assert gc.get_freeze_count() > 0
print(pa.default_memory_pool().backend_name)
"""


def test_memory_is_kept_by_the_systems_allocator_where_it_can_be_told() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert done.stdout.strip() in {"system", "mimalloc", "jemalloc"}
    if sys.platform == "linux":
        assert done.stdout.strip() == "system"
