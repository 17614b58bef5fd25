"""Models come from folders, are refused with a reason, counted, and saved so that others load them."""

import json
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402

from magicoder.errors import RecipeError, StoreError  # noqa: E402
from magicoder.records import Message  # noqa: E402
from magicoder.text import templates  # noqa: E402
from magicoder.training import attention, averaging, models  # noqa: E402
from magicoder.training.settings import Base, Machine, Precision  # noqa: E402
from tests.training.conftest import FAMILIES  # noqa: E402

FLOAT32 = Precision(weights="float32")


@pytest.fixture
def base(tmp_path, tiny, tokenizer) -> Path:
    """A folder with a tiny Llama and its tokenizer."""
    folder = tmp_path / "base"
    tiny("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> Any:
    return models.load(Base(model=str(folder)), FLOAT32, device="cpu", **options)


def test_a_model_is_loaded_in_the_type_that_is_asked_for(base) -> None:
    kinds = {
        weights: models.load(Base(model=str(base)), Precision(weights=weights), device="cpu")
        for weights in ("bfloat16", "float32")
    }
    assert {p.dtype for p in kinds["bfloat16"].parameters()} == {torch.bfloat16}
    assert {p.dtype for p in kinds["float32"].parameters()} == {torch.float32}
    assert kinds["float32"].training


def test_random_weights_depend_on_the_seed_alone(base) -> None:
    def draw(seed: int) -> Any:
        torch.rand(seed + 1)  # whatever was drawn before
        model = models.load(Base(model=str(base), random_weights=True), FLOAT32, device="cpu", random_seed=seed)
        return torch.cat([p.flatten() for p in model.parameters()]).detach()

    state = torch.random.get_rng_state()
    first = draw(3)
    torch.random.set_rng_state(state)
    assert torch.equal(first, draw(3))
    assert not torch.equal(first, draw(4))


def test_loading_leaves_the_random_generator_as_it_was(base) -> None:
    before = torch.random.get_rng_state()
    models.load(Base(model=str(base), random_weights=True), FLOAT32, device="cpu", random_seed=3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_padding_is_the_end_of_text_where_a_tokenizer_has_none(base) -> None:
    tokenizer = models.load_tokenizer(Base(model=str(base)))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 1


def test_a_tokenizer_without_an_end_of_text_is_refused(base) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = base / name
        if path.exists():
            found = json.loads(path.read_text())
            found.pop("eos_token", None)
            path.write_text(json.dumps(found))
    with pytest.raises(RecipeError, match="no end of text"):
        models.load_tokenizer(Base(model=str(base)))


def test_an_unknown_base_is_refused_by_name(tmp_path) -> None:
    nowhere = Base(model=str(tmp_path / "nowhere"))
    with pytest.raises(RecipeError, match="nowhere"):
        models.load(nowhere, FLOAT32, device="cpu")
    with pytest.raises(RecipeError, match="nowhere"):
        models.load_tokenizer(nowhere)


@pytest.mark.parametrize(("kind", "settings"), [("t5", {"d_model": 16, "num_layers": 1}), ("vit", {"hidden_size": 12})])
def test_a_model_of_another_kind_is_refused(tmp_path, kind, settings) -> None:
    transformers.AutoConfig.for_model(kind, **settings).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="no causal language model"):
        models.load(Base(model=str(tmp_path)), FLOAT32, device="cpu")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(base, tiny, tokenizer) -> None:
    tiny("llama", vocab_size=100).save_pretrained(base)
    with pytest.raises(RecipeError, match=r"384 tokens and the model .* only 100"):
        load(base, tokenizer=tokenizer)


def test_weights_that_are_not_those_of_the_configuration_are_refused(base) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(RecipeError, match="are not those of its config"):
        load(base)


def test_eight_bits_are_refused_where_the_device_has_none(base) -> None:
    with pytest.raises(RecipeError, match="fp8"):
        models.load(Base(model=str(base)), Precision(fp8=True), device="cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_loads_again_with_the_same_weights_and_talks_in_its_template(
    tmp_path, tiny, tokenizer, family
) -> None:
    model = tiny(family, dtype=torch.bfloat16)
    attention.install(model, "packed")
    models.save(model, tokenizer, tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    for (name, left), (other, right) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(left, right)
    text = (tmp_path / "config.json").read_text()
    assert json.loads(text)["dtype"] == "bfloat16"
    assert "magicoder" not in text
    assert again.generation_config.eos_token_id == 1
    talker = transformers.AutoTokenizer.from_pretrained(tmp_path)
    asked = talker.apply_chat_template(
        [{"role": "user", "content": "Add."}], tokenize=False, add_generation_prompt=True
    )
    assert asked == "<s>" + templates.prompt((Message(role="user", content="Add."),))
    ids = torch.tensor([talker("def f")["input_ids"]])
    assert again.generate(ids, max_new_tokens=2, do_sample=False).shape == (1, ids.shape[1] + 2)


TALKS = [
    [("user", "Add.")],
    [("system", "Be brief."), ("user", "Add.")],
    [("user", "Add."), ("assistant", "a + b"), ("user", "It's {{ x }} & <b>?")],
    [("user", "Add."), ("assistant", "def f")],
]


@pytest.mark.parametrize("talk", TALKS)
def test_the_chat_template_says_what_the_prompt_says(tokenizer, talk) -> None:
    messages = tuple(Message(role=role, content=content) for role, content in talk)
    plain = [{"role": role, "content": content} for role, content in talk]
    ends_open = talk[-1][0] == "assistant"
    found = tokenizer.apply_chat_template(
        plain, tokenize=False, chat_template=templates.CHAT_TEMPLATE, add_generation_prompt=not ends_open
    )
    assert found == "<s>" + templates.prompt(messages) + ("</s>" if ends_open else "")


def test_a_chat_model_ends_where_its_template_ends_a_turn(tmp_path, tiny, tokenizer) -> None:
    import copy

    own = copy.deepcopy(tokenizer)
    own.add_special_tokens({"additional_special_tokens": ["<end>"]})
    own.chat_template = "{% for m in messages %}{{ m['content'] }}<end>\n{% endfor %}"
    models.save(tiny("llama", vocab_size=400), own, tmp_path, template="chat")
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [1, own.convert_tokens_to_ids("<end>")]
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).chat_template == own.chat_template


def test_tied_weights_are_saved_once(tmp_path, tiny, tokenizer) -> None:
    model = tiny("qwen2", tie_word_embeddings=True)
    models.save(model, tokenizer, tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight


@pytest.mark.parametrize("family", ["bloom", "mamba"])
def test_a_model_whose_attention_is_its_own_is_drawn_counted_and_saved(tmp_path, tiny, tokenizer, family) -> None:
    config = tiny(family).config
    config.name_or_path = ""
    config.save_pretrained(tmp_path / "base")
    base, precision = Base(model=str(tmp_path / "base"), random_weights=True), Precision(weights="float32")
    model = models.load(base, precision, device="cpu")
    attention.install(model, "auto")
    assert models.count(models.skeleton(base, precision)) == models.count(model)
    models.save(model, tokenizer, tmp_path / "model")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(left.bfloat16(), right) for left, right in pairs)


def test_a_model_without_attention_is_counted(tmp_path) -> None:
    transformers.MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4).save_pretrained(tmp_path)
    found = models.count(models.skeleton(Base(model=str(tmp_path)), Precision()))
    assert found.width == 0
    assert found.flops([10]) == 10 * 6 * found.matmul > 0


