"""A model that is spread from the start: its weights are those of the file, and only the first process reads them."""

from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402 - after torch was looked for

from magicoder.errors import RecipeError  # noqa: E402
from magicoder.training import attention, building, models, parallel  # noqa: E402
from magicoder.training.settings import Adapter, Base, Machine, Precision, Stage, Training  # noqa: E402
from tests.training.conftest import make_tiny, make_tokenizer  # noqa: E402
from tests.training.processes import together  # noqa: E402

LAYERS = 6
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8, "sliding_window_pattern": 3},
    "mixtral": {"num_local_experts": 4},
    "bloom": {},
    "mamba": {},
}
PADDED = ("bloom", "mamba")
"""Their examples are not packed; the second names layers inside of layers, too."""
STAGE = Stage(name="one", data=("nowhere",))


def training(folder: Path, strategy: str = "fsdp2", **changes: Any) -> Training:
    base = Base(model=str(folder), random_weights=changes.pop("random_weights", False))
    machine = Machine(device="cpu", strategy=strategy)
    precision = Precision(weights="float32")
    return Training(name="tiny", base=base, stages=(STAGE,), precision=precision, machine=machine, **changes)


def built(wanted: Training, world: parallel.World) -> building.Built:
    return building.build(wanted, STAGE, wanted.base, world, tokenizer=None, longest=40)


def held(model: Any) -> int:
    """How many numbers of the model this process has memory for."""
    own = (getattr(p, "_local_tensor", p) for p in model.parameters())
    return sum(p.numel() for p in own if not p.is_meta)


class Watched(parallel._Weights):
    """Sees how much of the model this process has at once."""

    most = 0

    def __init__(self, model: Any, world: parallel.World) -> None:
        super().__init__(model, world)
        self.model = model
        Watched.most = 0

    def bring(self, module: Any) -> None:
        super().bring(module)
        Watched.most = max(Watched.most, held(self.model))


def spread(world: parallel.World, folder: str) -> dict[str, Any]:
    """Build each model; return its weights as the processes have them together, and the most that was here at once."""
    parallel._Weights = Watched  # type: ignore[misc]
    found = {}
    for name in [*FAMILIES, "adapters"]:
        place = Path(folder) / ("llama" if name == "adapters" else name)
        one = built(training(place, adapter=Adapter(rank=4) if name == "adapters" else None), world)
        found[name] = {
            "weights": {n: parallel.whole(p).detach().clone() for n, p in one.model.named_parameters()},
            "buffers": dict(one.model.named_buffers()),
            "installed": one.installed,
            "size": one.size,
            "most": Watched.most,
            "kept": held(one.model),
            "spread": parallel.is_spread(one.model),
        }
    return found


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    for family, config in FAMILIES.items():
        model = make_tiny(family, **{"num_hidden_layers": LAYERS, **config})
        model.config.name_or_path = ""
        model.save_pretrained(folder / family)
        make_tokenizer().save_pretrained(folder / family)
    return folder


@pytest.fixture(scope="module")
def both(places: Path) -> list[dict[str, Any]]:
    return together(spread, str(places))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_of_a_spread_model_are_those_of_the_file(places: Path, both: Any, family: str) -> None:
    alone = transformers.AutoModelForCausalLM.from_pretrained(places / family, dtype=torch.float32)
    wanted, buffers = dict(alone.named_parameters()), dict(alone.named_buffers())
    for one in both:
        found = one[family]
        assert found["spread"]
        assert found["weights"].keys() == wanted.keys()
        assert all(torch.equal(found["weights"][name], wanted[name]) for name in wanted)
        assert found["buffers"].keys() == buffers.keys()
        assert all(torch.equal(found["buffers"][name], buffers[name]) for name in buffers)
    if family == "llama":
        file = load_file(places / family / "model.safetensors")
        assert all(torch.equal(both[1][family]["weights"][name], file[name]) for name in file)


