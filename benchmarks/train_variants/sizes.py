"""How large a measurement is: CodeLlama-7B's shape, or one that a CPU can train."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a measurement is.

    shape        of the model, a Llama
    divisor      lengths are divided by it
    timed        tokens that are timed at least, a repeat
    repeats      how often
    matrix       side of the matrices whose product gives the rate
    rate_s       seconds that the rate is measured for
    """

    shape: dict[str, Any]
    divisor: int
    timed: int
    repeats: int
    matrix: int
    rate_s: float


_LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": False,
}
SIZES = {
    "7b": Size(
        {
            **_LLAMA,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32016,
            "max_position_embeddings": 16384,
            "rope_theta": 1e6,
        },
        divisor=1,
        timed=60_000,
        repeats=2,
        matrix=8192,
        rate_s=3.0,
    ),
    "toy": Size(
        {
            **_LLAMA,
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "vocab_size": 512,
            "max_position_embeddings": 2048,
        },
        divisor=8,
        timed=4_000,
        repeats=2,
        matrix=512,
        rate_s=0.3,
    ),
    "small": Size(
        {
            **_LLAMA,
            "hidden_size": 256,
            "intermediate_size": 688,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "vocab_size": 4096,
            "max_position_embeddings": 2048,
        },
        divisor=8,
        timed=8_000,
        repeats=3,
        matrix=1024,
        rate_s=1.0,
    ),
}
"""CodeLlama-7B's shape; one for a test on a CPU; one whose products outweigh everything else on a CPU."""
