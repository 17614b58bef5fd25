"""A loopback server that speaks enough of OpenAI's chat API to be measured against, and counts what it is asked.

    python server.py [PORT]        prints its port, then serves until killed

Requests are told apart by `PID<number>X` in the prompt. An answer counts as given (and paid) once its latency is over,
whether or not the client is still there: a vendor would bill it. `GET /_stats` returns the counts, `POST /_reset`
clears them and sets the mode, an object with any of:

    latency_s      0.2
    limit          requests answered at a time; above it 429 with `Retry-After: <retry_after>`. 0: no limit
    retry_after    1
    finish_reason  "stop"
    fault          "" | "500" | "garbage" (200 without JSON) | "cut" (connection closed) | "hang" (never answers)
    every          which requests the fault hits: 1 all, 10 every tenth
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter

TEXT = "```python\ndef solve(xs):\n    return sorted(set(xs))\n```\n" + "Explanation of the approach. " * 38
DEFAULTS = {"latency_s": 0.2, "limit": 0, "retry_after": 1, "finish_reason": "stop", "fault": "", "every": 1}
ID = re.compile(rb"PID(\d+)X")
mode: dict = dict(DEFAULTS)
given: Counter[bytes] = Counter()
counts: Counter[str] = Counter()
span: dict[str, float | None] = {"first": None, "last": None}


def http(status: str, body: bytes, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer() -> bytes:
    message = {"role": "assistant", "content": TEXT}
    choice = {"index": 0, "finish_reason": mode["finish_reason"], "message": message}
    usage = {"prompt_tokens": 300, "completion_tokens": 250, "total_tokens": 550}
    reply = {"id": "c", "object": "chat.completion", "created": 1, "model": "mock", "choices": [choice], "usage": usage}
    return http("200 OK", json.dumps(reply).encode())


def reset(body: bytes) -> bytes:
    mode.update(DEFAULTS, **json.loads(body or b"{}"))
    given.clear()
    counts.clear()
    span.update(first=None, last=None)
    Connection.reply = answer()
    return http("200 OK", b"{}")


def stats() -> bytes:
    again = sum(n - 1 for key, n in given.items() if key != b"other")
    values = {"given": sum(given.values()), "prompts": len(given), "paid_twice": again, "other": given[b"other"]}
    return http("200 OK", json.dumps({**values, **counts, **span}).encode())


class Connection(asyncio.Protocol):
    """One request at a time; bodies have a Content-Length."""

    reply = answer()
    active = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer, self.wanted = transport, b"", 0

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) < self.wanted:
            return
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        self.wanted = len(head) + 4 + (int(length[1]) if length else 0)
        if len(self.buffer) < self.wanted:
            return
        self.buffer, self.wanted = b"", 0
        self.closes = b"connection: close" in head.lower()
        path = head.split(b" ", 2)[1]
        if path.endswith(b"/_stats"):
            self.write(stats())
        elif path.endswith(b"/_reset"):
            self.write(reset(body))
        elif path.endswith(b"/models"):
            self.write(http("200 OK", b'{"object": "list", "data": [{"id": "mock", "object": "model"}]}'))
        else:
            self.chat(body)

    def chat(self, body: bytes) -> None:
        counts["requests"] += 1
        if mode["limit"] and Connection.active >= mode["limit"]:
            counts["refused"] += 1
            error = {"message": "rate limit", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
            refusal = json.dumps({"error": error}).encode()
            self.write(http("429 Too Many Requests", refusal, f"Retry-After: {mode['retry_after']}\r\n"))
            return
        found = ID.search(body)
        if found:
            span["first"] = span["first"] or time.time()
        Connection.active += 1
        fault = mode["fault"] if counts["requests"] % mode["every"] == 0 else ""
        asyncio.get_running_loop().call_later(mode["latency_s"], self.finish, found[1] if found else b"other", fault)

    def finish(self, key: bytes, fault: str) -> None:
        Connection.active -= 1
        if fault:
            counts[fault] += 1
        if fault in ("", "garbage"):
            given[key] += 1
            span["last"] = time.time()
        if fault == "cut":
            self.transport.close()
        elif fault == "500":
            self.write(http("500 Internal Server Error", b'{"error": {"message": "internal"}}'))
        elif fault == "garbage":
            self.write(http("200 OK", b"<html>not JSON"))
        elif not fault:
            self.write(Connection.reply)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)
            if self.closes:
                self.transport.close()


async def main(port: int) -> None:
    # Two addresses: datatrove treats 127.0.0.1 unlike other hosts.
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    other = await asyncio.get_running_loop().create_server(Connection, "127.0.0.2", port, backlog=4096)
    print(port, flush=True)
    async with other:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
