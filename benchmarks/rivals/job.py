"""The job that every adapter does: its arguments, its prompts, and how it says what it kept."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path


def prompt(number: int) -> str:
    return f"PID{number}X Write a problem inspired by this code.\n" + "seed code line\n" * 58


@dataclass(frozen=True)
class Job:
    """BASE_URL COUNT CONCURRENCY FOLDER, from the command line."""

    url: str
    count: int
    concurrency: int
    folder: Path

    def prompts(self) -> list[str]:
        return [prompt(i) for i in range(self.count)]


def read() -> Job:
    url, count, concurrency, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Job(url, int(count), int(concurrency), Path(folder))


def report(rows: int, marked: int = 0) -> None:
    """Say how many rows came out with an answer, and how many answers are on disk with a mark that they were cut."""
    print("\n" + json.dumps({"rows": rows, "marked": marked}), flush=True)
