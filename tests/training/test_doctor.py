"""`magicoder doctor` says what training needs."""

import importlib.util
from pathlib import Path

from magicoder.doctor import examine


def test_what_training_needs_is_looked_at(tmp_path: Path) -> None:
    found = {finding.what: finding for finding in examine(None, tmp_path)}
    for package in ("torch", "peft"):
        finding = found[f"package {package}"]
        there = importlib.util.find_spec(package) is not None
        assert finding.state == ("ok" if there else "missing")
        assert there or "magicoder[train]" in finding.fix
    assert found["gpu"].state == "ok" or "training" in found["gpu"].fix
