"""What the device can do at best."""

from collections.abc import Callable
from typing import Any

from train_variants.bench import Bench


def rates(bench: Bench) -> dict[str, Any]:
    """Products of square matrices in bfloat16, and copies: reading and writing."""
    torch, size = bench.torch, bench.size
    left = torch.randn(size.matrix, size.matrix, device=bench.device, dtype=torch.bfloat16)
    right = torch.randn_like(left)
    product = _repeated(bench, lambda: torch.mm(left, right))
    source = torch.empty(size.matrix * size.matrix * 8, device=bench.device, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    copy = _repeated(bench, lambda: target.copy_(source))
    return {"product_flops_per_s": 2 * size.matrix**3 / product, "copy_bytes_per_s": 4 * source.numel() / copy}


def _repeated(bench: Bench, work: Callable[[], Any]) -> float:
    """Return seconds of one call, over about `rate_s` seconds: long enough for clocks to settle."""
    work()
    began = bench.now()
    work()
    count = max(3, int(bench.size.rate_s / max(1e-6, bench.now() - began)))
    began = bench.now()
    for _ in range(count):
        work()
    return (bench.now() - began) / count
