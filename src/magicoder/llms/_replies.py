"""What an OpenAI-compatible endpoint's reply means: an answer, or which kind of trouble. Pure functions."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Final

import orjson

from magicoder.records import Completion

MAX_WAIT_S: Final = 120.0
"""The longest `Retry-After` that is honoured; a server that still refuses is asked again after it."""


class Kind(Enum):
    """Kinds of trouble, by what helps."""

    THROTTLED = auto()  # slow down; not an error
    UNREACHABLE = auto()  # nothing was sent; says nothing about the prompt
    OVERLOADED = auto()  # slow down and try again
    BROKEN = auto()  # try again
    EMPTY = auto()  # an answer without content: try again, but not often, for it was paid
    PROMPT = auto()  # this prompt will always fail
    KEY = auto()  # from here on: every request will fail
    CREDIT = auto()
    ADDRESS = auto()
    MODEL = auto()
    SETTING = auto()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer: `reason` a word for a table, `detail` for people, `wait_s` what the server asks for.

    `paid`: the attempt may be billed all the same.
    """

    kind: Kind
    reason: str
    detail: str
    wait_s: float | None = None
    paid: bool = False


_CREDIT_CODES: Final = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_LENGTH_CODES: Final = {"context_length_exceeded", "string_above_max_length", "request_too_large"}
_FILTER_CODES: Final = {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"}
_SETTING_CODES: Final = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
_TOO_LONG: Final = re.compile(
    r"maximum context length|context (window|length|size)|max_model_len|too (long|many tokens)", re.IGNORECASE
)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION: Final = re.compile(rf"(?:{_UNIT.pattern})+")
_FLAGGED: Final = re.compile(r"\b(flagged|moderation)\b", re.IGNORECASE)


def parse(raw: bytes) -> Any:
    """Return the JSON value in `raw`, None if it is none; broken UTF-8 and lone surrogates are let through."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def completion_of(value: Any, model: str) -> Completion | Trouble:
    """Return the answer in a reply with status 200.

    Every choice with a message counts, also an empty or a truncated one: it was paid for. A server's own, more exact
    name of the model (a dated version of an alias) is kept.
    """
    if not isinstance(value, dict):
        return Trouble(Kind.BROKEN, "malformed_answer", "the reply is not JSON", paid=True)
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices:
        error = value.get("error")
        if error:  # some gateways report an error of the server behind them with status 200
            return trouble_of(_status_in(error), value, None)
        return Trouble(Kind.EMPTY, "malformed_answer", "the reply has no choices", paid=True)
    texts, reasons = [], []
    for choice in choices:
        message = choice.get("message", choice) if isinstance(choice, dict) else None
        said = "text" if message is choice else "content"  # raw text is answered by text
        if not isinstance(message, dict) or said not in message:
            return Trouble(Kind.EMPTY, "malformed_answer", f"a choice has no message {said}", paid=True)
        texts.append(_text(message[said]))
        reasons.append(_word(choice.get("finish_reason")))
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    reported = _word(value.get("model"))
    return Completion(
        texts=tuple(texts),
        finish_reasons=tuple(reasons),
        model=reported if reported.startswith(model) else model,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        fingerprint=_word(value.get("system_fingerprint")),
    )


def trouble_of(status: int, value: Any, wait_s: float | None) -> Trouble:
    """Classify a reply that is an error; `value` is its parsed body, if it has one.

    What may be billed: whatever broke after the request was taken, and, by Azure's terms, refusals by a content filter
    or for a prompt's length and timeouts (408). A 503 that names no time to come back may be a proxy's whose server
    broke off; 429, 529 and other client errors are free.
    """
    code, message = _error_in(value)
    detail = f"HTTP {status}" + (f": {message}" if message else "")
    if code in _CREDIT_CODES or status == 402:
        return Trouble(Kind.CREDIT, "no_credit", detail)
    if status == 429:
        return Trouble(Kind.THROTTLED, "throttled", detail, wait_s)
    if status in (503, 529):
        return Trouble(Kind.OVERLOADED, "server_error", detail, wait_s, paid=status == 503 and wait_s is None)
    if status in (408, 504):
        return Trouble(Kind.OVERLOADED, "timed_out", detail, wait_s, paid=True)
    if status in (409, 425) or (status >= 500 and status != 501):
        return Trouble(Kind.BROKEN, "server_error", detail, wait_s, paid=status >= 500)
    if status == 403 and _FLAGGED.search(message):
        return Trouble(Kind.PROMPT, "refused_by_server", detail, paid=True)
    if status in (401, 403):
        return Trouble(Kind.KEY, "key_refused", detail)
    return _refusal(status, code, message, detail)


def _refusal(status: int, code: str, message: str, detail: str) -> Trouble:
    if code == "model_not_found" or (status == 404 and "model" in message.lower()):
        return Trouble(Kind.MODEL, "no_model", detail)
    if status < 400 or status in (404, 405, 501):
        return Trouble(Kind.ADDRESS, "no_endpoint", detail)
    if code in _SETTING_CODES:
        return Trouble(Kind.SETTING, "bad_setting", detail)
    if code in _LENGTH_CODES or status == 413 or _TOO_LONG.search(message):
        return Trouble(Kind.PROMPT, "prompt_too_long", detail, paid=status != 413)
    if code in _FILTER_CODES:
        return Trouble(Kind.PROMPT, "refused_by_server", detail, paid=True)
    return Trouble(Kind.PROMPT, "bad_request", detail)


def wait_of(headers: Mapping[str, str], tokens: int = 0) -> float | None:
    """Return the seconds that a refusal asks for, at most `MAX_WAIT_S`.

    By `retry-after-ms`, by `Retry-After` (a number or a date), or until the limit that is used up is reset.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    seconds = milliseconds / 1000 if milliseconds is not None else _seconds(headers.get("Retry-After"))
    return hold_of(headers, tokens) if seconds is None else min(MAX_WAIT_S, max(0.0, seconds))


def _seconds(retry_after: str | None) -> float | None:
    if not retry_after:
        return None
    seconds = _number(retry_after)
    if seconds is not None:
        return seconds
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - datetime.now(UTC)).total_seconds()


