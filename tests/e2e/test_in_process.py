"""The tiny random model of test_real_server.py in this process: by the library itself, and against its own server.

Needs the environment that `make test-server` makes.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import environment
from tests.e2e.test_real_server import MAKE_MODEL, environment_with_torch, server  # noqa: F401 - fixtures

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ALONE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
"""No network; and one thread, since on a busy machine those of torch mostly wait for each other."""

ASK = """
import json, sys
from dataclasses import asdict, replace
from magicoder.llms import _local_session, _local_torch
from magicoder.llms.transformers import Transformers
from magicoder.records import Failure, Message, Prompt

MODEL = sys.argv[1]

def ask(prompts, **fields):
    found = {}
    with Transformers(model=MODEL, **fields).open() as session:
        waiting, in_flight = list(enumerate(prompts)), 0
        while waiting or in_flight:
            while waiting and in_flight < session.capacity:
                session.submit(*waiting.pop(0))
                in_flight += 1
            for ticket, answer in session.collect():
                found[ticket] = asdict(answer)
                in_flight -= 1
    return [found[i] for i in range(len(prompts))]

def prompt(i, **fields):
    messages = (
        Message(role="system", content="You write code."),
        Message(role="user", content=f"question {i} " + "def f(x): return x\\n" * (i % 7)),
    )
    return replace(Prompt(messages=messages, max_tokens=10 + i, random_seed=i), **fields)

greedy = [prompt(i) for i in range(20)]
sampled = [prompt(i, temperature=0.8, top_p=0.9, n=2) for i in range(20)]
stops = [("du",), ("e", "th"), ("rup", "ine"), ("o",), ("ekup", "zzz")]
stopping = [prompt(i, max_tokens=200, stop=stops[i % 5]) for i in range(10)]
unlimited = [prompt(i, max_tokens=300) for i in range(8)]
ending = {"exponential_decay_length_penalty": [3, 6.0]}
slots = {"continuous_batching": True, "batch_size": 5}
ways = {"alone": {"batch_size": 1}, "batches": {"batch_size": 5}, "slots": slots}
result = {
    name: {way: ask(prompts, **fields) for way, fields in ways.items()}
    for name, prompts in {"greedy": greedy, "sampled": sampled, "stopping": stopping}.items()
}
result["ending"] = {w: ask(unlimited, generation=ending, **ways[w]) for w in ("alone", "batches")}
mixed = [p for pair in zip(greedy, sampled) for p in pair]
result["mixed"] = ask(mixed, continuous_batching=True, batch_size=3)
result["again"] = ask(sampled[:3], batch_size=7)
result["too_long"] = ask([prompt(6)], max_context=30)

import torch
generate, refused = _local_torch.Loaded.generate, []
def short_of_memory(self, rows):
    if len(rows) > 2:
        refused.append(len(rows))
        class Out:
            def __getattr__(self, name): return getattr(real, name)
            def generate(self, **_): raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        real, self._model = self._model, Out()
        try:
            return generate(self, rows)
        finally:
            self._model = real
    return generate(self, rows)
_local_torch.Loaded.generate = short_of_memory
result["short_of_memory"] = ask(greedy, batch_size=8)
result["refused"] = refused

