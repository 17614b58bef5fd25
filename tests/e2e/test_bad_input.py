"""What a user can get wrong, each with a message that says what, where and what to do; nothing is lost by it."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Command, environment, tree
from tests.faulty_server import FaultyServer

KEY = "sk-test-0123456789"


def reasons(done: "subprocess.CompletedProcess[str]", stage: str = "documents") -> dict[str, int]:
    summary = json.loads(done.stdout)["summary"]
    return next(s["reasons"] for s in summary["stages"] if s["stage"] == stage)


def assert_clear(done: "subprocess.CompletedProcess[str]", code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: "), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_no_such_path(magicoder: Command, tmp_path: Path) -> None:
    assert_clear(magicoder("run", "--source", tmp_path / "nowhere"), 2, "nowhere")


def test_nothing_to_do(magicoder: Command) -> None:
    assert_clear(magicoder("run"), 2, "give a recipe file or --source PATH")


def test_code_in_the_place_of_a_recipe(magicoder: Command, small_source: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["x = 1"]}), tmp_path / "t.parquet")
    for code in (small_source, small_source / "module_01.py", "t.parquet"):
        assert_clear(magicoder("run", code), 2, f"is not a recipe; to read code from it: magicoder run --source {code}")


def test_an_empty_model_name(magicoder: Command, small_source: Path) -> None:
    assert_clear(magicoder("run", "--source", small_source, "--llm", ""), 2, "--llm is empty")


def test_no_such_folder_of_benchmark_files(magicoder: Command, small_source: Path) -> None:
    """Or else a typo would publish rows that were compared to nothing."""
    assert_clear(magicoder("run", "--source", small_source, "--data", "dta"), 2, "no folder dta", "--data")


def test_a_home_that_cannot_be_written_stops_only_who_needs_it(
    magicoder: Command, small_source: Path, home: Path
) -> None:
    (home / "magicoder").write_text("a file where the folder should be")
    run = ("run", "--source", small_source, "--limit", "9", "--out", "out")
    assert magicoder(*run).returncode == 0
    assert_clear(magicoder(*run, "--llm", "mock"), 3, "cannot be made", "MAGICODER_HOME", "--journal")
    assert magicoder(*run, "--llm", "mock", "--journal", "j.sqlite").returncode == 0


def test_a_second_ctrl_c_stops_at_once_and_nothing_is_lost(
    executable: str, magicoder: Command, small_source: Path, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "r.yaml").write_text(
        f"corpora: [{{local_files: {{path: {small_source}}}}}]\n"
        "strategy: oss_instruct\nteacher: {mock: {latency_s: 30}}\n"
    )
    process = subprocess.Popen(
        [executable, "run", "r.yaml", "--out", "out"],
        cwd=tmp_path,
        env=environment(home),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "samples.building").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130, stderr
    assert "stopped at once" in stderr
    assert "Traceback" not in stderr
    rows = {r["stage"]: r["state"] for r in json.loads(magicoder("status", "out", "--json").stdout)}
    assert (rows["screened"], rows["samples"], rows["dataset"]) == ("done", "interrupted", "-")
    assert magicoder("run", "r.yaml", "--llm", "mock", "--out", "out").returncode == 0


def test_an_empty_corpus(magicoder: Command, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    assert_clear(magicoder("run", "--source", tmp_path / "void"), 2, "void", "no files")


def test_a_corpus_of_files_nobody_can_use_ends_without_rows_and_says_why(magicoder: Command, tmp_path: Path) -> None:
    source = tmp_path / "odd"
    source.mkdir()
    (source / "binary.py").write_bytes(bytes(range(256)) * 8)
    (source / "latin.rs").write_bytes("// caf\xe9\nfn main() {}\n".encode("latin-1"))
    done = magicoder("run", "--source", source, "--json")
    assert done.returncode == 0, done.stderr
    assert reasons(done) == {"binary": 1, "not_utf8": 1}
    assert "stage documents kept none of 2" in magicoder("run", "--source", source).stdout


def test_a_huge_single_line_file_is_not_read_into_memory(
    magicoder: Command, executable: str, home: Path, tmp_path: Path
) -> None:
    source = tmp_path / "huge"
    source.mkdir()
    (source / "ok.py").write_text('def f(a):\n    """Return twice a, as the sum of a and a."""\n    return a + a\n')
    with (source / "line.py").open("wb") as f:
        f.write(b"x = '" + b"a" * 1000)
        f.truncate(1 << 30)
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)\n"
    )
    command = [sys.executable, "-c", code, executable, "run", "--source", str(source), "--workers", "1", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment(home))
    assert int(done.stdout) < 700, "megabytes at most, for a file of 1,024"
    again = magicoder("run", "--source", source, "--json")
    assert reasons(again) == {"too_large": 1}


AS_NOBODY = """
import os, sys
from magicoder.cli import main
main(["run", "--source", "open", "--out", "warm", "--workers", "1", "-q", "--json"], standalone_mode=False)  # loads all
print("-----")
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
main(["run", "--source", "project", "--out", "out", "--workers", "1", "-q", "--json"], standalone_mode=False)
"""


def test_an_unreadable_folder_is_reported_and_the_rest_is_read(small_source: Path, tmp_path: Path, home: Path) -> None:
    """Root reads everything, so root becomes somebody else first, in a process that has loaded all it needs."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "f.py").write_text((small_source / "module_00.py").read_text())
    locked = small_source / "locked"
    locked.mkdir()
    (locked / "secret.py").write_text("x = 1\n")
    parents = [p for p in (tmp_path, *tmp_path.parents) if p.is_relative_to(tempfile.gettempdir())][:-1]
    for folder in parents:
        folder.chmod(0o777)
    home.chmod(0o777)
    (home / "magicoder").mkdir(mode=0o777)
    (home / "magicoder").chmod(0o777)
    locked.chmod(0o000)
    try:
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment(home),
        )
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout.split("-----")[1])["summary"]
        assert summary["stages"][0]["reasons"]["unreadable"] == 1
        assert summary["rows"] >= 100
    finally:
        locked.chmod(0o700)


