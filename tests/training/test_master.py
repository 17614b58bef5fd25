"""float32 as bfloat16 and 16 more bits: exact."""

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from magicoder.training.optimizers.master import join, split  # noqa: E402


def stored(exact: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    weight = torch.empty_like(exact, dtype=torch.bfloat16)
    remainder = torch.empty_like(exact, dtype=torch.int16)
    split(exact.clone(), weight, remainder)
    return weight, remainder


def bits(tensor: "torch.Tensor") -> "torch.Tensor":
    return tensor.view(torch.int32)


def of_bits(upper: range, lower: list[int]) -> "torch.Tensor":
    high = torch.tensor(list(upper), dtype=torch.int64).view(-1, 1) << 16
    both = (high + torch.tensor(lower, dtype=torch.int64)).flatten()
    return both.to(torch.int32).view(torch.float32)


LOWER = [0, 1, 0x7FFE, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF]


def test_every_upper_half_with_the_lower_halves_where_rounding_turns_comes_back() -> None:
    exact = of_bits(range(1 << 16), LOWER)
    back = join(*stored(exact))
    number = ~exact.isnan()
    assert number.sum() > 65_000 * len(LOWER)
    assert torch.equal(bits(back)[number], bits(exact)[number])
    assert back[~number].isnan().all()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_any_float_comes_back_bit_for_bit(values: list[float]) -> None:
    exact = torch.tensor(values, dtype=torch.float32)
    assert torch.equal(bits(join(*stored(exact))), bits(exact))


@settings(max_examples=200, deadline=None)
@given(st.floats(width=32))
def test_the_weight_that_computes_is_the_exact_one_rounded_to_nearest(value: float) -> None:
    exact = torch.tensor([value], dtype=torch.float32)
    weight, _ = stored(exact)
    nearest = exact.to(torch.bfloat16)
    if exact.isnan():
        assert weight.isnan()
    elif bits(exact).item() & 0xFFFF == 0x8000:  # half-way: away from zero instead of to even
        assert weight.abs() >= nearest.abs()
        assert (weight.float() - exact).abs() <= (nearest.float() - exact).abs() or weight.isinf()
    else:
        assert torch.equal(weight.view(torch.int16), nearest.view(torch.int16))


@pytest.mark.parametrize("pattern", [0x7FC00000, 0x7FFFFFFF, 0x7F800001, -1, -0x7FFFFF])
def test_a_nan_is_one_for_the_model_too_whatever_its_bits(pattern: int) -> None:
    exact = torch.tensor([pattern], dtype=torch.int32).view(torch.float32)
    assert exact.isnan().all()
    weight, remainder = stored(exact)
    assert weight.isnan().all()
    assert join(weight, remainder).isnan().all()


def test_an_update_far_below_the_last_digit_of_bfloat16_adds_up() -> None:
    weight, remainder = stored(torch.ones(1))
    plain = torch.ones(1)
    for _ in range(1000):
        plain.add_(1e-5)
        split(join(weight, remainder).add_(1e-5), weight, remainder)
    assert torch.equal(join(weight, remainder), plain)
    assert weight.item() == pytest.approx(1.01, abs=0.005)
    rounded = torch.ones(1, dtype=torch.bfloat16)
    for _ in range(1000):
        rounded.copy_(rounded.float().add_(1e-5))
    assert rounded.item() == 1.0
