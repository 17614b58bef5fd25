"""What tests of training share: tiny random models of four families, and a small tokenizer made on the spot."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.training import runs

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

FAMILIES = ("llama", "qwen2", "qwen3", "starcoder2")
VOCABULARY = 384
TEXT = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses "
    "to user instructions.\n\n@@ Instruction\nWrite a solution to the following coding problem:\n\n@@ Response\n"
    "def add(first: int, second: int) -> int:\n    return first + second\n"
    "```python\nfor i in range(10):\n    print(i)\n```\n"
)


def make_tiny(family: str, attention: str = "eager", dtype: Any = None, **config: Any) -> Any:
    """Return a model of two layers with weights from a fixed seed; `config` overrides its settings."""
    import torch
    import transformers

    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        **({"head_dim": 8} if family == "qwen3" else {}),
        **config,
    }
    shape = transformers.AutoConfig.for_model(family, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_config(shape, attn_implementation=attention)
    return model.to(dtype or torch.float32)


def make_tokenizer() -> Any:
    """Return a byte-level BPE with `<s>` (id 0) and `</s>` (id 1) and no padding token, as transformers wraps one."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


@pytest.fixture
def tiny() -> Callable[..., Any]:
    """`make_tiny`, where torch and transformers are installed."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    torch.set_num_threads(1)
    return make_tiny


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """`make_tokenizer`, where transformers is installed."""
    pytest.importorskip("transformers")
    return make_tokenizer()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A folder with a tiny base, of which the weights are drawn."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return runs.base(tmp_path_factory.mktemp("base"), tokenizer)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 44 rows."""
    return runs.write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl", runs.rows(44))


@dataclass(frozen=True)
class ListedExamples:
    """Encoded examples that are plain lists: token ids, and which of them are learned."""

    pieces: tuple[Any, ...]
    marks: tuple[Any, ...]

    @property
    def lengths(self) -> Any:
        import numpy as np

        return np.array([len(piece) for piece in self.pieces], dtype=np.int32)

    @property
    def targets(self) -> int:
        return sum(int(mark[1:].sum()) for mark in self.marks)

    def tokens(self, index: int) -> Any:
        return self.pieces[index]

    def mask(self, index: int) -> Any:
        return self.marks[index]


@pytest.fixture
def listed() -> ListedExamples:
    """Five examples of 17, 1, 40, 5 and 33 tokens; the first third of each is not learned."""
    np = pytest.importorskip("numpy")
    draw = np.random.default_rng(0)
    sizes = (17, 1, 40, 5, 33)
    pieces = tuple(draw.integers(3, VOCABULARY, size).astype(np.int32) for size in sizes)
    return ListedExamples(pieces, tuple(np.arange(size) >= max(1, size // 3) for size in sizes))
