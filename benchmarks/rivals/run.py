"""magicoder beside other tools that generate with an LLM, against one loopback server. Builds nothing; see README.md.

python benchmarks/rivals/run.py --env magicoder=PATH --env curator=PATH … [--rows speed,kill,…] [--json FILE]
"""

import argparse
import contextlib
import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
LIMIT_S = 120.0
STORM_IDEAL_S = 1000 / 32 * 0.2
FAST = ("aiohttp loop", "magicoder")
TICK = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Tool:
    """What is measured. `packages` are named with their versions; `start` is what a user waits for before any work."""

    env: str
    adapter: str
    packages: tuple[str, ...]
    start: tuple[str, ...]
    host: str = "127.0.0.1"


TOOLS = {
    "aiohttp loop": Tool("magicoder", "bare.py", ("aiohttp",), ()),
    "magicoder": Tool("magicoder", "ours.py", ("magicoder",), ("magicoder", "--help")),
    "Curator": Tool(
        "curator", "with_curator.py", ("bespokelabs-curator",), ("python", "-c", "from bespokelabs import curator")
    ),
    "Data Designer": Tool("designer", "with_data_designer.py", ("data-designer",), ("data-designer", "--help")),
    "datatrove": Tool(
        "datatrove",
        "with_datatrove.py",
        ("datatrove",),
        ("python", "-c", "import datatrove.pipeline.inference.run_inference"),
    ),
    # Away from 127.0.0.1 datatrove asks through the openai SDK, which retries.
    "datatrove + openai": Tool("datatrove", "with_datatrove.py", ("datatrove", "openai"), (), host="127.0.0.2"),
    "distilabel": Tool("distilabel", "with_distilabel.py", ("distilabel",), ("distilabel", "--help")),
}


