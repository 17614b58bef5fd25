"""Checkpoints are whole or not there, whatever happens while they are written."""

import errno
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from magicoder.errors import StoreError  # noqa: E402
from magicoder.training import checkpoints, tensorfiles  # noqa: E402
from magicoder.training.checkpoints import Checkpoints  # noqa: E402
from magicoder.training.parallel import World  # noqa: E402
from tests.training.processes import context, together  # noqa: E402

ALONE = World()


def tensors(seed: int = 0) -> dict[str, Any]:
    drawn = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 5, generator=drawn)
    return {
        "float": values,
        "brain": values.bfloat16(),
        "columns": values.t(),
        "remainder": torch.tensor([-32768, 32767, 0], dtype=torch.int16),
        "step": torch.tensor(7),
        "bytes": torch.arange(256, dtype=torch.uint8),
        "empty": torch.zeros(0, 4),
        "flags": torch.tensor([True, False]),
        "not a number": torch.tensor([float("nan"), float("-inf"), -0.0]),
    }


def save(kept: Checkpoints, step: int, **facts: Any) -> Path:
    return kept.save(step, {"model": tensors(step), "optimizer": {"a.step": torch.tensor(step)}}, facts, ALONE)


def steps(kept: Checkpoints) -> list[int]:
    return [int(p.name[5:]) for p in kept.places()]


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert kept.latest(ALONE) is None
    place = kept.save(5, {"model": tensors()}, {"loss": 0.5, "stage": "oss"}, ALONE)
    found = kept.latest(ALONE)
    assert found is not None
    assert (found.folder, found.step, found.facts) == (place, 5, {"loss": 0.5, "stage": "oss"})
    groups = found.load(ALONE)
    assert groups.keys() == {"model"}
    model = groups["model"]
    assert set(model) == set(tensors())
    for name, tensor in tensors().items():
        back = model[name]
        assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
        flat = tensor.contiguous().reshape(-1)
        assert back.reshape(-1).view(torch.uint8).tolist() == flat.view(torch.uint8).tolist()
    with pytest.raises(KeyError):
        model["other"]


def test_files_are_safetensors_that_anyone_can_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    place = save(Checkpoints(tmp_path, keep=1), 3)
    theirs = safetensors.load_file(place / "model.safetensors")
    assert theirs.keys() == tensors().keys()
    assert torch.equal(theirs["brain"], tensors(3)["brain"])
    size = (place / "model.safetensors").stat().st_size
    assert size == tensorfiles.size_of(tensors(3))


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3, 4):
        save(kept, step)
    assert steps(kept) == [3, 4]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
    once = Checkpoints(tmp_path, keep=0)  # never none
    save(once, 5)
    assert steps(once) == [5]


def test_a_step_that_is_saved_again_replaces_itself(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=3)
    save(kept, 1, take=1)
    save(kept, 2, take=1)
    save(kept, 1, take=2)  # a run that went on from before; what came later in the old course is gone
    assert steps(kept) == [1]
    found = kept.latest(ALONE)
    assert found is not None
    assert found.facts == {"take": 2}


def damage_table(place: Path) -> None:
    (place / "checkpoint.json").write_text("{")


def damage_a_bit(place: Path) -> None:
    path = place / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def cut_short(place: Path) -> None:
    os.truncate(place / "optimizer.safetensors", 40)


def take_a_file(place: Path) -> None:
    (place / "optimizer.safetensors").unlink()


def forget_facts(place: Path) -> None:
    about = json.loads((place / "checkpoint.json").read_text())
    del about["files"]
    (place / "checkpoint.json").write_text(json.dumps(about))


@pytest.mark.parametrize("damage", [damage_table, damage_a_bit, cut_short, take_a_file, forget_facts])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(tmp_path: Path, damage: Any) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    save(kept, 1)
    damage(save(kept, 2))
    said: list[str] = []
    found = kept.latest(ALONE, said.append)
    assert found is not None
    assert found.step == 1
    assert len(said) == 1
    assert "step-00000002 is damaged" in said[0]


def test_two_damaged_ones_are_no_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    damage_table(save(kept, 1))
    cut_short(save(kept, 2))
    said: list[str] = []
    assert kept.latest(ALONE, said.append) is None
    assert len(said) == 2


