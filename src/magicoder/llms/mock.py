"""A teacher made of word lists: deterministic and offline, for trying things out and for tests.

Its answers are small but sound: a self-contained problem about a list of integers, and Python code that solves it.
It also rewrites instructions, invents tasks and answers them, as `evol_instruct` and `self_instruct` ask, and writes
tests, further solutions and repairs of its own problems.
Faults can be had on demand, as a share of the prompts chosen by the prompt itself.
"""

import hashlib
import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from magicoder.errors import RecipeError
from magicoder.fingerprint import canonical
from magicoder.llms import _checks, _problems
from magicoder.protocols import NOT_IDENTITY, Meter
from magicoder.records import Completion, Failure, Prompt

_CHARACTERS_PER_TOKEN = 4
_REFUSAL = "I'm sorry, but I can't help with that request."


@dataclass(frozen=True, slots=True, kw_only=True)
class Mock:
    """Answers that depend on the prompt's messages and random seed only.

    answers                            `oss_instruct`: what our strategies ask for (two sections, a rewritten or a new
                                       task, code for a task); `solution`: code alone, whatever is asked
    truncate_every, refuse_every, …    1 prompt in so many is cut off, refused, garbled or answered with ""; 0: none
    slip_every                         1 solution in so many overlooks the first number, and no test of its own shows it
    latency_s                          mean seconds per answer, between half and one and a half of it
    """

    model: str = "mock"
    answers: str = "oss_instruct"
    truncate_every: int = 0
    refuse_every: int = 0
    garble_every: int = 0
    empty_every: int = 0
    slip_every: int = 0
    latency_s: float = field(default=0.0, metadata=NOT_IDENTITY)
    concurrency: int = field(default=64, metadata=NOT_IDENTITY)

    def __post_init__(self) -> None:
        if self.answers not in ("oss_instruct", "solution"):
            raise RecipeError(f"mock answers in the style oss_instruct or solution, not {self.answers!r}")
        if self.concurrency < 1:
            raise RecipeError(f"concurrency is {self.concurrency}; it must be at least 1")

    def body(self, prompt: Prompt) -> bytes:
        """Return the prompt and the settings that shape the answer."""
        request = {
            "teacher": canonical(self),
            "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "max_tokens": prompt.max_tokens,
            "random_seed": prompt.random_seed,
            "n": prompt.n,
            **({"raw": True} if prompt.raw else {}),
        }
        return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)

    @contextmanager
    def open(self, meter: Meter | None = None, folder: Path | None = None) -> Iterator["MockSession"]:  # noqa: ARG002
        """Open a session; nothing can go wrong."""
        yield MockSession(self)


class MockSession:
    """Prompts and when their answers are due, in an order that depends on the prompts, not on their submission."""

    def __init__(self, settings: Mock) -> None:
        self._settings = settings
        self._pending: list[tuple[float, bytes, int, Prompt]] = []

    @property
    def capacity(self) -> int:
        """How many prompts to keep in flight."""
        return self._settings.concurrency

    def submit(self, ticket: int, prompt: Prompt) -> None:
        """Take one prompt."""
        identity = _digest(prompt)
        delay_s = self._settings.latency_s * (0.5 + int.from_bytes(identity[:4], "big") / 2**32)
        due = time.monotonic() + delay_s if delay_s else 0.0
        self._pending.append((due, identity, ticket, prompt))

    def collect(self) -> list[tuple[int, Completion | Failure]]:
        """Wait for the next answers; without latency, half of those in flight, so that some are overtaken."""
        if not self._pending:
            return []
        self._pending.sort(key=lambda entry: entry[:3])
        if self._settings.latency_s:
            time.sleep(max(0.0, self._pending[0][0] - time.monotonic()))
            now = time.monotonic()
            count = max(1, sum(due <= now for due, _, _, _ in self._pending))
        else:
            count = math.ceil(len(self._pending) / 2)
        finished, self._pending = self._pending[:count], self._pending[count:]
        return [(ticket, self._answer(identity, prompt)) for _, identity, ticket, prompt in finished]

    def _answer(self, identity: bytes, prompt: Prompt) -> Completion:
        answers = [self._text(identity, index, prompt) for index in range(prompt.n)]
        return Completion(
            texts=tuple(text for text, _ in answers),
            finish_reasons=tuple(reason for _, reason in answers),
            model=self._settings.model,
            prompt_tokens=sum(_tokens(m.content) for m in prompt.messages),
            completion_tokens=sum(_tokens(text) for text, _ in answers),
            fingerprint="mock",
        )

    def _text(self, identity: bytes, index: int, prompt: Prompt) -> tuple[str, str]:
        """Return the answer and why it ended."""
        s = self._settings
        rng = random.Random(f"{identity.hex()}:{index}")
        # One draw per fault, in a fixed order, so that setting one fault moves no other.
        refused, emptied, garbled, truncated = (
            _hits(every, rng.getrandbits(32))
            for every in (s.refuse_every, s.empty_every, s.garble_every, s.truncate_every)
        )
        if refused:
            return _REFUSAL, "stop"
        if emptied:
            return "", "stop"
        text = self._sound_text(rng, tuple(m.content for m in prompt.messages))
        # A generator of its own: whether this fault is on must not change the others' draws.
        if _hits(s.slip_every, random.Random(f"{identity.hex()}:{index}:slip").getrandbits(32)):
            text = _checks.slip(text)
        if garbled:
            words = text.replace("[", "").replace("]", "").split()
            rng.shuffle(words)
            return " ".join(words), "stop"
        limit = len(text) // 2 if truncated else len(text)
        if prompt.max_tokens is not None:
            limit = min(limit, prompt.max_tokens * _CHARACTERS_PER_TOKEN)
        return (text, "stop") if limit >= len(text) else (text[:limit], "length")

    def _sound_text(self, rng: random.Random, messages: tuple[str, ...]) -> str:
        asked = messages[-1] if messages else ""
        if self._settings.answers == "oss_instruct":
            other = _checks.reply(rng, messages) or _problems.reply(rng, asked)
            if other is not None:
                return other
        problem, code = _problems.write(rng, asked)
        if self._settings.answers == "solution":
            return f"```python\n{code}```\n"
        return f"[Problem Description]\n{problem}\n\n[Solution]\n```python\n{code}```\n"


def _hits(every: int, draw: int) -> bool:
    return every > 0 and draw % every == 0


def _digest(prompt: Prompt) -> bytes:
    data = orjson.dumps([[(m.role, m.content) for m in prompt.messages], prompt.random_seed])
    return hashlib.blake2b(data, digest_size=16).digest()


def _tokens(text: str) -> int:
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


PLUGIN = Mock
