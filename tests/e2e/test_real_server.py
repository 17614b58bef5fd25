"""One run against a real OpenAI-compatible server: `transformers serve` on CPU with a tiny random model of ours.

It needs torch and transformers, which are too heavy for the development environment: `make test-server` installs them
in an environment of their own and names it in MAGICODER_SERVE_ENV.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Command

MAKE_MODEL = """
import glob, sys, sysconfig
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.manual_seed(0)
bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
special = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
bpe.train(
    sorted(glob.glob(sysconfig.get_path("stdlib") + "/*.py"))[:30],
    trainers.BpeTrainer(vocab_size=800, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()),
)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="</s>")
tokenizer.chat_template = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
tokenizer.save_pretrained(sys.argv[1])
LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, bos_token_id=0, eos_token_id=1,
    )
).save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="module")
def environment_with_torch() -> Path:
    named = os.environ.get("MAGICODER_SERVE_ENV", "")
    if not named or not (Path(named) / "bin" / "transformers").exists():
        pytest.skip("no environment with torch and transformers; run `make test-server`")
    return Path(named).resolve()


@pytest.fixture(scope="module")
def server(environment_with_torch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The base URL and the model's name."""
    folder = tmp_path_factory.mktemp("model")
    model = folder / "tiny"
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "hf")}
    python = environment_with_torch / "bin" / "python"
    subprocess.run([python, "-c", MAKE_MODEL, model], check=True, capture_output=True, env=offline)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [environment_with_torch / "bin" / "transformers", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--device", "cpu", str(model)], stdout=log, stderr=subprocess.STDOUT, env=offline
        )
        try:
            url = f"http://127.0.0.1:{port}/v1"
            wait_for(url, process, folder / "log")
            yield url, str(model)
        finally:
            process.terminate()
            process.wait(30)


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/models", timeout=5).read()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


@pytest.mark.timeout(600)
def test_a_real_server_is_asked_and_its_noise_is_rejected_with_reasons(
    server: tuple[str, str], magicoder: Command, small_source: Path, tmp_path: Path
) -> None:
    url, model = server
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: tiny\n"
        f"corpora: [{{local_files: {{path: {small_source}}}}}]\n"
        "documents: {limit: 20}\n"
        "strategy: {oss_instruct: {max_tokens: 48}}\n"
        f"teacher: {{openai_chat: {{model: {model}, base_url: '{url}', concurrency: 4}}}}\n"
    )
    done = magicoder("run", recipe, "--out", "out", "--json", timeout=500)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    samples = next(s for s in summary["stages"] if s["stage"] == "samples")
    assert samples["kept"] + samples["rejected"] > 10
    assert summary["prompt_tokens"] > 0
    assert summary["completion_tokens"] > 0
    rejected = pq.read_table(tmp_path / "out" / "samples" / "rejected").to_pylist()
    assert rejected, "a random model does not follow instructions"
    assert set(Counter(r["reason"] for r in rejected)) <= {"truncated", "unparsed", "empty_answer"}
    assert all(r["text"] for r in rejected if r["reason"] != "empty_answer"), "the raw answer is kept"
    again = magicoder("run", recipe, "--out", "again", "--json")
    assert json.loads(again.stdout)["summary"] == summary, "the second run is answered by the journal"
