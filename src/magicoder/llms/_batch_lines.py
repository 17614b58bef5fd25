"""The lines of a batch's files: requests as they go out, answers and errors as they come back. Pure functions."""

from typing import Any, Final

import orjson

from magicoder.llms import _replies
from magicoder.llms._replies import Kind, Trouble
from magicoder.records import Completion

TAG: Final = "magicoder"
"""The key in a batch's metadata under which our name for it stands."""

_SHOWN: Final = 3
_DETAIL: Final = 200

UNANSWERED: Final = {
    "batch_expired": Trouble(Kind.OVERLOADED, "batch_expired", "the batch expired before it was answered"),
    "batch_cancelled": Trouble(Kind.PROMPT, "batch_cancelled", "the batch was cancelled before it was answered"),
}
"""What the vendor says of lines that it did not get to; they cost nothing."""

MISSING: Final = Trouble(Kind.EMPTY, "missing_answer", "the batch ended without a word about it", paid=True)


def request_line(key: bytes, wire: bytes, url: str) -> bytes:
    """Return the line that asks `wire`; the answer will bear `key`."""
    line = {"custom_id": key.hex(), "method": "POST", "url": url, "body": orjson.Fragment(wire)}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def result_of(line: bytes, model: str) -> tuple[bytes, Completion | Trouble] | None:
    """Return the key and what came of it; None for a line that belongs to no request of ours."""
    value = _replies.parse(line)
    if not isinstance(value, dict):
        return None
    try:
        key = bytes.fromhex(value.get("custom_id"))  # type: ignore[arg-type]  # whatever it is, it is tried
    except (TypeError, ValueError):
        return None
    response = value.get("response")
    if isinstance(response, dict):
        status, body = response.get("status_code"), response.get("body")
        if status == 200:
            return key, _replies.completion_of(body, model)
        return key, _replies.trouble_of(status if type(status) is int else 502, body, None)
    return key, _error_of(value.get("error"))


def _error_of(error: Any) -> Trouble:
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code in UNANSWERED:
        return UNANSWERED[code]
    # No response at all: the vendor's own failure, unless the code says otherwise.
    return _replies.trouble_of(500, {"error": error}, None)


def is_of(batch: dict[str, Any], tag: str, file: str | None) -> bool:
    """Tell whether a batch in the vendor's list is the one with our tag or file; some vendors keep no metadata."""
    metadata = batch.get("metadata")
    tagged = isinstance(metadata, dict) and metadata.get(TAG) == tag
    return tagged or (file is not None and batch.get("input_file_id") == file)


def done_of(batch: dict[str, Any]) -> int:
    """Return how many of a batch's requests are done."""
    counts = batch.get("request_counts")
    found = [counts.get(name) for name in ("completed", "failed")] if isinstance(counts, dict) else []
    return sum(n for n in found if isinstance(n, int))


def refusal_of(batch: dict[str, Any]) -> tuple[str, bool]:
    """Return why a batch was not accepted, and whether that is for want of room (too many tokens wait already)."""
    errors = batch.get("errors")
    errors = errors.get("data") if isinstance(errors, dict) else errors
    errors = [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
    crowded = any(
        e.get("code") == "token_limit_exceeded" or "enqueued token" in str(e.get("message")).lower() for e in errors
    )
    return "; ".join(map(_shown, errors[:_SHOWN])) or "no reason given", crowded


def _shown(error: dict[str, Any]) -> str:
    line, message = error.get("line"), str(error.get("message") or error.get("code") or "?")[:_DETAIL]
    return message if line is None else f"line {line}: {message}"
