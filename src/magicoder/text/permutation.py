"""NumPy's random permutation without NumPy, which the core does not install: what `datasets` shuffles with.

`Dataset.shuffle(seed)` is `numpy.random.default_rng(seed).permutation(n)`: SeedSequence (O'Neill's randutils
`seed_seq_fe`) seeds PCG64 (XSL-RR, 128-bit state), and a Fisher–Yates shuffle draws each position from the low bits
of 32-bit outputs, drawing again what is out of range. The tests compare with NumPy and `datasets`.
"""

from array import array
from collections.abc import Iterator

_32 = 0xFFFFFFFF
_64 = 0xFFFFFFFFFFFFFFFF
_128 = (1 << 128) - 1
_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_POOL = 4


def permutation(n: int, seed: int) -> "array[int]":
    """Return `numpy.random.default_rng(seed).permutation(n)`: position i holds the row that is shuffled to i.

    `n` must be below 2**32 and `seed` not negative.
    """
    assert 0 <= n <= _32
    order = array("q", range(n))
    draws = _uint32s(seed)
    for i in range(n - 1, 0, -1):
        mask = (1 << i.bit_length()) - 1
        j = next(draws) & mask
        while j > i:
            j = next(draws) & mask
        order[i], order[j] = order[j], order[i]
    return order


def _uint32s(seed: int) -> Iterator[int]:
    """Yield the 32-bit halves, low one first, of the outputs of PCG64 seeded with `seed`."""
    words = _seed_words(seed)
    start, sequence = (words[0] << 64) | words[1], (words[2] << 64) | words[3]
    increment = (sequence << 1 | 1) & _128
    state = ((increment + start) * _MULTIPLIER + increment) & _128
    while True:
        state = (state * _MULTIPLIER + increment) & _128
        folded, turn = (state >> 64) ^ (state & _64), state >> 122
        output = ((folded >> turn) | (folded << (64 - turn))) & _64
        yield output & _32
        yield output >> 32


def _seed_words(seed: int) -> list[int]:
    """Return `numpy.random.SeedSequence(seed).generate_state(4, numpy.uint64)`."""
    assert seed >= 0
    entropy = [seed >> shift & _32 for shift in range(0, max(seed.bit_length(), 1), 32)]
    mixer = _Hash(0x43B0D7E5, 0x931E8875)
    pool = [mixer(entropy[i] if i < len(entropy) else 0) for i in range(_POOL)]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = _mix(pool[target], mixer(pool[source]))
    for extra in entropy[_POOL:]:
        for target in range(_POOL):
            pool[target] = _mix(pool[target], mixer(extra))
    generator = _Hash(0x8B51F9DD, 0x58F38DED)
    halves = [generator(pool[i % _POOL]) for i in range(8)]
    return [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]


class _Hash:
    """The hash of SeedSequence, whose constant changes with every word."""

    def __init__(self, constant: int, multiplier: int) -> None:
        self.constant = constant
        self.multiplier = multiplier

    def __call__(self, word: int) -> int:
        word ^= self.constant
        self.constant = self.constant * self.multiplier & _32
        word = word * self.constant & _32
        return word ^ word >> 16


def _mix(x: int, y: int) -> int:
    mixed = (0xCA01F9DD * x - 0x4973F715 * y) & _32
    return mixed ^ mixed >> 16
