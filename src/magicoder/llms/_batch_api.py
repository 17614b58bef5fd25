"""The calls of the batch API, one attempt each: what came back, or whether trying again can help."""

import asyncio
import os
import urllib.request
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp

from magicoder.errors import TeacherError
from magicoder.llms import _replies
from magicoder.llms._batch_lines import TAG
from magicoder.llms._endpoint import Endpoint
from magicoder.llms._replies import Kind, Trouble
from magicoder.llms._throttle import Throttle
from magicoder.llms.openai_batch import OpenAIBatch
from magicoder.llms.openai_chat import OpenAIChat, host_of, is_loopback
from magicoder.store import explained

_CONNECT_S: Final = 30.0
_CALL_S: Final = 3600.0
_PAGE: Final = 100
_PAGES: Final = 50
_STARTS: Final = 4
_CHUNK: Final = 2**18
_LONGEST_LINE: Final = 2**22
_AGAIN: Final = {Kind.THROTTLED, Kind.UNREACHABLE, Kind.OVERLOADED, Kind.BROKEN, Kind.EMPTY}


class Transient(Exception):  # noqa: N818 - a verdict, not an error of the program
    """The call failed in a way that may pass; it may have been carried out all the same."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.detail)
        self.trouble = trouble


class Refused(Exception):  # noqa: N818
    """The endpoint understood and said no."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.detail)
        self.trouble = trouble


