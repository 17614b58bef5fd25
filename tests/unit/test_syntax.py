"""Does it parse, and which functions are documented: rules of the paper's direct-finetuning baseline."""

import ast
import warnings

import pytest

from magicoder.languages import all_languages, get
from magicoder.text import syntax
from magicoder.text.docstrings import doc_problem, first_paragraph
from magicoder.text.syntax import documented_functions, parses, whole_function

# One documented function in each language, and the line with which the original's prompt would end.
EXAMPLES = {
    "python": ('def add(a, b):\n    """Add two numbers."""\n    return a + b\n', '    """Add two numbers."""'),
    "typescript": (
        "/** Add two numbers. */\nexport function add(a: number): number {\n  return a;\n}\n",
        "export function add(a: number): number {",
    ),
    "csharp": (
        "class A {\n    /// <summary>Add two numbers.</summary>\n    [Pure]\n    public int add(int a)\n"
        "    {\n        return a;\n    }\n}\n",
        "    public int add(int a)",
    ),
    "rust": ("/// Add two numbers.\n#[inline]\npub fn add(a: u8) -> u8 {\n    a\n}\n", "pub fn add(a: u8) -> u8 {"),
    "swift": (
        "/// Add two numbers.\n@inlinable\nfunc add(a: Int) -> Int {\n  return a\n}\n",
        "func add(a: Int) -> Int {",
    ),
    "php": ("<?php\n# Add two numbers.\n#[Pure]\nfunction add($a) {\n  return $a;\n}\n", "function add($a) {"),
    "java": (
        "class A {\n  /** Add two numbers. */\n  @Override\n  public int add(int a) {\n    return a;\n  }\n}\n",
        "  public int add(int a) {",
    ),
    "cpp": ("// Add two numbers.\ntemplate <class T>\nT add(T a) {\n  return a;\n}\n", "T add(T a) {"),
    "shell": ("# Add two numbers.\nadd() {\n  echo $(( $1 + $2 ))\n}\n", "add() {"),
    "go": ("// Add two numbers.\nfunc add(a int) int {\n\treturn a\n}\n", "func add(a int) int {"),
    "javascript": (
        "class A {\n  // Add two numbers.\n  async add(a) {\n    return a;\n  }\n}\n",
        "  async add(a) {",
    ),
    "kotlin": (
        "/** Add two numbers. */\n@JvmStatic\nfun add(a: Int): Int {\n  return a\n}\n",
        "fun add(a: Int): Int {",
    ),
    "ruby": ("class A\n  # Add two numbers.\n  private def add(a)\n    a\n  end\nend\n", "  private def add(a)"),
    "c": ("/* Add two numbers. */\nstatic int\nadd(int a)\n{\n  return a;\n}\n", "add(int a)"),
}


@pytest.mark.parametrize("language", all_languages(), ids=lambda language: language.name)
def test_a_documented_function_is_found_with_its_parts(language):
    text, prompt_line = EXAMPLES[language.name]
    (found,) = documented_functions(text, language)
    assert found.name == "add"
    assert found.doc == "Add two numbers."
    assert found.text == "\n".join(text.split("\n")[found.first_line - 1 : found.last_line])
    assert found.text[: found.prompt_end].split("\n")[-1] == prompt_line
    assert found.documentation in found.text
    assert (
        found.text[found.code_start : found.body_start]
        .strip()
        .rstrip(":")
        .endswith((")", "int", "Int", "u8", "number"))
    )
    assert parses(text, language)
    assert not parses(text.rstrip().rstrip("}dn") + "(((", language)


@pytest.mark.parametrize("language", all_languages(), ids=lambda language: language.name)
def test_lines_and_offsets_are_right_after_text_that_is_not_ascii(language):
    text, prompt_line = EXAMPLES[language.name]
    mark = language.line_comments[-1]
    opening, _, rest = text.partition("<?php\n") if language.name == "php" else ("", "", text)
    text = f"{'<?php' if language.name == 'php' else opening}\n{mark} Ünïcödé 🚀 über alles\n\n{rest}".replace(
        "numbers", "числа 🚀"
    )
    found = documented_functions(text, language)[-1]
    assert found.doc == "Add two числа 🚀."
    assert found.text == "\n".join(text.split("\n")[found.first_line - 1 : found.last_line])
    assert found.text[: found.prompt_end].split("\n")[-1] == prompt_line.replace("numbers", "числа 🚀")


def names(text, language):
    return [f.name for f in documented_functions(text, get(language))]


def test_methods_and_nested_functions_count_in_order():
    text = (
        'class A:\n    def m(self):\n        """Do."""\n        def inner():\n            "Go on."\n'
        "            return 1\n        return inner\n\ndef bare():\n    return 1\n\n"
        '@cache\nasync def last():\n    r"""End."""\n    return 2\n'
    )
    found = documented_functions(text, get("python"))
    assert [(f.name, f.first_line, f.last_line, f.doc) for f in found] == [
        ("m", 2, 7, "Do."),
        ("inner", 4, 6, "Go on."),
        ("last", 12, 15, "End."),
    ]


