"""How fast requests may go out: the user's caps per minute, and pauses that the endpoint asks for."""


class Bucket:
    """A token bucket whose cap holds in every minute, not only on average.

    What may go out at once is taken off the rate; `grain` is the size of the smallest request.
    """

    def __init__(self, per_minute: float, *, grain: float = 0.0) -> None:
        self._cap = per_minute
        self._grain = grain
        self._at: float | None = None
        self._is_fresh = True
        self._level = 0.0
        self._widen(max(grain, per_minute / 60))

    def wait_s(self, now: float, need: float) -> float:
        """Return the seconds until a request of this size may go; one larger than half the cap counts as half."""
        need = min(need, max(self._grain, self._cap / 2))
        if need > self._burst:
            self._widen(need)
        if self._at is not None:
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (need - self._level) / self._rate)

    def take(self, need: float) -> None:
        """Count a request that goes now."""
        self._level -= need
        self._is_fresh = False

    def give_back(self, unused: float) -> None:
        """Correct a count that was an estimate; negative if it was too low."""
        self._level = min(self._burst, self._level + unused)

    def _widen(self, burst: float) -> None:
        self._burst = burst
        self._rate = (self._cap - burst + self._grain) / 60
        if self._is_fresh:
            self._level = burst


class Pace:
    """When the next request may go to one endpoint."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._requests = Bucket(requests_per_minute, grain=1.0) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute) if tokens_per_minute else None
        self.held_until = 0.0

    def wait_s(self, now: float, tokens: int) -> float:
        """Return the seconds until a request that may use so many tokens can go."""
        wait = self.held_until - now
        if self._requests is not None:
            wait = max(wait, self._requests.wait_s(now, 1.0))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait_s(now, tokens))
        return max(0.0, wait)

    def take(self, tokens: int) -> None:
        """Count a request that goes now."""
        if self._requests is not None:
            self._requests.take(1.0)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def correct(self, reserved: int, used: int) -> None:
        """Replace what was reserved for a request by what it has used."""
        if self._tokens is not None:
            self._tokens.give_back(reserved - used)

    def hold(self, until: float) -> None:
        """Send nothing before `until`."""
        self.held_until = max(self.held_until, until)