def test_a_typo_in_a_recipe(magicoder: Command, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\nteacher:\n  openai_chat:\n    model: m\n    temprature: 1\n")
    assert_clear(magicoder("run", "r.yaml"), 2, "r.yaml:5: teacher.openai_chat.temprature is unknown")


def test_a_wrong_column_mapping_names_the_columns_there_are(magicoder: Command, tmp_path: Path) -> None:
    pq.write_table(pa.table({"source_code": ["x = 1"], "repo": ["r"]}), tmp_path / "t.parquet")
    (tmp_path / "r.yaml").write_text("name: x\ncorpora:\n- tables: {path: t.parquet, text: contents}\n")
    assert_clear(magicoder("run", "r.yaml"), 2, "contents", "source_code")


def run_with(magicoder: Command, source: Path, server: FaultyServer, *, key: str = KEY, model: str = "teacher"):
    return magicoder(
        "run",
        "--source",
        source,
        "--llm",
        model,
        "--base-url",
        server.url,
        "--out",
        "out",
        env={"OPENAI_API_KEY": key} if key else {},
    )


def test_a_missing_key(magicoder: Command, small_source: Path) -> None:
    done = magicoder("run", "--source", small_source, "--llm", "gpt-4o-mini", "--out", "out")
    assert_clear(done, 4, "OPENAI_API_KEY")


def test_an_expired_key_is_reported_without_showing_it(magicoder: Command, small_source: Path) -> None:
    with FaultyServer(models=("teacher",)) as server:
        server.key = KEY
        done = run_with(magicoder, small_source, server, key="sk-expired-999")
        assert_clear(done, 4, "OPENAI_API_KEY", "refused")
        assert "sk-expired" not in done.stdout + done.stderr
        assert run_with(magicoder, small_source, server).returncode == 0


def test_an_unknown_model_lists_near_ones(magicoder: Command, small_source: Path) -> None:
    with FaultyServer(models=("qwen-coder", "teacher")) as server:
        assert_clear(run_with(magicoder, small_source, server, model="qwen-codr"), 4, "qwen-codr", "qwen-coder")


def test_a_server_that_is_down(magicoder: Command, small_source: Path) -> None:
    done = magicoder(
        "run", "--source", small_source, "--llm", "m", "--base-url", "http://127.0.0.1:9/v1", "--out", "out"
    )
    assert_clear(done, 4, "http://127.0.0.1:9/v1")


def test_no_key_is_ever_written(magicoder: Command, small_source: Path, tmp_path: Path, home: Path) -> None:
    with FaultyServer(models=("teacher",)) as server:
        server.key = KEY
        server.fault("echo key", only="anchor")
        done = run_with(magicoder, small_source, server)
    assert KEY not in done.stdout + done.stderr
    for folder in (tmp_path / "out", home):
        for name, data in tree(folder).items():
            assert KEY.encode() not in data, name


def test_a_run_folder_of_another_version(magicoder: Command, small_source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_bytes(orjson.dumps({"layout": 99, "magicoder": "7.0"}))
    assert_clear(
        magicoder("run", "--source", small_source, "--out", "out"), 3, "made by magicoder 7.0", "another --out"
    )


def test_two_runs_in_one_folder_at_once(magicoder: Command, small_source: Path, tmp_path: Path) -> None:
    from magicoder.store import RunFolder

    with RunFolder.locked(tmp_path / "out"):
        assert_clear(magicoder("run", "--source", small_source, "--out", "out"), 3, "in use by another magicoder run")
    assert magicoder("run", "--source", small_source, "--out", "out").returncode == 0


def test_a_full_disk_says_so_and_the_run_goes_on_when_there_is_room(
    magicoder: Command, small_source: Path, tmp_path: Path, executable: str, home: Path
) -> None:
    small_disk = tmp_path / "disk"
    small_disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small_disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        done = magicoder("run", "--source", small_source, "--out", small_disk / "out")
        assert_clear(done, 3, "disk is full", "run the same command again")
        subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
        assert magicoder("run", "--source", small_source, "--out", small_disk / "out").returncode == 0
        assert magicoder("run", "--source", small_source, "--out", "roomy").returncode == 0
        assert tree(small_disk / "out" / "dataset") == tree(tmp_path / "roomy" / "dataset")
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)


def test_an_output_folder_that_cannot_be_made(magicoder: Command, small_source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert_clear(magicoder("run", "--source", small_source, "--out", "file"), 3, "is a file")
