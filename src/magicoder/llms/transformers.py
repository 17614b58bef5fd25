"""A model in this process, by the transformers library: on a GPU, or on the CPU for small ones.

Prompts are answered in batches of about the same length, or continuously where the library can: a slot that becomes
free is filled with the next prompt. For a large model on a GPU the teacher `vllm`, or a server, is the better choice.
Tested on the CPU; its authors have not run it on CUDA yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from magicoder.errors import RecipeError
from magicoder.llms import _local
from magicoder.protocols import NOT_IDENTITY, Meter, Session
from magicoder.records import Prompt

_OURS: Final = ("do_sample", "max_length", "max_new_tokens", "num_beams", "num_return_sequences", "stop_strings")
_PROMPTS: Final = ("temperature", "top_k", "top_p")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformers:
    """A causal language model. Chats need a chat template; raw text does not.

    Temperature and top_p are the prompt's; a sampled answer depends on its own `random_seed` and not on its neighbours'
    draws. Other settings of generation are the model's own (its generation_config.json), `generation` overrules them.

    model                 the path of a folder, or a name on the Hugging Face hub; a folder's name is kept as `model`
    revision              branch, tag or commit on the hub; name a commit to get the same model next year
    path                  the folder, where there is one
    content               digest of the model's files in a folder and of a `chat_template`; found if not stated, and
                          compared if stated
    dtype                 of the weights: auto (as stored), float32, float16, bfloat16
    device                auto (all GPUs, else CPU), cpu, cuda, cuda:1, mps
    batch_size            sequences computed together, at most. Part of the identity: a sum is rounded another way in
                          another batch, and now and then this tips a token. So another batch size asks again. Which
                          prompts share a batch also depends on what the journal already held; only with batch_size 1
                          does an answer depend on its prompt alone
    max_context           tokens of a prompt and its answer together; 0 for what the model has
    attn_implementation   sdpa, eager, flash_attention_2, …; "" for the library's choice
    continuous_batching   true, false, or None: on CUDA, where the library has it. For greedy prompts; sampled ones
                          are answered in batches
    chat_template         path of a Jinja file, in place of the tokenizer's template
    chat_template_kwargs  what a template understands, e.g. `{enable_thinking: false}`
    generation            fields of the library's GenerationConfig, e.g. `{repetition_penalty: 1.05}`
    trust_remote_code     run Python code that comes with the model
    """

    model: str = ""
    revision: str = ""
    path: str = field(default="", metadata=NOT_IDENTITY)
    content: str = ""
    dtype: str = "auto"
    device: str = field(default="auto", metadata=NOT_IDENTITY)  # like a vendor's choice of machine
    batch_size: int = 16
    max_context: int = 0
    attn_implementation: str = ""
    continuous_batching: bool | None = None
    chat_template: str = field(default="", metadata=NOT_IDENTITY)
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RecipeError(f"batch_size is {self.batch_size}; it must be at least 1")
        taken = [name for name in _OURS if name in self.generation]
        if taken:
            raise RecipeError(f"generation cannot set {', '.join(taken)}; magicoder decides that itself")
        asked = [name for name in _PROMPTS if name in self.generation]
        if asked:
            raise RecipeError(
                f"generation cannot set {', '.join(asked)}; sampling is by temperature and top_p of the strategy"
            )
        _local.settle(self)

    def body(self, prompt: Prompt) -> bytes:
        """Return the prompt and the settings that decide the answer. Loads nothing."""
        return _local.request(self, prompt)

    @contextmanager
    def open(self, meter: Meter | None = None, folder: Path | None = None) -> Iterator["Session"]:  # noqa: ARG002
        """Load the model, which takes seconds to minutes.

        Raises:
            TeacherError: the packages or the model are not there, or it does not fit.
        """
        _local.check_files(self)
        from magicoder.llms._local_session import LocalSession
        from magicoder.llms._local_torch import load

        with load(self) as loaded:
            session = LocalSession(loaded, batch_size=self.batch_size, insist=self.continuous_batching is True)
            try:
                yield session
            finally:
                session.close()


PLUGIN = Transformers
