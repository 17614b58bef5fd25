"""T18 to T20: a run that was interrupted goes on to the same bits, in every precision, for one process and for two."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from magicoder.training.checkpoints import Checkpoints  # noqa: E402
from magicoder.training.parallel import World  # noqa: E402
from tests.training.processes import together  # noqa: E402
from tests.training.small import Run, differing  # noqa: E402

PRECISIONS: dict[str, dict[str, Any]] = {
    "bfloat16": {"dtype": torch.bfloat16},
    "float32": {},
    "bfloat16 and a master": {"dtype": torch.bfloat16, "master": True},
}
OPTIMIZERS = ("adafactor", "adamw")
SAVED, TOTAL = 3, 7


def compare(world: World, folder: str, strategies: tuple[str, ...]) -> dict[Any, list[str]]:
    """Return what differs after `TOTAL` steps between a run and one that went on from its checkpoint."""
    found: dict[Any, list[str]] = {}
    for strategy in strategies:
        for precision, how in PRECISIONS.items():
            for optimizer in OPTIMIZERS:
                case = (strategy, precision, optimizer)
                kept = Checkpoints(Path(folder) / "-".join(case), keep=1)
                run = Run(world, strategy=strategy, optimizer=optimizer, **how)
                for number in range(1, TOTAL + 1):
                    run.step(number)
                    if number == SAVED:
                        run.save(kept, number)
                        before = run.everything()
                again = Run(world, strategy=strategy, optimizer=optimizer, **how)
                assert again.resume(kept) == SAVED
                loaded = differing(before, again.everything())
                for number in range(SAVED + 1, TOTAL + 1):
                    again.step(number)
                moved = differing(before, run.everything())
                found[case] = [f"loaded: {n}" for n in loaded] + differing(run.everything(), again.everything())
                if len(moved) < 10:
                    found[case].append("nothing was learned")
    return found


def test_one_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    found = compare(World(), str(tmp_path), ("ddp",))
    assert found == {("ddp", p, o): [] for p in PRECISIONS for o in OPTIMIZERS}


@pytest.fixture(scope="module")
def written_by_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[Any, list[str]]]]:
    folder = tmp_path_factory.mktemp("two")
    return folder, together(compare, str(folder), ("ddp", "fsdp2"))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_go_on_bit_for_bit(written_by_two: Any, strategy: str) -> None:
    _, both = written_by_two
    for found in both:
        mine = {case: names for case, names in found.items() if case[0] == strategy}
        assert mine == {(strategy, p, o): [] for p in PRECISIONS for o in OPTIMIZERS}


def there_and_back(world: World, folder: str) -> dict[Any, list[str]]:
    """Load what one process wrote, in two, spread; return what differs from the tensors in the file."""
    found = {}
    for precision, how in PRECISIONS.items():
        for optimizer in OPTIMIZERS:
            kept = Checkpoints(Path(folder) / f"{precision}-{optimizer}", keep=1)
            run = Run(world, strategy="fsdp2", optimizer=optimizer, **how)
            run.resume(kept)
            latest = kept.latest(world)
            assert latest is not None
            groups = latest.load(world).values()
            found[precision, optimizer] = differing(
                {n: t for group in groups for n, t in group.items()}, run.everything()
            )
            run.step(SAVED + 1)
    return found


def test_what_two_wrote_one_reads_and_back(written_by_two: Any, tmp_path: Path) -> None:
    """Another number of processes goes on from equal bits; sums in another order then differ in the last digits."""
    folder, _ = written_by_two
    alone = World()
    for strategy in ("ddp", "fsdp2"):
        for precision, how in PRECISIONS.items():
            for optimizer in OPTIMIZERS:
                theirs = Checkpoints(folder / f"{strategy}-{precision}-{optimizer}", keep=1)
                run = Run(alone, optimizer=optimizer, **how)
                assert run.resume(theirs) == SAVED
                latest = theirs.latest(alone)
                assert latest is not None
                groups = latest.load(alone).values()
                assert differing({n: t for group in groups for n, t in group.items()}, run.everything()) == []
                run.save(Checkpoints(tmp_path / f"{precision}-{optimizer}", keep=1), SAVED)
    expected: dict[Any, list[str]] = {(p, o): [] for p in PRECISIONS for o in OPTIMIZERS}
    assert together(there_and_back, str(tmp_path)) == [expected, expected]
