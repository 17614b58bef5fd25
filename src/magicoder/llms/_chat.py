"""An open session with OpenAI-compatible endpoints: the driver's side of what happens on the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from magicoder.llms._dispatch import WITHDRAWN, Dispatcher
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.protocols import Meter
from magicoder.records import Completion, Failure, Prompt

R = TypeVar("R")

_PAUSE_S: Final = 1.0
"""How long `collect` waits with nothing on the wire before it returns, so that `note` can be shown."""


class ChatSession:
    """Requests on their way. The event loop runs inside `collect` only; nothing happens between the calls."""

    def __init__(self, settings: OpenAIChat, meter: Meter | None = None) -> None:
        self._dispatcher = Dispatcher(settings, meter)
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._thread: ThreadPoolExecutor | None = None
        self._submitted: list[tuple[int, Prompt]] = []
        self._is_open = False
        self._is_told = False  # of the outage that is now

    @property
    def capacity(self) -> int:
        """How many prompts to keep in flight: adapts to refusals, at most `concurrency` an endpoint."""
        return self._dispatcher.capacity

    @property
    def note(self) -> str:
        """What a watcher should know now: an outage, a wait for a rate limit; "" if all is well."""
        return self._dispatcher.note

    def submit(self, ticket: int, prompt: Prompt) -> None:
        """Take one prompt; it is sent during the next `collect`."""
        self._submitted.append((ticket, prompt))

    def collect(self) -> list[tuple[int, Completion | Failure]]:
        """Wait until something has finished and return all that has; see `Session.collect`.

        When all endpoints are down, or a rate limit keeps everything waiting, it returns an empty list once a second,
        so that `note` can be shown and a wish to stop be heard. An interrupt (Ctrl-C) leaves the session usable: call
        again to wait for what is in flight.

        When the session cannot go on, what is on the wire is still waited for, since it is paid.

        Raises:
            TeacherError: unreachable, key refused, no credit, unknown model, or it fails whatever it is asked.
        """
        return self._call(self._run_wait)

    def withdraw(self) -> list[tuple[int, Failure]]:
        """Take back the prompts that are not on the wire now, for a run that is to stop: only the others are worth
        waiting for. Those that wait for a retry, a rate limit or the end of an outage are among them.
        """
        waiting = [(t, Failure(reason=WITHDRAWN, detail="not sent")) for t, _ in self._submitted]
        self._submitted.clear()
        return waiting + self._dispatcher.withdraw()

    def close(self) -> None:
        """Give up what is in flight and close every connection."""
        try:
            if self._is_open:
                self._call(self._run_shut)
        finally:
            self._call(self._runner.close)
            if self._thread is not None:
                self._thread.shutdown()

    def _run_wait(self) -> list[tuple[int, Completion | Failure]]:
        return self._runner.run(self._wait())

    def _run_shut(self) -> None:
        self._runner.run(self._dispatcher.shut())

    def _call(self, function: Callable[[], R]) -> R:
        """Call it here, or on a thread where this one has a running loop already, as in a notebook."""
        if self._thread is None:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return function()
            self._thread = ThreadPoolExecutor(1)
        return self._thread.submit(function).result()

    async def _wait(self) -> list[tuple[int, Completion | Failure]]:
        d = self._dispatcher
        self._is_open = True
        await d.meet()
        for ticket, prompt in self._submitted:
            d.start(ticket, prompt)
        self._submitted.clear()
        self._is_told = self._is_told and d.is_paused
        until = asyncio.get_running_loop().time() + _PAUSE_S
        while not d.done and d.asks and (d.fatal is None or d.sending):
            if d.is_paused and not self._is_told:
                self._is_told = True
                break
            d.news.clear()
            try:
                async with asyncio.timeout_at(until):
                    await d.news.wait()
            except TimeoutError:
                if d.is_paused or not d.sending:
                    break
                until += _PAUSE_S
        for _ in range(4):  # let everything that has arrived by now finish as well: fewer, larger commits
            await asyncio.sleep(0)
        if not d.done and d.fatal is not None:
            raise d.fatal
        done, d.done = d.done, []
        return done
