"""What licences say, as data: the phrases that give a licence away, and the names people write for it.

Phrases are matched against normalised words (`licenses.words`): lower case, punctuation and comment markers gone,
`licence` written `license`, dots kept inside numbers and names. Licence names and wordings are public facts; the
identifiers are SPDX's.
"""

import re
from typing import Final

TITLES: Final = tuple(
    (re.compile(pattern), spdx)
    for pattern, spdx in (
        (r"gnu general public license version 1 february 1989", "GPL-1.0-only"),
        (r"gnu general public license version 2 june 1991", "GPL-2.0-only"),
        (r"gnu general public license version 3 29 june 2007", "GPL-3.0-only"),
        (r"gnu library general public license version 2 june 1991", "LGPL-2.0-only"),
        (r"gnu lesser general public license version 2.1 february 1999", "LGPL-2.1-only"),
        (r"gnu lesser general public license version 3 29 june 2007", "LGPL-3.0-only"),
        (r"gnu affero general public license version 3 19 november 2007", "AGPL-3.0-only"),
        (r"gnu free documentation license version 1.1 march 2000", "GFDL-1.1-only"),
        (r"gnu free documentation license version 1.2 november 2002", "GFDL-1.2-only"),
        (r"gnu free documentation license version 1.3 3 november 2008", "GFDL-1.3-only"),
        (r"apache license version 2.0 january 2004", "Apache-2.0"),
        (r"terms and conditions for use reproduction and distribution 1\.? definitions license shall", "Apache-2.0"),
        (r"mozilla public license version 2.0 1\.? definitions", "MPL-2.0"),
        (r"mozilla public license version 1.1 1\.? definitions", "MPL-1.1"),
        (r"eclipse public license v 2.0 the accompanying program", "EPL-2.0"),
        (r"eclipse public license v 1.0 the accompanying program", "EPL-1.0"),
        (r"common development and distribution license cddl version 1.0 1\.? definitions", "CDDL-1.0"),
        (r"common development and distribution license cddl version 1.1 1\.? definitions", "CDDL-1.1"),
        (r"the artistic license 2.0 copyright c 2000 2006", "Artistic-2.0"),
        (r"the artistic license preamble the intent of this document", "LicenseRef-Artistic"),
        (r"(?:cc0 1.0 universal|creative commons legal code) .{0,900}statement of purpose", "CC0-1.0"),
        (r"psf license agreement for python|python software foundation license version 2 1\.? this", "PSF-2.0"),
        (r"european union public license v\.? ?1.2 eupl", "EUPL-1.2"),
        (r"server side public license version 1 october 16 2018", "SSPL-1.0"),
        (r"business source license 1.1 (?:parameters|license text|terms)", "BUSL-1.1"),
    )
)
"""Titles of the long licence texts, with what follows them, so that a mere mention does not match."""

