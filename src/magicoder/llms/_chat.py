"""An open session with an OpenAI-compatible endpoint: sending, retrying, and telling whose fault a failure is."""

import asyncio
import io
import os
import random
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar
from urllib.parse import urlsplit

import aiohttp

from magicoder.errors import TeacherError
from magicoder.llms import _replies
from magicoder.llms._replies import Kind, Trouble
from magicoder.llms._throttle import Throttle
from magicoder.llms.openai_chat import OpenAIChat, host_of, is_loopback
from magicoder.plugins import suggest
from magicoder.records import Completion, Failure, Prompt

R = TypeVar("R")

_SUSPECTS: Final = 8
"""After so many failures in a row, with not one answer between them, the endpoint is to blame and not the prompts."""
_EMPTY_RETRIES: Final = 2
_LONGEST_DELAY_S: Final = 30.0
_PROBE_TIMEOUT_S: Final = 30.0
_LARGE_BODY: Final = 2**20
_DETAIL: Final = 500
_BLAMES_ENDPOINT: Final = {"server_error", "timed_out", "connection_lost", "malformed_answer"}


class ChatSession:
    """Requests on their way. The event loop runs inside `collect` only; nothing happens between the calls."""

    def __init__(self, settings: OpenAIChat) -> None:
        self._settings = settings
        self._base = settings.base_url.rstrip("/")
        self._key = ""
        self._proxy: str | None = None
        self._http: aiohttp.ClientSession | None = None
        self._throttle = Throttle(settings.concurrency)
        self._jitter = random.Random()  # spreads the retries of many processes; decides no result
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._thread: ThreadPoolExecutor | None = None
        self._submitted: list[tuple[int, Prompt]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._done: list[tuple[int, Completion | Failure]] = []
        self._suspects: list[tuple[int, Failure]] = []
        self._failed_in_a_row = 0
        self._fatal: Exception | None = None
        self._changed = asyncio.Event()
        self._answered_at: float | None = None

    @property
    def capacity(self) -> int:
        """How many prompts to keep in flight: adapts to refusals, at most `concurrency`."""
        return self._throttle.capacity

    def submit(self, ticket: int, prompt: Prompt) -> None:
        """Take one prompt; it is sent during the next `collect`."""
        self._submitted.append((ticket, prompt))

    def collect(self) -> list[tuple[int, Completion | Failure]]:
        """Wait until something has finished and return all that has; see `Session.collect`.

        An interrupt (Ctrl-C) leaves the session usable: call again to wait for what is in flight.

        Raises:
            TeacherError: unreachable, key refused, no credit, unknown model, or it fails whatever it is asked.
        """
        return self._call(self._run_wait)

    def close(self) -> None:
        """Give up what is in flight and close every connection."""
        try:
            if self._http is not None:
                self._call(self._run_shut)
        finally:
            self._call(self._runner.close)
            if self._thread is not None:
                self._thread.shutdown()

    def _run_wait(self) -> list[tuple[int, Completion | Failure]]:
        return self._runner.run(self._wait())

    def _run_shut(self) -> None:
        self._runner.run(self._shut())

    def _call(self, function: Callable[[], R]) -> R:
        """Call it here, or on a thread where this one has a running loop already, as in a notebook."""
        if self._thread is None:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return function()
            self._thread = ThreadPoolExecutor(1)
        return self._thread.submit(function).result()

    # What runs on the loop.

    async def _wait(self) -> list[tuple[int, Completion | Failure]]:
        if self._http is None:
            await self._connect()
        for ticket, prompt in self._submitted:
            task = asyncio.create_task(self._answer(ticket, prompt))
            self._under_way += 1
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._submitted.clear()
        while not self._done and self._fatal is None:
            if not self._under_way:
                await self._acquit()
                break
            self._changed.clear()
            await self._changed.wait()
        for _ in range(4):  # let everything that has arrived by now finish as well: fewer, larger commits
            await asyncio.sleep(0)
        if not self._done and self._fatal is not None:
            raise self._fatal
        done, self._done = self._done, []
        return done

    async def _shut(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
            await asyncio.sleep(0)  # transports close one step later

    async def _answer(self, ticket: int, prompt: Prompt) -> None:
        try:
            outcome = await self._ask(self._settings.wire(prompt))
            if isinstance(outcome, Completion):
                self._answered_at = asyncio.get_running_loop().time()
                self._done.append((ticket, outcome))
                self._done.extend(self._suspects)
                self._suspects.clear()
                self._failed_in_a_row = 0
            elif outcome.reason in _BLAMES_ENDPOINT or (outcome.reason == "bad_request" and self._answered_at is None):
                self._suspect(ticket, outcome)
            else:
                self._done.append((ticket, outcome))
        except Exception as e:  # raised again by `collect`
            self._fatal = self._fatal or e
        self._under_way -= 1
        self._changed.set()

    async def _ask(self, wire: bytes) -> Completion | Failure:
        """Ask until there is an answer, or until asking again makes no sense."""
        s = self._settings
        began = asyncio.get_running_loop().time()
        failed = refused = 0
        while True:
            sent_in = await self._throttle.enter()
            try:
                outcome = await self._post(wire)
            finally:
                self._throttle.leave()
            if isinstance(outcome, Completion):
                self._throttle.grow()
                return outcome
            delay = self._delay(failed + refused, outcome)
            if outcome.kind is Kind.THROTTLED:
                refused += 1
                self._throttle.shrink(sent_in, 0.75, delay)
                self._check_patience(began, outcome)
            elif outcome.kind in (Kind.OVERLOADED, Kind.BROKEN, Kind.EMPTY):
                failed += 1
                if outcome.kind is Kind.OVERLOADED:
                    self._throttle.shrink(sent_in, 0.5, delay)
                if failed > (min(_EMPTY_RETRIES, s.max_retries) if outcome.kind is Kind.EMPTY else s.max_retries):
                    return Failure(reason=outcome.reason, detail=f"{failed} attempts; {outcome.detail}")
            elif outcome.kind is Kind.PROMPT:
                return Failure(reason=outcome.reason, detail=outcome.detail)
            else:
                raise self._error(outcome)
            await self._throttle.sleep(delay)

    def _delay(self, retries: int, trouble: Trouble) -> float:
        backoff = self._settings.retry_delay_s * 2.0 ** min(retries, 10) * self._jitter.uniform(0.5, 1.0)
        if trouble.wait_s is None:
            return min(_LONGEST_DELAY_S, backoff)
        # A little later than asked for, and not everybody at once.
        return trouble.wait_s + min(backoff, 0.1 * trouble.wait_s)

    async def _post(self, wire: bytes) -> Completion | Trouble:
        assert self._http is not None
        data = io.BytesIO(wire) if len(wire) >= _LARGE_BODY else wire  # aiohttp warns of large byte strings
        try:
            async with self._http.post(
                f"{self._base}/chat/completions", data=data, proxy=self._proxy, allow_redirects=False
            ) as response:
                raw = await response.read()
        except TimeoutError:
            return Trouble(Kind.OVERLOADED, "timed_out", f"no answer within {self._settings.timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as e:
            return Trouble(Kind.BROKEN, "connection_lost", self._clean(str(e) or type(e).__name__))
        value = _replies.parse(raw)
        if response.status == 200:
            outcome = _replies.completion_of(value, self._settings.model)
        else:
            outcome = _replies.trouble_of(response.status, value, response.headers.get("Retry-After"))
        if isinstance(outcome, Trouble):
            return Trouble(outcome.kind, outcome.reason, self._clean(outcome.detail), outcome.wait_s)
        return outcome

    def _suspect(self, ticket: int, failure: Failure) -> None:
        """Hold back a failure that may be the endpoint's fault, until another answer proves it to be the prompt's."""
        self._suspects.append((ticket, failure))
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _SUSPECTS:
            raise TeacherError(
                f"{self._base} failed {self._failed_in_a_row} requests in a row ({failure.detail}); "
                "see what the server says, then run the same command again: every answer so far is in the journal"
            )

    async def _acquit(self) -> None:
        """Decide about suspects when nothing else is in flight: if the endpoint is up, it was the prompts."""
        if self._suspects:
            await self._probe()
            self._done.extend(self._suspects)
            self._suspects.clear()

    def _check_patience(self, began: float, trouble: Trouble) -> None:
        waited_s = asyncio.get_running_loop().time() - max(began, self._answered_at or began)
        if waited_s > self._settings.patience_s:
            raise TeacherError(
                f"{self._base} has refused everything for {waited_s:.0f} s ({trouble.detail}); "
                "run the same command again later: every answer so far is in the journal"
            )

    # Meeting the endpoint.

    async def _connect(self) -> None:
        """Find the key, open the session, and look whether the endpoint is what we think, before anything is paid."""
        s = self._settings
        host = host_of(s.base_url)
        self._key = os.environ.get(s.api_key_env, "").strip()
        if not self._key and not is_loopback(host):
            raise TeacherError(
                f"{s.api_key_env} is not set; export it (any word will do for a server that wants no key), "
                "or give --base-url of a server on this machine"
            )
        if not (self._key.isascii() and self._key.isprintable()):
            raise TeacherError(f"{s.api_key_env} does not hold a key (it has unprintable characters)")
        if not is_loopback(host) and not urllib.request.proxy_bypass(host):
            self._proxy = urllib.request.getproxies().get(urlsplit(self._base).scheme)
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the throttle limits
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=s.timeout_s, sock_connect=min(s.timeout_s, _PROBE_TIMEOUT_S)),
        )
        self._http = http
        try:
            served = await self._probe()
            if served and not _replies.is_served(s.model, served):
                shown = ", ".join(served[:12]) + (", …" if len(served) > 12 else "")
                raise TeacherError(f"{self._base} has no model {s.model!r}{suggest(s.model, served)}; it has: {shown}")
        except BaseException:
            self._http = None
            await http.close()
            raise

    async def _probe(self) -> list[str]:
        """Return the models the endpoint lists, none if it lists none.

        Raises:
            TeacherError: unreachable, or the key is refused.
        """
        assert self._http is not None
        timeout = aiohttp.ClientTimeout(total=min(_PROBE_TIMEOUT_S, self._settings.timeout_s))
        for retry in range(self._settings.max_retries + 1):
            try:
                async with self._http.get(
                    f"{self._base}/models", proxy=self._proxy, allow_redirects=False, timeout=timeout
                ) as response:
                    raw = await response.read()
            except (aiohttp.ClientError, OSError) as e:
                reason = "it does not answer" if isinstance(e, TimeoutError) else self._clean(str(e))
                raise TeacherError(
                    f"cannot reach {self._base} ({reason}): is the server running? start it "
                    f"(for example: vllm serve {self._settings.model}), or correct --base-url; "
                    "every answer so far is in the journal"
                ) from e
            value = _replies.parse(raw)
            if response.status == 200:
                return _replies.models_in(value)
            trouble = _replies.trouble_of(response.status, value, response.headers.get("Retry-After"))
            if trouble.kind is Kind.KEY:
                raise self._error(trouble)
            if trouble.kind is not Kind.OVERLOADED:
                break
            await asyncio.sleep(self._delay(retry, trouble))  # a local server that is still loading its model
        return []

    def _error(self, trouble: Trouble) -> TeacherError:
        s = self._settings
        detail = self._clean(trouble.detail)
        if trouble.kind is Kind.KEY and self._key:
            what = f"the key in {s.api_key_env} was refused by {self._base} ({detail}); export a valid one"
        elif trouble.kind is Kind.KEY:
            what = f"{self._base} wants a key ({detail}); export {s.api_key_env}"
        elif trouble.kind is Kind.CREDIT:
            what = f"the account behind {s.api_key_env} has no credit left ({detail}); top it up"
        elif trouble.kind is Kind.MODEL:
            what = f"{self._base} has no model {s.model!r} ({detail}); give --model, as the endpoint names it"
        elif trouble.kind is Kind.ADDRESS:
            what = f"{self._base} has no /chat/completions ({detail}); correct --base-url, which often ends in /v1"
        else:
            what = (
                f"{self._base} does not take a setting of these requests ({detail}); "
                "see max_tokens_field, send_seed and extra_body of the teacher"
            )
        return TeacherError(f"{what}; then run the same command again: every answer so far is in the journal")

    def _clean(self, text: str) -> str:
        """Keep the key out of what is shown or stored, whatever the server echoes."""
        if self._key:
            text = text.replace(self._key, "***")
        return text[:_DETAIL]
