"""C++."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.cpp",
    compile=("g++", "-std=c++17", "-pipe", "-w", "-o", "program", "{sources}"),
    makes=("program",),
    run=("./program",),
    warm="cpp",
    needs=("g++",),
    version=("g++", "--version"),
    install="apt-get install g++",
    hello='#include <iostream>\nint main() { std::cout << "hello\\n"; }\n',
)

PLUGIN = Language(
    name="cpp",
    title="C++",
    extensions=(
        ".cpp",
        ".cc",
        ".cxx",
        ".c++",
        ".hpp",
        ".hh",
        ".hxx",
        ".h++",
        ".h",
        ".cppm",
        ".ixx",
        ".inl",
        ".ino",
        ".ipp",
        ".tcc",
        ".tpp",
        ".txx",
    ),
    fences=("cpp", "c++", "cc", "cxx", "hpp"),
    grammar="tree_sitter_cpp",
    function_nodes=("function_definition",),
    comment_nodes=("comment",),
    wrapper_nodes=("template_declaration", "linkage_specification"),
    member_context=("class _ {", "};"),
    in_paper=True,
    toolchain=_TOOLCHAIN,
)