NOTICES: Final = tuple(
    (word, re.compile(pattern), spdx)
    for word, pattern, spdx in (
        (
            "with llvm exception",
            r"apache license v(?:ersion)? ?2.0 with llvm exceptions?",
            "Apache-2.0 WITH LLVM-exception",
        ),
        (
            "with runtime library exception",
            r"apache license v(?:ersion)? ?2.0 with runtime library exception",
            "Apache-2.0 WITH Swift-exception",
        ),
        ("apache", r"apache(?: software)? license (?:v|ver|version)?\.? ?2(?:\.0)?\b", "Apache-2.0"),
        ("apache", r"apache ?(?:v|version)?\.? ?2(?:\.0)? license|apache 2\.0\b|apache license 2\b", "Apache-2.0"),
        ("apache.org", r"apache.org licenses license 2.0", "Apache-2.0"),
        (
            " mit",
            r"(?:under|license is|to|license|governed by|or|and) (?:the |an |a )?(?:terms of (?:the )?)?"
            r"(?:permissive |standard )?mit(?: x11| expat)?(?: open source| style)? license",
            "MIT",
        ),
        ("expat", r"(?:under|license is|to) (?:the |an )?(?:terms of (?:the )?)?expat(?: mit)? license", "MIT"),
        ("mit license", r"(?:^| )mit licensed|\bmit license (?:see|copyright|mit|https?|c )", "MIT"),
        ("released under mit", r"released under mit\b", "MIT"),
        ("licenses mit", r"opensource.org licenses mit\b", "MIT"),
        ("bsd", r"(?:under|subject to) (?:the )?(?:terms of the )?(?:simplified|2 clause) bsd license", "BSD-2-Clause"),
        (
            "bsd",
            r"(?:under|subject to) (?:the )?(?:terms of the )?(?:new|modified|revised|3 clause|bsd 3 clause) (?:bsd )?"
            r"license",
            "BSD-3-Clause",
        ),
        (
            "bsd",
            r"(?:governed by|under|subject to) (?:the |a )?(?:terms of (?:the |a )?)?bsd (?:style )?license",
            "LicenseRef-BSD",
        ),
        ("licenses bsd 3", r"opensource.org licenses bsd 3 clause", "BSD-3-Clause"),
        ("licenses bsd 2", r"opensource.org licenses bsd 2 clause", "BSD-2-Clause"),
        (
            "mozilla",
            r"mozilla public license(?: mpl)?(?: v| ver| version)?\.? ?2(?:\.0)?\b|mozilla.org mpl 2.0",
            "MPL-2.0",
        ),
        ("mozilla", r"mozilla public license(?: mpl)?(?: v| ver| version)?\.? ?1\.1\b|mozilla.org mpl 1.1", "MPL-1.1"),
        ("boost", r"boost software license(?: version)? 1.0|boost.org license 1 0.txt", "BSL-1.0"),
        (
            "eclipse",
            r"eclipse public license(?: epl)?(?: v| version)?\.? ?2(?:\.0)?\b|eclipse.org legal epl 2.0",
            "EPL-2.0",
        ),
        (
            "eclipse",
            r"eclipse public license(?: epl)?(?: v| version)?\.? ?1(?:\.0)?\b|eclipse.org legal epl v10",
            "EPL-1.0",
        ),
        (" isc", r"under (?:the )?(?:terms of (?:the )?)?isc license|opensource.org licenses isc\b", "ISC"),
        ("zlib", r"under (?:the )?(?:terms of (?:the )?)?(?:zlib(?: libpng)?) license", "Zlib"),
        ("distribution license", r"common development and distribution license.{0,40}version 1.1", "CDDL-1.1"),
        ("distribution license", r"common development and distribution license.{0,40}version 1.0", "CDDL-1.0"),
        ("php license", r"version 3.01 of the php license", "PHP-3.01"),
        ("php license", r"version 3.0 of the php license", "PHP-3.0"),
        ("zend license", r"version 2\.\d+ of the zend license", "LicenseRef-Zend"),
        ("perl", r"same terms as (?:the )?perl", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
        ("zero", r"creativecommons.org publicdomain zero 1.0", "CC0-1.0"),
        ("cc0", r"under (?:the )?(?:terms of (?:the )?)?cc0\b", "CC0-1.0"),
        ("4.0", r"creativecommons.org licenses by sa 4.0|attribution share ?alike 4.0 international", "CC-BY-SA-4.0"),
        ("4.0", r"creativecommons.org licenses by 4.0|creative commons attribution 4.0 international", "CC-BY-4.0"),
        (
            "commons",
            r"creativecommons.org licenses by nc|creative commons attribution non ?commercial",
            "LicenseRef-CC-BY-NC",
        ),
        (
            "public domain",
            r"(?:placed|released|dedicated|is) (?:in|into|to) the public domain",
            "LicenseRef-Public-Domain",
        ),
        (
            "psf",
            r"licensed to psf under a contributor agreement|under the psf license|python.org psf license",
            "PSF-2.0",
        ),
        ("universal", r"universal permissive license v(?:ersion)? ?1.0", "UPL-1.0"),
        ("microsoft", r"microsoft public license", "MS-PL"),
        ("ms pl", r"(?:license|under the) ms pl\b|\bms pl license", "MS-PL"),
        ("blue oak", r"blue oak model license", "BlueOak-1.0.0"),
        ("server side", r"server side public license", "SSPL-1.0"),
        ("business source", r"business source license 1.1", "BUSL-1.1"),
        ("elastic", r"elastic license 2.0", "Elastic-2.0"),
        ("academic", r"academic free license(?: afl)?(?: v| version)?\.? ?3.0", "AFL-3.0"),
        ("licenses afl", r"opensource.org licenses afl 3.0", "AFL-3.0"),
        ("open software", r"open software license(?: osl)?(?: v| version)?\.? ?3.0", "OSL-3.0"),
        ("licenses osl", r"opensource.org licenses osl 3.0", "OSL-3.0"),
        ("sil open", r"sil open font license version 1.1", "OFL-1.1"),
    )
)
"""Sentences by which a file says what licence it is under; the word is in all that the pattern matches, for speed."""

SHORT: Final = tuple(
    (re.compile(pattern), spdx)
    for pattern, spdx in (
        (r"permission is hereby granted free of charge to any person obtaining a copy", "MIT"),
        (r"permission is hereby granted free of charge to any person or organization obtaining a copy", "BSL-1.0"),
        (r"redistribution and use (?:of this software )?in source and binary forms", "BSD"),
        (
            r"permission to use copy modify (?:and|and or|or|sell and) ?distribute this software(?: and its "
            r"documentation)? for any purpose (?:and )?with(?: or without|out) fee is hereby granted",
            "ISC",
        ),
        (r"permission is granted to anyone to use this software for any purpose", "Zlib"),
        (r"this is free and unencumbered software released into the public domain", "Unlicense"),
        (r"do what the fuck you want to public license", "WTFPL"),
        (r"unicode license v3|unicode data files and software", "Unicode-3.0"),
    )
)
"""Phrases of licences short enough to stand whole in a file's header; `licenses` tells the variants apart."""

NAMES: Final[dict[str, str]] = {
    "mit": "MIT", "mit license": "MIT", "the mit license": "MIT", "expat": "MIT", "expat license": "MIT",
    "mit license mit": "MIT", "the mit license mit": "MIT", "mit no attribution license mit 0": "MIT-0",
    "apache": "Apache-2.0", "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0", "asl 2.0": "Apache-2.0",
    "apache license": "Apache-2.0", "apache software license": "Apache-2.0", "apache2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0", "apache 2.0 license": "Apache-2.0", "apachev2": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0", "the apache license version 2.0": "Apache-2.0",
    "the apache software license version 2.0": "Apache-2.0", "apache software license 2.0": "Apache-2.0",
    "apache license v2.0": "Apache-2.0", "apache license v2": "Apache-2.0", "apache v2": "Apache-2.0",
    "apache 2 license": "Apache-2.0", "apache license 2": "Apache-2.0",
    "bsd": "LicenseRef-BSD", "bsd license": "LicenseRef-BSD", "the bsd license": "LicenseRef-BSD",
    "bsd style": "LicenseRef-BSD", "bsd like": "LicenseRef-BSD", "bsd style license": "LicenseRef-BSD",
    "bsd 3": "BSD-3-Clause", "bsd 3 clause": "BSD-3-Clause", "3 clause bsd": "BSD-3-Clause",
    "bsd 3 clause license": "BSD-3-Clause", "3 clause bsd license": "BSD-3-Clause", "new bsd": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause", "the bsd 3 clause license": "BSD-3-Clause",
    "modified bsd license": "BSD-3-Clause", "modified bsd": "BSD-3-Clause", "revised bsd license": "BSD-3-Clause",
    "bsd 2": "BSD-2-Clause", "bsd 2 clause": "BSD-2-Clause", "2 clause bsd": "BSD-2-Clause",
    "bsd 2 clause license": "BSD-2-Clause", "2 clause bsd license": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause", "simplified bsd license": "BSD-2-Clause",
    "bsd zero clause license 0bsd": "0BSD",
    "isc": "ISC", "isc license": "ISC", "isc license iscl": "ISC",
    "mpl": "LicenseRef-MPL", "mpl 2": "MPL-2.0", "mpl 2.0": "MPL-2.0", "mpl2": "MPL-2.0", "mpl v2": "MPL-2.0",
    "mozilla public license 2.0": "MPL-2.0", "mozilla public license 2.0 mpl 2.0": "MPL-2.0",
    "mozilla public license version 2.0": "MPL-2.0", "mozilla public license 1.1 mpl 1.1": "MPL-1.1",
    "psf": "PSF-2.0", "psf 2": "PSF-2.0", "python software foundation license": "PSF-2.0", "psf license": "PSF-2.0",
    "psfl": "PSF-2.0",
    "boost software license": "BSL-1.0", "boost software license 1.0 bsl 1.0": "BSL-1.0", "boost": "BSL-1.0",
    "zlib": "Zlib", "zlib license": "Zlib", "zlib libpng license": "Zlib",
    "unlicense": "Unlicense", "the unlicense": "Unlicense", "the unlicense unlicense": "Unlicense",
    "cc0": "CC0-1.0", "cc0 1.0": "CC0-1.0", "cc0 1.0 universal": "CC0-1.0",
    "cc0 1.0 universal cc0 1.0 public domain dedication": "CC0-1.0",
    "cc by 4.0": "CC-BY-4.0", "cc by sa 4.0": "CC-BY-SA-4.0",
    "wtfpl": "WTFPL", "zpl 2.1": "ZPL-2.1", "zope public license": "LicenseRef-ZPL",
    "eclipse public license 2.0 epl 2.0": "EPL-2.0", "eclipse public license 1.0 epl 1.0": "EPL-1.0",
    "eclipse public license v2.0": "EPL-2.0", "eclipse public license v1.0": "EPL-1.0",
    "universal permissive license upl": "UPL-1.0", "sil open font license 1.1 ofl 1.1": "OFL-1.1",
    "european union public license 1.2 eupl 1.2": "EUPL-1.2",
    "artistic": "LicenseRef-Artistic", "artistic license": "LicenseRef-Artistic", "artistic 2.0": "Artistic-2.0",
    "public domain": "LicenseRef-Public-Domain", "php license": "PHP-3.01",
    "gpl": "GPL-1.0-or-later", "gnu gpl": "GPL-1.0-or-later", "gnu general public license gpl": "GPL-1.0-or-later",
    "lgpl": "LGPL-2.0-or-later", "gnu lgpl": "LGPL-2.0-or-later", "agpl": "AGPL-3.0-or-later",
    "gnu library or lesser general public license lgpl": "LGPL-2.0-or-later",
    "proprietary": "LicenseRef-Proprietary", "proprietary license": "LicenseRef-Proprietary",
    "other proprietary license": "LicenseRef-Proprietary", "commercial": "LicenseRef-Proprietary",
    "unlicensed": "LicenseRef-Proprietary", "all rights reserved": "LicenseRef-Proprietary",
}  # fmt: skip
"""Names as metadata write them (normalised words). A name that leaves the variant open gets a `LicenseRef-`: a bare
"BSD" is some BSD licence, and saying which would be a guess. "Apache" alone is 2.0: nothing older is in use; a GPL
without a version is any version, as its own section 9 says; `UNLICENSED` is npm's word for all rights reserved."""

PERMISSIVE: Final = frozenset({
    "0BSD", "AFL-3.0", "Apache-1.1", "Apache-2.0", "Artistic-2.0", "BSD-1-Clause", "BSD-2-Clause",
    "BSD-2-Clause-Patent", "BSD-3-Clause", "BSD-3-Clause-Clear", "BSD-4-Clause", "BSD-4-Clause-UC", "BSD-Source-Code",
    "BSL-1.0", "BlueOak-1.0.0", "CC-BY-3.0", "CC-BY-4.0", "CC0-1.0", "CNRI-Python", "ECL-2.0", "FSFAP", "FTL", "HPND",
    "HPND-sell-variant", "ICU", "IJG", "ISC", "LicenseRef-BSD", "LicenseRef-Public-Domain", "LicenseRef-ZPL", "Libpng",
    "MIT", "MIT-0", "MIT-CMU", "MS-PL", "MulanPSL-2.0", "NCSA", "NTP", "OLDAP-2.8", "OpenSSL", "PHP-3.0", "PHP-3.01",
    "PSF-2.0", "PostgreSQL", "Python-2.0", "Python-2.0.1", "Ruby", "TCL", "UPL-1.0", "Unicode-3.0",
    "Unicode-DFS-2016", "Unlicense", "Vim", "W3C", "WTFPL", "X11", "Xnet", "ZPL-2.0", "ZPL-2.1", "Zlib",
    "bzip2-1.0.6", "curl", "libpng-2.0", "libtiff", "zlib-acknowledgement",
})  # fmt: skip
"""Licences that ask for notices at most: the sort of licence that the paper's corpus admits."""
