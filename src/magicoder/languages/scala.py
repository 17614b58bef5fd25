"""Scala (its programs can be run; no seeds are taken from it)."""

from magicoder.languages import Language, Toolchain

_TOOLCHAIN = Toolchain(
    source="Main.scala",
    compile=("scalac", "-nowarn", "-d", ".", "{sources}"),
    makes=("**/*.class", "**/*.tasty"),
    run=("scala", "-J-Xss64m", "-J-Xmx{heap_mb}m", "-cp", ".", "{main}"),
    main=r"(?m)^[ \t]*object[ \t]+(\w+)",
    needs=("scalac", "scala"),
    version=("scalac", "-version"),
    install="apt-get install scala",
    hello='object Hello {\n  def main(arguments: Array[String]): Unit = println("hello")\n}\n',
    shows=("/etc/java*", "/etc/alternatives"),
    compile_cpu_s=90.0,
    proc=True,
)

PLUGIN = Language(
    name="scala",
    title="Scala",
    extensions=(".scala", ".sc"),
    interpreters=("scala",),
    fences=("scala",),
    line_comments=("//",),
    block_comment=("/*", "*/"),
    toolchain=_TOOLCHAIN,
)
