"""Runs a function in several processes on this machine that are one `World`, as torchrun would start them."""

import io
import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magicoder.training.launch import MEETING
from magicoder.training.settings import Machine

MODULES = [
    "torch",
    "torch.distributed.tensor",
    "transformers.models.llama.modeling_llama",
    "magicoder.finetuning",
    "magicoder.training.loop",
    "magicoder.web.training_report",
]


def context() -> Any:
    """Processes forked from one that has loaded what training needs."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(MODULES)
    return made


def together(function: Callable[..., Any], *arguments: Any, size: int = 2) -> list[Any]:
    """Return what `function(world, *arguments)` returned in each of `size` processes."""
    with tempfile.TemporaryDirectory() as folder:
        return _answers(function, arguments, size, str(Path(folder) / "meeting"))


def _answers(function: Callable[..., Any], arguments: Any, size: int, meeting: str) -> list[Any]:
    made = context()
    pipes = [made.Pipe(duplex=False) for _ in range(size)]
    running = [
        made.Process(target=_one, args=(rank, size, meeting, pipes[rank][1], function, arguments), daemon=True)
        for rank in range(size)
    ]
    for process, (_, sending) in zip(running, pipes, strict=True):
        process.start()
        sending.close()
    answers: list[Any] = []
    for receiving, _ in pipes:
        try:
            answers.append(_unpacked(receiving.recv_bytes()))
        except EOFError:
            answers.append(("died", None))
        receiving.close()
    for process in running:
        process.join(30)
    failed = [text for outcome, text in answers if outcome != "ok"]
    assert not failed, "\n".join(str(f) for f in failed)
    return [value for _, value in answers]


def _one(rank: int, size: int, meeting: str, sending: Any, function: Callable[..., Any], arguments: Any) -> None:
    import torch

    from magicoder.training import parallel

    answer: tuple[str, Any]
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        MEETING: meeting,
        "GLOO_SOCKET_IFNAME": "lo",
    }
    try:
        with parallel.start(Machine(device="cpu")) as world:
            answer = ("ok", function(world, *arguments))
    except BaseException:
        answer = ("failed", traceback.format_exc())
    sending.send_bytes(_packed(answer))


def _packed(answer: Any) -> bytes:
    """Tensors as bytes: a pipe would send names of shared memory that is gone with its process."""
    import torch

    file = io.BytesIO()
    torch.save(answer, file)
    return file.getvalue()


def _unpacked(data: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(data), weights_only=False)
