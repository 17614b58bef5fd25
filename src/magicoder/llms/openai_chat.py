"""Any endpoint that speaks OpenAI's chat completions: a vendor's, or a local vLLM, llama.cpp or Ollama.

The original asks one request at a time and gives up after five errors (`generate_data.py`); this one keeps as many on
their way as the endpoint takes, and tells apart what is wrong with one prompt and what is wrong with the endpoint.
"""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from magicoder.errors import RecipeError
from magicoder.protocols import NOT_IDENTITY, Meter, Session
from magicoder.records import Prompt

_OURS: Final = ("model", "messages", "n", "seed", "stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIChat:
    """`model` as served at `base_url`.

    api_key_env        the name of the environment variable that holds the key; the key itself is kept nowhere
    concurrency        the most requests under way; fewer if the endpoint says that this is too many
    timeout_s          for one attempt, from connecting to the last byte
    max_retries        after server errors and lost connections; "too many requests" (429) does not count
    retry_delay_s      before the first retry; doubles from there, with jitter
    patience_s         how long an endpoint may answer nothing but "too many requests" before the run stops
    extra_body         fields merged into every request; None removes one of ours (`{"top_p": None}`)
    usd_per_million_*  prices, for those who count the cost; None if unknown
    send_seed          send the prompt's `random_seed` as `seed`; some servers refuse it
    max_tokens_field   what the endpoint calls the limit
    """

    model: str
    base_url: str = field(default="https://api.openai.com/v1", metadata=NOT_IDENTITY)
    api_key_env: str = field(default="OPENAI_API_KEY", metadata=NOT_IDENTITY)
    concurrency: int = field(default=64, metadata=NOT_IDENTITY)
    timeout_s: float = field(default=300.0, metadata=NOT_IDENTITY)
    max_retries: int = field(default=6, metadata=NOT_IDENTITY)
    retry_delay_s: float = field(default=0.5, metadata=NOT_IDENTITY)
    patience_s: float = field(default=900.0, metadata=NOT_IDENTITY)
    extra_body: dict[str, Any] = field(default_factory=dict)
    usd_per_million_prompt_tokens: float | None = field(default=None, metadata=NOT_IDENTITY)
    usd_per_million_completion_tokens: float | None = field(default=None, metadata=NOT_IDENTITY)
    send_seed: bool = True
    max_tokens_field: str = "max_tokens"

    def __post_init__(self) -> None:
        if not self.model:
            raise RecipeError("openai_chat needs a model; give --model, as the endpoint names it")
        if self.max_tokens_field not in ("max_tokens", "max_completion_tokens"):
            raise RecipeError(f"max_tokens_field is max_tokens or max_completion_tokens, not {self.max_tokens_field!r}")
        for name in ("concurrency", "timeout_s", "max_retries", "retry_delay_s", "patience_s"):
            least = 1 if name == "concurrency" else 0
            if getattr(self, name) < least:
                raise RecipeError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.timeout_s == 0:
            raise RecipeError("timeout_s is 0; give the seconds that one attempt may take")
        taken = [name for name in _OURS if name in self.extra_body]
        if taken:
            raise RecipeError(f"extra_body cannot set {', '.join(taken)}; magicoder decides that itself")
        host_of(self.base_url)

    def body(self, prompt: Prompt) -> bytes:
        """Return the request as canonical JSON; with `send_seed` off, the seed still tells requests apart."""
        return orjson.dumps(self._request(prompt), option=orjson.OPT_SORT_KEYS)

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
            # Said even where it is the API's default: some servers' defaults come from the model's files.
            "temperature": prompt.temperature,
            "top_p": prompt.top_p,
        }
        if prompt.max_tokens is not None:
            request[self.max_tokens_field] = prompt.max_tokens
        if prompt.stop:
            request["stop"] = prompt.stop
        if prompt.n != 1:
            request["n"] = prompt.n
        if prompt.random_seed is not None:
            request["seed" if self.send_seed else "random_seed"] = prompt.random_seed
        return {k: v for k, v in {**request, **self.extra_body}.items() if v is not None}

    def wire(self, prompt: Prompt) -> bytes:
        """Return the request as it is sent."""
        if self.send_seed:
            return self.body(prompt)
        request = self._request(prompt)
        request.pop("random_seed", None)
        return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)

    @contextmanager
    def open(self, meter: Meter | None = None, folder: Path | None = None) -> Iterator["Session"]:  # noqa: ARG002
        """Open a session; the endpoint is first spoken to when something is asked of it (see `Session.collect`)."""
        from magicoder.llms._chat import ChatSession  # loads aiohttp, which a run without a miss never needs

        session = ChatSession(self)
        try:
            yield session
        finally:
            session.close()


def host_of(url: str) -> str:
    """Return the host in a base URL.

    Raises:
        RecipeError: it is no URL, or it holds a password.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = None, ""
    if parts is None or parts.scheme not in ("http", "https") or not host:
        raise RecipeError(f"{url!r} is not the address of an endpoint; it looks like http://localhost:8000/v1")
    if parts.username or parts.password:
        raise RecipeError("the base URL must not contain a password; put the key in an environment variable")
    return host


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified  # servers print 0.0.0.0 when they start


PLUGIN = OpenAIChat
