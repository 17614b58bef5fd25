"""What every file in `languages/` must keep to; a new one is under test the moment it exists."""

import importlib
import re

import pytest
import tree_sitter

from magicoder import plugins
from magicoder.languages import Language, all_languages, detect, executable, get
from magicoder.text.syntax import documented_functions, parses, whole_function

NAMES = plugins.names("languages")


@pytest.fixture(params=[language.name for language in all_languages()])
def language(request):
    return get(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_is_a_language_named_after_its_file(name):
    language = get(name)
    assert isinstance(language, Language)
    assert language.name == name
    assert plugins.load("languages", name) is language
    aside = "" if language.grammar else " (its programs can be run; no seeds are taken from it)"
    assert plugins.summary("languages", name) == f"{language.title}{aside}."
    assert language.grammar or language.toolchain, "neither read nor run"


@pytest.mark.parametrize("name", [language.name for language in executable() if not language.grammar])
def test_files_in_a_language_without_a_grammar_are_not_taken_for_source_code(name):
    language = get(name)
    assert all(detect(f"src/file{extension}", "") == "" for extension in language.extensions)
    assert all(detect("tool", f"#!/usr/bin/env {interpreter}\n") == "" for interpreter in language.interpreters)


@pytest.fixture(params=[language.name for language in executable()])
def toolchain(request):
    return get(request.param).toolchain


def test_a_toolchain_fills_in_only_what_it_declares(toolchain):
    commands = (toolchain.run, toolchain.compile, *(command for _, command in toolchain.variants))
    for command in filter(None, commands):
        assert command[0] in toolchain.needs or command[0] == "./program"
    words = [word for command in commands for word in command] + [value for _, value in toolchain.environment]
    known = {"source", "sources", "stem", "main", "cache", "heap_mb"}
    assert {name for word in words for name in re.findall(r"\{(\w+)\}", word)} <= known
    assert bool(toolchain.compile) == bool(toolchain.makes)
    assert ("{main}" in toolchain.run) == bool(toolchain.main)
    assert toolchain.version[0] in toolchain.needs
    assert all(pattern.startswith("/etc/") for pattern in toolchain.shows)


def test_a_toolchain_says_how_to_get_it_and_greets(toolchain):
    assert toolchain.install
    assert "hello" in toolchain.hello


def test_names_are_written_as_detection_looks_them_up(language):
    assert all(e.startswith(".") and e == e.lower() and "." not in e[1:] for e in language.extensions)
    assert all(f and "/" not in f for f in language.filenames)
    assert all(i == i.rstrip("0123456789.-") or i == "v8" or i == "d8" for i in language.interpreters)
    assert all(f == f.lower() for f in language.fences)
    assert language.extensions
    assert language.fences


def test_every_ending_and_name_is_detected(language):
    for extension in language.extensions:
        if extension != ".h":
            assert detect(f"src/file{extension}", "") == language.name
    for filename in language.filenames:
        assert detect(f"src/{filename}", "") == language.name
    for interpreter in language.interpreters:
        assert detect("tool", f"#!/usr/bin/env {interpreter}\n") == language.name


@pytest.mark.parametrize("field", ["extensions", "filenames", "interpreters", "fences"])
def test_no_two_languages_claim_the_same(field):
    claimed = [value for language in all_languages() for value in getattr(language, field)]
    twice = {value for value in claimed if claimed.count(value) > 1}
    assert twice <= ({".h"} if field == "extensions" else {"h"} if field == "fences" else set())


def test_node_types_exist_in_the_grammar(language):
    module = importlib.import_module(language.grammar)
    grammar = tree_sitter.Language(getattr(module, language.grammar_function)())
    kinds = {grammar.node_kind_for_id(i) for i in range(grammar.node_kind_count)}
    named = language.function_nodes + language.comment_nodes + language.wrapper_nodes + language.attribute_nodes
    assert set(named) <= kinds
    assert language.function_nodes
    assert language.comment_nodes


def test_comments_parse_as_comments(language):
    for mark in language.line_comments:
        assert parses(f"{mark} a remark\n", language)
    if language.block_comment:
        opening, closing = language.block_comment
        assert parses(f"{opening} a remark\nof two lines {closing}\n", language)
    assert language.comment_prefix.startswith(language.line_comments)


def test_an_empty_file_parses_and_has_no_functions(language):
    assert parses("", language)
    assert documented_functions("", language) == []
    assert whole_function("", language) is None


def test_a_member_context_alone_parses(language):
    before, after = language.member_context
    assert parses(f"{before}\n{after}", language)


@pytest.mark.parametrize(
    "garbage", ["\0" * 100, "\ud800 \udfff", "(" * 5000, "*/" * 5000, "def " * 5000, "é" * 999, "#!"]
)
def test_garbage_never_raises(language, garbage):
    assert documented_functions(garbage, language) == []
    whole_function(garbage, language)