def hold_of(headers: Mapping[str, str], tokens: int) -> float | None:
    """Return the seconds until an endpoint takes more, if its headers say that it takes nothing now; None if it does.

    In the form of OpenAI: `x-ratelimit-remaining-requests` is 0, or `-tokens` less than the next request may use
    although the limit would allow that many. Requests are waited for until the limit is reset; tokens only until there
    are enough, since they come back evenly and the reset names the time when all are back. Values below 0 mean
    "unknown" (Azure).
    """
    found = None
    for what, need in (("requests", 1), ("tokens", max(1, tokens))):
        left = _number(headers.get(f"x-ratelimit-remaining-{what}"))
        if left is None or not 0 <= left < need:
            continue
        limit = _number(headers.get(f"x-ratelimit-limit-{what}"))
        if limit is not None and limit < need and left > 0:
            continue
        reset = _duration(headers.get(f"x-ratelimit-reset-{what}"))
        if reset is not None and what == "tokens" and limit is not None and limit > need:
            reset *= (need - left) / (limit - left)
        if reset is not None:
            found = max(found or 0.0, min(MAX_WAIT_S, reset))
    return found


def _duration(text: str | None) -> float | None:
    """Return the seconds in `6m0s`, `12ms`, `1.5` or a point in time as seconds or milliseconds since 1970."""
    seconds = _number(text)
    if seconds is not None:
        if seconds > 1e8:
            seconds = seconds / (1000 if seconds > 1e11 else 1) - time.time()
        return max(0.0, seconds)
    if not text or not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _UNIT.findall(text))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number == number else None  # noqa: PLR0124 - not a NaN


def models_in(value: Any) -> list[str]:
    """Return the names in a reply to `GET /models`, none if it has another shape."""
    data = value.get("data") if isinstance(value, dict) else None
    return sorted(_word(m.get("id")) for m in data if isinstance(m, dict)) if isinstance(data, list) else []


def is_served(model: str, served: list[str]) -> bool:
    """Tell whether `model` names one of `served`, allowing for a tag (`name:latest`) or a prefix (`models/name`)."""
    return any(model == s or s.startswith(f"{model}:") or s.endswith(f"/{model}") for s in served)


def _error_in(value: Any) -> tuple[str, str]:
    """Return code and message of an error body, in the shapes that servers use."""
    if not isinstance(value, dict):
        return "", ""
    error = value.get("error", value)
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    code = error.get("code")
    message = error.get("message") or error.get("detail") or ""
    if not isinstance(code, str) or not code:
        code = error.get("type")
    return _word(code), message if isinstance(message, str) else orjson.dumps(message, default=str).decode()


def _status_in(error: Any) -> int:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def _text(content: Any) -> str:
    if isinstance(content, list):  # parts, as in newer interfaces
        content = "".join(_word(part.get("text")) for part in content if isinstance(part, dict))
    return _word(content)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no file could hold
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _count(value: Any) -> int:
    return value if type(value) is int and 0 < value < 2**53 else 0
