"""Stand-ins for what a development environment lacks: a loaded model, and the vllm package."""

import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

from magicoder.llms import _local
from magicoder.llms._local_session import Answer, Broken, OutOfMemory, Row, Slots


class FakeTokenizer:
    """One token a character. `system` says what its template does with a system message: take, refuse or ignore it."""

    def __init__(self, *, template: str | None = "a template", system: str = "take") -> None:
        self.chat_template = template
        self.system = system

    def apply_chat_template(
        self,
        chat: list[dict[str, str]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        continue_final_message: bool = False,
        return_dict: bool = False,
        chat_template: str = "",
        shout: bool = False,
    ) -> Any:
        assert add_generation_prompt is not continue_final_message
        assert not return_dict
        if self.system == "refuse" and any(m["role"] == "system" for m in chat):
            raise ValueError("System role not supported")
        if not any(m["role"] == "user" for m in chat):
            raise ValueError("no user")
        shown = [m for m in chat if m["role"] != "system" or self.system == "take"]
        text = chat_template + "".join(f"<{m['role']}>{m['content']}" for m in shown)
        text = text.upper() if shout else text
        return [ord(c) for c in text] if tokenize else text

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [0, *map(ord, text)]}


class FakeModel:
    """A loaded model (see `_local_session.Runner`) that answers with the length of its prompt and the row's seed.

    memory   a batch of more tokens than this, padding included, is out of memory
    """

    model = "fake"
    fingerprint = "fake 1"

    def __init__(self, *, context: int = 1000, memory: int = 10**9, slots: "Callable[[], Slots] | None" = None) -> None:
        self.context = context
        self.memory = memory
        self.slots = slots
        self.template = _local.Template(FakeTokenizer(), settings(), {})
        self.batches: list[list[Row]] = []
        self.refused: list[int] = []

    def generate(self, rows: Sequence[Row]) -> list[Answer]:
        if len(rows) * max(len(row.ids) + row.limit for row in rows) > self.memory:
            self.refused.append(len(rows))
            raise OutOfMemory("tried to allocate too much")
        self.batches.append(list(rows))
        return [answer(row) for row in rows]


def answer(row: Row) -> Answer:
    return Answer(f"{len(row.ids)} {row.seed}", "length" if row.limit < 5 else "stop", min(row.limit, 5))


class FakeSlots:
    """Continuous slots of a given number: each look finishes the oldest row that has one."""

    def __init__(self, count: int = 2, *, breaks_after: int = 10**9) -> None:
        self.count = count
        self.breaks_after = breaks_after
        self.queue: list[tuple[str, Row]] = []
        self.order: list[str] = []
        self.closed = False

    def add(self, key: str, row: Row) -> None:
        self.queue.append((key, row))

    def finished(self) -> list[tuple[str, Answer]]:
        if len(self.order) >= self.breaks_after:
            raise Broken("its thread has ended")
        key, row = self.queue.pop(0)
        self.order.append(key)
        return [(key, answer(row))]

    def close(self) -> None:
        self.closed = True


def settings(**fields: Any) -> Any:
    """The fields that in-process teachers share."""
    return SimpleNamespace(
        **{"model": "fake", "revision": "", "path": "", "content": "", "dtype": "auto"}
        | {"chat_template": "", "max_context": 0}
        | fields
    )


def loader(model: FakeModel) -> Callable[[Any], Any]:
    """What takes the place of `_local_torch.load`."""

    @contextmanager
    def load(llm: Any) -> Iterator[FakeModel]:
        yield model

    return load


class RequestOutputKind(Enum):
    CUMULATIVE = 0
    FINAL_ONLY = 2


@dataclass(kw_only=True)
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    max_tokens: int = 16
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    repetition_penalty: float = 1.0


class FakeEngine:
    """`LLMEngine`: each step finishes the newest request and says something unfinished about the oldest."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.model_config = SimpleNamespace(max_model_len=arguments.get("max_model_len", 1000))
        self.requests: dict[str, tuple[dict[str, Any], SamplingParams]] = {}
        self.seen: list[SamplingParams] = []
        self.dies = False
        self.aborted: list[str] = []
        self.stopped = False
        self.engine_core = SimpleNamespace(shutdown=self._shutdown)

    def _shutdown(self) -> None:
        self.stopped = True

    def add_request(self, request_id: str, prompt: dict[str, Any], params: SamplingParams) -> None:
        if "forbidden" in "".join(map(chr, prompt["prompt_token_ids"])):
            raise ValueError("cannot be asked")
        assert isinstance(request_id, str)
        assert params.output_kind is RequestOutputKind.FINAL_ONLY
        self.seen.append(params)
        self.requests[request_id] = (prompt, params)

    def step(self) -> list[Any]:
        if self.dies:
            raise RuntimeError("EngineCore encountered an issue")
        request_id, (prompt, params) = self.requests.popitem()
        text = f"{len(prompt['prompt_token_ids'])} {params.seed}"
        answers = [
            SimpleNamespace(index=i, text=f"{text} {i}", token_ids=[1, 2, 3], finish_reason="stop")
            for i in reversed(range(params.n))
        ]
        finished = SimpleNamespace(request_id=request_id, outputs=answers, finished=True)
        return [SimpleNamespace(request_id="x", outputs=[], finished=False), finished]

    def abort_request(self, request_ids: list[str]) -> None:
        self.aborted += request_ids


def fake_vllm(tokenizer: FakeTokenizer | None = None) -> types.ModuleType:
    """A `vllm` package; `made` lists the engines' arguments, `engines` the engines."""
    module: Any = types.ModuleType("vllm")
    module.__version__ = "0.0"
    module.made, module.engines = [], []

    class LLM:
        def __init__(self, **arguments: Any) -> None:
            if arguments["model"] == "no/such":
                raise OSError("no/such is not a model identifier")
            self.llm_engine = FakeEngine(arguments)
            module.made.append(arguments)
            module.engines.append(self.llm_engine)

        def get_tokenizer(self) -> FakeTokenizer:
            return tokenizer or FakeTokenizer()

    module.LLM = LLM
    module.SamplingParams = SamplingParams
    module.sampling_params = SimpleNamespace(RequestOutputKind=RequestOutputKind)
    return module
