"""`magicoder verify` on the recorded teacher, in the real sandbox: every Python answer passes its recorded asserts."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from magicoder import pipeline
from magicoder.cli import main
from magicoder.engines.local import Local
from magicoder.errors import SandboxError
from magicoder.pipeline import Surroundings
from magicoder.sandboxes.cells import Cells
from magicoder.stages.verify import Verify
from magicoder.store import RunFolder
from tests.recorded_teacher import recipe_of


@pytest.fixture
def recorded(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run over the Python rows of the recording, nothing in it verified yet."""
    try:
        with Cells().open():
            pass
    except SandboxError as e:
        pytest.skip(f"programs cannot be isolated here: {e}")
    monkeypatch.setenv("MAGICODER_HOME", str(tmp_path))
    recording = shared_data / "recorded_teacher" / "oss_instruct.jsonl"
    recipe = recipe_of(recording, tmp_path, languages=("python",), verify=Verify(mutants=2))
    with RunFolder.locked(tmp_path / "run") as folder:
        pipeline.run(recipe, folder, Surroundings(engine=Local(), journal=tmp_path / "journal.sqlite"))
    return tmp_path / "run"


def verify(run: Path, *flags: str) -> str:
    done = CliRunner().invoke(main, ["verify", str(run), "-q", *flags], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_all_recorded_python_answers_pass_and_their_asserts_are_strong(recorded: Path) -> None:
    told = json.loads(verify(recorded, "--json"))
    python, everything = told["languages"]
    assert (python["language"], python["rows"], python["outcomes"]) == ("python", 53, {"passed": 53})
    assert everything["checked"] == {"tests": 53}
    assert told["not_passed"] == []
    assert python["strength"] > 0.8
    before = (recorded / "verified" / "manifest.json").read_bytes()
    assert "53" in verify(recorded)
    assert (recorded / "verified" / "manifest.json").read_bytes() == before
