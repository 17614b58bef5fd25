"""Choosing keeps the same records whatever their order, and keeps the earlier ones when more are wanted."""

import random
from pathlib import Path

import pytest

from magicoder.records import Sample, Seed
from magicoder.stages.choose import Choose
from magicoder.store import Artifact, RunFolder
from tests.unit.test_generate import seed


def chosen(path: Path, seeds: list[Seed], count: int, per_part: int = 7) -> Artifact[Seed]:
    with RunFolder.locked(path) as folder:

        def build(out) -> None:
            for start in range(per_part * out.done, len(seeds), per_part):
                out.write(seeds[start : start + per_part], [])

        everything, _ = folder.publish("seeds", Seed, build, settings=[], inputs=[])
        stage = Choose(count=count)
        artifact, _ = folder.publish("chosen", Seed, lambda out: stage.run(everything, out), settings=stage, inputs=[])
        return artifact


SEEDS = [seed(n) for n in range(50)]


@pytest.mark.parametrize("count", [0, 1, 13, 50, 99])
def test_as_many_as_wanted_are_kept_and_the_others_are_accounted_for(tmp_path: Path, count: int) -> None:
    artifact = chosen(tmp_path / "run", SEEDS, count)
    assert artifact.manifest.rows == min(count, 50)
    assert artifact.manifest.rejected == 50 - artifact.manifest.rows
    assert {r.reason for r in artifact.rejections()} <= {"not_needed"}


def test_the_choice_depends_on_neither_order_nor_parts(tmp_path: Path) -> None:
    mixed = SEEDS[:]
    random.Random(3).shuffle(mixed)
    one, two = chosen(tmp_path / "a", SEEDS, 13), chosen(tmp_path / "b", mixed, 13, per_part=11)
    assert {s.id for s in one} == {s.id for s in two}


def test_wanting_more_keeps_the_earlier_ones(tmp_path: Path) -> None:
    few, more = chosen(tmp_path / "a", SEEDS, 13), chosen(tmp_path / "b", SEEDS, 20)
    assert {s.id for s in few} < {s.id for s in more}


def test_samples_go_in_the_order_of_their_seeds(tmp_path: Path) -> None:
    few = {s.id for s in chosen(tmp_path / "a", SEEDS, 13)}
    stage = Choose(count=13)
    samples = [Sample.from_seed(s, strategy="x", instruction="i", response="r") for s in SEEDS]
    ranked = sorted(samples, key=stage._rank)
    assert {s.seed_id for s in ranked[:13]} == few
