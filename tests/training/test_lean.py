"""Layers that keep less compute what they did: the same numbers forward, the same slopes to rounding."""

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

from magicoder.training import adapters, attention, lean, loss, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from magicoder.training.settings import Adapter  # noqa: E402
from tests.training.conftest import FAMILIES  # noqa: E402

CHANGED = {"llama": 7, "qwen2": 7, "qwen3": 11, "starcoder2": 2}
"""Two layers: norms, of queries and keys too in one family, one at the end, and MLPs. One has torch's own norms."""


def gradients(model: Any, listed: Any) -> dict[str, Any]:
    micro = MicroBatch((tuple(range(5)),), 1 / listed.targets)
    batch = tensors.collate(micro, listed, layout="packed", pad_id=1, device="cpu")
    value = loss.loss(model, batch)
    value.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": value.detach(), **found}


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(
        float((one[n] - other[n]).double().norm() / one[n].double().norm().clamp_min(1e-30)) for n in one if n != "loss"
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lora", [False, True])
def test_loss_and_gradients_are_the_same(tiny, listed, family, dtype, lora) -> None:
    def model() -> Any:
        made = tiny(family, dtype=dtype, attention="sdpa").train()
        if lora:
            pytest.importorskip("peft")
            torch.manual_seed(3)
            made = adapters.attach(made, Adapter(rank=4))
            for name, parameter in made.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=0.02)
        attention.install(made, "packed")
        return made

    plain, changed = model(), model()
    names = list(changed.state_dict())
    assert lean.apply(changed) == CHANGED[family]
    assert list(changed.state_dict()) == names
    one, other = gradients(plain, listed), gradients(changed, listed)
    assert torch.equal(one["loss"], other["loss"])
    assert apart(one, other) <= (2e-6 if dtype == torch.float32 else 2e-3)


def test_slopes_of_a_norm_are_right_to_float64() -> None:
    """Beside autograd's own, of the same operations written out; both make the norm in float32."""
    torch.manual_seed(0)
    hidden = torch.randn(3, 40, 64, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(64, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(3, 40, 64, dtype=torch.float64)
    lean._Norm.apply(hidden, weight, 1e-6).backward(upstream)
    found = hidden.grad.clone(), weight.grad.clone()
    hidden.grad = weight.grad = None
    (weight * (hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + 1e-6))).backward(upstream)
    for one, other in zip(found, (hidden.grad, weight.grad), strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-6


class _OddRMSNorm(torch.nn.Module):
    """As Gemma has it: one more than its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.zeros(8)), 1e-6

    def forward(self, hidden: Any) -> Any:
        wide = hidden.float()
        return ((1 + self.weight.float()) * wide * torch.rsqrt(wide.pow(2).mean(-1, True) + self.eps)).to(hidden.dtype)


class _OddMLP(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = (torch.nn.Linear(8, 8) for _ in range(3))
        self.act_fn = torch.nn.SiLU()

    def forward(self, hidden: Any) -> Any:
        return self.down_proj(self.act_fn(self.up_proj(hidden)) * self.gate_proj(hidden))


def test_what_computes_something_else_is_left_alone() -> None:
    model = torch.nn.Sequential(_OddRMSNorm(), _OddMLP(), torch.nn.RMSNorm(8))
    hidden = torch.randn(2, 8)
    before = model(hidden)
    assert lean.apply(model) <= 1  # torch's own norm rounds as ours, or does not
    assert "forward" not in vars(model[0])
    assert "forward" not in vars(model[1])
    assert torch.equal(model(hidden), before)


@pytest.mark.parametrize(
    ("family", "config", "changed"),
    [
        ("llama", {"hidden_act": "prelu"}, 5),  # an activation that learns keeps what it has
        ("starcoder2", {"residual_dropout": 0.3}, 2),
    ],
)
def test_what_activations_learn_and_what_dropout_draws_stays(tiny, listed, family, config, changed) -> None:
    plain, other = (tiny(family, dtype=torch.bfloat16, attention="sdpa", **config).train() for _ in range(2))
    for model in (plain, other):
        attention.install(model, "packed")
    assert lean.apply(other) == changed
    found = []
    for model in (plain, other):
        torch.manual_seed(5)
        found.append(gradients(model, listed))
    assert torch.equal(found[0]["loss"], found[1]["loss"])
    assert apart(*found) <= 2e-3


def test_nothing_of_what_lies_between_is_kept(tiny, listed) -> None:
    """Bytes that the graph of a loss holds on to."""

    def kept(model: Any) -> int:
        seen: dict[int, int] = {}

        def pack(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            seen[storage._cdata] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            batch = tensors.collate(
                MicroBatch((tuple(range(5)),), 1.0), listed, layout="packed", pad_id=1, device="cpu"
            )
            value = loss.loss(model, batch)
        del value
        return sum(seen.values())

    plain, changed = (tiny("llama", dtype=torch.bfloat16, attention="sdpa").train() for _ in range(2))
    for model in (plain, changed):
        attention.install(model, "packed")
    lean.apply(changed)
    assert kept(changed) < 0.85 * kept(plain)
