"""Two processes that are one world; a model that is spread over them."""

import os
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from magicoder.errors import RecipeError  # noqa: E402
from magicoder.training import parallel  # noqa: E402
from magicoder.training.parallel import World  # noqa: E402
from magicoder.training.settings import Machine  # noqa: E402
from tests.training.processes import together  # noqa: E402
from tests.training.small import Run, Small, differing, whole_bits  # noqa: E402


def talk(world: World) -> dict[str, Any]:
    """Everything that processes say to each other, once."""
    rank = world.rank
    parameters = [
        torch.nn.Parameter(torch.zeros(shape, dtype=d))
        for shape, d in (((3, 5), torch.float32), ((4,), torch.bfloat16), ((2,), torch.bfloat16), ((6,), torch.float32))
    ]
    parameters[0].grad = torch.full((5, 3), rank + 1.0).t()  # laid out by columns
    parameters[1].grad = torch.full((4,), 1.5 * (rank + 1), dtype=torch.bfloat16)
    if rank == 1:
        parameters[2].grad = torch.ones(2, dtype=torch.bfloat16)
    parallel.BUCKET_BYTES = 64
    world.sum_gradients(parameters)
    tensor = torch.full((3,), float(rank))
    world.broadcast([tensor])
    world.barrier()
    return {
        "gradients": [None if p.grad is None else p.grad.float().tolist() for p in parameters],
        "dtypes": [None if p.grad is None else str(p.grad.dtype) for p in parameters],
        "broadcast": tensor.tolist(),
        "share": world.share({"from": rank}),
        "gather": world.gather(f"process {rank}"),
        "sum_of": world.sum_of([1, 2.5 * rank]),
        "any": (world.any(rank == 1), world.any(False)),
        "is_main": world.is_main,
    }


def test_processes_add_up_share_and_agree() -> None:
    first, second = together(talk)
    for told in (first, second):
        assert told["gradients"] == [[[3.0] * 5] * 3, [4.5] * 4, [1.0] * 2, None]
        assert told["dtypes"] == ["torch.float32", "torch.bfloat16", "torch.bfloat16", None]
        assert told["broadcast"] == [0.0] * 3
        assert told["share"] == {"from": 0}
        assert told["gather"] == ["process 0", "process 1"]
        assert told["sum_of"] == [2.0, 2.5]
        assert told["any"] == (True, False)
    assert (first["is_main"], second["is_main"]) == (True, False)


def test_one_process_is_a_world_without_any_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with parallel.start(Machine(device="cpu")) as world:
        assert not torch.distributed.is_initialized()
        assert world.is_main
        assert world.gather(1) == [1]
        assert world.share("x") == "x"
        assert world.sum_of([1, 2]) == [1.0, 2.0]
        assert not world.any(False)


def test_a_gpu_that_is_not_there_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="sees no GPU"), parallel.start(Machine(device="cuda")):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(RecipeError, match=r"process 2 .* \(2 there\)"), parallel.start(Machine()):
        pass


def train(world: World, strategy: str, optimizer: str, master: bool) -> dict[str, Any]:
    run = Run(
        world, strategy=strategy, optimizer=optimizer, dtype=torch.bfloat16 if master else torch.float32, master=master
    )
    run.model.eval()  # no dropout: processes draw differently
    norms: list[float] = []
    for number in range(1, 6):
        run.step(number, after_backward=lambda: norms.append(run.optimizer.clip(0.5).item()))
    with torch.no_grad():
        run.model(torch.zeros(1, 4, dtype=torch.long))  # leaves FSDP2's root gathered
    kept = run.everything()
    weights = whole_bits(run.model.named_parameters(), run.optimizer.state())
    held = sum(
        parallel.whole(p).numel() if not hasattr(p, "to_local") else p.to_local().numel()
        for p in run.model.parameters()
        if p.requires_grad
    )
    return {"kept": kept, "exact": weights, "norms": norms, "held": held, "spread": parallel.is_spread(run.model)}


