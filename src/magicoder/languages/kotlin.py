"""Kotlin."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="main.kt",
    compile=("kotlinc", "-nowarn", "-include-runtime", "-d", "program.jar", "{sources}"),
    makes=("program.jar",),
    run=("java", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xss64m", "-Xmx{heap_mb}m", "-ea", "-jar", "program.jar"),
    needs=("kotlinc", "java"),
    version=("kotlinc", "-version"),
    versions=(("java", "-version"),),
    install="apt-get install kotlin, or a compiler from kotlinlang.org on PATH",
    hello='fun main() {\n    println("hello")\n}\n',
    shows=("/etc/java*", "/etc/alternatives"),
    compile_cpu_s=90.0,
    proc=True,
)

PLUGIN = Language(
    name="kotlin",
    title="Kotlin",
    extensions=(".kt", ".kts", ".ktm"),
    interpreters=("kotlin",),
    fences=("kotlin", "kt", "kts"),
    grammar="tree_sitter_kotlin",
    function_nodes=("function_declaration",),
    comment_nodes=("line_comment", "block_comment"),
    member_context=("class _ {", "}"),
    comment_prefix="//",
    toolchain=_TOOLCHAIN,
)