@pytest.mark.parametrize(
    "body",
    ['f"""Not {a} docstring."""', 'b"""Bytes."""', 'x = """Assigned."""', '("""In""", "a tuple")', '"""---"""', '""'],
)
def test_what_python_takes_for_no_docstring_is_none(body):
    assert names(f"def f():\n    {body}\n    return 1\n", "python") == []


def test_strings_glued_together_are_a_docstring():
    (found,) = documented_functions('def f():\n    "Add " "it."\n    return 1\n', get("python"))
    assert found.doc == "Add it."


def test_a_comment_above_a_python_function_is_not_its_documentation():
    assert names("# Adds.\ndef f():\n    return 1\n", "python") == []


def test_comments_one_newline_apart_are_joined_and_others_not():
    text = "// Far.\n\n// Near,\n/* nearer. */\nvoid f() {\n  g();\n}\n"
    (found,) = documented_functions(text, get("c"))
    assert (found.doc, found.first_line) == ("Near,\nnearer.", 3)


def test_only_white_space_may_stand_between_comment_and_function():
    assert names("// Adds the numbers up.\n\n\nvoid f() {\n  g();\n}\n", "c") == ["f"]
    assert names("// Adds the numbers up.\nint x;\nvoid f() {\n  g();\n}\n", "c") == []


def test_a_comment_behind_code_belongs_to_that_code():
    assert names("int x; // the count of things\nvoid f() {\n  g();\n}\n", "c") == []
    (found,) = documented_functions("int x; // the count\n// Adds up.\nvoid f() {\n  g();\n}\n", get("c"))
    assert found.doc == "Adds up."


def test_a_licence_or_the_interpreter_line_is_not_documentation():
    assert names("// Copyright 2020 A. Nyone. All rights reserved.\nvoid f() {\n  g();\n}\n", "c") == []
    assert names("#!/bin/sh\nf() {\n  g\n}\n", "shell") == []
    (found,) = documented_functions("#!/bin/sh\n# Adds.\nf() {\n  g\n}\n", get("shell"))
    assert (found.doc, found.first_line) == ("Adds.", 2)


def test_the_nearest_comment_wins_over_one_above_the_attribute():
    (found,) = documented_functions("// Section.\n#[test]\n/// Adds.\nfn f() {\n    g();\n}\n", get("rust"))
    assert (found.doc, found.first_line) == ("Adds.", 3)


def test_comment_marks_in_strings_are_not_comments():
    assert names('char *s = "http://x";\nvoid f() {\n  g();\n}\n', "c") == []
    assert names("cat <<EOF\n# not a comment\nEOF\nf() {\n  g\n}\n", "shell") == []


def test_functions_without_a_body_are_left_out():
    assert names("interface A {\n  /** Adds. */\n  int add(int a);\n}\n", "java") == []
    assert names("struct A {\n  // Makes one.\n  A() = default;\n};\n", "cpp") == []


def test_functions_that_share_a_line_with_other_code_are_left_out():
    assert names("// Adds.\nvoid f() {\n  g();\n} int x;\n", "c") == []
    assert names("// Adds.\nvoid f() {\n  g();\n} // end of f\n", "c") == ["f"]


def test_a_broken_function_is_left_out_and_its_neighbour_kept():
    text = "// One does.\nvoid f() {\n  g(;\n}\n\n// Two does.\nvoid h() {\n  g();\n}\n"
    assert names(text, "c") == ["h"]


def test_carriage_returns_stay_in_the_text():
    text = "int x;\r\n// Adds.\r\nvoid f() {\r\n  g();\r\n}\r\n"
    (found,) = documented_functions(text, get("c"))
    assert (found.doc, found.text) == ("Adds.", "// Adds.\r\nvoid f() {\r\n  g();\r\n}\r")


def test_a_name_is_found_inside_c_declarators():
    assert names("// Adds.\nchar *(*pick(int n))(void) {\n  return 0;\n}\n", "c") == ["pick"]
    assert names("// Adds.\nint ns::A<int>::add(int a) const {\n  return a;\n}\n", "cpp") == ["ns::A<int>::add"]


def test_php_without_an_opening_tag_is_code_and_not_html():
    assert parses("$a = 1;", get("php"))
    assert not parses("$a = ;", get("php"))
    assert parses("<html><?php if ($a): ?><b><?php endif; ?></html>", get("php"))
    assert parses("function f() {\n  return '<?php endif; ?>';\n}", get("php"))


def test_typescript_is_read_with_and_without_jsx():
    assert parses("const a = <b>x</b>;", get("typescript"))
    assert parses("const a = <T>x;", get("typescript"))
    assert not parses("const a = <b>x</c", get("typescript"))
    assert names("// Shows it.\nfunction F() {\n  return <b>x</b>;\n}\n", "typescript") == ["F"]


