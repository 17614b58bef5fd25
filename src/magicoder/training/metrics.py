"""What a training run tells while it goes on: a line of JSON a step, and the boards that people watch."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from magicoder.errors import RecipeError, StoreError
from magicoder.store import explained, write_atomic

BOARDS: Final = ("tensorboard", "wandb", "mlflow")
FILE: Final = "metrics.jsonl"
_PACKAGES: Final = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


class Board(Protocol):
    """Somebody who shows figures."""

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of a step."""
        ...


class Metrics:
    """The figures of a stage, step by step; a step that is done again replaces its line."""

    def __init__(self, path: Path, boards: Sequence[Board]) -> None:
        self._path = path
        self._file = path.open("ab")
        self._boards = boards

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Append a line, and let the boards know.

        Raises:
            StoreError: the disk is full.
        """
        with explained(self._path):
            self._file.write(orjson.dumps({"step": step, **figures}) + b"\n")
            self._file.flush()
        for board in self._boards:
            board.show(step, figures)

    def close(self) -> None:
        """Close the file; what is left to write of it may find the disk full."""
        with explained(self._path):
            self._file.close()


@contextmanager
def opened(folder: Path, *, after: int, boards: Sequence[str], run: str) -> Iterator[Metrics]:
    """Go on with the figures in `folder` behind step `after`; what was written of later steps is taken away.

    boards   of `BOARDS`
    run      what boards call it

    Raises:
        RecipeError: a board is unknown, or its package is not installed.
    """
    path = folder / FILE
    # What was held out is looked at again where the run goes on: before the first step, and behind the last one.
    kept = [line for line in read(folder) if line["step"] < after or (line["step"] == after and "loss" in line)]
    with explained(folder):
        write_atomic(path, b"".join(orjson.dumps(line) + b"\n" for line in kept))
    with ExitStack() as stack:
        shown = [_board(name, folder, run, stack) for name in boards]
        metrics = Metrics(path, shown)
        stack.callback(metrics.close)
        yield metrics


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the figures of a stage; a last line that was cut off is left away.

    Raises:
        StoreError: the file is damaged.
    """
    path = folder / FILE
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            found.append(orjson.loads(line))
        except orjson.JSONDecodeError as e:
            if number == len(lines):
                break
            raise StoreError(f"{path}:{number} is damaged ({e}); delete the line") from e
    return found


def _board(name: str, folder: Path, run: str, stack: ExitStack) -> Board:
    if name not in BOARDS:
        raise RecipeError(f"there is no board {name!r}; there are: {', '.join(BOARDS)}")
    try:
        package = importlib.import_module(_PACKAGES[name])
    except ImportError as e:
        raise RecipeError(f"{name} is not installed; pip install {name}, or leave it out of boards") from e
    if name == "tensorboard":
        return _TensorBoard(stack.enter_context(package.SummaryWriter(str(folder / "tensorboard"))))
    if name == "wandb":
        started = package.init(project="magicoder", name=run, dir=str(folder), resume="allow", id=run)
        stack.callback(started.finish)
        return _WeightsAndBiases(started)
    stack.enter_context(package.start_run(run_name=run))
    return _MLflow(package)


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)


class _WeightsAndBiases:
    def __init__(self, run: Any) -> None:
        self._run = run

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)


class _MLflow:
    def __init__(self, package: Any) -> None:
        self._package = package

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        self._package.log_metrics(dict(figures), step=step)
