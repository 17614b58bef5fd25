"""The floor: an aiohttp loop that throws the answers away."""

import asyncio
import json

import aiohttp
import job


async def main(j: job.Job) -> None:
    waiting = iter(j.prompts())
    rows = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            nonlocal rows
            for text in waiting:
                body = {"model": "mock", "messages": [{"role": "user", "content": text}], "max_tokens": 512}
                async with session.post(f"{j.url}/chat/completions", data=json.dumps(body)) as response:
                    rows += "choices" in json.loads(await response.read())

        await asyncio.gather(*(work() for _ in range(j.concurrency)))
    job.report(rows)


asyncio.run(main(job.read()))