class BatchApi:
    """A connection to the endpoint. Every call raises Transient, or a TeacherError where every call would fail."""

    def __init__(self, settings: OpenAIBatch, chat: OpenAIChat) -> None:
        """Find the key; sends nothing.

        Raises:
            TeacherError: a key is needed and not there.
        """
        s = self._settings = settings
        (address,) = chat.addresses()
        self._endpoint = Endpoint(chat, address, Throttle(1))
        self._endpoint.start()
        self.base = address.url
        host, key = host_of(self.base), os.environ.get(s.api_key_env, "").strip()
        self._proxy: str | None = None
        if not is_loopback(host) and not urllib.request.proxy_bypass(host):
            self._proxy = urllib.request.getproxies().get(urlsplit(self.base).scheme)
        self._http = aiohttp.ClientSession(
            # Minutes pass between calls: a connection kept open would be a stale one.
            connector=aiohttp.TCPConnector(force_close=True),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_CALL_S, sock_connect=_CONNECT_S, sock_read=s.timeout_s),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()
        await self._endpoint.close()

    async def meet(self) -> None:
        """See whether the endpoint is there and has the model, as far as it tells.

        Raises:
            TeacherError: unreachable, key refused, or another model.
        """
        served, trouble = await self._endpoint.look()
        for attempt in range(_STARTS):
            if trouble is None or trouble.kind not in _AGAIN:
                break
            await asyncio.sleep(trouble.wait_s or self._settings.retry_delay_s * 2.0**attempt)
            served, trouble = await self._endpoint.look()
        self._endpoint.meet(served, trouble)

    async def upload(self, path: Path) -> str:
        """Upload a file of requests and return its id."""
        with path.open("rb") as f:
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", f, filename=path.name, content_type="application/jsonl")
            value = await self._known("POST", "/files", "take files", form)
        return self._id_in(value)

    async def create(self, file: str, tag: str) -> str:
        """Create the batch of an uploaded file and return its id."""
        s = self._settings
        request = {
            "input_file_id": file,
            "endpoint": s.url,
            "completion_window": s.completion_window,
            "metadata": {TAG: tag},
        }
        return self._id_in(await self._known("POST", "/batches", "take batches", request))

    async def batch(self, batch: str) -> dict[str, Any]:
        """Return the state of a batch.

        Raises:
            Refused: there is no such batch, for this key.
        """
        value = await self._call("GET", f"/batches/{batch}")
        if not isinstance(value, dict) or not isinstance(value.get("status"), str):
            raise Transient(Trouble(Kind.BROKEN, "malformed_answer", "the state of a batch has no status"))
        return value

    async def batches(self, since: int) -> AsyncIterator[dict[str, Any]]:
        """Yield the batches created since a Unix time, newest first; also some older ones.

        Raises:
            Refused: it does not list batches.
        """
        after = ""
        for _ in range(_PAGES):
            value = await self._call("GET", f"/batches?limit={_PAGE}{after}")
            page = value.get("data") if isinstance(value, dict) else None
            page = [b for b in page if isinstance(b, dict) and _is_id(b.get("id"))] if isinstance(page, list) else []
            for batch in page:
                yield batch
            oldest = page[-1] if page else {}
            made = oldest.get("created_at")
            if not page or not value.get("has_more") or (isinstance(made, int) and made < since):
                return
            after = f"&after={oldest['id']}"

    async def cancel(self, batch: str) -> None:
        """Cancel a batch; one that has ended is left as it is."""
        try:
            await self._call("POST", f"/batches/{batch}/cancel")
        except Refused:
            return

    async def download(self, file: str, path: Path) -> None:
        """Fetch the file with the id `file` to `path`, which is there only when all of it is.

        Raises:
            Refused: there is no such file any more.
            StoreError: the disk is full.
        """
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        try:
            await self._call("GET", f"/files/{quote(file, safe='')}/content", sink=part)
            with explained(path):
                if not _is_whole(part):  # what is missing in it would be paid again
                    raise Transient(Trouble(Kind.BROKEN, "malformed_answer", "a file came back torn"))
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def error(self, trouble: Trouble) -> TeacherError:
        """Return the error that says what is wrong with every request."""
        if trouble.kind is not Kind.ADDRESS:
            return self._endpoint.error(trouble)
        return TeacherError(
            f"{self.base} does not know what a batch asked it ({trouble.detail}); correct --base-url, which often ends "
            "in /v1, or use the teacher openai_chat where there is no batch API; then run the same command again: "
            "every answer so far is in the journal"
        )

    async def _known(self, method: str, path: str, does: str, body: Any = None) -> Any:
        """Call what every endpoint with a batch API knows; `does` says what it does not do if it refuses."""
        try:
            return await self._call(method, path, body)
        except Refused as e:
            trouble = e.trouble
            if trouble.kind in (Kind.ADDRESS, Kind.CREDIT, Kind.MODEL):
                raise self.error(trouble) from None
            raise TeacherError(
                f"{self.base} does not {does} as asked ({trouble.detail}); see url, completion_window and "
                "max_bytes of the teacher, then run the same command again: every answer so far is in the journal"
            ) from None

    async def _call(self, method: str, path: str, body: Any = None, sink: Path | None = None) -> Any:
        """Send a form or JSON; return the JSON that comes back, or save it as `sink`."""
        form = body if isinstance(body, aiohttp.FormData) else None
        try:
            async with self._http.request(
                method,
                f"{self.base}{path}",
                data=form,
                json=body if form is None else None,
                proxy=self._proxy,
                allow_redirects=sink is not None,
            ) as response:
                if sink is not None and response.status == 200:
                    await _save(response, sink)
                    return None
                raw = await response.read()
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as e:
            detail = self._endpoint.clean(str(e) or type(e).__name__)
            raise Transient(Trouble(Kind.UNREACHABLE, "connection_lost", detail)) from e
        except TimeoutError:
            raise Transient(Trouble(Kind.OVERLOADED, "timed_out", "it does not answer")) from None
        except (aiohttp.ClientError, OSError) as e:
            detail = self._endpoint.clean(str(e) or type(e).__name__)
            raise Transient(Trouble(Kind.BROKEN, "connection_lost", detail)) from e
        value = _replies.parse(raw)
        if response.status in (200, 201):
            if value is None:
                raise Transient(Trouble(Kind.BROKEN, "malformed_answer", "the reply is not JSON"))
            return value
        found = _replies.trouble_of(response.status, value, _replies.wait_of(response.headers))
        trouble = Trouble(found.kind, found.reason, self._endpoint.clean(found.detail), found.wait_s)
        if trouble.kind is Kind.KEY:
            raise self.error(trouble)
        raise Transient(trouble) if trouble.kind in _AGAIN else Refused(trouble)

    def _id_in(self, value: Any) -> str:
        found = value.get("id") if isinstance(value, dict) else None
        if not _is_id(found):
            raise Transient(Trouble(Kind.BROKEN, "malformed_answer", "the reply names no id"))
        return str(found)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and value != "" and quote(value, safe="") == value


def _is_whole(path: Path) -> bool:
    """Tell whether the file begins and ends with JSON objects, as far as can be told without reading it all."""
    with path.open("rb") as f:
        first = last = f.readline()
        f.seek(max(0, path.stat().st_size - _LONGEST_LINE))
        for line in f:
            if line.strip():
                last = line
    return all(isinstance(_replies.parse(line), dict) for line in (first, last))


async def _save(response: aiohttp.ClientResponse, path: Path) -> None:
    with explained(path), path.open("wb") as f:
        async for chunk in response.content.iter_chunked(_CHUNK):
            f.write(chunk)
        f.flush()
        os.fsync(f.fileno())
