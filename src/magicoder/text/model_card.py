"""The model card: what a trained model was made from and how, how to ask it, and what is not known about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


_LOAD: Final = 'model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype="auto", device_map="auto")'
_LOAD_ADAPTER: Final = """base = AutoModelForCausalLM.from_pretrained(BASE, dtype="auto", device_map="auto")
model = PeftModel.from_pretrained(base, FOLDER + "/adapter")"""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a model was trained.

    weights       the type of the weights in training, and `master`: with an exact float32 beside each
    adapter_rank  of LoRA; 0: all weights were trained
    alone         only the adapters are in the folder, not a model that has them added in
    drawn         the base gave its shape only; its weights were drawn at random
    backend       who took the steps (`training.settings.Training.backend`)
    balanced      the loss of a step has the balancing loss of the model's experts in it
    averaged      of how many of the last checkpoints the weights are the mean; 0: they are those of the last step
    settings      names and values of what else decided the result
    datasets      on the Hugging Face hub that it learned from
    """

    weights: str = "bfloat16"
    master: bool = False
    adapter_rank: int = 0
    alone: bool = False
    drawn: bool = False
    backend: str = "own"
    balanced: bool = False
    averaged: int = 0
    settings: tuple[tuple[str, str], ...] = ()
    datasets: tuple[str, ...] = ()


def model_card(
    name: str,
    base: str,
    stages: Sequence[Mapping[str, Any]],
    *,
    mode: str,
    template: str,
    how: How,
    scores: Sequence[Sequence[str]] = (),
) -> str:
    """Return the README.md of a model's folder, with the metadata that the Hugging Face hub reads.

    base    name of the model that training began with
    stages  the facts of each stage (`training.run.train`)
    scores  rows of benchmark, score and interval
    """
    head = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": base,
        **({"datasets": list(how.datasets)} if how.datasets else {}),
        "tags": ["code", "magicoder", "instruction-tuning"],
    }
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---\n",
        f"# {name}\n",
        _made(base, mode, stages, how),
        _asking(base, template, alone=how.alone),
    ]
    if scores:
        parts.append(_table("## Scores", ("benchmark", "score", "% (95 % interval)"), scores))
    parts.append(_limits(base))
    return "\n".join(parts)


def _made(base: str, mode: str, stages: Sequence[Mapping[str, Any]], how: How) -> str:
    fields = ("examples", "epochs", "max_length", "steps", "tokens")
    rows = [[s["stage"], *(f"{s[f]:,}" for f in fields), *losses_of(s)] for s in stages]
    header = ("stage", "examples", "epochs", "max. tokens", "steps", "tokens", "last loss", "held out before", "after")
    said = f"Fine-tuned from {code(base)}, mode {code(mode)}. {_said(mode, how)}\n\n"
    made = said + _table("## Training", header, rows)
    return made + "\n" + _table("### Settings", ("setting", "value"), how.settings) if how.settings else made


def _said(mode: str, how: How) -> str:
    exact = " with an exact float32 beside each weight" if how.master else ""
    loss = "the mean of micro-batches' means, as the original" if mode == "paper-exact" else "the mean over all tokens"
    balanced = ", and the loss that balances experts" if how.balanced else ""
    exactly = how.alone or (how.weights == "bfloat16" and not how.master)
    written = "" if exactly else " What is here is rounded to bfloat16."
    parts = [
        f"Trained in {how.weights}{exact}; the loss of a step is {loss}{balanced}.{written}",
        "TRL's SFTTrainer took the steps." if how.backend == "trl" else "",
        f"Only adapters (LoRA of rank {how.adapter_rank}) were trained." if how.adapter_rank else "",
        f"The weights are the mean of the last {how.averaged} checkpoints; the losses are those of the last one."
        if how.averaged
        else "",
        "The base's weights were drawn at random: this model shows that the recipe runs, and no more."
        if how.drawn
        else "",
    ]
    return " ".join(part for part in parts if part)


def losses_of(stage: Mapping[str, Any]) -> list[str]:
    """Return the loss of the last step, and that on what the stage itself held out, before and after."""
    own = [stage["loss"], stage["held_out_before"].get(stage["stage"]), stage["held_out_after"].get(stage["stage"])]
    return ["" if value is None else f"{value:.4f}" for value in own]


def _asking(base: str, template: str, *, alone: bool) -> str:
    asked = _ASK
    if alone:
        asked = "from peft import PeftModel\n" + asked.replace(_LOAD, _LOAD_ADAPTER.replace("BASE", repr(base)))
    lines = ["## How to ask it\n", "```python", asked, "```\n"]
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
