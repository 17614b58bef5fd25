"""An OpenAI-compatible server on loopback that misbehaves on demand and counts what it is asked.

with FaultyServer() as server:
    server.fault("429", times=2)              the first two requests of each prompt are refused
    server.fault("500", only="poison")        requests whose last message holds this word always fail
    server.mix(0.3, "500", "cut", …)          a random third of the requests fails, each prompt's at most three times
    … server.url …                            give it to a client
    server.requests["the last message"]       how often it was asked
    server.billed["the last message"]         what a merciless vendor charges: all but refusals
    server.stop(); server.start()             an outage; the port stays the same
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

KEY = "sk-test-0123456789"


@dataclass(frozen=True)
class Fault:
    mode: str
    times: int | None
    only: str


class FaultyServer:
    """Serves `POST /v1/chat/completions`, `POST /v1/completions` and `GET /v1/models` from a thread of its own."""

    def __init__(self, *, models: tuple[str, ...] = ("mock",), latency_s: float = 0.0, limit: int = 0) -> None:
        self.models = models
        self.latency_s = latency_s
        self.limit = limit  # the most requests at once, the others get a 429; 0: no limit
        self.per_window, self.window_s = 0, 1.0  # the most requests in a window of time, told by headers; 0: no limit
        self.key = ""  # if set, requests must bear it
        self.say: Callable[[str], str] = "echo: {}".format  # what is answered to a prompt's last message
        self.takes_raw = True  # whether there is /v1/completions
        self.models_status = 200
        self.models_latency_s = 0.0
        self.requests: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()  # by `mix`
        self.times: list[float] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.in_flight = self.most_in_flight = self.refused = self.connections = 0
        self._faults: list[Fault] = []
        self._mixed: tuple[float, tuple[str, ...]] = (0.0, ())
        self._window_from, self._in_window = 0.0, 0
        self._port = 0

    def fault(self, mode: str, *, times: int | None = None, only: str = "") -> None:
        """Misbehave for the first `times` requests of each prompt (None: all) that holds `only`."""
        assert mode in MODES, mode
        self._faults.append(Fault(mode, times, only))

    def mix(self, share: float, *modes: str) -> None:
        """Misbehave in one of these ways for a random share of the requests, three times a prompt at most."""
        assert set(modes) <= set(MODES), modes
        self._mixed = (share, modes)

    def heal(self) -> None:
        self._faults.clear()
        self._mixed = (0.0, ())

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Serve, on the port that was served before."""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away, cutting what is open; further requests meet a closed port."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        if self.takes_raw:
            app.router.add_post("/v1/completions", self._chat)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024)
        await site.start()
        self._port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._ready.set()
        await self._stop.wait()
        await site.stop()
        await asyncio.sleep(0.01)  # the runner knows what was accepted just now, and closes it too
        await runner.cleanup()

    async def _models(self, request: web.Request) -> web.StreamResponse:
        if not self._is_allowed(request):
            return _error(401, "invalid_api_key", f"Incorrect API key: {request.headers.get('Authorization')}")
        await asyncio.sleep(self.models_latency_s)
        if self.models_status != 200:
            return web.Response(status=self.models_status, text="no list here")
        return web.json_response({"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if not self._is_allowed(request):
            return _error(401, "invalid_api_key", f"Incorrect API key: {request.headers.get('Authorization')}")
        body = orjson.loads(await request.read())
        prompt = asked(body)
        if self.limit and self.in_flight >= self.limit:
            self.refused += 1
            return _error(429, "rate_limit_exceeded", "too many", {"Retry-After": "1"})
        headers = self._window_headers()
        if headers is None:
            self.refused += 1
            return _error(429, "rate_limit_exceeded", "too many", {"Retry-After": "1"})
        self.requests[prompt] += 1
        self.times.append(time.monotonic())
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        mode = self._mode(prompt)
        self.billed[prompt] += mode not in FREE
        try:
            if mode:
                response = await MODES[mode](request, body)
            else:
                await asyncio.sleep(self.latency_s)
                response = _answer(body, self.say(prompt))
        finally:
            self.in_flight -= 1
        self.answered[prompt] += response.status == 200
        if not response.prepared:
            response.headers.update(headers)
        return response

    def _mode(self, prompt: str) -> str:
        for fault in self._faults:
            if fault.only in prompt and (fault.times is None or self.requests[prompt] <= fault.times):
                return fault.mode
        share, modes = self._mixed
        rng = random.Random(f"{prompt}:{self.requests[prompt]}")
        if self.failed[prompt] < 3 and rng.random() < share:
            self.failed[prompt] += 1
            return rng.choice(modes)
        return ""

    def _window_headers(self) -> dict[str, str] | None:
        """Return what is left of the window, None if nothing was."""
        if not self.per_window:
            return {}
        now = time.monotonic()
        if now - self._window_from >= self.window_s:
            self._window_from, self._in_window = now, 0
        if self._in_window >= self.per_window:
            return None
        self._in_window += 1
        reset_ms = 1000 * (self._window_from + self.window_s - now)
        return {
            "x-ratelimit-remaining-requests": str(self.per_window - self._in_window),
            "x-ratelimit-reset-requests": f"{reset_ms:.0f}ms",
        }

    def _is_allowed(self, request: web.Request) -> bool:
        return not self.key or request.headers.get("Authorization") == f"Bearer {self.key}"


def asked(body: dict[str, Any]) -> str:
    """The last message of a chat, or the raw text."""
    text: str = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
    return text


def reply(body: dict[str, Any], text: str = "", **changes: Any) -> dict[str, Any]:
    """What a healthy server says: one echo per sample, or `text`."""
    text = text or "echo: " + asked(body)
    message = {"role": "assistant", "content": text, "reasoning_content": "hm"}
    said = {"message": message} if "messages" in body else {"text": text}
    choices = [{"index": i, "finish_reason": "stop", **said} for i in range(body.get("n", 1))]
    usage = {"prompt_tokens": 30, "completion_tokens": 22, "total_tokens": 52}
    return {
        "id": "c",
        "model": body["model"],
        "system_fingerprint": "fp_1",
        "choices": choices,
        "usage": usage,
    } | changes


def _answer(body: dict[str, Any], text: str = "") -> web.Response:
    return web.Response(body=orjson.dumps(reply(body, text)), content_type="application/json")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"error": {"message": message, "type": "some_error", "param": None, "code": code}}
    return web.json_response(error, status=status, headers=headers)


def _says(status: int, code: str = "", message: str = "sorry", headers: dict[str, str] | None = None) -> Any:
    async def handle(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return _error(status, code, message, headers)

    return handle


def _returns(make: Callable[[dict[str, Any]], bytes | dict[str, Any]]) -> Any:
    async def handle(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        made = make(body)
        data = made if isinstance(made, bytes) else orjson.dumps(made)
        return web.Response(body=data, content_type="application/json")

    return handle


async def _hang(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError("unreachable")


async def _slow(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(0.3)
    return _answer(body)


async def _cut(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _cut_in_the_middle(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "10000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.close()
    return response


async def _echo_key(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return _error(400, "odd", f"what is {request.headers.get('Authorization')}?")


def _choice(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


MODES: dict[str, Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]] = {
    "429": _says(429, "rate_limit_exceeded"),
    "429 now": _says(429, "rate_limit_exceeded", headers={"Retry-After": "0"}),
    "429 ms": _says(429, "rate_limit_exceeded", headers={"Retry-After": "60", "retry-after-ms": "20"}),
    "429 later": _says(429, "rate_limit_exceeded", headers={"Retry-After": "1"}),
    "quota": _says(429, "insufficient_quota", "You exceeded your current quota"),
    "401": _says(401, "invalid_api_key"),
    "404 model": _says(404, "model_not_found", "The model does not exist"),
    "404": _says(404, "", "Not Found"),
    "301": _says(301, "", "Moved"),
    "400": _says(400, "invalid", "messages.0 is odd"),
    "400 long": _says(400, "context_length_exceeded", "maximum context length is 4096 tokens"),
    "400 long, in words": _says(400, "", "This model's maximum context length is 4096 tokens."),
    "400 filter": _says(400, "content_filter"),
    "400 setting": _says(400, "unsupported_parameter", "Use max_completion_tokens"),
    "413": _says(413),
    "422": _says(422, "", "unprocessable"),
    "500": _says(500),
    "502": _returns(lambda _: {"error": {"message": "upstream is down", "code": 502}}),
    "503": _says(503),
    "503 later": _says(503, headers={"Retry-After": "0"}),
    "529": _says(529),
    "hang": _hang,
    "slow": _slow,
    "cut": _cut,
    "cut in the middle": _cut_in_the_middle,
    "echo key": _echo_key,
    "malformed": _returns(lambda _: b'{"choices": [{"mess'),
    "garbage": _returns(lambda _: b"<html>\xff\xfe nothing here</html>"),
    "no choices": _returns(lambda body: reply(body, choices=[])),
    "no content": _returns(lambda _: _choice(role="assistant")),
    "null content": _returns(lambda _: _choice(role="assistant", content=None)),
    "parts": _returns(lambda _: _choice(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
    "surrogate": _returns(lambda _: b'{"choices": [{"message": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}'),
    "truncation": _returns(
        lambda body: reply(body, choices=[{"finish_reason": "length", "message": {"content": "half an ans"}}])
    ),
    "bare": _returns(lambda _: {"choices": [{"message": {"content": "bare"}, "finish_reason": None}]}),
    "dated": _returns(lambda body: reply(body, model=body["model"] + "-2024-08-06")),
}
FREE = {
    "429",
    "429 ms",
    "429 now",
    "429 later",
    "quota",
    "401",
    "404 model",
    "404",
    "301",
    "400",
    "400 setting",
    "413",
    "422",
    "503 later",
    "529",
    "echo key",
}
