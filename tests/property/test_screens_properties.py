"""Screens on arbitrary files: they answer, alike each time, and decoding loses nothing."""

import re
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from magicoder.engines.local import Local
from magicoder.records import Document, RawDocument
from magicoder.stages.documents import Documents
from magicoder.store import Writer
from magicoder.text import screens
from magicoder.text.licenses import from_header, identify_text, is_permissive, normalise

SENTENCES = st.sampled_from(
    [
        "Permission is hereby granted, free of charge, to any person obtaining a copy",
        "Redistribution and use in source and binary forms",
        "under the terms of the GNU General Public License version 2",
        "Licensed under the Apache License, Version 2.0",
        "SPDX-License-Identifier: MIT OR",
        "or any later version",
        "Alternatively",
        "@license",
        "GPLv",
    ]
)


@given(st.binary())
def test_any_bytes_are_text_or_not(content: bytes) -> None:
    text = screens.decode(content, is_python=True)
    assert text is None or isinstance(text, str)
    assert isinstance(screens.is_binary(content), bool)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decoding_gives_back_what_was_encoded(text: str) -> None:
    assert screens.decode(text.encode("utf-8")) == text or text.encode("utf-8")[:2] in (b"\xff\xfe", b"\xfe\xff")


@given(st.text())
def test_normalised_text_has_one_kind_of_line_end_and_stays_as_it_is(text: str) -> None:
    normal = screens.without_mark(text)
    assert "\r" not in normal
    assert re.sub(r"[\r\n]", "", normal) == re.sub(r"[\r\n]", "", text.removeprefix("\ufeff"))
    if not normal.startswith("\ufeff"):
        assert screens.without_mark(normal) == normal


@given(st.text(), st.text())
def test_any_text_can_be_screened(path: str, text: str) -> None:
    answers = [
        screens.is_vendored(path),
        screens.is_generated(path, text),
        screens.is_minified(path, text),
        screens.is_data(text),
        screens.has_few_letters(text),
    ]
    assert all(isinstance(answer, bool) for answer in answers)
    assert screens.longest_line(text) <= len(text)


@given(st.lists(SENTENCES | st.text(max_size=40), max_size=6))
def test_any_header_has_an_answer_that_reads_as_spdx(lines: list[str]) -> None:
    text = "\n# ".join(lines)
    for answer in (from_header(text), identify_text(text), normalise(text)):
        assert answer == "" or normalise(answer) != "", answer
        assert isinstance(is_permissive(answer), bool)


FILES = st.builds(
    lambda name, content, size, problem: RawDocument(
        id=f"r:{name}", content=content, size=len(content) + size, repository="r", commit="", path=name, problem=problem
    ),
    name=st.sampled_from(["a.py", "b.rs", "c.txt", "vendor/d.go", "e.min.js", "run"]),
    content=st.binary(max_size=60) | st.sampled_from([b"x = 1\n" * 9, b"def f(a, b):\n    return a + b\n" * 3]),
    size=st.sampled_from([0, 0, 0, 2_000_000]),
    problem=st.sampled_from(["", "", "", "unreadable"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FILES, min_size=1, max_size=12), st.integers(1, 5))
def test_every_file_is_kept_or_rejected_exactly_once(files: list[RawDocument], part_documents: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Writer(Path(folder), "documents", Document)
        Documents(part_documents=part_documents).run(iter(files), out, Local())
        parts = range(out.done)
        kept = [d for i in parts for d in out.read_part(i)]
        rejected = [r for i in parts for r in out.rejections_of_part(i)]
    ids = [*(d.id for d in kept), *(r.id for r in rejected)]
    assert Counter(f.id for f in files) == Counter(i.split("~")[0] for i in ids)
    assert len(set(ids)) == len(ids)
    assert len({d.id for d in kept}) == len(kept) == len({d.text for d in kept})
