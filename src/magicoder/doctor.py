"""What works on this machine, and how to get what does not."""

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SERVERS = (("vLLM, transformers serve", 8000), ("llama.cpp", 8080), ("Ollama", 11434), ("LM Studio", 1234))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: `state` is ok, missing (optional) or broken (needed)."""

    what: str
    state: str
    found: str
    fix: str = ""


def examine(data: str | None, home: Path, *, run: bool = False) -> list[Finding]:
    """Look at everything; nothing leaves this machine. Nothing is changed either, except by `run`.

    run      also runs a greeting in every language, in jails; what compilers keep is made where it is not there yet
    """
    return [
        _python(),
        *_packages(),
        _gpu(),
        *_sandbox(),
        *(_greetings() if run else ()),
        *_keys(),
        *_servers(),
        _benchmarks(data),
        _journal(home),
        _disk(),
    ]


def _python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return Finding(
        what="python",
        state="ok" if fine else "broken",
        found=platform.python_version(),
        fix="" if fine else "Python 3.11+",
    )


def _packages() -> Iterator[Finding]:
    optional = (
        ("numba", "fast", "compiled loops for large corpora"),
        ("datasets", "hub", "streaming Hugging Face datasets"),
        ("tokenizers", "tokenizer", "exact token counts in estimates"),
        ("transformers", "transformers", "a teacher in this process"),
        ("vllm", "vllm", "a fast teacher in this process, on a GPU"),
        ("torch", "train", "training: `magicoder train`"),
        ("peft", "train", "training adapters (LoRA)"),
    )
    for module, extra, purpose in optional:
        there = importlib.util.find_spec(module) is not None
        fix = "" if there else f"pip install 'magicoder[{extra}]'"
        yield Finding(what=f"package {module}", state="ok" if there else "missing", found=purpose, fix=fix)


def _gpu() -> Finding:
    out = _first_line("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    fix = (
        ""
        if out
        else "none needed to make data, a teacher can run anywhere behind --base-url; training large models needs one"
    )
    return Finding(what="gpu", state="ok" if out else "missing", found=out or "no NVIDIA GPU", fix=fix)


def _sandbox() -> Iterator[Finding]:
    """How programs are kept apart here, and what can be run like that."""
    from magicoder.errors import SandboxError
    from magicoder.languages import executable
    from magicoder.sandboxes import _ladder, _toolchains

    try:
        rung = _ladder.choose()
        level = rung.level
        yield Finding(what="sandbox", state="ok", found=rung.line, fix="; ".join(rung.reasons))
    except SandboxError as e:
        level = 0
        what, _, reasons = str(e).partition(". ")
        yield Finding(what="sandbox", state="missing", found=what, fix=reasons or _CONTAINER)
    for language in executable():
        found = _toolchains.on_rung(_toolchains.find(language.name), level)
        yield Finding(
            what=f"toolchain {language.name}",
            state="ok" if found.version else "missing",
            found=found.version or found.missing,
            fix=found.install,
        )


_CONTAINER = "a container: `sandbox: {container: {image: …}}` in the recipe (docs/sandbox.md)"


def _greetings() -> Iterator[Finding]:
    """Run what can be run, as any program is run."""
    from magicoder.errors import SandboxError
    from magicoder.languages import executable
    from magicoder.records import Outcome, Program
    from magicoder.sandboxes.cells import Cells

    known = [(language.name, language.toolchain) for language in executable() if language.toolchain]
    programs = [
        Program(language=name, files=(("", toolchain.hello),), expected_stdout="hello\n") for name, toolchain in known
    ]
    try:
        with Cells().open() as runner:
            for (name, toolchain), verdict in zip(known, runner.run(programs), strict=True):
                if verdict.outcome is Outcome.TOOLCHAIN_MISSING:
                    continue
                fine = verdict.outcome is Outcome.PASSED
                yield Finding(
                    what=f"greeting {name}",
                    state="ok" if fine else "broken",
                    found=verdict.toolchain if fine else f"{verdict.outcome}: {verdict.detail}",
                    fix="" if fine else f"install it again ({toolchain.install}), or tell us (docs/languages.md)",
                )
    except SandboxError as e:
        yield Finding(what="greetings", state="missing", found=str(e), fix=_CONTAINER)


def _keys() -> Iterator[Finding]:
    for name in ("OPENAI_API_KEY", "HF_TOKEN"):
        there = bool(os.environ.get(name))  # that it is set is said, never what it is
        fix = "" if there else f"export {name}=… (only for endpoints that want one)"
        yield Finding(
            what=f"key {name}", state="ok" if there else "missing", found="set" if there else "not set", fix=fix
        )


def _servers() -> Iterator[Finding]:
    for name, port in SERVERS:
        with socket.socket() as s:
            s.settimeout(0.2)
            there = s.connect_ex(("127.0.0.1", port)) == 0
        url = f"http://localhost:{port}/v1"
        if there:
            yield Finding(
                what=f"server :{port}", state="ok", found=f"something listens ({name}?)", fix=f"--base-url {url}"
            )
        else:
            yield Finding(
                what=f"server :{port}", state="missing", found=f"no {name}", fix=f"start one, then --base-url {url}"
            )
    configured = os.environ.get("OPENAI_BASE_URL", "")
    if configured:
        host = urlsplit(configured).hostname or "?"
        yield Finding(what="OPENAI_BASE_URL", state="ok", found=f"set, host {host}", fix="pass it with --base-url")


def _benchmarks(data: str | None) -> Finding:
    from magicoder.benchmarks import at_hand
    from magicoder.errors import BenchmarkError

    try:
        known = at_hand(data)
    except BenchmarkError as e:
        what, _, fix = str(e).partition("; ")
        return Finding(what="benchmark files", state="broken", found=what, fix=fix)
    count = len({t.benchmark for t in known.tasks})
    sources = known.index.sources if known.index else {}
    indexed = {name: source.tasks for name, source in sources.items() if name in known.not_covered}
    fix = "" if count or indexed else "give --data DIR or set MAGICODER_DATA (docs/benchmarks.md)"
    found = [f"{count} benchmarks, {len(known.tasks):,} tasks"] if count or not indexed else []
    if indexed:
        found.append(f"{len(indexed)} benchmarks, {sum(indexed.values()):,} tasks by an index of fingerprints")
    return Finding(
        what="benchmark files", state="ok" if count or indexed else "missing", found=" and ".join(found), fix=fix
    )


def _journal(home: Path) -> Finding:
    there = next(p for p in (home, *home.absolute().parents) if p.exists())
    writable = there.is_dir() and os.access(there, os.W_OK)
    return Finding(
        what="journal",
        state="ok" if writable else "broken",
        found=str(home) if writable else f"{home} cannot be written",
        fix="" if writable else "set MAGICODER_HOME to a folder of yours",
    )


def _disk() -> Finding:
    free_gb = shutil.disk_usage(".").free / 1e9
    fine = free_gb > 1
    return Finding(
        what="disk",
        state="ok" if fine else "broken",
        found=f"{free_gb:,.0f} GB free here",
        fix="" if fine else "free some space",
    )


def _first_line(*command: str) -> str:
    """Return the first line a command prints, "" if it is not there or fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - fixed list
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0][:70] if lines else ""
