"""A trained model on disk, as transformers writes one: what vLLM, llama.cpp's converter and the next stage load."""

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from magicoder.store import explained, write_atomic
from magicoder.text.templates import CHAT_TEMPLATE
from magicoder.training import adapters, loss, parallel
from magicoder.training.settings import Adapter

DTYPE: Final = torch.bfloat16
SHARD: Final = "5GB"
_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")
_VOCABULARY: Final = ("tokenizer.model", "spiece.model")
"""Files of a tokenizer that converters read and that transformers does not always write again."""


def save(
    model: Any,
    tokenizer: Any,
    folder: Path,
    *,
    world: parallel.World | None = None,
    adapter: Adapter | None = None,
    template: str = "magicoder",
    weights: Mapping[str, Any] | None = None,
) -> None:
    """Write a model in bfloat16, with its tokenizer, to `folder`. Every process calls this; the first one writes.

    adapter   what the model was given: the adapters go to `<folder>/adapter`, in their own type, and with `merge` the
              folder is a model that has them added in; without, they are all that is written
    template  `magicoder`: the tokenizer gets the paper's prompt as its chat template; `chat`: it keeps its own
    weights   by the names of `model`'s parameters, instead of the model's own, of any floating type: an average, or the
              exact masters

    Raises:
        StoreError: the folder cannot be written.
    """
    given = weights or {}
    main = world is None or world.is_main
    with explained(folder), numbered(), quiet():
        if main:
            folder.mkdir(parents=True, exist_ok=True)
        if adapter is not None:
            own = adapters.own(model, given, parallel.whole)
            if main:
                adapters.save(
                    model, {name: tensor.cpu().contiguous() for name, tensor in own.items()}, folder / "adapter"
                )
        if adapter is None or adapter.merge:
            found = _on_disk(_named(model, given), keep=main)
            if main:
                whole = loss.core(model)
                empty = _same_without_weights(whole)
                empty.generation_config = _stops(whole, tokenizer, template)
                empty.save_pretrained(folder, state_dict=found, max_shard_size=SHARD)
        if main:
            _save_tokenizer(tokenizer, folder, template)


@contextmanager
def numbered() -> Iterator[None]:
    """Turn what safetensors and tokenizers say of the operating system's errors into such errors."""
    try:
        yield
    except Exception as e:  # they have no common base, and that of tokenizers no type at all
        found = _OS_ERROR.search(str(e))
        if found is None or isinstance(e, OSError):
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from e


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars of its own for a while."""
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


def _on_disk(named: Iterable[tuple[str, Any]], *, keep: bool = True) -> dict[str, Any]:
    """Gather tensors in the type and place for writing; a process that does not write takes part and keeps nothing."""
    found = {}
    for name, tensor in named:
        if keep:
            dtype = DTYPE if tensor.is_floating_point() else tensor.dtype
            found[name] = tensor.detach().to(device="cpu", dtype=dtype).contiguous()
    return found


def _named(model: Any, weights: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield whole tensors, tied ones once. Adapters are added in."""
    if loss.core(model) is not model:
        yield from adapters.merged(model, weights, parallel.whole)
        return
    kept = model.state_dict().keys()
    for name, tensor in [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if n in kept)]:
        yield name, parallel.whole(weights.get(name, tensor))


def _same_without_weights(model: Any) -> Any:
    """A model of the same shape on the device `meta`, which knows how files of its kind are laid out."""
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    remote = bool(getattr(config, "auto_map", None))
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            config, dtype=DTYPE, attn_implementation="eager", trust_remote_code=remote
        )


def _stops(model: Any, tokenizer: Any, template: str) -> Any:
    """How it generates: it ends at the end of text, and where its chat template ends a turn."""
    from transformers import GenerationConfig

    stops = [tokenizer.eos_token_id]
    if template == "chat" and tokenizer.chat_template:
        talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        text = tokenizer.apply_chat_template(talk, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        stops += [number for number in ids[-3:] if number in special and number not in stops]
    before = getattr(model, "generation_config", None)
    found = copy.deepcopy(before) if before is not None else GenerationConfig()
    found.eos_token_id = stops[0] if len(stops) == 1 else stops
    found.bos_token_id = tokenizer.bos_token_id
    found.pad_token_id = tokenizer.pad_token_id
    return found


def _save_tokenizer(tokenizer: Any, folder: Path, template: str) -> None:
    own = copy.deepcopy(tokenizer)
    if template == "magicoder":
        own.chat_template = CHAT_TEMPLATE
    own.save_pretrained(folder)
    source = Path(str(tokenizer.name_or_path))
    for name in _VOCABULARY:
        if (source / name).is_file() and not (folder / name).exists():
            write_atomic(folder / name, (source / name).read_bytes())
