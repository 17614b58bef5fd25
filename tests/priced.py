"""A price, a prompt and an answer that add up in the head: for the tests of money and budgets."""

from magicoder.prices import Price
from magicoder.records import Completion, Message, Prompt


def priced(prompt: float = 1.0, completion: float = 2.0, **more: object) -> Price:
    return Price(model="m", usd_per_million_prompt_tokens=prompt, usd_per_million_completion_tokens=completion, **more)


def asking(text: str = "x" * 100, *, max_tokens: int | None = 1000, n: int = 1) -> Prompt:
    return Prompt(messages=(Message(role="user", content=text),), max_tokens=max_tokens, n=n)


def answer(prompt_tokens: int, completion_tokens: int) -> Completion:
    return Completion(
        texts=("t",),
        finish_reasons=("stop",),
        model="m",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )
