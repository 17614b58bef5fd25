"""Parquet columns are derived from the records, and conversion loses nothing."""

from dataclasses import dataclass

import pyarrow as pa
import pytest

from magicoder.schema import from_table, schema_of, to_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    text: str
    count: int
    share: float
    yes: bool
    raw: bytes
    words: tuple[str, ...]
    maybe: str | None


ROWS = [
    Everything(text="a\u2028\x00é😀", count=2**62, share=0.1, yes=True, raw=b"\xff", words=("x", ""), maybe=None),
    Everything(text="", count=-1, share=-0.0, yes=False, raw=b"", words=(), maybe="m"),
]


def test_column_types_follow_the_annotations() -> None:
    schema = schema_of(Everything)
    assert schema.field("text").type == pa.string()
    assert not schema.field("text").nullable
    assert schema.field("maybe").nullable
    assert schema.field("words").type == pa.list_(pa.string())
    assert schema.names == ["text", "count", "share", "yes", "raw", "words", "maybe"]


def test_a_record_comes_back_equal_but_for_tuples_as_lists() -> None:
    back = list(from_table(Everything, to_table(Everything, ROWS), "here"))
    assert [(r.text, r.count, r.share, r.yes, r.raw, tuple(r.words), r.maybe) for r in back] == [
        (r.text, r.count, r.share, r.yes, r.raw, r.words, r.maybe) for r in ROWS
    ]


def test_a_null_where_none_is_allowed_is_an_error_of_ours() -> None:
    bad = Everything(text=None, count=1, share=1.0, yes=True, raw=b"", words=(), maybe=None)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=r"Everything\.text is None"):
        to_table(Everything, [bad])