def train_all(world: World) -> dict[Any, dict[str, Any]]:
    return {
        (strategy, optimizer, master): train(world, strategy, optimizer, master)
        for strategy in ("ddp", "fsdp2")
        for optimizer in ("adafactor", "adamw")
        for master in (False, True)
    }


@pytest.fixture(scope="module")
def trained() -> Any:
    torch.set_num_threads(1)
    first, second = together(train_all)
    return train_all(World()), first, second


CASES = [(optimizer, master) for optimizer in ("adafactor", "adamw") for master in (False, True)]


@pytest.mark.parametrize(("optimizer", "master"), CASES)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_all_processes_have_the_same_model(trained: Any, strategy: str, optimizer: str, master: bool) -> None:
    _, first, second = (one[strategy, optimizer, master] for one in trained)
    assert differing(first["kept"], second["kept"]) == []
    assert first["norms"] == second["norms"]


@pytest.mark.parametrize(("optimizer", "master"), CASES)
def test_a_spread_model_learns_what_a_whole_one_does(trained: Any, optimizer: str, master: bool) -> None:
    _, two, _ = trained
    whole, spread = two["ddp", optimizer, master], two["fsdp2", optimizer, master]
    assert spread["spread"]
    assert not whole["spread"]
    assert 0.4 * whole["held"] < spread["held"] < 0.6 * whole["held"]
    assert spread["kept"].keys() == whole["kept"].keys()
    assert {n: (t.dtype, t.shape) for n, t in spread["kept"].items()} == {
        n: (t.dtype, t.shape) for n, t in whole["kept"].items()
    }
    for name, wanted in whole["exact"].items():
        if master:  # gradients of bfloat16 weights differ in their last digits, and so does the sign of one near 0
            assert (spread["exact"][name] - wanted).norm() <= 1e-2 * wanted.norm()
        else:
            torch.testing.assert_close(spread["exact"][name], wanted, rtol=1e-6, atol=1e-7)
    assert spread["norms"] == pytest.approx(whole["norms"], rel=1e-2 if master else 1e-6)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
def test_two_processes_learn_what_one_does(trained: Any, strategy: str, optimizer: str) -> None:
    """T8: the sum over processes, whatever their number; never their mean."""
    alone, two, _ = trained
    for name, wanted in alone["ddp", optimizer, False]["exact"].items():
        torch.testing.assert_close(two[strategy, optimizer, False]["exact"][name], wanted, rtol=1e-5, atol=1e-7)
    assert two[strategy, optimizer, False]["norms"] == pytest.approx(alone["ddp", optimizer, False]["norms"], rel=1e-5)


def test_what_is_trained_is_what_a_checkpoint_needs() -> None:
    names = parallel.trained(Small())
    assert "frozen" not in names
    assert "derived" not in names
    assert {"counted", "unused", "embedding.weight", "layers.1.experts"} <= names.keys()


def test_a_model_is_loaded_bit_for_bit_or_not_at_all() -> None:
    torch.manual_seed(1)
    one, other = Small(), Small()
    kept = {n: t.clone() for n, t in parallel.trained(one).items()}
    parallel.load(other, kept)
    assert differing(parallel.trained(one), parallel.trained(other)) == []
    with pytest.raises(RecipeError, match="2 names differ, such as unused"):
        parallel.load(other, {**{n: t for n, t in kept.items() if n != "unused"}, "x": kept["unused"]})
    with pytest.raises(RecipeError, match=r"unused is torch.bfloat16 \(5,\) there, torch.float32 \(5,\) here"):
        parallel.load(other, {**kept, "unused": kept["unused"].bfloat16()})


def unknown_layers(world: World) -> str:
    try:
        parallel.spread(torch.nn.Linear(2, 2), "fsdp2", world)
    except RecipeError as e:
        return str(e)
    return os.environ["RANK"]


def test_a_model_whose_layers_are_not_known_is_not_spread() -> None:
    assert all("cannot tell the layers of Linear; use ddp" in told for told in together(unknown_layers))
