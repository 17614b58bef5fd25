"""Adapters: every one learns, what stands still stands still, and what is merged is what was trained."""

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
peft: Any = pytest.importorskip("peft")

from magicoder.errors import RecipeError  # noqa: E402
from magicoder.training import adapters, attention, loss, models, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from magicoder.training.settings import Adapter, Base, Precision  # noqa: E402
from tests.training.conftest import FAMILIES, ListedExamples  # noqa: E402

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj")


def batch_of(examples: ListedExamples, layout: str = "packed") -> Any:
    every = tuple(range(len(examples.pieces)))
    rows = (every,) if layout == "packed" else tuple((i,) for i in every)
    return tensors.collate(MicroBatch(rows, 0.01), examples, layout=layout, pad_id=1, device="cpu")


def shaken(model: Any) -> Any:
    """Give both matrices of every adapter values: the second begins at zero."""
    draw = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = (torch.randn(parameter.shape, generator=draw)).to(parameter.dtype)
    return model


@pytest.mark.parametrize("layout", ["packed", "sorted"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_adapter_gets_a_gradient_and_nothing_else_does(tiny, listed, family, layout) -> None:
    model = shaken(adapters.attach(tiny(family), Adapter(rank=4)))
    settled = attention.install(model, layout)
    assert settled.fused
    loss.loss(model, batch_of(listed, layout)).backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.norm() > 0}
    trained = {name for name, _ in model.named_parameters() if ".lora_" in name}
    assert touched == trained
    linear = {name for name, m in tiny(family).named_modules() if isinstance(m, torch.nn.Linear) and name != "lm_head"}
    assert {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in trained} == linear


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("mixtral", {"num_local_experts": 4}),
        ("qwen2_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
        ("llama4_text", {"num_local_experts": 2, "head_dim": 8}),
    ],
)
def test_experts_that_are_single_parameters_get_none_and_what_is_merged_has_them(tiny, listed, family, config) -> None:
    model = shaken(adapters.attach(tiny(family, **config), Adapter(rank=4)))
    found = {name.partition(".lora_")[0].rpartition(".")[2] for name in adapters.own(model)}
    assert found - {"shared_expert_gate"} == set(LINEAR)
    attention.install(model, "packed")
    merged = tiny(family, **config)
    merged.load_state_dict(dict(adapters.merged(model)))
    attention.install(merged, "packed")
    batch = batch_of(listed)
    assert loss.loss(merged, batch).item() == pytest.approx(loss.loss(model, batch).item(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")
def test_adapters_on_experts_are_refused(tiny) -> None:
    model = tiny("qwen3_moe", num_experts=4, head_dim=8, mlp_only_layers=[0])
    with pytest.raises(RecipeError, match="such as q_proj"):
        adapters.attach(model, Adapter(rank=4, targets=("gate_proj", "up_proj")))


def test_an_adapter_of_the_head_learns_and_counts(tiny, listed) -> None:
    model = shaken(adapters.attach(tiny("llama"), Adapter(rank=4, targets=("lm_head", "q_proj"))))
    assert not attention.install(model, "packed").fused
    found = loss.loss(model, batch_of(listed))
    found.backward()
    assert model.get_base_model().lm_head.lora_B["default"].weight.grad.norm() > 0
    merged = tiny("llama")
    merged.load_state_dict(dict(adapters.merged(model)))
    attention.install(merged, "packed")
    assert loss.loss(merged, batch_of(listed)).item() == pytest.approx(found.item(), rel=1e-5)


def test_an_adapter_begins_as_the_model_was(tiny, listed) -> None:
    plain = tiny("llama")
    attention.install(plain, "packed")
    model = adapters.attach(tiny("llama"), Adapter(rank=4))
    attention.install(model, "packed")
    assert loss.loss(model, batch_of(listed)).item() == pytest.approx(loss.loss(plain, batch_of(listed)).item())


def test_adapters_have_the_type_of_the_weights(tiny) -> None:
    model = adapters.attach(tiny("llama", dtype=torch.bfloat16), Adapter(rank=4))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("targets", "why"), [(("q_projection",), "has no 'q_projection'"), (("embed_tokens",), "only linear layers")]
)
def test_targets_that_cannot_have_adapters_are_refused(tiny, targets, why) -> None:
    with pytest.raises(RecipeError, match=why):
        adapters.attach(tiny("llama"), Adapter(rank=4, targets=targets))


def test_four_bits_are_refused_without_a_gpu(tmp_path, tiny, tokenizer) -> None:
    tiny("llama").save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="need an NVIDIA GPU"):
        models.load(Base(model=str(tmp_path)), Precision(), device="cpu", adapter=Adapter(quantized=True))


def test_a_merged_model_is_the_sum_rounded_once(tiny) -> None:
    model = shaken(adapters.attach(tiny("llama", dtype=torch.bfloat16), Adapter(rank=4, alpha=8.0)))
    base = dict(tiny("llama", dtype=torch.bfloat16).named_parameters())
    found = dict(adapters.merged(model))
    assert found.keys() == base.keys()
    name = "model.layers.1.mlp.down_proj"
    layer = model.get_base_model().get_submodule(name)
    product = layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double() * 2.0
    exact = base[f"{name}.weight"].double() + product
    assert torch.equal(found[f"{name}.weight"].bfloat16(), exact.float().bfloat16())
    assert torch.equal(found["lm_head.weight"], base["lm_head.weight"])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # peft's own question
def test_what_is_saved_computes_what_was_trained(tmp_path, tiny, tokenizer, listed) -> None:
    tiny("qwen2").save_pretrained(tmp_path / "base")
    adapter = Adapter(rank=4, targets=LINEAR)
    exact = Precision(weights="float32")
    model = shaken(models.load(Base(model=str(tmp_path / "base")), exact, device="cpu", adapter=adapter))
    attention.install(model, "packed")
    expected = loss.loss(model, batch_of(listed)).item()
    models.save(model, tokenizer, tmp_path / "out", adapter=adapter)
    again = models.load(Base(model=str(tmp_path / "out")), exact, device="cpu")
    for name, tensor in adapters.merged(model):
        assert torch.equal(again.get_parameter(name), tensor.bfloat16().float())
    assert loss.loss(model, batch_of(listed)).item() == expected  # saving changed nothing
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    attention.install(base, "packed")
    assert abs(loss.loss(base, batch_of(listed)).item() / expected - 1) > 1e-3
    beside = peft.PeftModel.from_pretrained(base, tmp_path / "out" / "adapter")
    attention.install(beside, "packed")
    assert loss.loss(beside, batch_of(listed)).item() == pytest.approx(expected, rel=1e-4)


def test_adapters_alone_are_saved_where_merging_is_not_wanted(tmp_path, tiny, tokenizer) -> None:
    adapter = Adapter(rank=4, merge=False)
    models.save(adapters.attach(tiny("llama"), adapter), tokenizer, tmp_path, adapter=adapter)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    assert not list(tmp_path.glob("model*.safetensors"))
    with pytest.raises(RecipeError, match="holds adapters only"):
        models.load(Base(model=str(tmp_path)), Precision(), device="cpu")


def test_what_is_trained_is_counted_apart(tiny) -> None:
    found = models.count(adapters.attach(tiny("llama"), Adapter(rank=4, targets=("q_proj",))))
    assert found.trainable == found.trained == 2 * (4 * 32 + 32 * 4)
    assert found.parameters == models.count(tiny("llama")).parameters + found.trainable
