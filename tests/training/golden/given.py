"""What a golden run starts from: a tiny Llama, its weights, a tokenizer and rows. The same wherever it is made.

Both sides use this file: `record.py` under the versions of the original, and the test under today's. So it needs
nothing but numpy, and its weights come from `RandomState`, whose stream numpy promises never to change.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
TOKENIZER = HERE / "tokenizer.json"
TRAJECTORY = HERE / "trajectory.json"
ARITHMETIC = {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""So every x86-64 adds in the same order; `torch.backends.mkldnn.set_flags(False)` belongs to it."""
MAX_LENGTH = 112
EPOCHS = 4
ROWS = 49
"""Odd on purpose: 24 pairs and a single row. With one process the last micro-batch of an epoch has one row; with two it
is filled up, and one process sees a micro-batch more than there are: both are cases of the original's arithmetic."""

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}
"""Heads of 16: the square root of the size is a power of two, so that dividing by it and multiplying by its inverse
(the two ways of the two versions) are the same number."""

TOKENIZER_CONFIG: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "clean_up_tokenization_spaces": False,
    "model_max_length": 512,
}
"""No padding token: the original then takes the end-of-text token, as it did for CodeLlama."""

_THINGS = ("tree", "queue", "matrix", "string", "graph", "file", "word")
_VERBS = ("count", "reverse", "merge", "sort", "find", "join")


def rows() -> list[dict[str, str]]:
    """Return the examples: of 12 to about 60 words, some with letters that the tokenizer spells in bytes."""
    made = []
    for number in range(ROWS):
        verb, thing = _VERBS[number % len(_VERBS)], _THINGS[number % len(_THINGS)]
        instruction = f"Write a function to {verb} each {thing} number {number}."
        if number % 5 == 0:
            instruction += f"\nUse no more than {number + 2} lines → and name it `{verb}_{thing}`."
        body = [
            f"    for item{step} in range({step + number}):\n        {verb}(item{step})" for step in range(number % 4)
        ]
        response = "\n".join([f"```python\ndef {verb}_{thing}(items):", *body, f"    return {number}\n```"])
        if number % 7 == 0:
            response = f" déjà vu: {response}"
        made.append({"instruction": instruction, "response": response})
    return made


def weights() -> dict[str, np.ndarray]:
    """Return the starting weights in float32, by name; each is exact in bfloat16 once rounded to it."""
    hidden, inner, vocabulary = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
        shapes |= {f"{at}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{at}.{name}.weight": (hidden,) for name in ("input_layernorm", "post_attention_layernorm")}
    shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}
    stream = np.random.RandomState(20231206)
    return {
        name: (stream.standard_normal(shape) * 0.02).astype(np.float32)
        if len(shape) == 2
        else np.ones(shape, np.float32)
        for name, shape in shapes.items()
    }


def write_tokenizer(folder: Path) -> None:
    """Write what transformers, old or new, loads as a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(TOKENIZER.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG), encoding="utf-8")


def write_model(folder: Path) -> None:
    """Write the model as transformers does: configuration, bfloat16 weights in one safetensors file, tokenizer."""
    import torch
    from safetensors.torch import save_file

    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    tensors = {name: torch.from_numpy(values).to(torch.bfloat16) for name, values in weights().items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
