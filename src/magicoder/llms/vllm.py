"""A model in this process, by vLLM: the fastest way to a large answer set on GPUs of one machine.

Written after vLLM's interface (`LLM`, `LLMEngine.add_request` and `step`, `SamplingParams`, `RequestOutput`) and tested
against a small imitation of it; it has not been run against the real package by its authors.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from magicoder.errors import RecipeError, TeacherError
from magicoder.llms import _local
from magicoder.protocols import NOT_IDENTITY, Meter, Session
from magicoder.records import Completion, Failure, Prompt

_ENGINE: Final = (
    *("model", "revision", "dtype", "max_model_len", "max_num_seqs", "tensor_parallel_size", "quantization"),
    *("gpu_memory_utilization", "trust_remote_code"),
)
_SAMPLING: Final = ("n", "temperature", "top_p", "seed", "stop", "max_tokens", "output_kind")
_WIDER: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class VLLM:
    """A causal language model. Chats need a chat template; raw text does not. Temperature, top_p and seed
    are the prompt's.

    model                   the path of a folder, or a name on the Hugging Face hub; a folder's name is kept as `model`
    revision                branch, tag or commit on the hub; name a commit to get the same model next year
    path                    the folder, where there is one
    content                 digest of the model's files in a folder and of a `chat_template`; found if not stated, and
                            compared if stated
    dtype                   of the weights: auto, float32, float16, bfloat16
    quantization            how vLLM shall quantize or read the weights: awq, gptq, fp8, …; "" for what the model says
    max_context             tokens of a prompt and its answer together; 0 for what the model has
    concurrency             sequences computed together, at most
    tensor_parallel_size    over how many GPUs the model is spread
    gpu_memory_utilization  the share of a GPU's memory that vLLM takes
    chat_template           path of a Jinja file, in place of the tokenizer's template
    chat_template_kwargs    what a template understands, e.g. `{enable_thinking: false}`
    engine                  further arguments of vLLM's engine, e.g. `{enforce_eager: true}`
    sampling                further fields of vLLM's SamplingParams, e.g. `{repetition_penalty: 1.05}`; the model's own
                            generation_config.json gives none
    trust_remote_code       run Python code that comes with the model
    """

    model: str = ""
    revision: str = ""
    path: str = field(default="", metadata=NOT_IDENTITY)
    content: str = ""
    dtype: str = "auto"
    quantization: str = ""
    max_context: int = 0
    concurrency: int = field(default=256, metadata=NOT_IDENTITY)
    tensor_parallel_size: int = field(default=1, metadata=NOT_IDENTITY)
    gpu_memory_utilization: float = field(default=0.9, metadata=NOT_IDENTITY)
    chat_template: str = field(default="", metadata=NOT_IDENTITY)
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name in ("concurrency", "tensor_parallel_size"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.gpu_memory_utilization <= 0:
            raise RecipeError(f"gpu_memory_utilization is {self.gpu_memory_utilization}; give a share, such as 0.9")
        for name, given, ours in (("engine", self.engine, _ENGINE), ("sampling", self.sampling, _SAMPLING)):
            taken = [key for key in ours if key in given]
            if taken:
                raise RecipeError(
                    f"{name} cannot set {', '.join(taken)}; there is a field for it, or the strategy decides"
                )
        _local.settle(self)

    def body(self, prompt: Prompt) -> bytes:
        """Return the prompt and the settings that decide the answer. Loads nothing."""
        return _local.request(self, prompt)

    @contextmanager
    def open(self, meter: Meter | None = None, folder: Path | None = None) -> Iterator["Session"]:  # noqa: ARG002
        """Start the engine, which takes a minute or two.

        Raises:
            TeacherError: vLLM or the model are not there, or it does not fit.
        """
        _local.check_files(self)
        try:
            import vllm
        except ImportError as e:
            raise _local.not_installed("vllm", e) from e
        try:
            llm = vllm.LLM(**self._engine_arguments())
        except Exception as e:
            raise _local.not_loaded(self, e) from e
        session: VLLMSession | None = None
        try:
            session = VLLMSession(self, vllm, llm)
            yield session
        finally:
            if session is not None:
                session.close()
            with suppress(AttributeError):  # ends vLLM's processes where this version has a call for it
                llm.llm_engine.engine_core.shutdown()
            del llm
            gc.collect()

    def _engine_arguments(self) -> dict[str, Any]:
        optional = {
            "revision": self.revision,
            "quantization": self.quantization,
            "max_model_len": self.max_context,
        }
        return {
            "model": _local.place(self),
            "dtype": self.dtype,
            "max_num_seqs": self.concurrency,
            "tensor_parallel_size": self.tensor_parallel_size,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "trust_remote_code": self.trust_remote_code,
            **{name: value for name, value in optional.items() if value},
            **self.engine,
        }


class VLLMSession:
    """Requests in vLLM's engine, which is driven step by step inside `collect`: they come and go one by one."""

    def __init__(self, settings: VLLM, vllm: Any, llm: Any) -> None:
        self._settings = settings
        self._vllm = vllm
        self._engine = llm.llm_engine
        self._template = _local.Template(llm.get_tokenizer(), settings, settings.chat_template_kwargs)
        self._context = int(self._engine.model_config.max_model_len)
        self._tickets: dict[str, tuple[int, int]] = {}  # request → ticket, tokens of its prompt
        self._done: list[tuple[int, Completion | Failure]] = []
        self._next = 0

    @property
    def capacity(self) -> int:
        """How many prompts to keep in flight: enough that the engine always has some in its queue."""
        return self._settings.concurrency * _WIDER

    def submit(self, ticket: int, prompt: Prompt) -> None:
        """Give one prompt to the engine, as tokens."""
        encoded = _local.encode(self._template, prompt, self._context)
        if isinstance(encoded, Failure):
            self._done.append((ticket, encoded))
            return
        request = str(self._next)
        self._next += 1
        try:
            self._engine.add_request(
                request, {"prompt_token_ids": encoded.ids}, self._parameters(prompt, encoded.limit)
            )
        except ValueError as e:
            self._done.append((ticket, Failure(reason="bad_request", detail=_local.clean(str(e)))))
            return
        except Exception as e:
            raise self._failed(e) from e
        self._tickets[request] = (ticket, len(encoded.ids))

    def _parameters(self, prompt: Prompt, limit: int) -> Any:
        return self._vllm.SamplingParams(
            n=prompt.n,
            temperature=prompt.temperature,
            top_p=prompt.top_p,
            seed=prompt.random_seed,
            stop=list(prompt.stop),
            max_tokens=limit,
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
            **self._settings.sampling,
        )

    def collect(self) -> list[tuple[int, Completion | Failure]]:
        """Compute until a request has finished.

        Raises:
            TeacherError: the engine has died.
        """
        while self._tickets and not self._done:
            try:
                outputs = self._engine.step()
            except Exception as e:
                raise self._failed(e) from e
            self._done += [self._answer(output) for output in outputs if output.finished]
        done, self._done = self._done, []
        return done

    def _answer(self, output: Any) -> tuple[int, Completion | Failure]:
        ticket, prompt_tokens = self._tickets.pop(output.request_id)
        answers = sorted(output.outputs, key=lambda answer: int(answer.index))
        completion = Completion(
            texts=tuple(answer.text for answer in answers),
            finish_reasons=tuple(answer.finish_reason or "stop" for answer in answers),
            model=self._settings.model,
            prompt_tokens=prompt_tokens,
            completion_tokens=sum(len(answer.token_ids) for answer in answers),
            fingerprint=f"vllm {self._vllm.__version__}",
        )
        return ticket, completion

    def _failed(self, error: Exception) -> TeacherError:
        return TeacherError(
            f"vLLM failed with {self._settings.model} ({_local.clean(str(error) or type(error).__name__)}); if memory "
            "was short, give a smaller max_context or concurrency; every answer so far is in the journal"
        )

    def close(self) -> None:
        """Give up what is under way."""
        if self._tickets:
            with suppress(Exception):  # the engine may be dead, which has been reported
                self._engine.abort_request(list(self._tickets))
        self._tickets.clear()


PLUGIN = VLLM
