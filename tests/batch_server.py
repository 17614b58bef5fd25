"""OpenAI's batch API on loopback, which misbehaves on demand and counts what it would charge for.

with BatchServer() as server:
    server.fault("create", "cut after", times=1)   the batch is created, and the connection cut before the answer
    server.line_fault("poison", 500)               every line whose last message holds the word errs
    server.plan(share=0.5, end="expired")          the next batch answers half of its lines, then expires
    … server.url …                                 give it to a client
    server.paid["the last message"]                how often a line was answered, which is what costs
"""

import asyncio
import itertools
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from tests.faulty_server import reply

CALLS = ("models", "upload", "create", "get", "list", "cancel", "content")
MODES = ("429", "500", "503", "401", "404", "400", "garbage", "cut before", "cut after", "cut in the middle")
ENDED = ("completed", "expired", "failed", "cancelled")
STAGES = ("validating", "in_progress", "finalizing")


@dataclass
class Fault:
    call: str
    mode: str
    times: int | None


@dataclass
class LineFault:
    word: str
    status: int
    code: str
    message: str
    times: int | None
    body: dict[str, Any] | None


@dataclass
class Plan:
    """What becomes of a batch: how it ends, and how many of its lines are answered before."""

    end: str = "completed"
    share: float = 1.0
    errors: list[dict[str, Any]] = field(default_factory=list)
    silent: bool = False  # the unanswered lines are in neither file


@dataclass
class Batch:
    id: str
    request: dict[str, Any]
    lines: list[dict[str, Any]]
    plan: Plan
    created: float
    status: str = "validating"
    output: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    worked: bool = False


