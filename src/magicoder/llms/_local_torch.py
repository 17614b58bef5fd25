"""The transformers library at work: loading a model, batches with one random stream a row, continuous slots.

Only a session that has to compute imports this module's libraries.
"""

import copy
import gc
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from magicoder.errors import TeacherError
from magicoder.llms import _local
from magicoder.llms._local_session import Answer, Broken, OutOfMemory, Row

if TYPE_CHECKING:
    from magicoder.llms.transformers import Transformers

_NEUTRAL: Final = {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50, "num_beams": 1}
"""Greedy as far as the library knows; `_Draw` makes a row's choice where one is to be sampled."""
_NO_PROCESSOR: Final = {
    *_NEUTRAL,
    *("bos_token_id", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens", "num_return_sequences"),
    *("use_cache", "output_attentions", "output_hidden_states", "transformers_version", "_from_model_config"),
    *("cache_implementation", "return_dict_in_generate"),
}
"""Fields of a GenerationConfig that change no score; with any other, continuous batching might leave something out."""
_PAGE: Final = 256
_MOST_QUERY_TOKENS: Final = 512
_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")
_OUTER_DEVICES: Final = ("cpu", "disk")


@contextmanager
def load(llm: "Transformers") -> Iterator["Loaded"]:
    """Load the model and its tokenizer, and free them afterwards.

    Raises:
        TeacherError: packages or model are not there, it does not fit, or it has no known context.
    """
    try:
        import torch
        import transformers
    except ImportError as e:
        raise _local.not_installed("transformers", e) from e
    with _quiet(transformers):
        loaded = Loaded(llm, torch, transformers)
        try:
            yield loaded
        finally:
            loaded.free()


class Loaded:
    """A model on its device (see `_local_session.Runner`)."""

    def __init__(self, llm: "Transformers", torch: Any, transformers: Any) -> None:
        self._llm = llm
        self._torch = torch
        if llm.device.startswith("cuda") and not torch.cuda.is_available():
            raise TeacherError(f"device is {llm.device}, but torch sees no CUDA device; give device: auto or cpu")
        try:
            self._tokenizer, self._model = _load(llm, torch, transformers)
        except Exception as e:
            if _is_out_of_memory(torch, e):
                raise _does_not_fit(llm) from e
            raise _local.not_loaded(llm, e) from e
        self._refuse_offloading()
        self.template = _local.Template(self._tokenizer, llm, llm.chat_template_kwargs)
        self.context = self._find_context()
        self._generation = self._configure()
        eos = self._generation.eos_token_id
        self._eos = frozenset([eos] if isinstance(eos, int) else eos or [])
        self.slots = self._find_slots(transformers)

    @property
    def model(self) -> str:
        """The model's name."""
        return self._llm.model

    @property
    def fingerprint(self) -> str:
        """Versions, device and precision; for a model of the hub the commit."""
        import transformers

        config = self._model.config
        commit = getattr(config, "_commit_hash", None)
        parts = [
            f"transformers {transformers.__version__}",
            f"torch {self._torch.__version__}",
            self._model.device.type,
            str(self._model.dtype).removeprefix("torch."),
            str(config._attn_implementation),
            *([f"commit {commit}"] if commit else []),
        ]
        return ", ".join(parts)

    def generate(self, rows: Sequence[Row]) -> list[Answer]:
        """Compute the rows together, padded on the left.

        Raises:
            OutOfMemory: they do not fit.
        """
        torch = self._torch
        width = max(len(row.ids) for row in rows)
        pad = self._generation.pad_token_id
        ids = torch.tensor([[pad] * (width - len(row.ids)) + row.ids for row in rows], device=self._model.device)
        mask = torch.tensor(
            [[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows], device=self._model.device
        )
        ends = _Ends(torch, self._tokenizer, rows, width)
        config = copy.deepcopy(self._generation)
        config.max_new_tokens = max(row.limit for row in rows)
        try:
            with torch.inference_mode():
                out = self._model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    generation_config=config,
                    logits_processor=[_Draw(torch, rows)] if any(row.temperature > 0 for row in rows) else None,
                    stopping_criteria=[ends],
                )
        except RuntimeError as e:  # torch.OutOfMemoryError is one
            if not _is_out_of_memory(torch, e):
                raise TeacherError(f"{self._llm.model} failed ({_local.clean(str(e))})") from e
            gone = OutOfMemory(_local.clean(str(e))[:120])
        else:
            written = out[:, width:].tolist()
            return [
                self.finish(row, t[: ends.lengths[i]]) for i, (row, t) in enumerate(zip(rows, written, strict=True))
            ]
        # Outside of `except`, where the traceback still holds what has filled the memory.
        self._empty_cache()
        raise gone

    def finish(self, row: Row, tokens: list[int]) -> Answer:
        """Return the answer in the tokens of a row, which end where computing it was to end."""
        end = next((i + 1 for i, token in enumerate(tokens) if token in self._eos), None)
        tokens = tokens[: min(row.limit, end if end is not None else row.limit)]
        text, stopped = _local.cut(decode(self._tokenizer, tokens), row.stop)
        by_model = end is not None and end <= row.limit
        return Answer(text, "stop" if stopped or by_model else "length", len(tokens))

    def free(self) -> None:
        """Give the memory back."""
        self._model = None
        self._empty_cache()

    def _empty_cache(self) -> None:
        gc.collect()
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()

    def _refuse_offloading(self) -> None:
        """Refuse what would work and take weeks: layers that are fetched from the CPU or disk for every token."""
        placed = {str(d) for d in (getattr(self._model, "hf_device_map", None) or {}).values()}
        if len(placed) > 1 and placed.intersection(_OUTER_DEVICES):
            raise _does_not_fit(self._llm)

    def _find_context(self) -> int:
        if self._llm.max_context:
            return self._llm.max_context
        config = self._model.config.get_text_config()
        known = [getattr(config, "max_position_embeddings", None), getattr(self._tokenizer, "model_max_length", None)]
        plausible = [n for n in known if isinstance(n, int) and 0 < n < 10**9]
        if not plausible:
            raise TeacherError(f"{self._llm.model} does not say how long its context is; give max_context (tokens)")
        return min(plausible)

    def _configure(self) -> Any:
        """Return the model's own settings of generation with ours over them."""
        config = copy.deepcopy(self._model.generation_config)
        for name, value in {**self._llm.generation, **_NEUTRAL}.items():
            if not hasattr(config, name):
                raise TeacherError(f"generation cannot set {name}: this transformers has no such field")
            setattr(config, name, value)
        config.max_length = None
        if config.eos_token_id is None:
            config.eos_token_id = self._tokenizer.eos_token_id
        if config.pad_token_id is None:
            eos = config.eos_token_id
            first_eos = eos if isinstance(eos, int) or eos is None else eos[0]
            pad = self._tokenizer.pad_token_id
            config.pad_token_id = next((p for p in (pad, first_eos) if p is not None), 0)
        return config

    def _find_slots(self, transformers: Any) -> "Callable[[], ContinuousSlots] | None":
        wanted = self._llm.continuous_batching
        on_cuda = self._model.device.type == "cuda"
        if wanted is False or (wanted is None and not on_cuda):
            return None
        why = self._no_slots_because(transformers)
        if why and wanted:
            raise TeacherError(f"continuous_batching is true, but {why}; leave it out to answer in batches")
        return None if why else lambda: ContinuousSlots(self, self._slots_config(transformers, on_cuda=on_cuda))

    def _no_slots_because(self, transformers: Any) -> str:
        if not (hasattr(transformers, "ContinuousBatchingConfig") and hasattr(self._model, "init_continuous_batching")):
            return (
                f"transformers {transformers.__version__} has no continuous batching that magicoder knows; upgrade it"
            )
        if len(set((getattr(self._model, "hf_device_map", None) or {}).values())) > 1:
            return "the model is spread over several devices"
        other = [
            name
            for name, value in self._generation.to_diff_dict().items()
            if name not in _NO_PROCESSOR and value is not None
        ]
        return f"the library's does not take the model's settings of generation ({', '.join(other)})" if other else ""

    def _slots_config(self, transformers: Any, *, on_cuda: bool) -> Any:
        config = transformers.ContinuousBatchingConfig()
        config.max_requests_per_batch = self._llm.batch_size
        config.auto_switch_to_flash = False  # which attention computes is the recipe's to say
        if not on_cuda:  # where the library would take most of the machine's memory
            config.num_blocks = self._llm.batch_size * -(-self.context // _PAGE)
            config.max_batch_tokens = _MOST_QUERY_TOKENS
        return config

    def start_slots(self, config: Any) -> Any:
        """Return a running manager of the library."""
        manager = self._model.init_continuous_batching(
            generation_config=copy.deepcopy(self._generation), continuous_batching_config=config
        )
        manager.start()
        return manager

    def has_stopped(self, row: Row, tokens: list[int]) -> bool:
        """Tell whether the newest token completes a stop string."""
        return bool(row.stop) and has_stop(self._tokenizer, tokens, row.stop)

    @property
    def eos(self) -> list[int]:
        """The tokens that end an answer."""
        return sorted(self._eos)


class ContinuousSlots:
    """The library's continuous batching: a thread computes, rows come and go singly (see `_local_session.Slots`)."""

    def __init__(self, loaded: Loaded, config: Any) -> None:
        self._loaded = loaded
        self._rows: dict[str, Row] = {}
        with _breaking():
            self._manager = loaded.start_slots(config)

    def add(self, key: str, row: Row) -> None:
        """Put a row in the queue; tokens are watched one by one where a stop string has to be found."""
        self._rows[key] = row
        with _breaking():
            added = self._manager.add_request(
                row.ids,
                request_id=key,
                max_new_tokens=row.limit,
                streaming=bool(row.stop),
                eos_token_id=self._loaded.eos or None,
            )
        if added is None:
            raise Broken("it takes no requests")

    def finished(self) -> list[tuple[str, Answer]]:
        """Wait for up to a second.

        Raises:
            Broken: the library's thread has died, or failed a request.
        """
        answers = []
        with _breaking():
            result = self._manager.get_result(timeout=1)
            while result is not None:
                answers += self._look(result)
                result = self._manager.get_result(timeout=0)
        if not answers and self._rows and not self._manager.is_running():
            raise Broken("its thread has ended")
        return answers

    def _look(self, result: Any) -> list[tuple[str, Answer]]:
        row = self._rows.get(result.request_id)
        if row is None:
            return []  # what was still computed after a stop string
        if result.error is not None:
            raise Broken(_local.clean(str(result.error)))
        tokens = list(result.generated_tokens)
        ended = result.is_finished()
        if not ended and not self._loaded.has_stopped(row, tokens):
            return []
        if not ended:
            self._manager.cancel_request(result.request_id)
        del self._rows[result.request_id]
        return [(result.request_id, self._loaded.finish(row, tokens))]

    def close(self) -> None:
        """Cancel what is under way and end the thread."""
        with suppress(Exception):  # it may be dead already, which has been reported
            for key in self._rows:
                self._manager.cancel_request(key)
            self._manager.stop(block=True)
        self._rows.clear()
        self._manager = None
        gc.collect()


class _Draw:
    """Chooses the next token of sampled rows: temperature, then top_p, then one draw from the row's own stream.

    The library samples a whole batch from one generator, so that an answer would depend on its neighbours. Here a row
    takes one number from `random.Random(seed)` a token and looks it up in its cumulative distribution, on any device.
    """

    def __init__(self, torch: Any, rows: Sequence[Row]) -> None:
        self._torch = torch
        self._at = [i for i, row in enumerate(rows) if row.temperature > 0]
        self._streams = [random.Random(rows[i].seed) for i in self._at]
        self._temperatures = [[rows[i].temperature] for i in self._at]
        self._top_ps = [[rows[i].top_p] for i in self._at]

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002 - part of the library's protocol
        torch = self._torch

        def column(values: list[list[float]]) -> Any:
            return torch.tensor(values, dtype=torch.float32, device=scores.device)

        probabilities = torch.softmax(scores[self._at].float() / column(self._temperatures), dim=-1)
        sorted_, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
        sums = torch.cumsum(sorted_, dim=-1)
        kept = (sums - sorted_ < column(self._top_ps)).sum(-1, keepdim=True).clamp(min=1)
        draws = column([[stream.random()] for stream in self._streams]) * sums.gather(-1, kept - 1)
        place = torch.minimum((sums <= draws).sum(-1, keepdim=True), kept - 1)
        chosen = torch.full_like(scores[self._at], -torch.inf).scatter(-1, order.gather(-1, place), 0.0)
        scores = scores.clone()
        scores[self._at] = chosen
        return scores


class _Ends:
    """Tells the library which rows have ended by their own limit or stop string, and notes where they did."""

    def __init__(self, torch: Any, tokenizer: Any, rows: Sequence[Row], width: int) -> None:
        self._torch = torch
        self._tokenizer = tokenizer
        self._rows = rows
        self._width = width
        self.lengths = [row.limit for row in rows]
        self._ended = [False] * len(rows)

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - part of the library's protocol
        written = input_ids.shape[1] - self._width
        for i, row in enumerate(self._rows):
            if self._ended[i]:
                continue
            stopped = bool(row.stop) and has_stop(self._tokenizer, input_ids[i, self._width :].tolist(), row.stop)
            if stopped or written >= row.limit:
                self._ended[i] = True
                self.lengths[i] = written
        return self._torch.tensor(self._ended, device=input_ids.device)


def decode(tokenizer: Any, tokens: list[int]) -> str:
    """Return the text as it was written: no special tokens, no spaces taken out before punctuation."""
    text: str = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def has_stop(tokenizer: Any, tokens: list[int], stops: Sequence[str]) -> bool:
    """Tell whether a stop string is complete; only the end is decoded, since this is asked after every token."""
    longest = max(len(stop.encode()) for stop in stops)
    tail = decode(tokenizer, tokens[-(longest + 8) :])
    return any(stop in tail for stop in stops if stop)


def _load(llm: "Transformers", torch: Any, transformers: Any) -> tuple[Any, Any]:
    where = _local.place(llm)
    chosen = {"revision": llm.revision} if llm.revision else {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(where, trust_remote_code=llm.trust_remote_code, **chosen)
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    dtype = llm.dtype if llm.dtype == "auto" else getattr(torch, llm.dtype)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        where,
        device_map=_device(llm.device, torch),
        trust_remote_code=llm.trust_remote_code,
        **{"dtype" if version >= (4, 56) else "torch_dtype": dtype},
        **({"attn_implementation": llm.attn_implementation} if llm.attn_implementation else {}),
        **chosen,
    )
    return tokenizer, model.eval()


def _device(named: str, torch: Any) -> str:
    if named != "auto":
        return named
    if torch.cuda.is_available():
        return "auto" if torch.cuda.device_count() > 1 else "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _is_out_of_memory(torch: Any, error: BaseException) -> bool:
    known = getattr(torch, "OutOfMemoryError", None)
    if isinstance(known, type) and isinstance(error, known):
        return True
    return isinstance(error, RuntimeError | MemoryError) and any(m in str(error).lower() for m in _OUT_OF_MEMORY)


def _does_not_fit(llm: "Transformers") -> TeacherError:
    return TeacherError(
        f"{llm.model} does not fit into the memory of the device; give dtype: bfloat16, a smaller or quantized model, "
        "or device: cpu to compute it there"
    )


@contextmanager
def _breaking() -> Iterator[None]:
    try:
        yield
    except Broken:
        raise
    except Exception as e:  # whatever a library that is still changing may raise
        raise Broken(_local.clean(str(e) or type(e).__name__)) from e


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep the library's advice and its bar of loaded weights out of the run's progress; downloads still show."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
