"""A session with a batch API: gathering prompts, sending them, waiting for batches, handing out what comes back.

Everything that must survive is in the book (`_batch_book`). A step that fails in passing is simply made again later
from what the book says; a run that is started again does the same, so both go the same way through the code.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from magicoder import journal
from magicoder.errors import TeacherError
from magicoder.llms import _batch_lines
from magicoder.llms._batch_api import BatchApi, Refused, Transient
from magicoder.llms._batch_book import Book, Entry
from magicoder.llms._batch_landing import Answers, Ask, Flight, Landing
from magicoder.llms._replies import Kind, Trouble
from magicoder.llms.openai_batch import OpenAIBatch
from magicoder.protocols import Meter
from magicoder.records import Failure, Prompt
from magicoder.store import explained

R = TypeVar("R")

_ABSENCE_S: Final = 0.5
"""How long `collect` blocks without news: the caller may want to stop, or to show `note`."""

_LOOKS: Final = 3
"""How often a batch is looked for that may have been created, or a file that should be there."""

_SETTLE_S: Final = 5.0
_OLD_S: Final = 300
_LOST_S: Final = 900
_LONGEST_DELAY_S: Final = 60.0
_CLOCKS_APART_S: Final = 86_400


class BatchSession:
    """Batches on their way. The event loop runs inside `collect` only; nothing happens here between the calls."""

    resumable: Final = True
    """What is under way goes on at the endpoint when the session ends: a stop need not wait for it."""

    def __init__(self, settings: OpenAIBatch, meter: Meter | None, folder: Path | None) -> None:
        self._settings = settings
        self._chat = settings.chat()
        self._meter = meter
        self._book = Book(folder, settings.base_url.rstrip("/"))
        self._api: BatchApi | None = None
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._thread: ThreadPoolExecutor | None = None
        self._jitter = random.Random()  # spreads the retries of many processes; decides no result
        self._submitted: list[Ask] = []
        self._landing = Landing(settings, self._book, meter, self)
        self._gathered: dict[bytes, Ask] = {}  # prompts that are in no batch
        self._gathered_at = 0.0
        self._flights: dict[str, Flight] = {}
        self._step: asyncio.Task[Any] | None = None
        self._limit = settings.max_requests  # of a batch, as far as the endpoint takes it now
        self._looks: dict[str, int] = {}
        self._failures = 0
        self._failing_since = self._retry_at = 0.0

    @property
    def capacity(self) -> int:
        """How many prompts to have under way."""
        return self._settings.concurrency

    @property
    def note(self) -> str:
        """What to show beside a progress bar."""
        if not self._flights:
            return f"{len(self._gathered):,} gathered for a batch" if self._gathered else ""
        batches = len(self._flights)
        done = sum(flight.done for flight in self._flights.values())
        of = sum(flight.entry.requests for flight in self._flights.values())
        return f"{batches} {'batch' if batches == 1 else 'batches'}, {done:,} of {of:,} done"

    def submit(self, ticket: int, prompt: Prompt) -> None:
        """Take one prompt; a later `collect` sends it, unless an earlier run has."""
        key = journal.key(self._settings.model, self._chat.body(prompt))
        known = self._landing.open.get(key)
        if known is not None:
            known.tickets.append(ticket)
            return
        self._landing.open[key] = ask = Ask(key, prompt, [ticket])
        self._submitted.append(ask)

    def is_under_way(self, key: bytes) -> bool:
        """Tell whether a request is, or may be, in a batch that some run has sent."""
        return bool(self._book.find([key]))

    def withdraw(self) -> Answers:
        """Take back the prompts that are in no batch, for a run that is to stop."""
        gathered = {**self._gathered, **{ask.key: ask for ask in self._submitted}}
        sent = self._book.find(list(gathered))
        taken = [ask for key, ask in gathered.items() if key not in sent]
        for ask in taken:
            self._gathered.pop(ask.key, None)
            del self._landing.open[ask.key]
        self._submitted = [ask for ask in self._submitted if ask.key in sent]
        return [(ticket, Failure(reason="withdrawn", detail="not sent")) for ask in taken for ticket in ask.tickets]

    def collect(self) -> Answers:
        """Return answers; none after a moment without news, or while more prompts can be gathered.

        The answers of the call before must be recorded by now: they are forgotten here. An interrupt (Ctrl-C) leaves
        the session usable.

        Raises:
            TeacherError: unreachable, key refused, no credit, unknown model, a batch refused or cancelled.
            StoreError: the disk is full, or the record of batches cannot be used.
        """
        return self._call(lambda: self._runner.run(self._collect()))

    def close(self, *, recorded: bool) -> None:
        """Leave the batches to the endpoint; `recorded` tells whether the last answers are in the journal."""
        try:
            if recorded:
                self._landing.forget()
            self._call(lambda: self._runner.run(self._shut()))
        finally:
            self._call(self._runner.close)
            if self._thread is not None:
                self._thread.shutdown()
            self._landing.close()
            self._book.close()

    def _call(self, function: Callable[[], R]) -> R:
        """Call it here, or on a thread where this one has a running loop already, as in a notebook."""
        if self._thread is None:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return function()
            self._thread = ThreadPoolExecutor(1)
        return self._thread.submit(function).result()

    def gather(self, ask: Ask) -> None:
        """Put a prompt among those that are to be sent."""
        if not self._gathered:
            self._gathered_at = _now()
        self._gathered[ask.key] = ask

    def error(self, trouble: Trouble) -> TeacherError:
        """Say what is wrong with every request."""
        assert self._api is not None
        return self._api.error(trouble)

    # What runs on the loop.

    async def _collect(self) -> Answers:
        await self._end_step()
        self._step = asyncio.current_task()
        self._landing.forget()
        api = self._api or await self._connect()
        if self._take_submitted() and self._has_room():
            return []
        until = _now() + min(_ABSENCE_S, self._settings.poll_s)
        while True:
            answers = self._landing.answers()
            if answers or not (self._landing.open or self._landing.fatal):
                return answers
            if self._landing.fatal is not None:
                raise self._landing.fatal
            await self._go_on(api)
            if self._landing.has_news:
                continue
            rest = until - _now()
            if rest <= 0:
                return []
            await asyncio.sleep(min(rest, self._settings.poll_s))

    async def _end_step(self) -> None:
        """End what an interrupt has left hanging: it would go on beside us."""
        if self._step is not None and not self._step.done():
            self._step.cancel()
            await asyncio.gather(self._step, return_exceptions=True)

    async def _shut(self) -> None:
        await self._end_step()
        if self._api is not None:
            await self._api.close()

    async def _connect(self) -> BatchApi:
        api = BatchApi(self._settings, self._chat)
        try:
            await api.meet()
        except BaseException:
            await api.close()
            raise
        self._api = api
        return api

    def _take_submitted(self) -> bool:
        """See which prompts are in a batch already, and gather the others; return whether there were any."""
        if not self._submitted:
            return False
        for ask in self._submitted:
            self.gather(ask)
        self._board([ask.key for ask in self._submitted])
        self._submitted.clear()
        return True

    def _has_room(self) -> bool:
        s = self._settings
        return s.linger_s > 0 and len(self._landing.open) < s.concurrency and len(self._gathered) < self._limit

    def _board(self, keys: Sequence[bytes]) -> None:
        """Move gathered prompts that are in a batch under way to it, whoever sent it."""
        for key, (entry, sent) in self._book.find(keys).items():
            ask = self._gathered[key]
            if entry.batch is not None and sent > ask.sent:
                ask.sent, ask.tag = sent, entry.tag
                self._flights.setdefault(entry.tag, Flight(entry)).asks[key] = ask
                del self._gathered[key]

    async def _go_on(self, api: BatchApi) -> None:
        """Send what is due and look at what is under way; what fails in passing is tried again later."""
        if _now() < self._retry_at:
            return
        looking = True
        try:
            for flight in [f for f in self._flights.values() if f.look_at <= _now()]:
                await self._look(api, flight)
            looking = False
            if self._landing.fatal is None and self._is_due():
                with self._book.sending() as alone:
                    if alone:
                        await self._send(api)
            self._failures = 0
        except Transient as e:
            now = _now()
            if not self._failures or (self._flights and not looking):  # what is under way is fine: no hurry
                self._failing_since = now
            self._retry_at = now + self._delay(self._failures, e.trouble)
            self._failures += 1
            if now - self._failing_since > self._settings.patience_s:
                raise TeacherError(
                    f"{api.base} has failed for {now - self._failing_since:.0f} s ({e.trouble.detail}); run the same "
                    "command again later: batches under way go on, every answer so far is in the journal"
                ) from e

    def _delay(self, failures: int, trouble: Trouble) -> float:
        if trouble.wait_s is not None:
            return trouble.wait_s
        backoff = self._settings.retry_delay_s * 2.0 ** min(failures, 10)
        return min(_LONGEST_DELAY_S, backoff) * self._jitter.uniform(0.5, 1.0)

    # Sending, with the lock held.

    def _is_due(self) -> bool:
        if not self._gathered:
            return False
        if not self._flights:
            return True
        if self._limit < self._settings.max_requests:  # the endpoint had no room: first let something finish
            return False
        return len(self._gathered) >= self._limit or _now() - self._gathered_at >= self._settings.linger_s

    async def _send(self, api: BatchApi) -> None:
        for entry in self._book.unsent():
            await self._find_out(api, entry)
        self._board(list(self._gathered))
        while self._gathered and self._is_due():
            await self._send_one(api)

    async def _find_out(self, api: BatchApi, entry: Entry) -> None:
        """Find the batch that was being created when something failed, or be sure enough that there is none."""
        if entry.posted is None:
            self._book.drop(entry.tag)
            return
        try:
            async for batch in api.batches(entry.posted - _CLOCKS_APART_S):
                if _batch_lines.is_of(batch, entry.tag, entry.file):
                    self._book.created(entry.tag, batch["id"])
                    return
        except Refused as e:
            raise TeacherError(
                f"the connection failed while a batch of {entry.requests:,} requests was created, and {api.base} does "
                f"not list batches ({e.trouble.detail}); look there for one with the input file {entry.file}. If there "
                f"is none, move {self._book.path} away and run again; what else is under way would be asked again"
            ) from None
        looks = self._looks[entry.tag] = self._looks.get(entry.tag, 0) + 1
        if looks < _LOOKS and time.time() - entry.posted < _OLD_S:
            wait_s = min(_SETTLE_S, self._settings.poll_s)
            raise Transient(Trouble(Kind.BROKEN, "connection_lost", "a batch may be about to appear", wait_s))
        self._book.lose(entry.tag)

    async def _send_one(self, api: BatchApi) -> None:
        tag = uuid.uuid4().hex
        path = self._book.spool / f"{tag}.requests.jsonl"
        try:
            asks = self._write(path)
            if not asks:
                return
            self._book.begin(tag, [(ask.key, ask.sent + 1) for ask in asks])
            file = await api.upload(path)
            self._book.uploaded(tag, file)
            batch = await api.create(file, tag)
            self._book.created(tag, batch)
        except TeacherError:  # said plainly: nothing was created
            self._book.drop(tag)
            raise
        except Transient as e:
            if e.trouble.kind in (Kind.THROTTLED, Kind.UNREACHABLE):
                self._book.drop(tag)
            raise
        finally:
            path.unlink(missing_ok=True)
        self._board([ask.key for ask in asks])

    def _write(self, path: Path) -> list[Ask]:
        """Write as many gathered prompts as a batch takes."""
        s = self._settings
        asks: list[Ask] = []
        size = 0
        with explained(path), path.open("wb") as f:
            for ask in list(self._gathered.values()):
                line = _batch_lines.request_line(ask.key, self._chat.wire(ask.prompt), s.url)
                if len(line) > s.max_bytes:
                    del self._gathered[ask.key]
                    detail = f"{len(line):,} bytes; a file of a batch takes {s.max_bytes:,}"
                    self._landing.hand(ask, Failure(reason="prompt_too_long", detail=detail))
                    continue
                if len(asks) == self._limit or size + len(line) > s.max_bytes:
                    break
                if self._meter is not None and not self._meter.cover(ask.tickets[0]):
                    del self._gathered[ask.key]
                    detail = "not asked again: what an earlier run had sent came to nothing, and the budget is spent"
                    self._landing.hand(ask, Failure(reason="over_budget", detail=detail))
                    continue
                f.write(line)
                asks.append(ask)
                size += len(line)
        return asks

    # Looking.

    async def _look(self, api: BatchApi, flight: Flight) -> None:
        flight.look_at = _now() + self._settings.poll_s
        await self._cancel_twins(api)
        assert flight.entry.batch is not None
        try:
            batch = await api.batch(flight.entry.batch)
        except Refused as e:
            raise TeacherError(
                f"{api.base} does not know the batch {flight.entry.batch} ({e.trouble.detail}), in which "
                f"{len(flight.asks):,} of these prompts were sent; export the key it was sent with. If it is gone for "
                f"good, move {self._book.path} away to send the prompts again"
            ) from None
        flight.status = batch["status"]
        flight.done = _batch_lines.done_of(batch)
        if flight.status == "failed":
            self._refused(api, flight, batch)
        elif flight.status in ("completed", "expired", "cancelled"):
            await self._fetch(api, flight, batch)

    async def _cancel_twins(self, api: BatchApi) -> None:
        """Cancel what was given up as never created and turned up after all."""
        for entry in self._book.lost():
            assert entry.posted is not None
            async for batch in api.batches(entry.posted - _CLOCKS_APART_S):
                if _batch_lines.is_of(batch, entry.tag, entry.file):
                    await api.cancel(batch["id"])
                    self._book.drop(entry.tag)
            if time.time() - entry.posted > _LOST_S:
                self._book.drop(entry.tag)

    def _refused(self, api: BatchApi, flight: Flight, batch: dict[str, Any]) -> None:
        """Deal with a batch that was not accepted; nothing of it was worked on or paid."""
        del self._flights[flight.entry.tag]
        self._book.drop(flight.entry.tag)
        for ask in flight.asks.values():
            ask.sent -= 1
            self.gather(ask)
        shown, crowded = _batch_lines.refusal_of(batch)
        if crowded:
            # Half as many next time, once what is under way has ended.
            if flight.entry.requests > 1:
                self._limit = max(1, flight.entry.requests // 2)
                return
            self._landing.fatal = TeacherError(
                f"{api.base} has no room for another batch ({shown}); wait for the account's other batches, then run "
                "the same command again: every answer so far is in the journal"
            )
            return
        self._landing.fatal = TeacherError(
            f"{api.base} did not accept a batch of {flight.entry.requests:,} requests: {shown}. Correct the teacher's "
            "model, extra_body, max_tokens_field or send_seed, then run the same command again: nothing of the batch "
            "was paid, every answer so far is in the journal"
        )

    async def _fetch(self, api: BatchApi, flight: Flight, batch: dict[str, Any]) -> None:
        """Bring the files of a batch that has ended here, once."""
        tag = flight.entry.tag
        files = {kind: batch.get(f"{kind}_file_id") for kind in ("output", "error")}
        if flight.status == "completed" and not any(files.values()) and flight.looks < _LOOKS:
            flight.looks += 1  # some name their files a little later
            return
        with ExitStack() as stack:
            opened = []
            for kind, file in files.items():
                if isinstance(file, str) and file:
                    try:
                        found = await self._bring(api, file, self._book.spool / f"{tag}.{kind}.jsonl")
                    except Refused:
                        flight.looks += 1
                        if flight.looks < _LOOKS:
                            return
                        continue  # its lines count as missing
                    opened.append(stack.enter_context(found))
            stack.pop_all()  # closed when they have been read
        del self._flights[tag]
        self._landing.land(flight, opened)
        if flight.status == "completed":
            self._limit = min(self._settings.max_requests, 2 * self._limit)

    async def _bring(self, api: BatchApi, file: str, path: Path) -> BinaryIO:
        """Open a file that is here, or fetch it first; another process may remove it once it has read it."""
        while True:
            try:
                return path.open("rb")
            except FileNotFoundError:
                await api.download(file, path)


def _now() -> float:
    return time.monotonic()
