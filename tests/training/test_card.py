"""The model card says how a model was made, and no more than that."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from magicoder import finetuning
from magicoder.text.model_card import How, model_card
from magicoder.training.settings import Base, Stage, Training

STAGE: dict[str, Any] = {
    "stage": "one",
    "examples": 39,
    "epochs": 2,
    "max_length": 160,
    "steps": 8,
    "tokens": 12345,
    "loss": None,
    "held_out_before": {},
    "held_out_after": {},
}


@pytest.mark.parametrize(
    ("how", "said", "unsaid"),
    [
        ({"weights": "float32"}, "Trained in float32;", "beside each weight"),
        ({"master": True}, "Trained in bfloat16 with an exact float32 beside each weight;", "LoRA"),
        ({"adapter_rank": 8}, "Only adapters (LoRA of rank 8) were trained", "drawn at random"),
        ({"drawn": True}, "weights were drawn at random", "LoRA"),
        ({"weights": "float32"}, "rounded to bfloat16", "SFTTrainer"),
        ({}, "the mean over all tokens.", "rounded to bfloat16"),
        ({"backend": "trl"}, "TRL's SFTTrainer took the steps.", "balances"),
        ({"balanced": True}, "and the loss that balances experts.", "mean of the last"),
        ({"averaged": 3}, "The weights are the mean of the last 3 checkpoints", "PeftModel"),
        (
            {"adapter_rank": 8, "alone": True},
            "AutoModelForCausalLM.from_pretrained('base'",
            "from_pretrained(FOLDER, d",
        ),
    ],
)
def test_what_was_trained_is_said(how: dict[str, Any], said: str, unsaid: str) -> None:
    card = model_card("name", "base", [STAGE], mode="clean", template="magicoder", how=How(**how))
    assert said in card
    assert unsaid not in card


@pytest.mark.parametrize(("template", "is_there"), [("magicoder", True), ("chat", False)])
def test_the_raw_prompt_is_there_where_the_model_was_trained_with_it(template: str, *, is_there: bool) -> None:
    card = model_card("name", "base", [STAGE], mode="paper-exact", template=template, how=How())
    assert ("@@ Instruction" in card) is is_there
    assert "micro-batches' means" in card


def test_settings_and_datasets_of_the_hub_are_said() -> None:
    how = How(settings=(("optimizer", "adafactor"), ("random seed", "42")), datasets=("org/data",))
    card = model_card("name", "base", [STAGE], mode="clean", template="chat", how=how)
    assert yaml.safe_load(card.split("---")[1])["datasets"] == ["org/data"]
    assert "| optimizer | adafactor |\n| random seed | 42 |" in card
    assert "datasets" not in model_card("name", "base", [STAGE], mode="clean", template="chat", how=How())


def test_a_card_names_data_without_saying_where_they_lie(tmp_path: Path) -> None:
    first = Stage(name="one", data=("hub:org/data", str(tmp_path / "mine" / "dataset")))
    second = Stage(name="two", data=(str(tmp_path / "rows.jsonl"),), learning_rate=1e-5)
    training = Training(name="x", base=Base(model="b"), stages=(first, second))
    assert finetuning._on_hub(training, 2) == ("org/data",)
    said = dict(finetuning._settings(training, 2))
    assert said["data of one"] == "org/data, mine"
    assert said["data of two"] == "rows.jsonl"
    assert (said["rate of one"], said["rate of two"]) == ("5e-05, 15 steps of warm-up", "1e-05, 15 steps of warm-up")
    assert "data of two" not in dict(finetuning._settings(training, 1))
