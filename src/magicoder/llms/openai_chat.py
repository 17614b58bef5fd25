"""Any endpoint that speaks OpenAI's chat completions: a vendor's, or a local vLLM, llama.cpp or Ollama.

Raw text goes to the completions beside them (`/completions`), which vendors rarely have and local servers do. The
beginning of an answer is continued where the server knows `continue_final_message` (vLLM, SGLang).

The original asks one request at a time and gives up after five errors (`generate_data.py`); this one keeps as many on
their way as the endpoint takes, and tells apart what is wrong with one prompt and what is wrong with the endpoint.
"""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson

from magicoder.errors import RecipeError
from magicoder.protocols import NOT_IDENTITY, Meter
from magicoder.records import Prompt

if TYPE_CHECKING:
    from magicoder.llms._chat import ChatSession

_OURS: Final = ("model", "messages", "prompt", "n", "seed", "stream")
_CONTINUE: Final = {"continue_final_message": True, "add_generation_prompt": False}
_LEAST: Final = {
    "concurrency": 1,
    "requests_per_minute": 1,
    "tokens_per_minute": 1,
    "timeout_s": 0,
    "deadline_s": 0,
    "max_retries": 0,
    "retry_delay_s": 0,
    "patience_s": 0,
    "outage_patience_s": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One of the endpoints: where, with whose key, and its share of the requests (1.0 for the largest)."""

    url: str
    api_key_env: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIChat:
    """`model` as served at `base_url`, or at several `base_urls` at once.

    Whether an endpoint is down or a prompt is at fault is told, where nothing else tells it, by test questions of a few
    tokens: when eight prompts have failed with not one answer between them, or the last ones all have.

    base_urls            endpoints that serve the same model; each has its own limits, and one that is down is done
                         without until it is back. None: `base_url`
    weights              how much each of `base_urls` takes, relative to the others; none: all the same
    api_key_env          the name of the environment variable that holds the key; the key itself is kept nowhere
    api_key_envs         the same for each of `base_urls`, if their keys differ
    concurrency          the most requests under way at an endpoint (the one of the largest weight); fewer if it says
                         that this is too many
    requests_per_minute  a cap for each endpoint; None: no cap
    tokens_per_minute    the same for tokens: a prompt's estimate and its `max_tokens`, corrected by what was used
    timeout_s            for one attempt, from connecting to the last byte
    deadline_s           for all attempts at a prompt together, from the first, without outages; None: no deadline
    max_retries          after server errors and lost connections; "too many requests" (429) does not count
    retry_delay_s        before the first retry; doubles from there, with jitter
    patience_s           how long an endpoint may answer nothing but "too many requests" before the run stops
    outage_patience_s    how long to wait for an endpoint that was there and is gone; no prompt fails meanwhile
    extra_body           fields merged into every request; None removes one of ours (`{"top_p": None}`)
    usd_per_million_*    prices, for those who count the cost; None if unknown
    send_seed            send the prompt's `random_seed` as `seed`; some servers refuse it
    max_tokens_field     what the endpoint calls the limit
    """

    model: str
    base_url: str = field(default="https://api.openai.com/v1", metadata=NOT_IDENTITY)
    base_urls: tuple[str, ...] = field(default=(), metadata=NOT_IDENTITY)
    weights: tuple[float, ...] = field(default=(), metadata=NOT_IDENTITY)
    api_key_env: str = field(default="OPENAI_API_KEY", metadata=NOT_IDENTITY)
    api_key_envs: tuple[str, ...] = field(default=(), metadata=NOT_IDENTITY)
    concurrency: int = field(default=64, metadata=NOT_IDENTITY)
    requests_per_minute: int | None = field(default=None, metadata=NOT_IDENTITY)
    tokens_per_minute: int | None = field(default=None, metadata=NOT_IDENTITY)
    timeout_s: float = field(default=300.0, metadata=NOT_IDENTITY)
    deadline_s: float | None = field(default=None, metadata=NOT_IDENTITY)
    max_retries: int = field(default=6, metadata=NOT_IDENTITY)
    retry_delay_s: float = field(default=0.5, metadata=NOT_IDENTITY)
    patience_s: float = field(default=900.0, metadata=NOT_IDENTITY)
    outage_patience_s: float = field(default=3600.0, metadata=NOT_IDENTITY)
    extra_body: dict[str, Any] = field(default_factory=dict)
    usd_per_million_prompt_tokens: float | None = field(default=None, metadata=NOT_IDENTITY)
    usd_per_million_completion_tokens: float | None = field(default=None, metadata=NOT_IDENTITY)
    send_seed: bool = True
    max_tokens_field: str = "max_tokens"

    def __post_init__(self) -> None:
        if not self.model:
            raise RecipeError("openai_chat needs a model; give --llm, as the endpoint names it")
        if self.max_tokens_field not in ("max_tokens", "max_completion_tokens"):
            raise RecipeError(f"max_tokens_field is max_tokens or max_completion_tokens, not {self.max_tokens_field!r}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise RecipeError(f"{name} is {value}; it must be at least {least}")
        if self.timeout_s == 0:
            raise RecipeError("timeout_s is 0; give the seconds that one attempt may take")
        taken = [name for name in _OURS if name in self.extra_body]
        if taken:
            raise RecipeError(f"extra_body cannot set {', '.join(taken)}; magicoder decides that itself")
        self._check_addresses()

    def _check_addresses(self) -> None:
        for name in ("weights", "api_key_envs"):
            count = len(getattr(self, name))
            if count and count != len(self.base_urls):
                raise RecipeError(f"{name} has {count} entries for {len(self.base_urls)} base_urls; give one for each")
        for weight in self.weights:
            if not 0 < weight < float("inf"):
                raise RecipeError(f"a weight is {weight}; it must be above 0 (leave an endpoint out to not use it)")
        if len(set(self.base_urls)) < len(self.base_urls):
            raise RecipeError("base_urls names an endpoint twice; give it a larger weight instead")
        for address in self.addresses():
            host_of(address.url)

    def addresses(self) -> list[Address]:
        """Return the endpoints to ask."""
        urls = self.base_urls or (self.base_url,)
        weights = self.weights or (1.0,) * len(urls)
        envs = self.api_key_envs or (self.api_key_env,) * len(urls)
        return [
            Address(url=url.rstrip("/"), api_key_env=env, share=weight / max(weights))
            for url, weight, env in zip(urls, weights, envs, strict=True)
        ]

    def body(self, prompt: Prompt) -> bytes:
        """Return the request as canonical JSON; with `send_seed` off, the seed still tells requests apart."""
        return orjson.dumps(self._request(prompt), option=orjson.OPT_SORT_KEYS)

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            **_asked(prompt),
            # Said even where it is the API's default: some servers' defaults come from the model's files.
            "temperature": prompt.temperature,
            "top_p": prompt.top_p,
        }
        if prompt.max_tokens is not None:
            request["max_tokens" if prompt.raw else self.max_tokens_field] = prompt.max_tokens
        if prompt.stop:
            request["stop"] = prompt.stop
        if prompt.n != 1:
            request["n"] = prompt.n
        if prompt.random_seed is not None:
            request["seed" if self.send_seed else "random_seed"] = prompt.random_seed
        return {k: v for k, v in {**request, **self.extra_body}.items() if v is not None}

    def path(self, prompt: Prompt) -> str:
        """Return where below the base URL a prompt is sent."""
        return "completions" if prompt.raw else "chat/completions"

    def wire(self, prompt: Prompt) -> bytes:
        """Return the request as it is sent."""
        if self.send_seed:
            return self.body(prompt)
        request = self._request(prompt)
        request.pop("random_seed", None)
        return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)

    @contextmanager
    def open(self, meter: Meter | None = None, folder: Path | None = None) -> Iterator["ChatSession"]:  # noqa: ARG002
        """Open a session; the endpoint is first spoken to when something is asked of it (see `Session.collect`)."""
        from magicoder.llms._chat import ChatSession  # loads aiohttp, which a run without a miss never needs

        session = ChatSession(self, meter)
        try:
            yield session
        finally:
            session.close()


def _asked(prompt: Prompt) -> dict[str, Any]:
    if prompt.raw:
        return {"prompt": prompt.messages[-1].content}
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    has_begun = bool(messages) and messages[-1]["role"] == "assistant"
    return {"messages": messages, **(_CONTINUE if has_begun else {})}


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
