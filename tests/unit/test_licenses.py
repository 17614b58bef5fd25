"""Licences: headers, whole texts, metadata values, permissiveness."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from license_expression import get_spdx_licensing

from magicoder.text.license_phrases import NAMES, NOTICES, PERMISSIVE, SHORT, TITLES
from magicoder.text.licenses import from_header, identify_text, is_permissive, normalise

COMMON = Path("/usr/share/common-licenses")

APACHE = """
Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0
"""
GPL = """
This program is free software{}; you can redistribute it and/or modify
it under the terms of the GNU {}General Public License as published by
the Free Software Foundation; {}

This program is distributed in the hope that it will be useful, but
WITHOUT ANY WARRANTY. See the GNU {}General Public License for more details.
"""
LATER = "either version {} of the License, or\n(at your option) any later version."
MIT = """
Permission is hereby granted, free of charge, to any person obtaining a copy
of this software, to deal in the Software without restriction, subject to the
following conditions: The above copyright notice and this permission notice
shall be included in all copies.
"""
BSD = """
Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:
1. Redistributions of source code must retain the above copyright notice.
2. Redistributions in binary form must reproduce the above copyright notice.
{}
"""
ISC = """
Permission to use, copy, modify, and/or distribute this software for any
purpose with or without fee is hereby granted{}.
THE SOFTWARE IS PROVIDED "AS IS".
"""
HEADERS = [
    (APACHE, "Apache-2.0"),
    ("Licensed under the Apache License v2.0 with LLVM Exceptions.", "Apache-2.0 WITH LLVM-exception"),
    (GPL.format("", "", LATER.format(2), ""), "GPL-2.0-or-later"),
    (GPL.format("", "", "version 2 of the License.", ""), "GPL-2.0-only"),
    (GPL.format("", "", LATER.format(3), ""), "GPL-3.0-or-later"),
    (GPL.format("", "Lesser ", LATER.format("2.1"), "Lesser "), "LGPL-2.1-or-later"),
    (GPL.format("", "Library ", LATER.format(2), "Library "), "LGPL-2.0-or-later"),
    (GPL.format("", "Affero ", LATER.format(3), "Affero "), "AGPL-3.0-or-later"),
    ("This code is free software under the GNU General Public License version 2 only.", "GPL-2.0-only"),
    ("Released under the GPLv3+.", "GPL-3.0-or-later"),
    ("It may be used under the terms of the GNU GPL, with no version named.", "GPL-1.0-or-later"),
    (
        GPL.format("", "", "either version 2 of the License, or (at your option) version 3.", ""),
        "GPL-2.0-only OR GPL-3.0-only",
    ),
    (
        GPL.format("", "", "version 2 of the License.", "") + 'subject to the "Classpath" exception',
        "GPL-2.0-only WITH Classpath-exception-2.0",
    ),
    (MIT, "MIT"),
    (BSD.format(""), "BSD-2-Clause"),
    (BSD.format("3. Neither the name of X may be used to endorse or promote products."), "BSD-3-Clause"),
    (
        BSD.format("3. All advertising materials mentioning features must display an acknowledgement.")
        + "4. Neither the name of X may be used to endorse or promote products.",
        "BSD-4-Clause",
    ),
    (
        "This Source Code Form is subject to the terms of the Mozilla Public\nLicense, v. 2.0. If a copy was not given",
        "MPL-2.0",
    ),
    (ISC.format(", provided that the above\ncopyright notice and this permission notice appear in all copies"), "ISC"),
    (ISC.format(""), "0BSD"),
    ("Distributed under the Boost Software License, Version 1.0.", "BSL-1.0"),
    ("Permission is granted to anyone to use this software for any purpose,\nincluding commercial ones", "Zlib"),
    ("This is free and unencumbered software released into the public domain.", "Unlicense"),
    ("To the extent possible, see http://creativecommons.org/publicdomain/zero/1.0/ for this license", "CC0-1.0"),
    ("Licensed to PSF under a Contributor Agreement.", "PSF-2.0"),
    ("under the terms of the Eclipse Public License v. 2.0 which is available", "EPL-2.0"),
    ("Use of this source code is governed by a BSD-style\nlicense that can be found in LICENSE.", "LicenseRef-BSD"),
    ("Licensed under either of Apache License, Version 2.0\nor MIT license, at your option.", "Apache-2.0 OR MIT"),
    (APACHE + MIT, "Apache-2.0 AND MIT"),
    ("License: BSD, see LICENSE for more details.", "LicenseRef-BSD"),
    ("@license MIT", "MIT"),
    ("For the license, see the file LICENSE that was distributed with this source code.", ""),
    ("It prints the GNU General Public License.", ""),
    ("See the GNU General Public License.", ""),
]
MARKS = {"python": ("", "# {}", ""), "c": ("/*", " * {}", " */"), "cpp": ("", "// {}", ""), "m4": ("", "dnl {}", "")}


@pytest.mark.parametrize("language", MARKS)
@pytest.mark.parametrize(("sentence", "expected"), HEADERS)
def test_a_header_is_recognised_whatever_its_comment_marks(sentence: str, expected: str, language: str) -> None:
    first, between, last = MARKS[language]
    head = [first, *(between.format(line).rstrip() for line in sentence.strip().split("\n")), last]
    assert from_header("\n".join(head) + "\nint main() { return 0; }\n") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("# SPDX-License-Identifier: Apache-2.0", "Apache-2.0"),
        ("/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */", "GPL-2.0-only WITH Linux-syscall-note"),
        ("<!-- SPDX-License-Identifier: (mit or apache-2.0) -->", "MIT OR Apache-2.0"),
        ("// SPDX-License-Identifier: GPL-2.0+", "GPL-2.0-or-later"),
        ("# SPDX-License-Identifier: LicenseRef-Ours", "LicenseRef-Ours"),
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: BSD-2-Clause", "MIT AND BSD-2-Clause"),
        ("# SPDX-License-Identifier: nonsense", ""),
        ("# SPDX-License-Identifier:", ""),
    ],
)
def test_spdx_lines_are_read_as_expressions(line: str, expected: str) -> None:
    assert from_header(f"#!/bin/sh\n{line}\nx = 1\n") == expected


def test_an_spdx_line_overrules_the_sentences_around_it() -> None:
    assert from_header(f"# SPDX-License-Identifier: MIT\n{APACHE}") == "MIT"


def test_a_licence_far_below_the_head_is_not_the_files() -> None:
    assert from_header("x = 1\n" * 200 + "# SPDX-License-Identifier: MIT\n") == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Apache-2.0", "Apache-2.0"),
        ("BSD", "BSD-3-Clause"),
        ("CC0-1.0", "CC0-1.0"),
        ("GFDL-1.2", "GFDL-1.2-only"),
        ("GFDL-1.3", "GFDL-1.3-only"),
        ("GPL-1", "GPL-1.0-only"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-3", "GPL-3.0-only"),
        ("LGPL-2", "LGPL-2.0-only"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("LGPL-3", "LGPL-3.0-only"),
        ("MPL-1.1", "MPL-1.1"),
        ("MPL-2.0", "MPL-2.0"),
        ("Artistic", "LicenseRef-Artistic"),
    ],
)
def test_the_systems_licence_texts_are_recognised(name: str, expected: str) -> None:
    path = COMMON / name
    if not path.is_file():
        pytest.skip(f"{path} is not on this system")
    assert identify_text(path.read_text(encoding="utf-8")) == expected


def test_licence_files_of_installed_packages_agree_with_their_metadata() -> None:
    seen, unknown, wrong = 0, [], []
    for package in metadata.distributions():
        stated = package.metadata.get("License-Expression") or package.metadata.get("License") or ""
        expected = normalise(stated)
        files = [f for f in package.files or [] if re.fullmatch(r"(?i)licen[sc]e(\.txt|\.md)?|copying", f.name)]
        own = [f for f in files if f.parent.name in ("licenses", "license_files") or f.parent.suffix == ".dist-info"]
        if len(own) != 1 or re.search(r" (AND|OR) |LicenseRef", expected) or not expected:
            continue
        seen += 1
        answer = identify_text(Path(str(own[0].locate())).read_text(encoding="utf-8", errors="replace"))
        if not answer:
            unknown.append(package.name)
        # A file may add the notices of what it bundles; the package's own licence must be among them.
        elif expected not in answer.split(" AND "):
            wrong.append((package.name, expected, answer))
    assert seen >= 20
    assert len(unknown) <= 0.05 * seen, unknown
    assert len(wrong) <= 0.05 * seen, wrong


def test_a_bundle_of_texts_is_joined_by_and_and_a_choice_by_or() -> None:
    assert identify_text(f"{MIT}\nThis project bundles x:\n{BSD.format('')}") == "MIT AND BSD-2-Clause"
    dual = f"This software is dual-licensed under the MIT and the BSD licences:\n{MIT}\n{BSD.format('')}"
    assert identify_text(dual) == "MIT OR BSD-2-Clause"


def test_a_bundled_text_that_offers_a_choice_does_not_free_the_rest() -> None:
    filler = "This is about something else entirely. " * 40
    assert identify_text(f"{MIT}{filler}{BSD.format('')} Alternatively, ask.") == "MIT AND BSD-2-Clause"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("MIT License", "MIT"),
        ("Expat", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("Apache Software License", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("License :: OSI Approved :: MIT License", "MIT"),
        ("License :: OSI Approved :: BSD License", "LicenseRef-BSD"),
        ("License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
        ("License :: OSI Approved :: GNU Lesser General Public License v2 or later (LGPLv2+)", "LGPL-2.0-or-later"),
        ("License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("License :: OSI Approved", ""),
        ("BSD 2-Clause License", "BSD-2-Clause"),
        ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
        ("Apache-2.0 WITH LLVM-exception OR MIT", "Apache-2.0 WITH LLVM-exception OR MIT"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPLv3", "GPL-3.0-only"),
        ("GPL v2 or later", "GPL-2.0-or-later"),
        ("GPL-2.0 WITH nonsense", ""),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("UNLICENSED", "LicenseRef-Proprietary"),
        ("SEE LICENSE IN terms.txt", ""),
        ("Dual License", ""),
        ("MIT AND", ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_metadata_values_become_spdx_or_nothing(value: str, expected: str) -> None:
    assert normalise(value) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MPL-2.0", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-2.0-only) AND Apache-2.0", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("LicenseRef-BSD", True),
        ("LicenseRef-Proprietary", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_permissive_means_notices_at_most(expression: str, expected: bool) -> None:
    assert is_permissive(expression) is expected


def test_every_identifier_in_the_tables_is_one_of_spdx() -> None:
    named = [*NAMES.values(), *PERMISSIVE, *(s for _, s in TITLES), *(s for *_, s in NOTICES), *(s for _, s in SHORT)]
    licensing = get_spdx_licensing()
    unknown = {
        key
        for name in named
        if name != "BSD"  # told apart by its clauses
        for key in licensing.unknown_license_keys(licensing.parse(name))
        if not key.startswith("LicenseRef-")
    }
    assert unknown == set()


def test_every_notice_holds_its_own_keyword() -> None:
    for word, pattern, spdx in NOTICES:
        assert word.strip() in pattern.pattern.replace("\\", "").replace("(?: ?", " "), (word, spdx)


def test_common_answers_do_not_load_the_spdx_parser() -> None:
    code = (
        "import sys\nfrom magicoder.text.licenses import from_header, normalise, is_permissive\n"
        "assert normalise('Apache 2.0') == 'Apache-2.0' and is_permissive('MIT')\n"
        "assert from_header('# SPDX-License-Identifier: MIT') == 'MIT'\n"
        "assert from_header('# Licensed under the MIT license') == 'MIT'\n"
        "sys.exit('license_expression' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
