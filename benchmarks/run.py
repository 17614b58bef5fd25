"""Run the benchmarks at the size that `make bench` is for, one after the other; each prints a table.

python benchmarks/run.py [NAME …]
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS: dict[str, list[str]] = {
    "decontamination": ["decontamination.py"],
    "generation": ["generation.py", "--connections", "128,512", "--requests", "6000"],
    "main_job": ["main_job.py"],
    "secret_screen": ["secret_screen.py"],
    "seeds": ["seeds.py"],
}


def main(names: list[str]) -> int:
    unknown = set(names) - set(COMMANDS)
    if unknown:
        sys.stderr.write(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(COMMANDS)}\n")
        return 2
    failed = 0
    for name in names or COMMANDS:
        script, *arguments = COMMANDS[name]
        print(f"\n== {name}", flush=True)
        failed += subprocess.run([sys.executable, HERE / script, *arguments], check=False).returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
