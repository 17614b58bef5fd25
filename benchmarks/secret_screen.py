"""Secrets and personal data: recall on planted keys, false alarms on real code, speed; beside detect-secrets and `re`.

    python benchmarks/secret_screen.py --peer ENV/bin/python  (an environment of its own: pip install detect-secrets)

Planted: every kind of `tests/planted.py`, in its ways to write it down, made at random; a key counts as found when a
finding stands in its lines. Real code: the Python standard library, and `corpus_sample.parquet` of the folder that
MAGICODER_DATA names (else ../shared/data); there everything found is listed by kind, and with `--show` by place, to be
looked at. Speeds are of one process, CPU time, best of rounds; `re` tries every rule on every text, and so does
detect-secrets with its default plugins and filters, both on the first `--peer-mb` of the files.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.planted import BARE_FORMS, BY_NAME, FORMS, KEYS, planted

from magicoder.text import personal_data, secret_patterns
from magicoder.text.secrets import apply, find

DATA = Path(os.environ.get("MAGICODER_DATA") or Path(__file__).parents[2] / "shared" / "data")
ENDINGS = (".py", ".py", ".js", ".json", ".java", ".yaml", ".sh", ".sh", ".go")
PEER = """
import json, sys, time
from detect_secrets.core import scan
from detect_secrets.settings import default_settings
found = {}
with default_settings():
    before = time.process_time()
    for path in json.load(sys.stdin):
        found[path] = [(s.type, s.line_number) for s in scan.scan_file(path)]
print(json.dumps({"seconds": time.process_time() - before, "found": found}))
"""


def peer(python: str, files: dict[str, str]) -> tuple[float, dict[str, list[tuple[str, int]]]]:
    """Return the seconds of CPU that detect-secrets takes, and what it finds in each file."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for number, (name, text) in enumerate(files.items()):
            path = Path(folder, f"{number}{Path(name).suffix}")
            path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
            paths[str(path)] = name
        answer = subprocess.run(
            [python, "-c", PEER], input=json.dumps(list(paths)), capture_output=True, text=True, check=True
        )
        told = json.loads(answer.stdout)
        return told["seconds"], {paths[path]: found for path, found in told["found"].items()}


def plant(copies: int) -> tuple[dict[str, str], dict[tuple[str, str], range]]:
    """Return files with keys, and where each key stands: file and kind → lines."""
    files, places = {}, {}
    for kind in KEYS:
        for number, form in enumerate(FORMS if kind in BY_NAME else (*FORMS, *BARE_FORMS)):
            for copy in range(copies):
                rng = random.Random(f"{kind}:{number}:{copy}")
                code, _ = planted(kind, rng, form)
                name = f"{kind}-{number}-{copy}{ENDINGS[number]}"
                files[name] = f"\n\n{code}\n\n"
                places[name, kind] = range(3, 3 + code.count("\n"))
    return files, places


def recall(copies: int, python: str | None) -> None:
    files, places = plant(copies)
    ours = {name: [(f.kind, f.line) for f in find(text)] for name, text in files.items()}
    theirs = peer(python, files)[1] if python else {}
    hits: dict[str, Counter[str]] = {"ours": Counter(), "detect-secrets": Counter()}
    total: Counter[str] = Counter()
    for (name, kind), lines in places.items():
        total[kind] += 1
        for who, found in (("ours", ours), ("detect-secrets", theirs)):
            hits[who][kind] += any(line in lines for _, line in found.get(name, []))
    print(
        f"\nRecall on {total.total():,} planted keys of {len(total)} kinds\n{'':<22}{'ours':>8}{'detect-secrets':>16}"
    )
    for kind in [*KEYS, ""]:
        ratios = [
            f"{100 * (h[kind] / total[kind] if kind else h.total() / total.total()):.1f} %" for h in hits.values()
        ]
        print(f"{kind or 'all':<22}{ratios[0]:>8}{ratios[1] if python else '–':>16}")