@pytest.mark.parametrize("name", [*FAMILIES, "adapters"])
def test_only_the_first_process_ever_holds_the_model(both: Any, name: str) -> None:
    first, second = (one[name] for one in both)
    whole = sum(p.numel() for p in first["weights"].values())
    assert first["size"] == second["size"]
    assert first["installed"] == second["installed"]
    assert first["installed"].layout == ("sorted" if name in PADDED else "packed")
    assert second["kept"] < 0.6 * whole
    assert second["most"] < 0.75 * whole  # its part, and one layer (of six) or the embeddings as they come


def test_adapters_begin_as_those_of_one_process(places: Path, both: Any) -> None:
    alone = built(training(places / "llama", strategy="ddp", adapter=Adapter(rank=4)), parallel.World()).model
    for one in both:
        assert one["adapters"]["weights"].keys() == dict(alone.named_parameters()).keys()
        assert all(torch.equal(one["adapters"]["weights"][name], p) for name, p in alone.named_parameters())


def unlike(world: parallel.World, folder: str) -> tuple[bool, bool]:
    """Build with `auto` where the model fits everywhere, and where one process has too little memory."""
    wanted = training(Path(folder), strategy="auto")
    everywhere = parallel.is_spread(built(wanted, world).model)
    parallel.fits_whole = lambda _shape, at, kept: at.is_main and kept > 0
    return everywhere, parallel.is_spread(built(wanted, world).model)


def test_one_process_without_room_decides_for_all(places: Path) -> None:
    assert together(unlike, str(places / "llama")) == [(False, True)] * 2


def test_room_is_judged_without_weights(monkeypatch: pytest.MonkeyPatch, places: Path) -> None:
    base = Base(model=str(places / "llama"))
    shape = models.load(base, Precision(weights="bfloat16"), device="meta")
    assert held(shape) == 0
    numbers = sum(p.numel() for p in shape.parameters())
    memory = type("Memory", (), {"total_memory": round(numbers * (2 + 2 + 8) / 0.6) + 8})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    gpu = parallel.World(device=torch.device("cuda", 0))
    assert parallel.fits_whole(shape, gpu, 8.0)
    assert not parallel.fits_whole(shape, gpu, 8.1)
    few = models.load(base, Precision(weights="bfloat16"), device="meta", adapter=Adapter(rank=1))
    assert parallel.fits_whole(few, gpu, 100.0)


def test_weights_in_4_bits_are_not_spread(places: Path) -> None:
    wanted = training(places / "llama", adapter=Adapter(rank=4, quantized=True))
    with pytest.raises(RecipeError, match="fsdp2 cannot spread weights in 4 bits"):
        built(wanted, parallel.World(size=2))


@pytest.mark.parametrize(
    ("family", "config", "layers"),
    [
        ("llama", {}, 1),
        ("gpt2", {}, 1),
        ("starcoder2", {}, 1),
        ("mixtral", {"num_local_experts": 4}, 1),
        ("gemma3_text", {"head_dim": 8, "sliding_window": 8, "sliding_window_pattern": 3}, 3),
        ("qwen2_moe", {"num_experts": 4, "mlp_only_layers": [0, 1], "moe_intermediate_size": 16}, 3),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 4}, 5),
    ],
)
def test_a_short_model_has_a_layer_of_every_kind(tmp_path: Path, family: str, config: Any, layers: int) -> None:
    whole = make_tiny(family, **{"num_hidden_layers": LAYERS, **config})
    whole.config.save_pretrained(tmp_path)
    short = models.shortened(Base(model=str(tmp_path)), Precision(weights="float32"), "cpu")
    assert len(models.layers(short)) == short.config.num_hidden_layers == layers
    assert attention.install(short, "auto", longest=6) == attention.install(whole, "auto", longest=6)


def test_a_head_with_adapters_makes_its_own_logits(places: Path) -> None:
    base, precision = Base(model=str(places / "llama")), Precision(weights="float32")
    short = models.shortened(base, precision, "cpu")
    assert attention.install(short, "packed").fused
    model = models.load(base, precision, device="meta", adapter=Adapter(rank=2, targets=("q_proj", "lm_head")))
    assert not attention.install_as(model, short).fused