class BatchServer:
    """Serves the files and batches of OpenAI's API from a thread of its own."""

    def __init__(self, *, models: tuple[str, ...] = ("mock",), stage_s: float = 0.0) -> None:
        self.models = models
        self.stage_s = stage_s  # how long a batch stays in each of STAGES
        self.key = ""  # if set, requests must bear it
        self.keeps_metadata = True
        self.most_enqueued = 0  # lines under way; a batch beyond fails; 0: no limit
        self.paid: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, bytes] = {}
        self.hook: Callable[[str, str, int], None] = lambda call, moment, nth: None
        self._faults: list[Fault] = []
        self._line_faults: list[LineFault] = []
        self._plans: deque[Plan] = deque()
        self._erred: Counter[tuple[str, str]] = Counter()
        self._ids = itertools.count(1)
        self._rng = random.Random(7)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def fault(self, call: str, mode: str, *, times: int | None = None) -> None:
        """Misbehave in the next `times` calls (None: all) of a kind."""
        assert call in CALLS, call
        assert mode in MODES, mode
        self._faults.append(Fault(call, mode, times))

    def line_fault(
        self,
        word: str,
        status: int,
        *,
        code: str = "",
        message: str = "sorry",
        times: int | None = None,
        body: dict[str, Any] | None = None,
    ) -> None:
        """Let lines that hold `word` err (status 200: with `body`), the first `times` times each."""
        self._line_faults.append(LineFault(word, status, code, message, times, body))

    def plan(self, **plan: Any) -> None:
        """Decide about the next batch that has no plan yet."""
        self._plans.append(Plan(**plan))

    def heal(self) -> None:
        self._faults.clear()
        self._line_faults.clear()

    def under_way(self) -> list[Batch]:
        return [b for b in self.batches.values() if b.status not in ENDED]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**28)
        app.router.add_get("/v1/models", self._call("models", self._models))
        app.router.add_post("/v1/files", self._call("upload", self._upload))
        app.router.add_post("/v1/batches", self._call("create", self._create))
        app.router.add_get("/v1/batches", self._call("list", self._list))
        app.router.add_get("/v1/batches/{id}", self._call("get", self._get))
        app.router.add_post("/v1/batches/{id}/cancel", self._call("cancel", self._cancel))
        app.router.add_get("/v1/files/{id}/content", self._call("content", self._content))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    def _call(
        self, name: str, handle: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def wrapped(request: web.Request) -> web.StreamResponse:
            self.calls[name] += 1
            nth = self.calls[name]
            self.hook(name, "before", nth)
            if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
                return _error(401, "invalid_api_key", f"Incorrect API key: {request.headers.get('Authorization')}")
            mode = self._mode(name)
            if mode.isdigit():
                return _error(int(mode), "", "sorry")
            if mode == "garbage":
                return web.Response(body=b"<html>\xff nothing here</html>")
            if mode == "cut before":
                return _cut(request)
            response = await handle(request)
            self.hook(name, "after", nth)
            if mode == "cut after":
                return _cut(request)
            if mode == "cut in the middle":
                return await _half(request, response)
            return response

        return wrapped

    def _mode(self, call: str) -> str:
        for fault in self._faults:
            if fault.call == call and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault.mode
        return ""

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]})

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        name = f"file-{next(self._ids)}"
        self.files[name] = file.file.read()
        return web.json_response({"id": name, "object": "file", "purpose": "batch", "bytes": len(self.files[name])})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["endpoint"] == "/v1/chat/completions"
        assert body["completion_window"] == "24h"
        data = self.files.get(body["input_file_id"])
        if data is None:
            return _error(400, "invalid_input_file", "no such file")
        lines = [orjson.loads(line) for line in data.splitlines()]
        plan = self._plans.popleft() if self._plans else Plan()
        waiting = sum(len(b.lines) for b in self.under_way())
        if self.most_enqueued and waiting + len(lines) > self.most_enqueued:
            message = "Enqueued token limit reached for mock. Please try again later."
            plan = Plan(end="failed", errors=[{"code": "token_limit_exceeded", "message": message, "line": None}])
        if len({line["custom_id"] for line in lines}) < len(lines):
            plan = Plan(end="failed", errors=[{"code": "duplicate_custom_id", "message": "duplicate", "line": 2}])
        batch = Batch(f"batch_{next(self._ids)}", body, lines, plan, time.time())
        self.batches[batch.id] = batch
        return self._show(batch)

    async def _get(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        return self._show(batch) if batch else _error(404, "", "No batch found")

    async def _list(self, request: web.Request) -> web.Response:
        newest = list(reversed(self.batches.values()))
        after = request.query.get("after")
        if after:
            newest = newest[[b.id for b in newest].index(after) + 1 :]
        limit = int(request.query.get("limit", "20"))
        page = [self._object(b) for b in newest[:limit]]
        return web.json_response({"object": "list", "data": page, "has_more": len(newest) > limit})

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        self._advance(batch)
        if batch.status in ENDED:
            return _error(409, "", "it has ended")
        batch.status = "cancelled"
        return self._show(batch)

    async def _content(self, request: web.Request) -> web.Response:
        batch_id, _, kind = request.match_info["id"].partition("-")
        batch = self.batches.get(batch_id)
        if batch is None:
            return _error(404, "", "No such file")
        return web.Response(body=b"".join(batch.output if kind == "output" else batch.errors))

    def _show(self, batch: Batch) -> web.Response:
        return web.json_response(self._object(batch))

    def _object(self, batch: Batch) -> dict[str, Any]:
        self._advance(batch)
        done = batch.status in ENDED
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.request["endpoint"],
            "input_file_id": batch.request["input_file_id"],
            "completion_window": "24h",
            "status": batch.status,
            "created_at": int(batch.created),
            "metadata": batch.request.get("metadata") if self.keeps_metadata else None,
            "errors": {"object": "list", "data": batch.plan.errors} if batch.status == "failed" else None,
            "output_file_id": f"{batch.id}-output" if done and batch.output else None,
            "error_file_id": f"{batch.id}-error" if done and batch.errors else None,
            "request_counts": {
                "total": len(batch.lines),
                "completed": len(batch.output),
                "failed": len(batch.errors),
            },
        }

    def _advance(self, batch: Batch) -> None:
        if batch.status in ENDED:
            return
        stage = int((time.time() - batch.created) / self.stage_s) if self.stage_s else len(STAGES)
        if batch.plan.end == "failed" and stage >= 1:
            batch.status = "failed"
            return
        if stage >= 1 and not batch.worked:
            self._work(batch)
        batch.status = STAGES[stage] if stage < len(STAGES) else batch.plan.end

    def _work(self, batch: Batch) -> None:
        """Answer what the plan says, in any order."""
        batch.worked = True
        lines = list(batch.lines)
        self._rng.shuffle(lines)
        count = round(batch.plan.share * len(lines))
        for line in lines[:count]:
            self._answer(batch, line)
        if batch.plan.silent:
            return
        for line in lines[count:]:
            error = {"code": f"batch_{batch.plan.end}", "message": "This request could not be executed in time."}
            batch.errors.append(_line(line, None, error))

    def _answer(self, batch: Batch, line: dict[str, Any]) -> None:
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        body = line["body"]
        self.bodies.append(body)
        prompt = body["messages"][-1]["content"]
        for fault in self._line_faults:
            self._erred[fault.word, prompt] += fault.word in prompt
            if fault.word in prompt and (fault.times is None or self._erred[fault.word, prompt] <= fault.times):
                if fault.status == 200:
                    self.paid[prompt] += 1
                    batch.output.append(_line(line, {"status_code": 200, "body": fault.body}, None))
                else:
                    error = {"error": {"message": fault.message, "type": "some_error", "code": fault.code}}
                    batch.errors.append(_line(line, {"status_code": fault.status, "body": error}, None))
                return
        self.paid[prompt] += 1
        batch.output.append(_line(line, {"status_code": 200, "request_id": "r", "body": reply(body)}, None))


def _line(line: dict[str, Any], response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    result = {"id": "batch_req_1", "custom_id": line["custom_id"], "response": response, "error": error}
    return orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE)


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "some_error", "code": code}}, status=status)


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _half(request: web.Request, whole: web.Response) -> web.StreamResponse:
    assert isinstance(whole.body, bytes)
    response = web.StreamResponse(headers={"Content-Length": str(len(whole.body))})
    await response.prepare(request)
    await response.write(whole.body[: len(whole.body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response
