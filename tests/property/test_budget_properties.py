"""What a simulated server bills never exceeds the limit, whatever happens; and the money gets used."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from magicoder.budget import Budget
from magicoder.prices import NANOS, Price, completion_bound, prompt_bound, worst_case
from magicoder.records import Completion, Message, Prompt

UNIT = 10**10
"""The server reckons in ten-billionths of a dollar, in which all its prices per token are whole."""


class Server:
    """Bills exactly: as much as its promise allows, or anything below."""

    def __init__(self, price: Price, rng: random.Random) -> None:
        self.prompt = round(price.usd_per_million_prompt_tokens * UNIT / 10**6)
        self.completion = round(price.usd_per_million_completion_tokens * UNIT / 10**6)
        self.rng = rng
        self.billed = 0

    def at_most(self, prompt: Prompt, body_bytes: int) -> int:
        """Return what one attempt can cost."""
        most_in, most_out = prompt_bound(prompt, body_bytes), completion_bound(prompt) or 0
        return most_in * self.prompt + most_out * self.completion

    def bill(self, prompt: Prompt, body_bytes: int) -> tuple[int, int]:
        """Bill one attempt; return the tokens."""
        most_in, most_out = prompt_bound(prompt, body_bytes), completion_bound(prompt) or 0
        tokens_in = self.rng.choice([most_in, self.rng.randint(1, most_in)])
        tokens_out = self.rng.choice([most_out, most_out, self.rng.randint(0, most_out), 1])
        self.billed += tokens_in * self.prompt + tokens_out * self.completion
        return tokens_in, tokens_out


class Run:
    """A driver with a budget, some requests under way, and a server that all its attempts go to."""

    def __init__(self, path: Path, price: Price, rng: random.Random) -> None:
        self.path = path
        self.price = price
        self.rng = rng
        self.server = Server(price, rng)
        self.stack = ExitStack()
        self.limit = 0.0
        self.under_way: dict[int, tuple[Prompt, int]] = {}
        self.left: dict[bytes, tuple[Prompt, int]] = {}  # in batches, which go on when a run ends
        self.next_ticket = 0
        self.largest = 0.0

    def open(self, limit: float) -> None:
        self.limit = limit
        self.under_way.clear()
        self.budget = self.stack.enter_context(Budget.opened(self.path, limit, self.price))

    def close(self) -> None:
        self.stack.close()

    def end(self, *, killed: bool) -> None:
        """End with requests under way, which the server answers and bills. A kill leaves the file as it is now.

        Or they are in batches, and go on.
        """
        file = self.path.read_bytes() if self.path.exists() else b""
        if self.rng.random() < 0.5:
            keys = {ticket: b"%d" % ticket for ticket in self.under_way}
            self.left |= {key: self.under_way[ticket] for ticket, key in keys.items()}
            if not killed:
                self.budget.leave(keys)
        else:
            for prompt, size in self.under_way.values():
                self.server.bill(prompt, size)
        self.under_way.clear()
        self.close()
        if killed and file:
            self.path.write_bytes(file)

    def send(self) -> bool:
        text = "x" * self.rng.choice([0, 1, 50, self.rng.randrange(20_000)])
        prompt = Prompt(
            messages=(Message(role="user", content=text),),
            max_tokens=self.rng.choice([1, 16, 2500, self.rng.randint(1, 30_000)]),
            n=self.rng.choice([1, 1, 1, 4]),
        )
        size = len(text) + 100
        self.largest = max(self.largest, worst_case(prompt, self.price, size))
        if not self.budget.reserve(self.next_ticket, prompt, size):
            return False
        self.under_way[self.next_ticket] = prompt, size
        self.next_ticket += 1
        return True

    def adopt(self) -> None:
        key = self.rng.choice(list(self.left))
        self.under_way[self.next_ticket] = self.left.pop(key)
        self.budget.adopt(self.next_ticket, key, *self.under_way[self.next_ticket])
        self.next_ticket += 1

    def finish(self) -> None:
        """One attempt ends: answered, refused before it cost anything, or lost; lost ones are tried again."""
        ticket = self.rng.choice(list(self.under_way))
        prompt, size = self.under_way[ticket]
        outcome = self.rng.choice(["answered"] * 5 + ["not reported", "refused", "expired", "lost", "lost", "given up"])
        if outcome == "refused":
            self.budget.settle(ticket, None)
        elif outcome == "expired":
            if self.budget.cover(ticket):
                return
            self.budget.settle(ticket, None)
        elif outcome == "lost":
            self.server.bill(prompt, size)
            if self.budget.again(ticket):
                return
            self.budget.settle(ticket, None, maybe_paid=True)
        elif outcome == "given up":
            if self.rng.random() < 0.5:
                self.server.bill(prompt, size)
            self.budget.settle(ticket, None, maybe_paid=True)
        else:
            tokens_in, tokens_out = self.server.bill(prompt, size)
            if outcome == "not reported":
                tokens_in = tokens_out = 0
            self.budget.settle(
                ticket,
                Completion(
                    texts=("t",),
                    finish_reasons=("stop",),
                    model="m",
                    prompt_tokens=tokens_in,
                    completion_tokens=tokens_out,
                ),
            )
        del self.under_way[ticket]

    def check(self) -> None:
        # What is under way may be billed to the full at any moment, so it has to fit as well.
        requests = [*self.under_way.values(), *self.left.values()]
        at_worst = self.server.billed + sum(self.server.at_most(*request) for request in requests)
        assert at_worst <= Fraction(self.limit) * UNIT
        spent, outstanding = round(self.budget.spent_usd * NANOS), round(self.budget.outstanding_usd * NANOS)
        assert self.server.billed * NANOS <= spent * UNIT
        assert spent + outstanding <= Fraction(self.limit) * NANOS


@pytest.fixture(scope="module", autouse=True)
def no_syncs() -> Iterator[None]:
    """Kills are of processes here, not of the power; a thousand scenarios need not wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