def members(session: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the processes of a session and the fields of their `stat`, from `state` on."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    yield int(entry.name), fields


def stop(session: int) -> None:
    for pid, _ in members(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Watch:
    """CPU seconds and resident memory of a process and its descendants (one session), five times a second."""

    session: int
    samples: list[tuple[float, float, float]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.over.wait(0.2):
            cpu = rss = 0.0
            for _, fields in members(self.session):
                cpu += sum(map(int, fields[11:15])) / TICK  # its own and those of children that have ended
                rss += int(fields[21]) * PAGE_MB
            if rss:
                self.samples.append((time.time(), cpu, rss))

    def cpu_since(self, moment: float) -> float:
        before = [cpu for at, cpu, _ in self.samples if at <= moment] or [0.0]
        return max(cpu for _, cpu, _ in self.samples) - before[-1]


@dataclass
class Server:
    url: str

    def call(self, path: str, mode: dict | None = None) -> dict:
        data = None if mode is None else json.dumps(mode).encode()
        with urllib.request.urlopen(self.url + path, data=data, timeout=10) as response:
            return json.load(response)


@contextlib.contextmanager
def served() -> Iterator[Server]:
    process = subprocess.Popen([sys.executable, HERE / "server.py"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.wait()


def attempt(
    server: Server, tool: Tool, env: Path, count: int, connections: int, folder: Path, kill_at: int = 0
) -> dict:
    """Run an adapter once; with `kill_at`, SIGKILL all of it when the server has given so many answers."""
    url = server.url.replace("127.0.0.1", tool.host) + "/v1"
    folder.mkdir(parents=True, exist_ok=True)
    command = [env / "bin/python", HERE / tool.adapter, url, str(count), str(connections), folder / "work"]
    began, outcome = time.time(), "finished"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        watch = Watch(process.pid)
        watcher = threading.Thread(target=watch.run)
        watcher.start()
        while process.poll() is None:
            time.sleep(0.02 if kill_at else 0.05)
            if kill_at and server.call("/_stats")["given"] >= kill_at:
                outcome = "killed"
            elif time.time() - began > LIMIT_S:
                outcome = f"hung: killed after {LIMIT_S:.0f} s"
            if outcome != "finished":
                stop(process.pid)
                process.wait()
    ended = time.time()
    watch.over.set()
    watcher.join()
    stop(process.pid)
    if outcome == "finished" and process.returncode:
        outcome = f"failed: exit status {process.returncode}"
    time.sleep(0.5)  # what is still on its way at the server
    stats = server.call("/_stats")
    result: dict = {"outcome": outcome, "wall_s": ended - began, **stats}
    if stats["first"] and watch.samples:
        result["cpu_ms"] = 1000 * watch.cpu_since(stats["first"]) / count
        result["rss_mb"] = max(rss for _, _, rss in watch.samples)
        result["ready_s"], result["job_s"] = stats["first"] - began, ended - stats["first"]
        result["per_s"] = stats["given"] / (stats["last"] - stats["first"]) if stats["last"] else 0
    with contextlib.suppress(ValueError, IndexError):
        result.update(json.loads((folder / "log").read_text(errors="replace").strip().rpartition("\n")[2]))
    return result


@dataclass
class Bench:
    server: Server
    envs: dict[str, Path]
    work: Path
    repeats: int
    results: dict[str, dict[str, list[dict]]] = field(default_factory=dict)

    def tools(self) -> dict[str, Tool]:
        return {name: tool for name, tool in TOOLS.items() if tool.env in self.envs}

    def rivals(self) -> list[str]:
        return [name for name in self.tools() if name != "aiohttp loop"]

    def note(self, row: str, name: str, result: dict) -> None:
        result["load"] = round(os.getloadavg()[0], 1)
        self.results.setdefault(row, {}).setdefault(name, []).append(result)
        shown = {k: round(v, 2) if isinstance(v, float) else v for k, v in result.items() if k not in ("first", "last")}
        print(f"{row:10} {name:18} {shown}", file=sys.stderr, flush=True)

    def once(self, row: str, name: str, count: int, connections: int, mode: dict | None = None) -> None:
        tool = TOOLS[name]
        with tempfile.TemporaryDirectory(dir=self.work, ignore_cleanup_errors=True) as folder:
            self.server.call("/_reset", mode or {})
            self.note(row, name, attempt(self.server, tool, self.envs[tool.env], count, connections, Path(folder)))

    def twice(self, row: str, name: str, first: int, second: int, connections: int, kill_at: int = 0) -> None:
        tool = TOOLS[name]
        with tempfile.TemporaryDirectory(dir=self.work, ignore_cleanup_errors=True) as folder:
            self.server.call("/_reset", {})
            env = self.envs[tool.env]
            before = attempt(self.server, tool, env, first, connections, Path(folder), kill_at)
            after = attempt(self.server, tool, env, second, connections, Path(folder))
            after["before"], after["first_outcome"] = before["given"], before["outcome"]
            after["calls"] = after["given"] - before["given"]
            self.note(row, name, after)

    def speed(self) -> None:
        for _ in range(self.repeats):  # interleaved, so that all meet the same weather
            for name in self.tools():
                self.once("128", name, 2000, 128)

    def wide(self) -> None:
        for number in range(self.repeats):
            for name in self.tools():
                if name in FAST or number == 0:
                    self.once("512", name, 6000 if name in FAST else 2000, 512)

    def kill(self) -> None:
        for name in self.rivals():
            self.twice("kill", name, 3000, 3000, 64, kill_at=1500)

    def storm(self) -> None:
        for name in self.rivals():
            self.once("storm", name, 1000, 128, {"limit": 32})

    def grown(self) -> None:
        for name in self.rivals():
            self.twice("grown", name, 200, 201, 64)

    def cut(self) -> None:
        for name in self.rivals():
            self.once("cut", name, 8, 8, {"finish_reason": "length"})

    def start(self) -> None:
        for name, tool in self.tools().items():
            if tool.start:
                for _ in range(6):
                    began = time.time()
                    command = [self.envs[tool.env] / "bin" / tool.start[0], *tool.start[1:]]
                    done = subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S, cwd=self.work)
                    self.note("start", name, {"wall_s": time.time() - began, "outcome": f"exit {done.returncode}"})
                del self.results["start"][name][0]  # the first run fills the disk cache

    def size(self) -> None:
        tooling = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")
        for name, tool in self.tools().items():
            if tool.start:
                (site,) = (self.envs[tool.env] / "lib").glob("python3*/site-packages")
                names = [p for p in site.iterdir() if not p.name.startswith(tooling) and p.name != "__pycache__"]
                files = [
                    f for p in names for f in ([p] if p.is_file() else p.rglob("*")) if "__pycache__" not in f.parts
                ]
                mb = sum(f.lstat().st_size for f in files if f.is_file()) / 1e6
                self.note("size", name, {"packages": sum(p.suffix == ".dist-info" for p in names), "mb": mb})

    def versions(self) -> None:
        code = "import sys, importlib.metadata as m; print(*[f'{p} {m.version(p)}' for p in sys.argv[1:]], sep=', ')"
        for name, tool in self.tools().items():
            command = [self.envs[tool.env] / "bin/python", "-c", code, *tool.packages]
            self.note("versions", name, {"text": subprocess.check_output(command, text=True).strip()})


def median(runs: list[dict], key: str) -> float | None:
    values = [run[key] for run in runs if run.get(key) is not None]
    return statistics.median(values) if values else None


def figure(row: str, key: str, digits: int = 0) -> Callable[[dict, str], str]:
    def show(results: dict, name: str) -> str:
        runs = results.get(row, {}).get(name, [])
        value = median(runs, key)
        bad = next((run["outcome"] for run in runs if run.get("outcome", "").startswith(("hung", "failed"))), "")
        return "–" if value is None else f"{value:,.{digits}f}" + (f" ({bad})" if bad else "")

    return show


def sentence(row: str, form: str) -> Callable[[dict, str], str]:
    def show(results: dict, name: str) -> str:
        runs = results.get(row, {}).get(name, [])
        if not runs:
            return "–"
        run = {"rows": "none", "marked": 0, "refused": 0, **runs[-1]}
        run["ratio"] = (run["last"] - run["first"]) / STORM_IDEAL_S if run["last"] else 0
        if run["outcome"] != "finished":
            return f"{run['outcome']}; rows {run['rows']}"
        return form.format(**run)

    return show


LINES: list[tuple[str, Callable[[dict, str], str]]] = [
    ("requests/s, 128 connections (ideal 640)", figure("128", "per_s")),
    ("s from the start of the process to its first request", figure("128", "ready_s", 1)),
    ("s from the first request to the end of the process (ideal 3.1)", figure("128", "job_s", 1)),
    ("CPU ms/request, whole process tree", figure("128", "cpu_ms", 2)),
    ("peak RSS, MB, whole process tree", figure("128", "rss_mb")),
    ("requests/s, 512 connections (ideal 2,560)", figure("512", "per_s")),
    ("kill -9 at half of 3,000: paid twice", sentence("kill", "{paid_twice}, rows {rows}")),
    ("429 storm: times the ideal", sentence("storm", "{ratio:.1f}, {refused} refusals, rows {rows}")),
    ("200 → 201 rows: calls", sentence("grown", "{calls}, rows {rows}")),
    ("8 truncated answers", sentence("cut", "{requests} calls, rows {rows}, marked {marked}")),
    ("`--help`, else import, s", figure("start", "wall_s", 2)),
    ("packages", figure("size", "packages")),
    ("installed, MB", figure("size", "mb")),
]


def table(results: dict, names: list[str]) -> str:
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {title} | " + " | ".join(show(results, name) for name in names) + " |" for title, show in LINES]
    return "\n".join(lines)


def main() -> None:
    rows = ["versions", "speed", "wide", "kill", "storm", "grown", "cut", "start", "size"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="magicoder, curator, designer, datatrove, distilabel",
    )
    parser.add_argument("--rows", default=",".join(rows))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to keep every run; rows that are there already are kept")
    parser.add_argument("--work", type=Path, default=Path())
    arguments = parser.parse_args()
    envs = {name: Path(path).absolute() for name, _, path in (one.partition("=") for one in arguments.env)}
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans of a killed tool come to us
    for name in {tool.env for tool in TOOLS.values()} - envs.keys():
        print(f"no --env for {name}: not measured", file=sys.stderr)
    with served() as server, tempfile.TemporaryDirectory(dir=arguments.work) as work:
        earlier = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
        bench = Bench(server, envs, Path(work).absolute(), arguments.repeats)
        for row in arguments.rows.split(","):
            getattr(bench, row)()
            for measured, runs in bench.results.items():
                earlier.setdefault(measured, {}).update(runs)
            if arguments.json:
                arguments.json.write_text(json.dumps(earlier, indent=1))
    print(table(earlier, [name for name in TOOLS if any(name in runs for runs in earlier.values())]))


if __name__ == "__main__":
    main()
