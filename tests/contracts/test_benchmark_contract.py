"""What every module in `benchmarks/` promises, over the directory listing."""

import importlib
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from magicoder import plugins
from magicoder.errors import BenchmarkError
from magicoder.fingerprint import canonical

NAMES = plugins.names("benchmarks")
PARTLY_AT_HAND = {"apps", "livecodebench"}
"""Of these the shared data hold examples only."""


@pytest.mark.parametrize("name", NAMES)
class TestEveryBenchmark:
    def test_says_what_it_is(self, name: str) -> None:
        benchmark = plugins.load("benchmarks", name)
        assert benchmark.name == name
        for text in (benchmark.version, benchmark.license, benchmark.paper):
            assert isinstance(text, str)
            assert text
        assert benchmark.size > 0

    def test_is_documented_with_paper_licence_and_use(self, name: str) -> None:
        benchmark = plugins.load("benchmarks", name)
        doc = importlib.import_module(f"magicoder.benchmarks.{name}").__doc__ or ""
        summary = plugins.summary("benchmarks", name)
        assert ": " in summary
        assert summary.endswith(".")
        assert benchmark.paper in doc
        assert "Licence:" in doc
        assert "Decontamination looks for" in doc

    def test_is_a_frozen_value_of_primitives(self, name: str) -> None:
        value = plugins.load("benchmarks", name)()
        assert is_dataclass(value)
        assert type(value).__dataclass_params__.frozen
        assert not hasattr(value, "__dict__")
        assert canonical(value)
        for field in fields(value):
            assert isinstance(getattr(value, field.name), str | int | bool | tuple)

    def test_names_the_missing_file(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(BenchmarkError, match=f"^{name}: {tmp_path}.* is not there; put .* or leave {name} out"):
            list(plugins.load("benchmarks", name)().tasks(str(tmp_path)))

    def test_yields_whole_tasks_twice_alike(self, name: str, shared_data: Path) -> None:
        benchmark = plugins.load("benchmarks", name)()
        if name == "gsm8k":
            pytest.skip("gsm8k is not among the shared data")
        tasks = list(benchmark.tasks(str(shared_data)))
        assert tasks == list(benchmark.tasks(str(shared_data / "benchmarks")))
        assert len({t.id for t in tasks}) == len(tasks)
        assert {t.benchmark for t in tasks} == {name}
        for task in tasks:
            assert task.id.strip()
            assert task.prompt.strip()
            assert task.description.strip()
            assert task.language
        assert (len(tasks) < benchmark.size) == (name in PARTLY_AT_HAND)
