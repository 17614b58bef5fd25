"""Products in 8 bits are the products, to 8 bits; the same operations run on a CPU, where nothing is gained by them."""

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

from magicoder.training import adapters, attention, eight_bits, loss, models, tensors  # noqa: E402
from magicoder.training.batches import MicroBatch  # noqa: E402
from magicoder.training.settings import Adapter  # noqa: E402


def relative(found: Any, expected: Any) -> float:
    return float((found.detach().double() - expected.detach().double()).norm() / expected.detach().double().norm())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("magnitude", [1e-3, 1.0, 1e4])
def test_a_linear_layer_and_its_gradients_are_right_to_eight_bits(bias, magnitude) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 48, bias=bias, dtype=torch.bfloat16)
    data = (torch.randn(2, 32, 64) * magnitude).bfloat16().requires_grad_()
    upstream = torch.randn(2, 32, 48).bfloat16()
    expected = layer(data)
    expected.backward(upstream)
    wanted = [data.grad, *(p.grad for p in layer.parameters())]
    data.grad, layer.weight.grad = None, None
    if bias:
        layer.bias.grad = None
    assert eight_bits.apply([layer]) == 1
    found = layer(data)
    found.backward(upstream)
    assert relative(found, expected) < 0.06
    assert not torch.equal(found, expected)
    for gradient, other in zip([data.grad, *(p.grad for p in layer.parameters())], wanted, strict=True):
        assert relative(gradient, other) < 0.1


def test_what_has_odd_sizes_is_left_alone() -> None:
    parts = torch.nn.Sequential(torch.nn.Linear(16, 20), torch.nn.Linear(16, 32), torch.nn.Embedding(16, 16))
    assert eight_bits.apply([parts]) == 1
    layer = parts[1]
    rows = torch.randn(5, 16)
    assert torch.equal(layer(rows), torch.nn.functional.linear(rows, layer.weight, layer.bias))


def test_adapters_keep_their_bits_beside_weights_that_lose_theirs(tiny) -> None:
    pytest.importorskip("peft")
    model = adapters.attach(tiny("llama", dtype=torch.bfloat16), Adapter(rank=16))
    eight_bits.apply(models.layers(model))
    kinds = {name: type(m) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert {kind for name, kind in kinds.items() if "lora_" in name} == {torch.nn.Linear}
    assert {kind for name, kind in kinds.items() if name.endswith("base_layer")} == {eight_bits.Linear}


def test_zeros_stay_zeros() -> None:
    layer = torch.nn.Linear(16, 16, bias=False, dtype=torch.bfloat16)
    eight_bits.apply([layer])
    assert not layer(torch.zeros(16, 16, dtype=torch.bfloat16)).any()


@pytest.mark.filterwarnings("ignore:.* should not be instantiated")  # torch's own way to trace a function
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own look at inputs
def test_a_compiled_model_learns_in_eight_bits_about_what_it_learns_in_sixteen(tiny, listed) -> None:
    micro = MicroBatch((tuple(range(5)),), 1 / listed.targets)
    bound = tensors.bound([micro], listed.lengths)

    def course(*, eight: bool) -> list[float]:
        torch._dynamo.reset()
        model = tiny("qwen2", dtype=torch.bfloat16).train()
        model.magicoder_eight_bits = eight
        attention.install(model, "packed")
        names = list(model.state_dict())
        models.compile_layers(model, "packed", backend="aot_eager")
        assert list(model.state_dict()) == names
        used = {type(m) for layer in models.layers(model) for m in layer.modules()}
        assert (eight_bits.Linear in used) is eight
        losses = []
        for _ in range(8):
            batch = tensors.collate(micro, listed, layout="packed", pad_id=1, device="cpu", bound=bound)
            found = loss.loss(model, batch)
            found.backward()
            losses.append(found.item())
            with torch.no_grad():
                for p in model.parameters():
                    p.sub_(0.1 * p.grad)
                    p.grad = None
        return losses

    eight, sixteen = course(eight=True), course(eight=False)
    assert sixteen[-1] < sixteen[0] - 0.05
    assert eight != sixteen
    for left, right in zip(eight, sixteen, strict=True):
        assert left == pytest.approx(right, rel=0.02)