def sources() -> dict[str, dict[str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    library = {
        p.relative_to(root).as_posix(): p.read_bytes().decode("utf-8", "ignore")
        for p in sorted(root.rglob("*.py"))
        if not {"site-packages", "dist-packages"} & set(p.parts)
    }
    found = {"standard library": library}
    if (sample := DATA / "corpus_sample.parquet").exists():
        table = pq.read_table(sample, columns=["repo", "path", "content"]).to_pylist()
        rng = random.Random(0)
        rng.shuffle(table)
        found["corpus sample"] = {f"{r['repo']}/{r['path']}": r["content"] for r in table}
    return found


def alarms(name: str, files: dict[str, str], python: str | None, peer_mb: float, *, show: bool) -> None:
    megabytes = sum(map(len, files.values())) / 1e6
    found = {path: find(text) for path, text in files.items()}
    kinds = Counter(f.kind for some in found.values() for f in some)
    secret = sum(n for kind, n in kinds.items() if kind not in personal_data.KINDS)
    print(f"\n{name}: {len(files):,} files, {megabytes:.0f} MB")
    print(f"  ours: {secret} secrets ({secret / megabytes:.2f} a MB), {dict(kinds)}")
    if show:
        for path, some in found.items():
            for f in some:
                data = files[path].encode("utf-8", "surrogatepass")
                print(f"    {f.kind:<16}{path}:{f.line}  {data[max(0, f.start - 40) : f.end + 5]!r}")
    if python:
        part = first(files, peer_mb)
        _, theirs = peer(python, part)
        size = sum(map(len, part.values())) / 1e6
        names = Counter(kind for some in theirs.values() for kind, _ in some)
        here = sum(not f.is_personal for path in part for f in found[path])
        print(f"  of {size:.1f} MB: ours {here}, detect-secrets {names.total()} ({names.total() / size:.1f} a MB)")
        print(f"  detect-secrets: {dict(names)}")


def first(files: dict[str, str], megabytes: float) -> dict[str, str]:
    reached = accumulate(len(text) for text in files.values())
    pairs = zip(files.items(), reached, strict=True)
    return dict(item for item, _ in takewhile(lambda pair: pair[1] <= megabytes * 1e6, pairs))


def speed(files: dict[str, str], python: str | None, peer_mb: float, rounds: int) -> None:
    rules = [re.compile(r.pattern.encode()) for r in (*secret_patterns.KEYS, *secret_patterns.NAMED)]
    prefixed = rules[: len(secret_patterns.KEYS)]
    mail = re.compile(rb"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
    quad = re.compile(rb"\b(?:\d{1,3}\.){3}\d{1,3}\b")

    def tried(texts: list[str], patterns: list[re.Pattern[bytes]]) -> int:
        return sum(1 for t in texts for d in [t.encode()] for p in patterns for _ in p.finditer(d))

    texts, few = list(files.values()), list(first(files, peer_mb).values())
    ways: dict[str, tuple[list[str], Callable[[list[str]], Any]]] = {
        "ours, secrets and personal data": (texts, lambda ts: [find(t) for t in ts]),
        "ours, secrets": (texts, lambda ts: [find(t, personal=False) for t in ts]),
        "ours, with stand-ins": (
            texts,
            lambda ts: [apply((t,), secrets="redact", personal_data="redact") for t in ts],
        ),
        "re, every rule": (few, lambda ts: tried(ts, [*rules, mail, quad])),
        "re, rules on keys with a prefix": (few, lambda ts: tried(ts, prefixed)),
        "re, e-mail and IPv4 alone": (few, lambda ts: tried(ts, [mail, quad])),
    }
    taken = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, (some, way) in ways.items():
            before = time.process_time()
            way(some)
            taken[name] = min(taken[name], time.process_time() - before)
    rates = {name: sum(map(len, some)) / 1e6 / taken[name] for name, (some, _) in ways.items()}
    if python:
        part = first(files, peer_mb)
        rates["detect-secrets, default plugins"] = sum(map(len, part.values())) / 1e6 / peer(python, part)[0]
    ours = rates["ours, secrets and personal data"]
    print(f"\n{'':<36}{'MB/s':>8}{'ours is':>10}")
    for name, rate in rates.items():
        print(f"{name:<36}{rate:>8.1f}{ours / rate:>9.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has detect-secrets")
    parser.add_argument("--peer-mb", type=float, default=4, help="how much of the files the slow ones are given")
    parser.add_argument("--copies", type=int, default=10, help="keys of each kind and form")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--show", action="store_true", help="list what is found in real code, for a look")
    arguments = parser.parse_args()
    recall(arguments.copies, arguments.peer)
    found = sources()
    for name, files in found.items():
        alarms(name, files, arguments.peer, arguments.peer_mb, show=arguments.show)
    speed(found.get("corpus sample") or found["standard library"], arguments.peer, arguments.peer_mb, arguments.rounds)


if __name__ == "__main__":
    main()