@pytest.mark.parametrize("name", ["typescript", "javascript", "csharp", "php", "java", "cpp", "kotlin", "swift"])
def test_a_lone_method_is_read_inside_a_class(name):
    methods = {
        "typescript": "private async f(a: number) {\n  return a;\n}",
        "javascript": "*f(a) {\n  yield a;\n}",
        "csharp": "public override int f(int a) {\n  return a;\n}",
        "php": "public function f($a) {\n  return $a;\n}",
        "java": "@Override\npublic int f(int a) {\n  return a;\n}",
        "cpp": "explicit f(int a) : x(a) {\n  g();\n}",
        "kotlin": "override fun f(a: Int): Int {\n  return a\n}",
        "swift": "override func f(a: Int) -> Int {\n  return a\n}",
    }
    text = f"// Adds.\n{methods[name]}"
    found = whole_function(text, get(name))
    assert found is not None
    assert (found.name, found.text, found.doc, found.first_line) == ("f", text, "Adds.", 1)
    assert found.last_line == text.count("\n") + 1
    assert found.text[found.code_start :] == methods[name]


def test_text_that_is_more_or_less_than_a_function_is_not_whole():
    c = get("c")
    assert whole_function("void f() { g(); }\nvoid h() { g(); }", c) is None
    assert whole_function("int x;", c) is None
    assert whole_function("// only words", c) is None
    assert whole_function("void f() {", c) is None
    undocumented = whole_function("void f() { g(); }", c)
    assert undocumented is not None
    assert (undocumented.documentation, undocumented.code_start) == ("", 0)


def test_deep_nesting_and_long_chains_are_survived():
    python = "def f():\n    '''Go.'''\n" + "".join(" " * i + "if x:\n" for i in range(4, 90)) + " " * 90 + "pass\n"
    assert names(python, "python") == ["f"]
    assert names("// Adds.\nint f() {\n" + "{" * 5000 + "g();" + "}" * 5000 + "\n}\n", "c") == ["f"]
    assert names("// call\na" + ".b()" * 20_000 + ";\n// Adds.\nfunction f() {\n  g();\n}\n", "javascript") == ["f"]


# ---- against independent readings of real code


def test_pythons_own_parser_finds_the_same_docstrings(shared_data):
    python = get("python")
    compared = 0
    for text in contents(shared_data, "python", 150):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError):
                continue
        want = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
                want.add((node.name, min(n.lineno for n in [node, *node.decorator_list]), ast.get_docstring(node)))
        want = {(name, line) for name, line, doc in want if not doc_problem(first_paragraph(doc))}
        assert {(f.name, f.first_line) for f in documented_functions(text, python)} == want
        compared += len(want)
    assert compared > 100


@pytest.mark.parametrize("name", [language.name for language in all_languages() if not language.docstrings])
def test_a_walk_over_the_whole_tree_finds_the_same_functions(name, shared_data, monkeypatch):
    monkeypatch.setattr(syntax, "belongs_elsewhere", lambda *_, **__: False)
    monkeypatch.setattr(syntax, "doc_problem", lambda _: "")
    language = get(name)
    compared = 0
    for text in contents(shared_data, name, 40):
        want = last_lines_by_walking(text, language)
        assert {f.last_line for f in documented_functions(text, language)} == want
        compared += len(want)
    assert compared > 5


def contents(shared_data, language, count):
    import pyarrow.parquet as pq

    table = pq.read_table(shared_data / "corpus_sample.parquet", filters=[("lang", "==", language)])
    return table["content"].slice(0, count).to_pylist()


def last_lines_by_walking(text, language):
    """The rules again, the slow way: every node is looked at, and comments are known by where they end."""
    data = text.encode()
    nodes, todo = [], [syntax._best_tree(data, language).root_node]
    while todo:
        nodes.append(todo.pop())
        todo.extend(nodes[-1].named_children)
    comments = {len(data[: n.end_byte].rstrip()): n for n in nodes if n.type in language.comment_nodes}
    found = set()
    for node in nodes:
        if node.type not in language.function_nodes:
            continue
        outer = node
        while outer.parent.type in language.wrapper_nodes and outer.parent.named_children[-1] == outer:
            outer = outer.parent
        first = outer
        while (before := first.prev_named_sibling) is not None and before.type in language.attribute_nodes:
            first = before
        comment = comments.get(len(data[: first.start_byte].rstrip()))
        has_body = node.child_by_field_name("body") or any(c.type == "function_body" for c in node.children)
        if comment is None or not has_body or outer.has_error or data[comment.start_byte :].startswith(b"#!"):
            continue
        line_start = data.rfind(b"\n", 0, comment.start_byte) + 1
        line_end = data.find(b"\n", outer.end_byte)
        behind = data[outer.end_byte : line_end if line_end >= 0 else None].strip(b"; \t\r")
        if not data[line_start : comment.start_byte].strip() and (
            not behind or behind.startswith((b"//", b"/*", b"#"))
        ):
            found.add(outer.end_point.row + (outer.end_point.column > 0))
    return found