def test_a_kill_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    place = save(kept, 1, take=1)
    place.rename(place.with_name(place.name + ".old"))  # where `swap` stands between its renames
    found = kept.latest(ALONE)
    assert found is not None
    assert found.facts == {"take": 1}
    save(kept, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002"]


def test_what_a_kill_left_half_written_is_removed_by_the_next(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    (tmp_path / "step-00000003.partial").mkdir()
    (tmp_path / "step-00000003.partial" / "model.safetensors").write_bytes(b"half")
    save(kept, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000004"]


def test_a_machine_that_does_not_see_the_disk_says_so(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    save(kept, 1)
    found = kept.latest(ALONE)
    assert found is not None
    with pytest.raises(StoreError, match=r"process 3 cannot read .* need one disk"):
        replace(found, folder=tmp_path / "elsewhere").load(World(rank=3, size=4))


def test_another_version_s_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    about = save(kept, 1) / "checkpoint.json"
    about.write_text(about.read_text().replace('"layout": 1', '"layout": 9'))
    with pytest.raises(StoreError, match=r"written by magicoder .* \(layout 9\)"):
        kept.latest(ALONE)


def test_a_full_disk_leaves_earlier_checkpoints_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoints(tmp_path, keep=1)
    save(kept, 1)
    with monkeypatch.context() as patched:
        patched.setattr(tensorfiles.Sink, "write", _full)
        with pytest.raises(StoreError, match=r"disk is full.*free some space"):
            save(kept, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
        with pytest.raises(StoreError, match=r"GB left and a checkpoint takes.*earlier checkpoints are as they were"):
            save(kept, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    found = kept.latest(ALONE)
    assert found is not None
    assert found.step == 1


def _full(self: tensorfiles.Sink, data: Any) -> None:
    self.trouble = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_device_that_fails_while_it_writes_is_an_error_of_ours(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    sink = tensorfiles.Sink(Path("/dev/full"))
    tensorfiles.write(sink, {"a": torch.zeros(100_000)}, lambda t: t)
    trouble = sink.close()
    assert trouble is not None
    assert trouble.errno == errno.ENOSPC


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        save(Checkpoints(tmp_path / "file" / "checkpoints", keep=1), 1)


def broken_disk(world: World, folder: str) -> str:
    """Process 0 cannot write; both have to hear of it, and neither waits for ever."""
    if world.is_main:
        tensorfiles.Sink.write = _full  # type: ignore[method-assign]
    try:
        Checkpoints(Path(folder), keep=1).save(2, {"model": tensors()}, {}, world)
    except StoreError as e:
        return str(e)
    return "saved"


def processes_agree(world: World, folder: str) -> tuple[Any, ...]:
    kept = Checkpoints(Path(folder), keep=1)
    kept.save(1, {"model": tensors()}, {}, world)
    found = kept.latest(world)
    assert found is not None
    return found.step, sorted(found.load(world)["model"]), broken_disk(world, folder)


def test_two_processes_save_once_and_fail_together(tmp_path: Path) -> None:
    first, second = together(processes_agree, str(tmp_path))
    assert first[:2] == second[:2] == (1, sorted(tensors()))
    assert all("disk is full" in one[2] for one in (first, second))


def saves_for_ever(folder: str, first: int) -> None:
    kept = Checkpoints(Path(folder), keep=2)
    torch.set_num_threads(1)
    for step in range(first, 100_000):
        kept.save(step, {"model": {str(i): torch.full((20_000,), float(step)) for i in range(40)}}, {}, ALONE)


def test_a_kill_at_any_moment_leaves_a_checkpoint_that_is_whole(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    last = 0
    for turn in range(8):
        process = context().Process(target=saves_for_ever, args=(str(tmp_path), last + 1), daemon=True)
        process.start()
        deadline = time.monotonic() + 60
        while not any(s > last for s in steps(kept)) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.013 * turn)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        said: list[str] = []
        found = kept.latest(ALONE, said.append)
        assert found is not None
        assert said == []
        assert found.step > last
        last = found.step
        model = found.load(ALONE)["model"]
        assert all((model[name] == float(last)).all() for name in model)
        assert len(steps(kept)) <= 3
    save(kept, last + 1)
    assert len(list(tmp_path.iterdir())) == 2
