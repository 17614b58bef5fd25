"""Random draws that depend on a number and an id alone, the same in Python and in compiled kernels.

A counter-based generator: the id is hashed to 64 bits, the k-th draw is a mix of that hash and k (SplitMix64). Seeding
costs a fraction of what a Mersenne Twister's 2.5 kB of state do, and there is no state to carry from one id to another,
so draws depend on no order, batch or worker.
"""

from struct import unpack
from typing import Final

MASK: Final = 2**64 - 1
STEP: Final = 0x9E3779B97F4A7C15
SPREAD: Final = 0xD6E8FEB86659FD93
"""Odd, so that multiplying by it loses nothing."""


def mix(x: int) -> int:
    """Return 64 bits of which each depends on every bit of `x` (the finish of SplitMix64)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def key(random_seed: int, identity: bytes) -> int:
    """Return the 64 bits that all draws for `identity` come from, which takes its bytes eight at a time."""
    h = mix((random_seed & MASK) ^ len(identity))
    for word in unpack(f"<{(len(identity) + 7) // 8}Q", identity.ljust((len(identity) + 7) // 8 * 8, b"\0")):
        h = ((h ^ word) * SPREAD) & MASK
        h ^= h >> 32
    return mix(h)


class Draws:
    """The draws for one id."""

    __slots__ = ("_at",)

    def __init__(self, random_seed: int, identity: str) -> None:
        self._at = key(random_seed, identity.encode("utf-8", "surrogatepass"))

    def pair(self, first: int, second: int) -> tuple[int, int]:
        """Return two numbers, one below `first` and one below `second`, both at most 2**32.

        One draw of 64 bits gives both, half each; of n numbers none is likelier than another by more than n / 2**32.
        """
        self._at = (self._at + STEP) & MASK
        bits = mix(self._at)
        return (bits >> 32) * first >> 32, (bits & 0xFFFFFFFF) * second >> 32
