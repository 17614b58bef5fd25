"""Recognising languages by name, ending, shebang and, where an ending has two meanings, content."""

import pytest

from magicoder.errors import RecipeError
from magicoder.languages import all_languages, detect, get

PAPER = {"python", "typescript", "csharp", "rust", "swift", "php", "java", "cpp", "shell"}


def test_the_nine_languages_of_the_paper_are_marked():
    assert {language.name for language in all_languages() if language.in_paper} == PAPER


def test_every_language_is_listed_once_in_alphabetical_order():
    names = [language.name for language in all_languages()]
    assert names == sorted(set(names))
    assert {"go", "javascript", "kotlin", "ruby", "c"} <= set(names)


def test_an_unknown_language_is_answered_with_the_nearest_name():
    with pytest.raises(RecipeError, match="did you mean typescript"):
        get("typscript")


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a/b/main.py", "python"),
        ("a/b.c/x.PY", "python"),
        ("src/app.tsx", "typescript"),
        ("x.mts", "typescript"),
        ("Program.cs", "csharp"),
        ("lib.rs", "rust"),
        ("index.php", "php"),
        ("kernel.ipp", "cpp"),
        ("install.bash", "shell"),
        (".bashrc", "shell"),
        ("home/.profile", "shell"),
        ("Rakefile", "ruby"),
        ("pkg/SConstruct", "python"),
        ("a.mjs", "javascript"),
        ("build.gradle.kts", "kotlin"),
        ("README.md", ""),
        ("data.json", ""),
        ("Makefile", ""),
        ("", ""),
        ("a.py/", ""),
        (".py", "python"),
    ],
)
def test_name_and_ending_decide(path, language):
    assert detect(path, "") == language


@pytest.mark.parametrize(
    ("head", "language"),
    [
        ("#!/bin/sh\necho", "shell"),
        ("#!/usr/bin/env python3.11\n", "python"),
        ("#!/usr/bin/env -S PYTHONPATH=. python3 -u\n", "python"),
        ("#! /usr/local/bin/node\n", "javascript"),
        ("#!/usr/bin/perl\n", ""),
        ("#!\n", ""),
        ("#!/usr/bin/env\n", ""),
        ("echo #!/bin/sh", ""),
    ],
)
def test_the_shebang_decides_for_files_without_a_known_ending(head, language):
    assert detect("bin/tool", head) == language


def test_a_known_ending_outweighs_the_shebang():
    assert detect("setup.py", "#!/bin/sh\n") == "python"


@pytest.mark.parametrize(
    ("head", "language"),
    [
        ("#ifndef A_H\n#define A_H\nint f(void);\n#endif\n", "c"),
        ('#ifdef __cplusplus\nextern "C" {\n#endif\nstruct s { int class_id; };\n', "c"),
        ("/* the class of things that end here */\nint f(void);\n", "c"),
        ("#pragma once\nnamespace a {\n}\n", "cpp"),
        ("#include <vector>\n", "cpp"),
        ("class Foo;\n", "cpp"),
        ("class Foo final : public Bar\n{\n", "cpp"),
        ("template <typename T>\nT f(T);\n", "cpp"),
        ("std::string f();\n", "cpp"),
        ("#import <Foundation/Foundation.h>\n@interface A\n@end\n", ""),
    ],
)
def test_a_header_is_c_or_cpp_by_its_content(head, language):
    assert detect("include/a.h", head) == language


def test_a_qt_translation_is_not_typescript():
    assert detect("i18n/app_de.ts", '<?xml version="1.0"?>\n<!DOCTYPE TS>\n<TS></TS>') == ""
    assert detect("i18n/app_de.ts", "\ufeff<!DOCTYPE TS>") == ""
    assert detect("app.ts", "<T>(x: T) => x") == "typescript"


def test_labels_of_a_real_corpus_agree(shared_data):
    import pyarrow.parquet as pq

    table = pq.read_table(shared_data / "corpus_sample.parquet").to_pylist()
    rows = [row for row in table if not row["path"].endswith(".h")]
    wrong = [row["path"] for row in rows if detect(row["path"], row["content"][:4096]) != row["lang"]]
    assert len(wrong) <= 1, wrong  # one TypeScript file of the sample is a Qt translation