prices = st.builds(
    lambda prompt, completion: Price(
        model="m", usd_per_million_prompt_tokens=prompt, usd_per_million_completion_tokens=completion
    ),
    st.sampled_from([0.0028, 0.15, 1.0, 15.0]),
    st.sampled_from([0.28, 0.6, 4.4, 60.0]),
)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    price=prices,
    limit=st.sampled_from([0.0, 0.001, 0.05, 1.0]),
    steps=st.integers(1, 60),
    width=st.integers(1, 20),
    kills=st.sampled_from([0.0, 0.02, 0.2]),
    seed=st.integers(0, 2**32),
)
def test_the_bill_never_exceeds_the_limit(
    price: Price, limit: float, steps: int, width: int, kills: float, seed: int
) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "budget.json", price, rng)
        run.open(limit)
        for _ in range(steps):
            if rng.random() < kills:
                run.end(killed=rng.random() < 0.7)
                run.open(run.limit * rng.choice([1, 1, 1.5]))
            elif run.under_way and (len(run.under_way) >= width or rng.random() < 0.5):
                run.finish()
            elif run.left and rng.random() < 0.7:
                run.adopt()
            else:
                run.send()
            run.check()
        run.end(killed=True)
        assert run.server.billed <= Fraction(run.limit) * UNIT


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(price=prices, limit=st.sampled_from([0.05, 0.5]), width=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_without_kills_all_but_one_worst_case_gets_used(price: Price, limit: float, width: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "budget.json", price, random.Random(seed))
        run.open(limit)
        for _ in range(3000):
            full = len(run.under_way) >= width or not run.send()
            if full and not run.under_way:
                break  # nothing to wait for, and no room
            if full:
                run.finish()
        else:
            return  # the money did not run out
        run.check()
        assert run.budget.spent_usd >= limit - run.largest
        run.close()
        run.open(limit)
        assert run.budget.spent_usd >= limit - run.largest
        run.close()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=4), st.data())
def test_no_byte_level_tokenizer_makes_more_tokens_than_the_bound(texts: list[str], data: st.DataObject) -> None:
    # The worst vocabulary there is: every byte is a token, after a normalisation that may lengthen the text.
    worst = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[]))
    worst.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    worst.normalizer = data.draw(st.sampled_from([normalizers.NFC(), normalizers.NFKC(), normalizers.Sequence([])]))
    extra = data.draw(st.sampled_from(["", "\ufdfa" * 9, "\U0001d160" * 9, "ﬃ" * 5]))
    prompt = Prompt(messages=tuple(Message(role="user", content=text + extra) for text in texts), max_tokens=1)
    counted = sum(len(worst.encode(m.content, add_special_tokens=False).ids) for m in prompt.messages)
    assert counted <= prompt_bound(prompt) - 256 - 15 * len(texts)
