"""One address that speaks chat completions: meeting it, asking it once, and seeing whether it is there."""

import asyncio
import errno
import io
import os
import urllib.request
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from magicoder.errors import TeacherError
from magicoder.llms import _replies
from magicoder.llms._pace import Pace
from magicoder.llms._replies import Kind, Trouble
from magicoder.llms._throttle import Throttle
from magicoder.llms.openai_chat import Address, OpenAIChat, host_of, is_loopback
from magicoder.plugins import suggest
from magicoder.records import Completion

_PROBE_TIMEOUT_S: Final = 30.0
_KEEPALIVE_S: Final = 4.0
"""Shorter than any server's: one that closes a connection just when we send on it leaves us to guess what was paid."""
_LARGE_BODY: Final = 2**20
_DETAIL: Final = 500
_OUR_LIMITS: Final = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS}


class Endpoint:
    """Sends single requests; whether and when to send is decided by others (`throttle`, `pace`, the breaker)."""

    def __init__(self, settings: OpenAIChat, address: Address, throttle: Throttle) -> None:
        self.address = address
        self.url = address.url
        self.throttle = throttle
        self.pace = Pace(settings.requests_per_minute, settings.tokens_per_minute)
        self.lists_models = self.is_met = False
        self._settings = settings
        self._key = ""
        self._proxy: str | None = None
        self._http: aiohttp.ClientSession | None = None
        self._path = "chat/completions"

    def start(self) -> None:
        """Find the key and make a session; sends nothing.

        Raises:
            TeacherError: a key is needed and not there.
        """
        s = self._settings
        host = host_of(self.url)
        name = self.address.api_key_env
        self._key = os.environ.get(name, "").strip()
        if not self._key and not is_loopback(host):
            raise TeacherError(
                f"{name} is not set; export it (any word will do for a server that wants no key), "
                "or give --base-url of a server on this machine"
            )
        if not (self._key.isascii() and self._key.isprintable()):
            raise TeacherError(f"{name} does not hold a key (it has unprintable characters)")
        if not is_loopback(host) and not urllib.request.proxy_bypass(host):
            self._proxy = urllib.request.getproxies().get(urlsplit(self.url).scheme)
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),  # the throttle limits
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=s.timeout_s, sock_connect=min(s.timeout_s, _PROBE_TIMEOUT_S)),
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._http is not None:
            http, self._http = self._http, None
            await http.close()

    async def post(self, path: str, wire: bytes, tokens: int, now: float, left_s: float | None) -> Completion | Trouble:
        """Ask once. `tokens` is what the request may use, `now` the loop's clock, `left_s` the rest of its deadline."""
        assert self._http is not None
        self._path = path
        s = self._settings
        data = io.BytesIO(wire) if len(wire) > _LARGE_BODY else wire
        timeout = None  # the session's
        if left_s is not None and left_s < s.timeout_s:
            timeout = aiohttp.ClientTimeout(total=left_s)
        try:
            async with self._http.post(
                f"{self.url}/{path}",
                data=data,
                proxy=self._proxy,
                allow_redirects=False,
                timeout=timeout or self._http.timeout,
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, OSError) as e:
            return self._lost(e, s.timeout_s if timeout is None else left_s)
        headers = response.headers
        value = _replies.parse(raw)
        if response.status == 200:
            outcome = _replies.completion_of(value, s.model)
            began = now  # an endpoint counts a request when it takes it
        else:
            outcome = _replies.trouble_of(response.status, value, _replies.wait_of(headers, tokens))
            began = asyncio.get_running_loop().time()
        if "x-ratelimit-remaining-requests" in headers or "x-ratelimit-remaining-tokens" in headers:
            hold_s = _replies.hold_of(headers, tokens)
            if hold_s is not None:
                self.pace.hold(began + hold_s)
        if isinstance(outcome, Completion):
            used = outcome.prompt_tokens + outcome.completion_tokens
            self.pace.correct(tokens, used or tokens)
            return outcome
        if outcome.kind is Kind.THROTTLED:
            self.pace.correct(tokens, 0)
        return Trouble(outcome.kind, outcome.reason, self.clean(outcome.detail), outcome.wait_s, outcome.paid)

    def _lost(self, error: Exception, timeout_s: float | None) -> Trouble:
        """Say what a failure of the connection means; only what was never sent is surely not paid."""
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return Trouble(Kind.UNREACHABLE, "connection_lost", "no connection in time")
        if isinstance(error, TimeoutError):
            return Trouble(Kind.OVERLOADED, "timed_out", f"no answer within {timeout_s:g} s", paid=True)
        detail = self.clean(str(error) or type(error).__name__)
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return Trouble(Kind.UNREACHABLE, "connection_lost", detail)
        if isinstance(error, aiohttp.ClientConnectorError):
            kind = Kind.THROTTLED if error.errno in _OUR_LIMITS else Kind.UNREACHABLE
            return Trouble(kind, "connection_lost", detail)
        return Trouble(Kind.BROKEN, "connection_lost", detail, paid=True)

    async def look(self) -> tuple[list[str], Trouble | None]:
        """Ask for the list of models: return it, and what was wrong. Costs nothing."""
        assert self._http is not None
        timeout = aiohttp.ClientTimeout(total=min(_PROBE_TIMEOUT_S, self._settings.timeout_s))
        try:
            async with self._http.get(
                f"{self.url}/models", proxy=self._proxy, allow_redirects=False, timeout=timeout
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, OSError) as e:
            reason = "it does not answer" if isinstance(e, TimeoutError) else self.clean(str(e) or type(e).__name__)
            return [], Trouble(Kind.UNREACHABLE, "connection_lost", reason)
        value = _replies.parse(raw)
        if response.status == 200:
            return _replies.models_in(value), None
        trouble = _replies.trouble_of(response.status, value, _replies.wait_of(response.headers))
        return [], Trouble(trouble.kind, trouble.reason, self.clean(trouble.detail), trouble.wait_s)

    def meet(self, served: list[str], trouble: Trouble | None) -> None:
        """Judge the first look.

        Raises:
            TeacherError: unreachable, key refused, or another model.
        """
        s = self._settings
        if trouble is not None and trouble.kind in (Kind.KEY, Kind.UNREACHABLE):
            raise self.error(trouble)
        self.lists_models = trouble is None
        self.is_met = True
        if served and not _replies.is_served(s.model, served):
            shown = ", ".join(served[:12]) + (", …" if len(served) > 12 else "")
            raise TeacherError(f"{self.url} has no model {s.model!r}{suggest(s.model, served)}; it has: {shown}")

    async def absence(self) -> Trouble | None:
        """Say why the endpoint is not there, None if it is, as far as a look can tell.

        Raises:
            TeacherError: it could not be met before, and is not what it should be.
        """
        served, trouble = await self.look()
        if trouble is not None and trouble.kind is Kind.UNREACHABLE:
            return trouble
        if not self.is_met:  # it was down when the run began
            self.meet(served, trouble)
        if trouble is None:
            return None
        # A list that has been there and is not now is as good as an error; one that never was says nothing.
        is_gone = self.lists_models and trouble.kind in (Kind.OVERLOADED, Kind.BROKEN, Kind.ADDRESS, Kind.MODEL)
        return trouble if is_gone else None

    def error(self, trouble: Trouble) -> TeacherError:
        """Say what is wrong with the endpoint as a whole, and what to do."""
        s = self._settings
        name = self.address.api_key_env
        detail = self.clean(trouble.detail)
        if trouble.kind is Kind.UNREACHABLE:
            advice = (
                "is this machine online? check the network"
                if self.url.startswith("https://")
                else f"is the server running? start it (for example: vllm serve {s.model})"
            )
            return TeacherError(
                f"cannot reach {self.url} ({detail}): {advice}, or correct --base-url; "
                "every answer so far is in the journal"
            )
        if trouble.kind is Kind.KEY and self._key:
            what = f"the key in {name} was refused by {self.url} ({detail}); export a valid one"
        elif trouble.kind is Kind.KEY:
            what = f"{self.url} wants a key ({detail}); export {name}"
        elif trouble.kind is Kind.CREDIT:
            what = f"the account behind {name} has no credit left ({detail}); top it up"
        elif trouble.kind is Kind.MODEL:
            what = f"{self.url} has no model {s.model!r} ({detail}); give --llm, as the endpoint names it"
        elif trouble.kind is Kind.ADDRESS and self._path == "completions":
            what = (
                f"{self.url} has no /completions ({detail}), where raw text is sent; ask in the style `chat`, or serve "
                "the model with vLLM or llama.cpp"
            )
        elif trouble.kind is Kind.ADDRESS:
            what = f"{self.url} has no /chat/completions ({detail}); correct --base-url, which often ends in /v1"
        elif trouble.kind is Kind.SETTING:
            what = (
                f"{self.url} does not take a setting of these requests ({detail}); "
                "see max_tokens_field, send_seed and extra_body of the teacher"
            )
        else:
            what = f"{self.url} fails whatever it is asked ({detail}); see what the server says"
        return TeacherError(f"{what}; then run the same command again: every answer so far is in the journal")

    def clean(self, text: str) -> str:
        """Keep the key out of what is shown or stored, whatever the server echoes."""
        if self._key:
            text = text.replace(self._key, "***")
        return text[:_DETAIL]
