"""The model card: what a trained model was made from and how, how to ask it, and what is not known about it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from magicoder.text.markdown import code
from magicoder.text.templates import SYSTEM

_ASK: Final = """from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype="auto", device_map="auto")
messages = [{"role": "user", "content": "Write a function that merges two sorted lists."}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**ids.to(model.device), max_new_tokens=1024, do_sample=False)
print(tokenizer.decode(answer[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))"""


def model_card(
    name: str,
    base: str,
    stages: Sequence[Mapping[str, Any]],
    *,
    mode: str,
    template: str,
    weights: str = "bfloat16",
    master: bool = False,
    adapter_rank: int = 0,
    drawn: bool = False,
    scores: Sequence[Sequence[str]] = (),
) -> str:
    """Return the README.md of a model's folder, with the metadata that the Hugging Face hub reads.

    base          name of the model that training began with
    stages        the facts of each stage (`training.run.train`)
    weights       the type in which they were trained, and `master`: with an exact float32 beside each
    adapter_rank  of LoRA; 0: all weights were trained
    drawn         the base gave its shape only; its weights were drawn at random
    scores        rows of benchmark, score and interval
    """
    head = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": base,
        "tags": ["code", "magicoder", "instruction-tuning"],
    }
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---\n",
        f"# {name}\n",
        _made(base, mode, stages, (weights, master, adapter_rank, drawn)),
        _asking(template),
    ]
    if scores:
        parts.append(_table("## Scores", ("benchmark", "score", "% (95 % interval)"), scores))
    parts.append(_limits(base))
    return "\n".join(parts)


def _made(base: str, mode: str, stages: Sequence[Mapping[str, Any]], how_trained: tuple[str, bool, int, bool]) -> str:
    weights, master, adapter_rank, drawn = how_trained
    loss = "the mean of micro-batches' means, as the original" if mode == "paper-exact" else "the mean over all tokens"
    exact = " with an exact float32 beside each weight" if master else ""
    how = f"Trained in {weights}{exact}; the loss of a step is {loss}."
    if adapter_rank:
        how += f" Only adapters (LoRA of rank {adapter_rank}) were trained."
    if drawn:
        how += " The base's weights were drawn at random: this model shows that the recipe runs, and no more."
    fields = ("examples", "epochs", "max_length", "steps", "tokens")
    rows = [[s["stage"], *(f"{s[f]:,}" for f in fields), *losses_of(s)] for s in stages]
    header = ("stage", "examples", "epochs", "max. tokens", "steps", "tokens", "last loss", "held out before", "after")
    return f"Fine-tuned from {code(base)}, mode {code(mode)}. {how}\n\n" + _table("## Training", header, rows)


def losses_of(stage: Mapping[str, Any]) -> list[str]:
    """Return the loss of the last step, and that on what the stage itself held out, before and after."""
    own = [stage["loss"], stage["held_out_before"].get(stage["stage"]), stage["held_out_after"].get(stage["stage"])]
    return ["" if value is None else f"{value:.4f}" for value in own]


def _asking(template: str) -> str:
    lines = ["## How to ask it\n", "```python", _ASK, "```\n"]
    if template == "magicoder":
        lines += [
            "The tokenizer's chat template is the one of training. As raw text:\n",
            f"```text\n{SYSTEM}\n\n@@ Instruction\n{{instruction}}\n\n@@ Response\n```\n",
        ]
    return "\n".join(lines)


def _limits(base: str) -> str:
    return (
        "## Limits\n\n"
        f"The licence of {code(base)} and the terms of the training data apply; read both before you use or publish "
        "this model. Its code may be wrong or insecure: run it in a sandbox and review it. What it was evaluated on "
        "stands above; nothing else is known.\n"
    )


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"{title}\n", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
