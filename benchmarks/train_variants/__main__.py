"""Measures ways in one process, and writes each one's figures down: `-m train_variants NAME,… SIZE DEVICE FILE`."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from train_variants.bench import Bench, NotRunError
from train_variants.stand_ins import stand_in
from train_variants.ways import WAYS


def measure(name: str, size: str, device: str) -> dict[str, Any]:
    """Return a way's figures, or why there are none."""
    import torch

    from magicoder.errors import MagicoderError

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = WAYS[name].figures(Bench(size, device, Path(folder)))
        except (NotRunError, MagicoderError) as reason:
            found = {"not_run": str(reason)}
        except torch.OutOfMemoryError as reason:
            found = {"not_run": f"out of memory: {str(reason).splitlines()[0]}"}
        except Exception as reason:
            if os.environ.get("TRAIN_THROUGHPUT_STRICT"):
                raise
            found = {"not_run": f"{type(reason).__name__}: {str(reason).strip().splitlines()[0][:300]}"}
    return {"variant": name, "what": WAYS[name].what, **found, "took_s": round(time.perf_counter() - began, 1)}


def main() -> None:
    names, size, device, out = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    stand_in()
    for name in names.split(","):
        with Path(out).open("a", encoding="utf-8") as file:
            file.write(json.dumps(measure(name, size, device)) + "\n")


if __name__ == "__main__":
    main()