def test_given_weights_are_saved_instead_of_the_models_own(tmp_path, tiny, tokenizer) -> None:
    model = tiny("llama", dtype=torch.bfloat16)
    exact = {name: p.detach().float() + 2**-6 for name, p in model.named_parameters()}
    models.save(model, tokenizer, tmp_path, weights=exact)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name], tensor.bfloat16()) for name, tensor in exact.items())


def test_a_base_of_7b_parameters_is_counted_without_memory(tmp_path) -> None:
    transformers.AutoConfig.for_model(
        "llama",
        vocab_size=32_000,
        hidden_size=4096,
        intermediate_size=11_008,
        num_hidden_layers=32,
        num_attention_heads=32,
    ).save_pretrained(tmp_path)
    found = models.count(models.skeleton(Base(model=str(tmp_path)), Precision()))
    assert found.parameters == found.trainable == 6_738_415_616  # CodeLlama-7B
    assert found.matmul == found.trained == 6_738_415_616 - 32_000 * 4096 - 65 * 4096
    lengths = [500, 700]
    per_token = found.flops(lengths) / sum(lengths)
    assert per_token == pytest.approx(6 * found.matmul + 6 * 32 * 4096 * (500**2 + 700**2) / 1200)


def test_the_mean_of_states_is_made_in_wide_numbers(tiny) -> None:
    states = [{name: p.detach() * scale for name, p in tiny("llama").named_parameters()} for scale in (1.0, 2.0, 6.0)]
    found = dict(averaging.mean(states))
    for name in states[0]:
        assert torch.equal(found[name], (sum(state[name].double() for state in states) / 3).float())
    with pytest.raises(StoreError, match="different models"):
        dict(averaging.mean([states[0], {**states[1], "more": torch.ones(1)}]))


def test_recomputing_activations_changes_no_gradient(base) -> None:
    def gradients(machine: Machine) -> Any:
        model = load(base, machine=machine)
        ids = torch.arange(2, 30)[None]
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    assert torch.equal(gradients(Machine()), gradients(Machine(checkpointing=True)))
