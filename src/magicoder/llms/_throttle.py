"""How many requests may be on their way to an endpoint: as many as it takes, found by trying.

Additive increase, multiplicative decrease, as in TCP: doubling per round until the first refusal, then one more per
round. A round's refusals count once, since all of them were sent before the first one could be heeded.
"""

import asyncio
from collections.abc import Callable
from typing import Final

_START: Final = 64
_RESTART: Final = 16
_REPLACED: Final = 16


class Throttle:
    """A gate's width and how much of it is taken. `ceiling` bounds the width; `on_room` is called when it reopens."""

    def __init__(self, ceiling: int, on_room: Callable[[], None] = lambda: None) -> None:
        self._ceiling = ceiling
        self._on_room = on_room
        self._width = float(min(ceiling, _START))
        self._doubling = True
        self._round = 0
        self._successes = 0  # since the last refusal that was heeded
        self._active = 0
        self._asleep = 0
        self._closed = False

    @property
    def capacity(self) -> int:
        """How many requests to have under way: the gate's width, and replacements for those that wait to retry.

        Not more replacements than the gate is wide, or a few: an endpoint that refuses everything shall pile up none.
        """
        width = int(self._width)
        return min(self._ceiling, width + min(self._asleep, max(width, _REPLACED)))

    @property
    def free(self) -> int:
        """How many more may go now."""
        return 0 if self._closed else int(self._width) - self._active

    @property
    def round(self) -> int:
        """In which round a request is sent now, for `shrink`."""
        return self._round

    def enter(self) -> None:
        """Take a place at the gate."""
        self._active += 1

    def leave(self) -> None:
        """Give the place back."""
        self._active -= 1

    def grow(self) -> None:
        """Heed a success."""
        self._successes += 1
        self._width = min(float(self._ceiling), self._width + (1.0 if self._doubling else 1.0 / self._width))

    def shrink(self, sent_in: int, factor: float, hold_s: float) -> None:
        """Heed a refusal of a request of round `sent_in`; a gate of width one is shut for `hold_s` instead.

        A refusal again within half a round says that the gate is far too wide: it is halved at least.
        """
        if sent_in != self._round:
            return
        self._round += 1
        self._doubling = False
        if self._width < 2.0 and not self._closed:
            self._closed = True
            asyncio.get_running_loop().call_later(hold_s, self._reopen)
        self._width = max(1.0, self._width * (factor if self._successes >= self._width / 2 else min(factor, 0.5)))
        self._successes = 0

    def restart(self) -> None:
        """Begin anew, and narrower, with an endpoint that has just come back."""
        self._round += 1
        self._doubling = True
        self._width = float(min(self._ceiling, _RESTART))
        self._successes = 0

    async def sleep(self, seconds: float) -> None:
        """Wait before a retry, without a place at the gate."""
        self._asleep += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._asleep -= 1

    def _reopen(self) -> None:
        self._closed = False
        self._on_room()
