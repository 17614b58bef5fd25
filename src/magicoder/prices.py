"""What tokens cost: a dated table of list prices (`prices.yaml`), the user's own over it, exact sums, and bounds.

Amounts are whole nano-dollars, always rounded up: adding a million requests loses nothing, and a sum is never too low.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from magicoder.errors import RecipeError
from magicoder.plugins import suggest
from magicoder.protocols import LLM
from magicoder.records import Prompt

NANOS: Final = 1_000_000_000
"""Nano-dollars in a dollar, the unit of all sums."""

TOKENS_PER_MESSAGE: Final = 16
"""Bound of what a chat template writes around one message (role names, markers); known ones need 3 to 7."""

TOKENS_PER_REQUEST: Final = 256
"""Bound of what a template adds once: markers, a default system prompt, a date; known ones need 3 to about 100."""

_MILLION: Final = 1_000_000
_VERSION: Final = re.compile(r"([-@:_](\d{2,8}|latest|preview|exp))+")
"""What may follow a name of the table without making it another model: dates, release numbers, `latest`, `preview`."""

_KEYS: Final = ("prompt", "completion", "cached_prompt", "cache_write", "batch_factor", "long")
_GROUP_KEYS: Final = ("source", "vendor", "as_of", "verified", "models")
_BILLED_OTHERWISE: Final = (
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "best_of",
    "service_tier",
    "tools",
    "web_search_options",
    "plugins",
    "modalities",
    "audio",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model's tokens cost, in US dollars per million.

    cache_write   for prompt tokens that the vendor stores for a later request, where that costs more
    batch_factor  what the vendor's batch interface costs of it, None if there is none
    long_*        from `long_prompt_tokens` + 1 prompt tokens on, everything costs so many times as much
    verified      the figure was read on (a copy of) the vendor's own page, at `as_of`; `source` says where it is from
    """

    model: str
    usd_per_million_prompt_tokens: float
    usd_per_million_completion_tokens: float
    usd_per_million_cached_prompt_tokens: float | None = None
    usd_per_million_cache_write_tokens: float | None = None
    batch_factor: float | None = None
    long_prompt_tokens: int | None = None
    long_prompt_factor: float = 1.0
    long_completion_factor: float = 1.0
    as_of: str = ""
    source: str = ""
    verified: bool = True
    rates: tuple[int, int, int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in (
            "usd_per_million_prompt_tokens",
            "usd_per_million_completion_tokens",
            "usd_per_million_cached_prompt_tokens",
            "usd_per_million_cache_write_tokens",
            "batch_factor",
        ):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise RecipeError(f"the price of {self.model}: {name} is {value}; it must be 0 or more")
        if not (1 <= self.long_prompt_factor < math.inf and 1 <= self.long_completion_factor < math.inf):
            raise RecipeError(f"the price of {self.model}: long prompts cannot cost less; factors are 1 or more")
        prompt = max(self.usd_per_million_prompt_tokens, self.usd_per_million_cache_write_tokens or 0.0)
        completion = self.usd_per_million_completion_tokens
        rates = (prompt, completion, prompt * self.long_prompt_factor, completion * self.long_completion_factor)
        # A rate is in nano-dollars per million tokens; rounding takes off what binary fractions add.
        object.__setattr__(self, "rates", tuple(math.ceil(round(rate * NANOS, 3)) for rate in rates))

    def nanos(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return what so many tokens cost, in nano-dollars, rounded up.

        Prompt tokens count in full, at the price of storing them if that is dearer: which of them the vendor had
        cached is not known here. So the sum is never below the bill.
        """
        prompt, completion = self._rates(prompt_tokens)
        return -(-(prompt_tokens * prompt + completion_tokens * completion) // _MILLION)

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return what so many tokens, which may be averages, cost in dollars."""
        prompt, completion = self._rates(prompt_tokens)
        return (prompt_tokens * prompt + completion_tokens * completion) / _MILLION / NANOS

    def _rates(self, prompt_tokens: float) -> tuple[int, int]:
        is_long = self.long_prompt_tokens is not None and prompt_tokens > self.long_prompt_tokens
        return self.rates[2:] if is_long else self.rates[:2]

    @property
    def is_free(self) -> bool:
        """Whether nothing costs anything."""
        return not any(self.rates)

    def batched(self) -> "Price":
        """Return the price through the vendor's batch interface; the same where no discount is known."""
        if self.batch_factor is None:
            return self

        def discounted(usd: float | None) -> float | None:
            return None if usd is None or self.batch_factor is None else usd * self.batch_factor

        return replace(
            self,
            usd_per_million_prompt_tokens=self.usd_per_million_prompt_tokens * self.batch_factor,
            usd_per_million_completion_tokens=self.usd_per_million_completion_tokens * self.batch_factor,
            usd_per_million_cached_prompt_tokens=discounted(self.usd_per_million_cached_prompt_tokens),
            usd_per_million_cache_write_tokens=discounted(self.usd_per_million_cache_write_tokens),
            batch_factor=None,
            source=f"{self.source}, batch interface",
        )


def price_of_model(model: str, *, base_url_is_local: bool = False, overrides: Path | None = None) -> Price | None:
    """Return the price of `model`, None if it is not known.

    A table of the user's own (`overrides`) wins. A server on this machine costs nothing. Else the table that comes with
    magicoder counts: it lists what the *vendor* charges; another host of the same model may charge something else.

    Raises:
        RecipeError: the user's table is missing or malformed; says where.
    """
    if overrides is not None:
        found = find(model, table_of(overrides))
        if found is not None:
            return found
    if base_url_is_local:
        return free(model)
    return find(model, _listed())


def price_of(teacher: LLM, overrides: Path | None = None) -> Price | None:
    """Return the price of an LLM, None if it is not known.

    Its own fields `usd_per_million_prompt_tokens` and `usd_per_million_completion_tokens` count first, then what
    `price_of_model` finds for its name; of that the batch price, if it says `is_batch`.

    A teacher without a `base_url` runs in this process and costs nothing.

    Raises:
        RecipeError: one of the two fields is set and the other is not, or the user's table is malformed.
    """
    prompt = getattr(teacher, "usd_per_million_prompt_tokens", None)
    completion = getattr(teacher, "usd_per_million_completion_tokens", None)
    if prompt is not None and completion is not None:
        return Price(
            model=teacher.model,
            usd_per_million_prompt_tokens=prompt,
            usd_per_million_completion_tokens=completion,
            source="the recipe",
        )
    if prompt is not None or completion is not None:
        missing = "completion" if completion is None else "prompt"
        raise RecipeError(f"the price of {teacher.model} is half known; set usd_per_million_{missing}_tokens as well")
    urls = getattr(teacher, "base_urls", ()) or (getattr(teacher, "base_url", ""),)
    price = price_of_model(teacher.model, base_url_is_local=all(map(is_local, urls)), overrides=overrides)
    return price.batched() if price is not None and getattr(teacher, "is_batch", False) else price


def prompt_bound(prompt: Prompt, body_bytes: int = 0) -> int:
    """Return a number that the prompt tokens of one request cannot exceed.

    A token of a byte-level vocabulary stands for at least one byte of UTF-8, and where a vocabulary lacks a character
    and spells it in bytes, each byte is one token: there are no more tokens than bytes. Some tokenizers normalise first
    (NFC, NFKC), which can make a text longer; the longest of these forms counts. `body_bytes`, the length of the whole
    request, holds the messages and everything else the server is told, such as the schema of a tool. On top come
    allowances for the chat template. What a server adds beyond them is noticed when it reports its count (`Budget`).
    """
    texts = [m.content for m in prompt.messages]
    raw = grown = 0
    for text in texts:
        size = len(text.encode("utf-8", "surrogatepass"))
        raw += size
        if not text.isascii():
            forms = (unicodedata.normalize(form, text) for form in ("NFC", "NFKC"))
            grown += max(0, *(len(form.encode("utf-8", "surrogatepass")) - size for form in forms))
    return max(raw, body_bytes) + grown + TOKENS_PER_MESSAGE * len(texts) + TOKENS_PER_REQUEST


def completion_bound(prompt: Prompt) -> int | None:
    """Return a number that the completion tokens of one request cannot exceed, None if nothing limits them."""
    return None if prompt.max_tokens is None else prompt.max_tokens * prompt.n


def worst_case(prompt: Prompt, price: Price, body_bytes: int = 0) -> float:
    """Return the most that one attempt at `prompt` can be billed, in US dollars.

    The prompt has at most `prompt_bound` tokens. The answer has at most `max_tokens` for each of its `n` texts,
    because that is where the server stops: OpenAI, DeepSeek, vLLM and llama.cpp count reasoning into it. A server
    that bills hidden reasoning beyond it breaks this bound; `budget.Budget` says what then happens. Prices are the
    dearest that can apply: no token is taken for cached, and a prompt that may be a long one is billed as one.

    Raises:
        RecipeError: the prompt has no max_tokens, so that nothing bounds the answer.
    """
    return worst_nanos(price, prompt_bound(prompt, body_bytes), completion_bound(prompt)) / NANOS


def worst_nanos(price: Price, prompt_tokens: int, completion_tokens: int | None) -> int:
    """Return what so many tokens cost, in nano-dollars; see `worst_case`."""
    if completion_tokens is not None:
        return price.nanos(prompt_tokens, completion_tokens)
    if price.usd_per_million_completion_tokens:
        raise RecipeError(
            "a prompt without max_tokens can cost any amount, so a budget cannot be kept: set max_tokens of the "
            "strategy, or run without a budget"
        )
    return price.nanos(prompt_tokens, 0)


def check_bounded(extra_body: Mapping[str, Any]) -> None:
    """Check that a request costs no more than its prompt says, whatever is merged into it.

    Raises:
        RecipeError: a field lifts the limit of the answer, or is billed by something other than tokens.
    """
    found = [name for name in _BILLED_OTHERWISE if name in extra_body]
    if found:
        raise RecipeError(
            f"extra_body sets {', '.join(found)}, which can make a request cost more than its tokens and max_tokens "
            "say: take it out, or run without a budget"
        )


def free(model: str) -> Price:
    """Return the price of a model on this machine."""
    return Price(
        model=model,
        usd_per_million_prompt_tokens=0.0,
        usd_per_million_completion_tokens=0.0,
        source="a server on this machine",
    )


def is_local(url: str) -> bool:
    """Tell whether a base URL names this machine; "" is a teacher within this process."""
    if not url:
        return True
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def find(model: str, table: Mapping[str, Price]) -> Price | None:
    """Return the entry of `table` for `model`: the exact name, else the longest that fits.

    `gpt-4o-mini-2024-07-18` is a `gpt-4o-mini`, but a `gpt-4o-mini-audio` is something else and a `gpt-5-pro` is no
    `gpt-5`: after a name only a date, a release number, `latest` or `preview` may follow. An entry that ends in `*`
    takes whatever begins like it.
    """
    name = model.lower().removeprefix("models/")
    best = ""
    for entry in table:
        key = entry.lower()
        if key == name:
            return table[entry]
        rest = name[len(key) :] if name.startswith(key) else None
        fits = (rest is not None and _VERSION.fullmatch(rest)) or (key.endswith("*") and name.startswith(key[:-1]))
        if fits and len(entry) > len(best):
            best = entry
    return table[best] if best else None


def table_of(path: Path) -> dict[str, Price]:
    """Return the prices in a YAML file of the form of `prices.yaml`.

    Raises:
        RecipeError: it cannot be read, or an entry is malformed; names it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise RecipeError(f"the price table {path} cannot be read: {e}") from e
    return _parsed(text, str(path))


@cache
def _listed() -> dict[str, Price]:
    path = Path(__file__).with_name("prices.yaml")
    return _parsed(path.read_text(encoding="utf-8"), path.name)


def _parsed(text: str, file: str) -> dict[str, Price]:
    try:
        groups = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise RecipeError(f"the price table {file} is not valid YAML: {e}") from None
    if not isinstance(groups, list):
        raise RecipeError(f"the price table {file} must be a list of groups, each with `models:`")
    table: dict[str, Price] = {}
    for number, group in enumerate(groups, 1):
        _check(group, _GROUP_KEYS, f"{file}, group {number}")
        models = group.get("models")
        if not isinstance(models, dict) or not models:
            raise RecipeError(f"{file}, group {number}: `models:` must name models and their prices")
        for model, given in models.items():
            where = f"{file}, {model}"
            _check(given, _KEYS, where)
            if str(model) in table:
                raise RecipeError(f"{where}: it is listed twice")
            table[str(model)] = _price(str(model), given, group, where)
    return table


def _price(model: str, given: dict[str, Any], group: dict[str, Any], where: str) -> Price:
    for name in ("prompt", "completion"):
        if given.get(name) is None:
            raise RecipeError(f"{where}: `{name}` is missing; give US dollars per million tokens")
    for name in _KEYS[:-1]:
        if not isinstance(given.get(name, 0), int | float) or isinstance(given.get(name), bool):
            raise RecipeError(f"{where}: `{name}` must be a number, not {given[name]!r}")
    tier = given.get("long")
    numeric = isinstance(tier, list) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in tier)
    if tier is not None and not (numeric and len(tier) == 3):
        raise RecipeError(f"{where}: `long` must be [tokens, factor for the prompt, factor for the answer]")
    tokens, prompt_factor, completion_factor = tier or (None, 1.0, 1.0)
    return Price(
        model=model,
        usd_per_million_prompt_tokens=given["prompt"],
        usd_per_million_completion_tokens=given["completion"],
        usd_per_million_cached_prompt_tokens=given.get("cached_prompt"),
        usd_per_million_cache_write_tokens=given.get("cache_write"),
        batch_factor=given.get("batch_factor"),
        long_prompt_tokens=tokens,
        long_prompt_factor=prompt_factor,
        long_completion_factor=completion_factor,
        as_of=str(group.get("as_of", "")),
        source=", ".join(str(group[key]) for key in ("vendor", "source") if group.get(key)) or where,
        verified=bool(group.get("verified", True)),
    )


def _check(value: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(value, dict):
        raise RecipeError(f"{where}: this must be a mapping with {', '.join(known)}")
    for key in value:
        if key not in known:
            raise RecipeError(f"{where}: {key!r} is unknown{suggest(str(key), list(known))}")
