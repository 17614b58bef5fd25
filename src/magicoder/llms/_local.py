"""What models in this process share: where they stand, which files they are, and how a chat becomes tokens.

Nothing here imports torch, transformers or vllm: a run that the journal answers never loads them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from magicoder.errors import RecipeError, TeacherError
from magicoder.fingerprint import canonical, digest_files
from magicoder.records import Failure, Message, Prompt

DTYPES: Final = ("auto", "float32", "float16", "bfloat16")

_LOCAL_BEGINNINGS: Final = ("/", "./", "../", "~")
_MODEL_FILES: Final = {".json", ".jinja", ".txt", ".model", ".py", ".safetensors", ".bin", ".pt", ".gguf"}
_TRAINING_FILES: Final = ("optimizer", "rng_state", "scheduler", "trainer_state", "training_args")
_DETAIL: Final = 400
_PROBE: Final = "magicoder-probe"


class Settings(Protocol):
    """The fields that `Transformers` and `VLLM` have in common, described there."""

    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def content(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def chat_template(self) -> str: ...
    @property
    def max_context(self) -> int: ...


def settle(llm: Settings) -> None:
    """Finish a component that is being made: a folder given as `model` becomes its `path`, and `content` is found.

    The name of a model is published with a dataset and the path of a folder is not, so they are kept apart. What was
    stated as `content` stays, and is compared with the files when the model is loaded.

    Raises:
        RecipeError: no model, a `dtype` nobody knows, a revision of a folder, or a file that cannot be read.
    """
    if not (llm.model or llm.path):
        raise RecipeError("give a model: the path of a folder, or a name on the Hugging Face hub")
    if llm.dtype not in DTYPES:
        raise RecipeError(f"dtype is one of {', '.join(DTYPES)}, not {llm.dtype!r}")
    if llm.max_context < 0:
        raise RecipeError(f"max_context is {llm.max_context}; give tokens, or 0 for what the model has")
    named_by_path = llm.model.startswith(_LOCAL_BEGINNINGS) or llm.model in (".", "..")
    if not llm.path and (named_by_path or Path(llm.model).is_dir()):
        object.__setattr__(llm, "path", llm.model)
        named_by_path = True
    if llm.path and llm.revision:
        raise RecipeError(f"revision belongs to a model of the hub; {llm.path} is a folder")
    if llm.path and (named_by_path or not llm.model):
        object.__setattr__(llm, "model", Path(llm.path).expanduser().resolve().name)
    if not llm.content:
        object.__setattr__(llm, "content", found_content(llm))


def request(llm: Settings, prompt: Prompt) -> bytes:
    """Return the canonical request: the settings that decide an answer, and the prompt."""
    value = {
        "teacher": canonical(llm),
        "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
        "max_tokens": prompt.max_tokens,
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
        "stop": prompt.stop,
        "random_seed": prompt.random_seed,
        "n": prompt.n,
        **({"raw": True} if prompt.raw else {}),
    }
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


# Which files.


def found_content(llm: Settings) -> str:
    """Return the digest of the local files that decide the answers, "" if there are none.

    Small files count whole, weights by their size and 64 samples of 64 KiB, so that a model of many gigabytes takes
    milliseconds; training changes all of them.

    Raises:
        RecipeError: a file is there and cannot be read.
    """
    try:
        folder = Path(llm.path).expanduser() if llm.path else None
        files = sorted(f for f in folder.iterdir() if _decides(f)) if folder and folder.is_dir() else []
        if llm.chat_template and (template := Path(llm.chat_template).expanduser()).is_file():
            files.append(template)
        states = [f.stat() for f in files]
        return digest_files(tuple((str(f), s.st_size, s.st_mtime_ns) for f, s in zip(files, states, strict=True)))
    except OSError as e:
        raise RecipeError(f"cannot read {e.filename} ({e.strerror}); make it readable, or give another model") from e


def _decides(file: Path) -> bool:
    return file.suffix in _MODEL_FILES and not file.name.startswith(_TRAINING_FILES) and file.is_file()


def check_files(llm: Settings) -> None:
    """See that the files are there, and are the ones the recipe speaks of.

    Raises:
        TeacherError: no such folder or chat template, or another content.
    """
    if llm.path and not Path(llm.path).expanduser().is_dir():
        raise TeacherError(f"there is no folder {llm.path}; correct the path of the model, or give its name on the hub")
    if llm.chat_template and not Path(llm.chat_template).expanduser().is_file():
        raise TeacherError(f"there is no file {llm.chat_template}; correct the path of the chat_template")
    found = found_content(llm)
    if llm.content and found != llm.content:
        where = llm.path or llm.chat_template
        if not where:
            raise TeacherError(
                f"the recipe means a model {llm.model!r} in a folder (it states its `content`) but names no `path`; "
                "add the path of that folder"
            )
        raise TeacherError(
            f"{where} does not hold the files that the recipe states: `content` is {llm.content}, found was "
            f"{found or 'nothing'}; put the right files there, or take `content` out of the recipe to use these"
        )


def place(llm: Settings) -> str:
    """Return what a library loads the model from."""
    return str(Path(llm.path).expanduser()) if llm.path else llm.model


def not_installed(extra: str, error: ImportError) -> TeacherError:
    """Return the error for a library that is missing."""
    return TeacherError(
        f"the teacher {extra} needs packages that are not here ({error}); install them with: "
        f"pip install 'magicoder[{extra}]', or serve the model elsewhere and give --base-url"
    )


def not_loaded(llm: Settings, error: Exception) -> TeacherError:
    """Return the error for a model that cannot be loaded; says where it was looked for."""
    detail = clean(str(error) or type(error).__name__)
    if llm.path:
        return TeacherError(
            f"cannot load a model from the folder {llm.path} ({detail}); it must hold config.json, the weights and the "
            "tokenizer's files, as save_pretrained writes them"
        )
    name = f"{llm.model}@{llm.revision}" if llm.revision else llm.model
    return TeacherError(
        f"cannot load {name}: there is no such folder, and the Hugging Face hub and its cache on this machine say: "
        f"{detail}; correct the name, download it first where there is a network (hf download {llm.model}), or give "
        "the path of a folder"
    )


def clean(text: str) -> str:
    """Return a library's message in one short line, without the token of the hub if it is in there."""
    try:
        import huggingface_hub

        token = huggingface_hub.get_token()
    except ImportError:
        token = None
    if token:
        text = text.replace(token, "***")
    line = " ".join(text.split())
    return line if len(line) <= _DETAIL else line[:_DETAIL] + "…"


# From a chat to tokens.


class Template:
    """A tokenizer's chat template, or another in its place; a base model has none, and takes raw text only.

    Some templates refuse or ignore a system message; then its text goes before the first message of the user.
    """

    def __init__(self, tokenizer: Any, llm: Settings, kwargs: dict[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._model = llm.model
        self._kwargs = dict(kwargs)
        self._is_there = bool(llm.chat_template or getattr(tokenizer, "chat_template", None))
        if llm.chat_template:
            self._kwargs["chat_template"] = Path(llm.chat_template).expanduser().read_text(encoding="utf-8")
        self.merges_system = self._is_there and not self._takes_system()

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a chat, up to where the assistant begins to speak, or has begun to.

        Raises:
            TeacherError: there is no template.
            Exception: the template refuses it (no user message, two users in a row, …).
        """
        if not self._is_there:
            raise TeacherError(
                f"the tokenizer of {self._model} has no chat template, so it is probably a base model; take an "
                "instruction-tuned model, or give `chat_template:` the path of a Jinja file (evaluations can also ask "
                "without: --style completion, or --style magicoder)"
            )
        chat = merged(messages) if self.merges_system else messages
        plain = [{"role": m.role, "content": m.content} for m in chat]
        has_begun = bool(plain) and plain[-1]["role"] == "assistant"
        way = {"continue_final_message": True} if has_begun else {}
        ids = self._tokenizer.apply_chat_template(
            plain, tokenize=True, add_generation_prompt=not has_begun, return_dict=False, **way, **self._kwargs
        )
        return list(ids)

    def encode_raw(self, text: str) -> list[int]:
        """Return the tokens of a text that is to be continued, behind what the tokenizer begins with (BOS)."""
        return list(self._tokenizer(text)["input_ids"])

    def _takes_system(self) -> bool:
        chat = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "?"}]
        try:
            text = self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, **self._kwargs)
        except Exception:  # a template raises whatever it likes
            return False
        return _PROBE in text


def merged(messages: Sequence[Message]) -> list[Message]:
    """Return the chat with the system's text before the first message of the user."""
    system = "\n\n".join(m.content for m in messages if m.role == "system")
    rest = [m for m in messages if m.role != "system"]
    if not system:
        return rest
    at = next((i for i, m in enumerate(rest) if m.role == "user"), None)
    if at is None:
        return [Message(role="user", content=system), *rest]
    rest[at] = Message(role="user", content=f"{system}\n\n{rest[at].content}")
    return rest


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as tokens, and how many may follow."""

    ids: list[int]
    limit: int


def encode(template: Template, prompt: Prompt, context: int) -> Encoded | Failure:
    """Return the tokens of a prompt, and how many an answer may have within `context`; or why it cannot be asked.

    Raises:
        TeacherError: it is a chat, and the model has no template for one.
    """
    try:
        ids = template.encode_raw(prompt.messages[-1].content) if prompt.raw else template.encode(prompt.messages)
    except TeacherError:
        raise
    except Exception as e:  # a template raises whatever it likes
        return Failure(reason="bad_request", detail=f"the chat template refuses these messages: {clean(str(e))}")
    room = context - len(ids)
    if room < 1:
        how = "" if prompt.raw else " with the chat template"
        detail = f"{len(ids)} tokens{how}; the context is {context} tokens (max_context)"
        return Failure(reason="prompt_too_long", detail=detail)
    return Encoded(ids, min(room, prompt.max_tokens) if prompt.max_tokens is not None else room)


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Return `text` up to the first of `stops`, and whether there was one."""
    found = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)
