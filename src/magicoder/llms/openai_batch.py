"""OpenAI's batch API, and vendors that speak it: half the price for answers within a day, kept across restarts.

Prompts are gathered into files of requests, which the vendor works off when it likes. Which prompt is in which batch
stands beside the journal (`batches.sqlite`), so that a run made again waits for what is already on its way. The same
settings make the same requests as `openai_chat`: an answer that the one journaled is found by the other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from magicoder.errors import Interrupted, RecipeError
from magicoder.llms.openai_chat import OpenAIChat
from magicoder.protocols import NOT_IDENTITY, Meter, Session
from magicoder.records import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIBatch:
    """`model` as served by the batch API at `base_url`.

    api_key_env        the name of the environment variable that holds the key; the key itself is kept nowhere
    extra_body, send_seed, max_tokens_field   as in `openai_chat`
    url                what each line of a batch asks for, and the batch's `endpoint`
    completion_window  how long the vendor may take; OpenAI knows 24h only
    max_requests       in one batch, and `max_bytes` in its file; OpenAI takes 50,000 and 200 MB, others 100 MB
    concurrency        the most prompts under way, in all batches together
    max_retries        how often a prompt that got no answer (expired, 429, 5xx) is put into another batch
    poll_s             between two looks at a batch
    linger_s           how long prompts are gathered while other batches are under way; a batch is sent at once when
                       it is full, or when there is nothing to wait for. 0: always at once
    timeout_s          of silence, for one call
    retry_delay_s      before a call that failed is made again; doubles from there, with jitter
    patience_s         how long the endpoint may fail before the run stops; its batches go on
    usd_per_million_*  batch prices, for those who count the cost; None: as `prices` knows them
    """

    is_batch: ClassVar[bool] = True  # `prices` then takes the batch price of a model

    model: str
    base_url: str = field(default="https://api.openai.com/v1", metadata=NOT_IDENTITY)
    api_key_env: str = field(default="OPENAI_API_KEY", metadata=NOT_IDENTITY)
    extra_body: dict[str, Any] = field(default_factory=dict)
    send_seed: bool = True
    max_tokens_field: str = "max_tokens"
    url: str = field(default="/v1/chat/completions", metadata=NOT_IDENTITY)
    completion_window: str = field(default="24h", metadata=NOT_IDENTITY)
    max_requests: int = field(default=50_000, metadata=NOT_IDENTITY)
    max_bytes: int = field(default=100_000_000, metadata=NOT_IDENTITY)
    concurrency: int = field(default=100_000, metadata=NOT_IDENTITY)
    max_retries: int = field(default=3, metadata=NOT_IDENTITY)
    poll_s: float = field(default=30.0, metadata=NOT_IDENTITY)
    linger_s: float = field(default=60.0, metadata=NOT_IDENTITY)
    timeout_s: float = field(default=300.0, metadata=NOT_IDENTITY)
    retry_delay_s: float = field(default=1.0, metadata=NOT_IDENTITY)
    patience_s: float = field(default=3600.0, metadata=NOT_IDENTITY)
    usd_per_million_prompt_tokens: float | None = field(default=None, metadata=NOT_IDENTITY)
    usd_per_million_completion_tokens: float | None = field(default=None, metadata=NOT_IDENTITY)

    def __post_init__(self) -> None:
        if not self.model:
            raise RecipeError("openai_batch needs a model; give --llm, as the endpoint names it")
        for name in ("max_requests", "max_bytes", "concurrency"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("max_retries", "linger_s", "retry_delay_s", "patience_s"):
            if getattr(self, name) < 0:
                raise RecipeError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("poll_s", "timeout_s"):
            if getattr(self, name) <= 0:
                raise RecipeError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not self.url.startswith("/"):
            raise RecipeError(f"url is {self.url!r}; it is the path of a request, such as /v1/chat/completions")
        self.chat()  # which checks the rest

    def chat(self) -> OpenAIChat:
        """Return the teacher that asks the same without batches."""
        return OpenAIChat(
            model=self.model,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            extra_body=self.extra_body,
            send_seed=self.send_seed,
            max_tokens_field=self.max_tokens_field,
        )

    def body(self, prompt: Prompt) -> bytes:
        """Return the request as `openai_chat` would make it.

        Raises:
            RecipeError: it is raw text, and batches go to the chat completions.
        """
        if prompt.raw and "chat" in self.url:
            raise RecipeError(
                f"batches go to {self.url}, which takes no raw text; for completions set url: /v1/completions"
            )
        return self.chat().body(prompt)

    @contextmanager
    def open(self, meter: Meter | None = None, folder: Path | None = None) -> Iterator["Session"]:
        """Open a session that keeps its batches in `folder`; without one, a restart pays for them again.

        The endpoint is first spoken to when something is asked of it. Several processes may share a folder: a prompt
        that one has sent is waited for by the others.

        Raises:
            StoreError: the record of batches in `folder` cannot be used.
        """
        from magicoder.llms._batch import BatchSession  # loads aiohttp, which a run without a miss never needs

        session = BatchSession(self, meter, folder)
        recorded = False
        try:
            yield session
            recorded = True
        except Interrupted:  # the driver stops between two collects
            recorded = True
            raise
        finally:
            session.close(recorded=recorded)


PLUGIN = OpenAIBatch
