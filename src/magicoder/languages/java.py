"""Java."""

from magicoder.languages import Language, Toolchain

_CLASSES = ".:/usr/share/java/javatuples.jar"  # a library that MultiPL-E's programs need; passed over if not there

_TOOLCHAIN = Toolchain(
    source="Main.java",
    compile=(
        *("javac", "-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-J-XX:-UsePerfData", "-J-Xss16m"),
        *("-proc:none", "-nowarn", "-encoding", "UTF-8", "-d", ".", "-cp", _CLASSES, "{sources}"),
    ),
    makes=("**/*.class",),
    # The first level of the just-in-time compiler alone starts sooner; what runs for seconds still gets the second.
    run=(
        *("java", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xss64m", "-Xmx{heap_mb}m", "-Xshare:auto"),
        *("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-ea", "-cp", _CLASSES, "{main}"),
    ),
    main="java",
    warm="java",
    needs=("javac", "java"),
    version=("javac", "-version"),
    install="apt-get install default-jdk-headless (and libjavatuples-java for MultiPL-E)",
    hello='class Hello {\n    public static void main(String[] a) {\n        System.out.println("hello");\n    }\n}\n',
    shows=("/etc/java*",),
    proc=True,
)

PLUGIN = Language(
    name="java",
    title="Java",
    extensions=(".java", ".jav", ".jsh"),
    fences=("java",),
    grammar="tree_sitter_java",
    function_nodes=("method_declaration",),
    comment_nodes=("line_comment", "block_comment"),
    member_context=("class _ {", "}"),
    in_paper=True,
    toolchain=_TOOLCHAIN,
)
