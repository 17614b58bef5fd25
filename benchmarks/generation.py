"""Requests per second through a session and the journal, beside a bare aiohttp loop, on a loopback server.

    python benchmarks/generation.py --connections 128,512 --requests 6000
    python benchmarks/generation.py --memory

The server answers 1.2 KB after 200 ms, from a process of its own. `journaled` looks up, asks, and records every answer
durably before going on, as the generate stage does; `bare` throws the answers away. `storm` meets a server that takes
a quarter of the connections and refuses the others with 429 and `Retry-After: 1`; `ideal` counts that in. Every line
comes from a process of its own. `--memory` shows how much a session and the journal hold after 1, 10 and 50 thousand.
"""

import argparse
import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import orjson

from magicoder.journal import Journal, key
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.records import Completion, Message, Prompt

LATENCY_S = 0.2
TEXT = "```python\ndef solve(xs):\n    return sorted(set(xs))\n```\n" + "Explanation of the approach. " * 40
REPLY = orjson.dumps(
    {
        "model": "mock",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 220},
    }
)


def http(status: bytes, body: bytes, extra: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    return head % (status, extra, len(body)) + body


ANSWER = http(b"200 OK", REPLY)
REFUSAL = http(b"429 Too Many", b'{"error": {"code": "rate_limit_exceeded"}}', b"Retry-After: 1\r\n")
MODELS = http(b"200 OK", b'{"data": [{"id": "mock"}]}')


class Server(asyncio.Protocol):
    """Just enough HTTP: one request at a time per connection, bodies with Content-Length."""

    limit = active = refused = 0
    latency_s = LATENCY_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        if head.startswith(b"GET"):
            self.buffer = b""
            self.transport.write(MODELS)
            return
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self.buffer = b""
        if Server.limit and Server.active >= Server.limit:
            Server.refused += 1
            self.transport.write(REFUSAL)
            return
        Server.active += 1
        asyncio.get_running_loop().call_later(Server.latency_s, self.answer)

    def answer(self) -> None:
        Server.active -= 1
        self.transport.write(ANSWER)


def serve(pipe: Connection, limit: int, latency_s: float) -> None:
    async def main() -> None:
        Server.limit, Server.latency_s = limit, latency_s
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
        pipe.send(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, pipe.recv)
        pipe.send(Server.refused)

    asyncio.run(main())


@contextmanager
def served(limit: int, refused: list[int], latency_s: float = LATENCY_S) -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, limit, latency_s))
    process.start()
    yield f"http://127.0.0.1:{ours.recv()}/v1"
    ours.send(None)
    refused.append(ours.recv())
    process.join()


def prompts(count: int) -> Iterator[Prompt]:
    for i in range(count):
        yield Prompt(messages=(Message(role="user", content=f"PID{i}X " + "seed code line\n" * 60),), max_tokens=512)


def journaled(url: str, count: int, connections: int, tell: Callable[[int], None] | None = None) -> None:
    llm = OpenAIChat(model="mock", base_url=url, concurrency=connections)
    with tempfile.TemporaryDirectory(dir=".") as folder, Journal.open(Path(folder) / "journal.sqlite") as journal:
        waiting, keys = prompts(count), {}
        done, ticket, more = 0, 0, True
        with llm.open() as session:
            while done < count:
                batch = []
                while more and len(keys) + len(batch) < session.capacity:
                    prompt = next(waiting, None)
                    if prompt is None:
                        more = False
                    else:
                        body = llm.body(prompt)
                        batch.append((key(llm.model, body), body, prompt))
                known = journal.find([k for k, _, _ in batch]) if batch else {}
                assert not known
                for k, body, prompt in batch:
                    session.submit(ticket, prompt)
                    keys[ticket] = (k, body)
                    ticket += 1
                entries = []
                for finished, answer in session.collect():
                    k, body = keys.pop(finished)
                    assert isinstance(answer, Completion), answer
                    entries.append((k, answer, body))
                journal.record(entries)
                done += len(entries)
                if tell is not None:
                    tell(done)
        assert journal.stats().answers == count


def bare(url: str, count: int, connections: int) -> None:
    llm = OpenAIChat(model="mock", base_url=url)

    async def main() -> None:
        waiting = prompts(count)
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as http_session:

            async def work() -> None:
                for prompt in waiting:
                    async with http_session.post(f"{url}/chat/completions", data=llm.body(prompt)) as response:
                        orjson.loads(await response.read())

            await asyncio.gather(*(work() for _ in range(connections)))

    asyncio.run(main())


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, count: int, connections: int) -> None:
    limit = connections // 4 if name == "storm" else 0
    refused: list[int] = []
    with served(limit, refused) as url:
        began, cpu = time.perf_counter(), cpu_s()
        (bare if name == "bare" else journaled)(url, count, connections)
        wall, cpu = time.perf_counter() - began, cpu_s() - cpu
    ideal = (limit or connections) / LATENCY_S
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{name:<10} {connections:>11} {count:>8} {count / wall:>8.0f} {100 * count / wall / ideal:>7.0f}% "
        f"{1000 * cpu / count:>7.2f} {refused[0]:>8} {rss:>7}",
        flush=True,
    )


def memory() -> None:
    marks = [1_000, 10_000, 50_000]

    def tell(done: int) -> None:
        while marks and done >= marks[0]:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            print(f"{marks.pop(0):>8} {pages * resource.getpagesize() / 2**20:>7.1f}", flush=True)

    print("requests  RSS MB")
    with served(0, [], latency_s=0.02) as url:
        journaled(url, marks[-1], 128, tell)


def apart(function: Callable[..., None], *arguments: object) -> None:
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--connections", default="128,512")
    parser.add_argument("--memory", action="store_true", help="show memory instead of speed")
    arguments = parser.parse_args()
    if arguments.memory:
        apart(memory)
        return
    print("what       connections requests    req/s of ideal  CPU ms  refused  RSS MB", flush=True)
    for connections in map(int, arguments.connections.split(",")):
        # As many rounds at every width: else the wide ones would show little but their start.
        count = max(arguments.requests, arguments.requests * connections // 128)
        for name in ("bare", "journaled", "bare", "journaled"):
            apart(measure, name, count, connections)
    apart(measure, "storm", 1000, 128)


if __name__ == "__main__":
    main()
