"""Which endpoint takes the next request, and who waits until one does."""

import asyncio
from collections import deque
from collections.abc import Sequence

from magicoder.llms._breaker import Breaker, State


class Pool:
    """A queue before all the endpoints."""

    def __init__(self) -> None:
        self.breakers: Sequence[Breaker] = ()
        self.is_closed = False
        self._queue: deque[tuple[asyncio.Future[Breaker], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def capacity(self) -> int:
        """The sum over the endpoints that are up; at least one, which then waits for an endpoint to come back."""
        return max(1, sum(b.endpoint.throttle.capacity for b in self.breakers if b.state is State.UP))

    async def enter(self, tokens: int) -> Breaker:
        """Wait for a place at an endpoint and take it, for a request that may use so many tokens."""
        if not self._queue:
            breaker, wait_s = self._choose(tokens)
            if breaker is not None:
                return self._take(breaker, tokens)
            self._wake_in(wait_s)
        place: asyncio.Future[Breaker] = asyncio.get_running_loop().create_future()
        self._queue.append((place, tokens))
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                place.result().endpoint.throttle.leave()
                self.wake()
            raise

    def wake(self) -> None:
        """Give places that have become free to those who wait."""
        while self._queue:
            place, tokens = self._queue[0]
            if place.done():  # its request was given up
                self._queue.popleft()
                continue
            breaker, wait_s = self._choose(tokens)
            if breaker is None:
                self._wake_in(wait_s)
                return
            self._queue.popleft()
            place.set_result(self._take(breaker, tokens))

    def close(self) -> None:
        """Give no more places."""
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _choose(self, tokens: int) -> tuple[Breaker | None, float | None]:
        """Return the endpoint with the most room for its weight, or how long to wait, None if until it says so."""
        best, most, soonest = None, 0.0, None
        for breaker in () if self.is_closed else self.breakers:
            endpoint = breaker.endpoint
            free = endpoint.throttle.free
            if breaker.state is not State.UP or free <= 0:
                continue
            wait_s = endpoint.pace.wait_s(asyncio.get_running_loop().time(), tokens)
            if wait_s > 0:
                soonest = min(wait_s, soonest or wait_s)
            elif free * endpoint.address.share > most:
                best, most = breaker, free * endpoint.address.share
        return best, soonest

    def _take(self, breaker: Breaker, tokens: int) -> Breaker:
        breaker.endpoint.throttle.enter()
        breaker.endpoint.pace.take(tokens)
        return breaker

    def _wake_in(self, wait_s: float | None) -> None:
        if wait_s is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait_s, self.wake)
