"""What stands side by side in a program: its imports, definitions and statements, by tree-sitter.

Only the outermost level is looked at and, where functions live in classes (Java, C#), the class around the function
that is wanted. Offsets count bytes of the encoded text.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import tree_sitter as ts

from magicoder.text.declarations import Grammar, decode, encode
from magicoder.text.syntax import tree_of

IMPORT: Final = "import"
DEFINITION: Final = "definition"
STATEMENT: Final = "statement"

_IMPORTS: Final = frozenset(
    (
        *("import_statement", "import_from_statement", "future_import_statement", "import_declaration"),
        *("using_directive", "using_declaration", "use_declaration", "namespace_use_declaration", "import_list"),
        *("preproc_include", "preproc_def", "preproc_function_def", "package_clause", "package_declaration"),
    )
)
_DEFINITIONS: Final = frozenset(
    (
        *("function_definition", "function_declaration", "generator_function_declaration", "function_item"),
        *("method_declaration", "method_definition", "local_function_statement", "constructor_declaration"),
        *("class_definition", "class_declaration", "class_specifier", "struct_specifier", "union_specifier"),
        *("struct_declaration",),
        *("interface_declaration", "enum_declaration", "enum_specifier", "record_declaration", "trait_declaration"),
        *("struct_item", "enum_item", "trait_item", "impl_item", "mod_item", "type_item", "const_item", "static_item"),
        *("macro_definition", "type_declaration", "type_alias_declaration", "type_definition", "alias_declaration"),
        *("protocol_declaration", "typealias_declaration", "object_declaration", "method", "singleton_method"),
        *("class", "module", "namespace_definition", "field_declaration", "property_declaration"),
    )
)
_BINDINGS: Final = frozenset(
    (
        *("lexical_declaration", "variable_declaration", "ambient_declaration", "declaration", "variable_assignment"),
        *("var_declaration", "const_declaration", "assignment", "assignment_expression", "declaration_command"),
    )
)
_WRAPPERS: Final = frozenset(
    ("decorated_definition", "export_statement", "template_declaration", "global_statement", "expression_statement")
)
_FUNCTION_VALUES: Final = frozenset(("arrow_function", "function_expression", "function", "lambda", "class"))
_NAMED_PARTS: Final = frozenset(("variable_declarator", "type_spec", "var_spec", "const_spec", "init_declarator"))
_NOT_CODE: Final = frozenset(("php_tag", "text_interpolation", "text", "php_end_tag", "hash_bang_line"))
_WORDS: Final = frozenset(
    (
        *("identifier", "simple_identifier", "property_identifier", "field_identifier", "type_identifier", "word"),
        *("name", "constant", "variable_name", "command_name", "shorthand_property_identifier"),
    )
)


class Item(NamedTuple):
    """One thing at its level.

    role        `import`, `definition` or `statement`
    names       what it defines or assigns
    start, end  its place; `begin` that of the comments right above it, which belong to it
    binding     it gives a name to a value, which is no function (`x = f(3)`)
    """

    role: str
    names: frozenset[str]
    begin: int
    start: int
    end: int
    binding: bool
    node: ts.Node


class Outline(NamedTuple):
    """A program, laid out.

    items       what stands at the outermost level
    siblings    what stands beside the wanted function: `items`, or the members of its class
    entry       the wanted function (of several the last), None if it is not defined or none is wanted
    container   the item of the class around it, None where it stands free
    clean       it has no syntax error
    """

    data: bytes
    items: tuple[Item, ...]
    siblings: tuple[Item, ...]
    entry: Item | None
    container: Item | None
    clean: bool

    def text(self, item: Item) -> str:
        """Return the text of an item, without the comments above it."""
        return decode(self.data[item.start : item.end])

    def words(self, item: Item) -> set[str]:
        """Return every identifier in an item, what it defines included."""
        return {decode(node.text or b"") for node in _walk(item.node) if node.type in _WORDS}


def outline(text: str, language: Grammar, entry_point: str = "") -> Outline:
    """Lay out `text`; never raises on malformed text."""
    data = encode(text)
    root = tree_of(text, language).root_node
    items = tuple(_items(root, data))
    entry = _named(items, entry_point, bindings=language.docstrings)  # Python: `f = partial(g, 1)`
    if entry is not None or not entry_point:
        return Outline(data, items, items, entry, None, not root.has_error)
    for item in reversed(items):
        body = _unwrapped(item.node).child_by_field_name("body") if language.member_context[0] else None
        inside = tuple(_items(body, data)) if body is not None else ()
        entry = _named(inside, entry_point)
        if entry is not None:
            return Outline(data, items, inside, entry, item, not root.has_error)
    return Outline(data, items, items, None, None, not root.has_error)


def without(laid_out: Outline, drop: list[Item]) -> str:
    """Return the program without some of its items; their lines go with them where nothing else stands on them."""
    data = laid_out.data
    for item in sorted(drop, key=lambda item: item.start, reverse=True):
        start, end = item.start, item.end
        line = data.rfind(b"\n", 0, start) + 1
        after = data.find(b"\n", end)
        after = len(data) if after < 0 else after
        if not data[line:start].strip() and not data[end:after].strip():
            start, end = line, min(after + 1, len(data))
        data = data[:start] + data[end:]
    return decode(data)


def members(laid_out: Outline, item: Item) -> tuple[Item, ...]:
    """Return what stands in the body of a class."""
    body = _unwrapped(item.node).child_by_field_name("body")
    return tuple(_items(body, laid_out.data)) if body is not None else ()


def _items(parent: ts.Node, data: bytes) -> Iterator[Item]:
    """Yield the items of a level; attributes before one and the semicolon behind it are parts of it."""
    waiting: Item | None = None
    attributes = -1
    for item in _bare_items(parent, data):
        if item.node.type == ";":
            waiting = waiting._replace(end=item.end) if waiting is not None else None
        elif item.node.type == "attribute_item":
            attributes = item.start if attributes < 0 else attributes
        else:
            if waiting is not None:
                yield waiting
            start = item.start if attributes < 0 else attributes
            waiting = item._replace(start=start, begin=min(start, item.begin))
            attributes = -1
    if waiting is not None:
        yield waiting


def _bare_items(parent: ts.Node, data: bytes) -> Iterator[Item]:
    comments = -1
    for node in parent.children:
        if node.type == ";":
            yield Item(
                STATEMENT, frozenset(), node.start_byte, node.start_byte, node.end_byte, binding=False, node=node
            )
            continue
        if "comment" in node.type:
            above = data.rfind(b"\n", 0, node.start_byte) + 1
            trailing = bool(data[above : node.start_byte].strip())
            comments = node.start_byte if comments < 0 and not trailing else comments
            continue
        if node.type in _NOT_CODE or (not node.is_named and not node.has_error):
            comments = -1
            continue
        yield _item(node, comments)
        comments = -1


def _item(node: ts.Node, comments: int) -> Item:
    inner = _unwrapped(node)
    begin = comments if comments >= 0 else node.start_byte
    if inner.type in _IMPORTS:
        return Item(IMPORT, frozenset(), begin, node.start_byte, node.end_byte, binding=False, node=node)
    named = inner.type in _DEFINITIONS or inner.type in _BINDINGS
    names = frozenset(decode(name.text or b"") for name in _names(inner)) if named else frozenset()
    binding = inner.type in _BINDINGS and not _holds_function(inner)
    defines = inner.type in _DEFINITIONS or bool(names)
    role = DEFINITION if defines else STATEMENT
    return Item(role, names, begin, node.start_byte, node.end_byte, binding=binding, node=node)


def _named(items: tuple[Item, ...], name: str, *, bindings: bool = False) -> Item | None:
    """Return the last item that defines a function `name`; with `bindings`, one that gives that name to a value."""
    found = [item for item in items if name and name in item.names]
    free = [item for item in found if not item.binding or (bindings and item.node.start_point.column == 0)]
    return next((item for item in reversed(free) if not item.binding), free[-1] if free else None)


def _unwrapped(node: ts.Node) -> ts.Node:
    while node.type in _WRAPPERS:
        inner = [child for child in node.named_children if "comment" not in child.type]
        if not inner or (node.type == "expression_statement" and inner[0].type not in _BINDINGS):
            return node
        node = inner[-1]
    return node


def _names(node: ts.Node) -> Iterator[ts.Node]:
    """Yield the nodes that name what `node` defines."""
    if node.type in ("assignment", "assignment_expression"):
        left = node.child_by_field_name("left")
        yield from (n for n in _walk(left) if n.type in _WORDS) if left is not None else ()
        return
    name = node.child_by_field_name("name")
    if name is not None:
        yield name
        return
    declared = node.child_by_field_name("declarator")
    while declared is not None:
        if declared.type in _WORDS:
            yield declared
            return
        declared = declared.child_by_field_name("declarator") or next(
            (child for child in declared.named_children if child.type in _WORDS or "declarator" in child.type), None
        )
    for child in node.named_children:
        if child.type in _NAMED_PARTS or child.type in _BINDINGS:
            yield from _names(child)


def _holds_function(node: ts.Node) -> bool:
    """Whether a binding names a function or class: `const f = (x) => …`, `long f(long x);`."""
    if node.type == "declaration":  # C and C++: a prototype
        return any("function_declarator" in child.type for child in node.named_children)
    for child in (node, *node.named_children):
        value = child.child_by_field_name("value") or child.child_by_field_name("right")
        if value is not None and value.type in _FUNCTION_VALUES:
            return True
    return False


def _walk(node: ts.Node) -> Iterator[ts.Node]:
    """Yield `node` and all below it, without recursion: code nests deeply."""
    todo = [node]
    while todo:
        found = todo.pop()
        yield found
        todo.extend(reversed(found.children))