# How often each of five tokens is drawn.
rows = [_local_session.Row([1], 1, (), 2.0, 0.9, f"{i}:0") for i in range(4000)]
logits = torch.tensor([[4.0, 3.0, 2.0, 1.0, -4.0]]).repeat(len(rows), 1)
drawn = _local_torch._Draw(torch, rows)(None, logits).argmax(-1)
probabilities = torch.softmax(logits[0] / 2.0, -1)
result["drawn"] = torch.bincount(drawn, minlength=5).tolist()
result["expected"] = probabilities.tolist()
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def model(environment_with_torch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("local") / "tiny"
    python = environment_with_torch / "bin" / "python"
    subprocess.run([python, "-c", MAKE_MODEL, folder], check=True, capture_output=True, env=offline(folder.parent))
    return folder


@pytest.fixture(scope="module")
def asked(environment_with_torch: Path, model: Path) -> dict[str, Any]:  # noqa: F811
    """What the library answered."""
    python = environment_with_torch / "bin" / "python"
    done = subprocess.run(
        [python, "-c", ASK, model], check=False, capture_output=True, text=True, env=offline(model.parent), timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def run(environment_with_torch: Path, home: Path, tmp_path: Path) -> Run:  # noqa: F811
    """`magicoder …` where torch is installed."""
    command = environment_with_torch / "bin" / "magicoder"
    assert command.exists(), "magicoder is not installed in that environment; run `make test-server`"

    def call(*arguments: object, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        everything = environment(home) | ALONE | (env or {})
        return subprocess.run(
            [command, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=everything,
            timeout=280,
        )

    return call


def offline(folder: Path) -> dict[str, str]:
    return {**os.environ, **ALONE, "HF_HOME": str(folder / "hf")}


def texts(answers: list[dict[str, Any]]) -> list[Any]:
    return [(a["texts"], a["finish_reasons"], a["prompt_tokens"], a["completion_tokens"]) for a in answers]


@pytest.mark.parametrize("name", ["greedy", "sampled", "stopping"])
def test_alone_in_batches_or_continuously_a_model_says_the_same(asked: dict[str, Any], name: str) -> None:
    # In float32 on one CPU; elsewhere a sum may be rounded otherwise and tip a token now and then.
    alone, batches, slots = (texts(asked[name][way]) for way in ("alone", "batches", "slots"))
    assert alone == batches == slots
    assert len({text for found, *_ in alone for text in found}) > 3


def test_answers_end_where_the_prompt_says(asked: dict[str, Any]) -> None:
    for i, answer in enumerate(asked["greedy"]["batches"]):
        assert (answer["finish_reasons"], answer["completion_tokens"]) == (["length"], 10 + i)
    stopped = [a for a in asked["stopping"]["batches"] if a["finish_reasons"] == ["stop"]]
    assert len(stopped) > 3
    assert all(a["completion_tokens"] < 200 for a in stopped)
    for answer in asked["stopping"]["batches"][1::5]:
        assert "e" not in answer["texts"][0]
        assert "th" not in answer["texts"][0]


def test_an_answer_that_the_model_ends_is_whole_and_counted(asked: dict[str, Any]) -> None:
    alone, batches = asked["ending"]["alone"], asked["ending"]["batches"]
    assert texts(alone) == texts(batches)
    assert {a["finish_reasons"][0] for a in batches} == {"stop"}
    assert all(a["completion_tokens"] < 300 for a in batches)
    assert all("</s>" not in a["texts"][0] for a in batches)


def test_a_sampled_answer_depends_on_its_seed_alone(asked: dict[str, Any]) -> None:
    assert texts(asked["again"]) == texts(asked["sampled"]["alone"][:3])
    assert all(a["texts"][0] != a["texts"][1] for a in asked["sampled"]["alone"])


def test_greedy_and_sampled_prompts_mix(asked: dict[str, Any]) -> None:
    assert texts(asked["mixed"][::2]) == texts(asked["greedy"]["alone"])
    assert texts(asked["mixed"][1::2]) == texts(asked["sampled"]["alone"])


def test_draws_follow_temperature_and_top_p(asked: dict[str, Any]) -> None:
    drawn, expected = asked["drawn"], asked["expected"]
    kept = expected[:4]  # 0.44 + 0.27 + 0.16 < 0.9, so the fourth is in, and the fifth is out
    assert sum(kept[:3]) < 0.9 < sum(kept)
    for count, probability in zip(drawn, kept, strict=False):
        share = probability / sum(kept)
        assert abs(count / 4000 - share) < 5 * (share * (1 - share) / 4000) ** 0.5
    assert drawn[4] == 0


def test_torch_running_out_of_memory_halves_the_batch(asked: dict[str, Any]) -> None:
    assert texts(asked["short_of_memory"]) == texts(asked["greedy"]["alone"])
    assert asked["refused"][0] == 8
    assert len(asked["refused"]) <= 4, "learnt, not tried again and again"


def test_a_prompt_longer_than_the_context_fails_alone(asked: dict[str, Any]) -> None:
    (failure,) = asked["too_long"]
    assert failure["reason"] == "prompt_too_long"


def recipe(folder: Path, source: Path, teacher: str, name: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(
        f"name: tiny\ncorpora: [{{local_files: {{path: {source}}}}}]\ndocuments: {{limit: 20}}\n"
        f"strategy: {{oss_instruct: {{max_tokens: 48}}}}\nteacher: {teacher}\n"
    )
    return path


def layout(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def rejected(folder: Path) -> dict[str, tuple[Any, ...]]:
    rows = pq.read_table(folder / "samples" / "rejected").to_pylist()
    return {r["id"]: (r["reason"], r["text"], r["prompt_tokens"], r["completion_tokens"]) for r in rows}


@pytest.mark.timeout(600)
def test_in_process_and_behind_a_server_a_model_gives_the_same_artifacts(
    run: Run,
    model: Path,
    server: tuple[str, str],  # noqa: F811
    small_source: Path,
    tmp_path: Path,
) -> None:
    url, served = server
    behind = f"{{openai_chat: {{model: {served}, base_url: '{url}', concurrency: 4}}}}"
    here = f"{{transformers: {{model: {model}}}}}"
    outs = []
    for name, teacher in (("behind", behind), ("here", here)):
        done = run("run", recipe(tmp_path, small_source, teacher, name), "--out", name, "--json")
        assert done.returncode == 0, done.stderr
        outs.append(json.loads(done.stdout)["summary"])
    assert layout(tmp_path / "behind") == layout(tmp_path / "here")
    assert [s["stage"] for s in outs[0]["stages"]] == [s["stage"] for s in outs[1]["stages"]]
    theirs, ours = rejected(tmp_path / "behind"), rejected(tmp_path / "here")
    assert len(ours) > 10
    assert {reason for reason, *_ in ours.values()} <= {"truncated", "unparsed", "empty_answer"}
    assert ours == theirs, "greedily the texts agree, and so do the tokens"
    published = (tmp_path / "here" / "dataset").rglob("*")
    assert not any(str(model.parent).encode() in p.read_bytes() for p in published if p.is_file())


POISON = 'raise SystemExit("torch was imported")\n'


@pytest.mark.timeout(600)
def test_what_the_journal_answers_loads_no_model(run: Run, model: Path, small_source: Path, tmp_path: Path) -> None:
    poisoned = tmp_path / "poisoned"
    poisoned.mkdir()
    for package in ("torch", "transformers"):
        (poisoned / f"{package}.py").write_text(POISON)
    without_torch = {"PYTHONPATH": str(poisoned)}
    yaml = recipe(tmp_path, small_source, f"{{transformers: {{model: {model}}}}}", "r")
    fresh = run("run", yaml, "--out", "none", "--json", env=without_torch)
    assert "torch was imported" in fresh.stderr, "it is needed where the journal has no answer"
    first = run("run", yaml, "--out", "first", "--json")
    assert first.returncode == 0, first.stderr
    moved = shutil.move(model, tmp_path / "tiny")
    try:
        yaml.write_text(yaml.read_text().replace(str(model), str(moved)))
        second = run("run", yaml, "--out", "second", "--json", env=without_torch)
    finally:
        shutil.move(moved, model)
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["summary"] == json.loads(first.stdout)["summary"]


def test_the_command_line_takes_a_folder_and_explains_what_is_wrong_with_it(
    run: Run, model: Path, small_source: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(model, tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    flags = ("--source", small_source, "--limit", "20", "--out", "out", "--quiet")
    no_template = run("run", *flags, "--llm", "transformers:./base")
    assert no_template.returncode == 4
    assert "no chat template" in no_template.stderr
    (base / "model.safetensors").write_bytes(b"garbage")
    broken = run("run", *flags, "--llm", "transformers:./base")
    assert broken.returncode == 4
    assert "cannot load a model from the folder" in broken.stderr
    unknown = run("run", *flags, "--llm", "transformers:no/such")
    assert unknown.returncode == 4
    assert "hub and its cache" in unknown.stderr
    no_gpu = run("run", *flags, "--llm", "vllm:no/such")
    assert no_gpu.returncode == 4
    assert "pip install 'magicoder[vllm]'" in no_gpu.stderr
    assert all("Traceback" not in done.stderr for done in (no_template, broken, unknown, no_gpu))


# Evaluated.


def scored(folder: Path) -> tuple[bytes, Any, Any]:
    """What was said, and what came of it."""
    found = json.loads((folder / "results.json").read_bytes())
    decided = {
        k: found["generation"][k] for k in ("style", "decoding", "truncated", "prompt_tokens", "completion_tokens")
    }
    return (folder / "answers.jsonl").read_bytes(), found["tasks"], decided


@pytest.mark.timeout(600)
@pytest.mark.parametrize("style", ["chat", "magicoder"])
def test_in_process_and_behind_a_server_a_model_scores_the_same(
    run: Run,
    model: Path,
    server: tuple[str, str],  # noqa: F811
    few_tasks: Path,
    tmp_path: Path,
    style: str,
) -> None:
    url, served = server
    command = ("evaluate", "humaneval", "--style", style, "--max-tokens", "24", "--data", few_tasks, "--workers", "1")
    behind = run(*command, "--model", served, "--base-url", url, "--concurrency", "4", "--out", "behind")
    assert behind.returncode == 0, behind.stderr
    more = ("--check-batch-invariance", "5") if style == "magicoder" else ()
    here = run(*command, "--model", model, "--batch-size", "8", "--out", "here", *more)
    assert here.returncode == 0, here.stderr
    assert scored(tmp_path / "behind") == scored(tmp_path / "here")
    assert "80 answers of" in here.stdout
    generation = json.loads((tmp_path / "here" / "results.json").read_bytes())["generation"]
    assert generation["settings"]["transformers"]["batch_size"] == 8
    assert "torch" in generation["fingerprints"][0]
    assert str(model.parent) not in json.dumps(generation)
    if more:
        assert generation["asked_alone"] == {"tasks": [f"HumanEval/{n}" for n in (0, 16, 32, 48, 64)], "differ": []}


@pytest.mark.timeout(600)
def test_a_killed_evaluation_of_a_base_model_goes_on_to_the_same_answers(
    environment_with_torch: Path,  # noqa: F811
    run: Run,
    model: Path,
    home: Path,
    few_tasks: Path,
    tmp_path: Path,
) -> None:
    base = shutil.copytree(model, tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    command = ["evaluate", "humaneval", "--model", "./base", "--max-tokens", "48", "--data", few_tasks]
    command += ["--batch-size", "4", "--only-answers", "--out", "out"]
    chat = run(*command)
    assert chat.returncode == 4
    assert "no chat template" in chat.stderr
    assert "--style completion" in chat.stderr
    assert "Traceback" not in chat.stderr
    command = [*command[:-2], "--style", "completion", "--out", "out"]
    executable = environment_with_torch / "bin" / "magicoder"
    env = environment(home) | ALONE
    process = subprocess.Popen([executable, *map(str, command)], cwd=tmp_path, env=env, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while answered(home / "magicoder" / "journal.sqlite") < 12 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = answered(home / "magicoder" / "journal.sqlite")
    assert 12 <= before < 80
    resumed = run(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{80 - before} asked, {before} reused" in resumed.stderr
    whole = run(*command[:-1], "whole", "--journal", "other.sqlite")
    assert whole.returncode == 0, whole.stderr
    names = ("answers.jsonl", "samples.jsonl")
    assert [(tmp_path / "out" / n).read_bytes() for n in names] == [
        (tmp_path / "whole" / n).read_bytes() for n in names
    ]


def answered(journal: Path) -> int:
    """How many answers are durable in a journal that another process is writing."""
    if not journal.exists():
        return 0
    connection = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:  # its table is not there yet
        return 0
    finally:
        connection.close()
