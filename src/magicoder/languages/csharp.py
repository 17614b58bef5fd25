"""C#."""

from magicoder.languages import Language, Toolchain

# Of a failed Debug.Assert Mono only prints; elsewhere it ends the program. A listener of ours makes it end here too.
_ASSERTS = "FailedAssertsEndTheProgram.cs"
_LISTENER = """public class FailedAssertsEndTheProgram : System.Diagnostics.TraceListener {
    public override void Write(string text) { System.Console.Error.Write(text); }
    public override void WriteLine(string text) { System.Console.Error.WriteLine(text); }
    public override void Fail(string text) { Fail(text, ""); }
    public override void Fail(string text, string detail) {
        System.Console.Error.WriteLine("Assertion failed: " + text + " " + detail);
        System.Console.Error.WriteLine(new System.Diagnostics.StackTrace(true));
        System.Console.Out.Flush();
        System.Environment.Exit(134);
    }
}
"""
_CONFIG = """<?xml version="1.0"?>
<configuration><system.diagnostics><trace autoflush="true"><listeners>
<clear/><add name="end" type="FailedAssertsEndTheProgram, program"/>
</listeners></trace></system.diagnostics></configuration>
"""

_TOOLCHAIN = Toolchain(
    source="main.cs",
    compile=(
        "mcs",
        "-nologo",
        "-warn:0",
        "-d:DEBUG",
        "-r:System.Numerics.dll",
        "-out:program.exe",
        "{sources}",
        _ASSERTS,
    ),
    makes=("program.exe",),
    run=("mono", "program.exe"),
    needs=("mcs", "mono"),
    version=("mcs", "--version"),
    versions=(("mono", "--version"),),
    install="apt-get install mono-mcs mono-runtime libmono-system-numerics4.0-cil",
    hello='using System;\nclass Hello {\n    static void Main() { Console.WriteLine("hello"); }\n}\n',
    environment=(("MONO_GC_PARAMS", "max-heap-size={heap_mb}m"),),
    beside=((_ASSERTS, _LISTENER), ("program.exe.config", _CONFIG)),
    shows=("/etc/mono",),
    proc=True,
    least_rung=3,
)

PLUGIN = Language(
    name="csharp",
    title="C#",
    extensions=(".cs", ".csx", ".cake"),
    fences=("csharp", "cs", "c#"),
    grammar="tree_sitter_c_sharp",
    function_nodes=("method_declaration",),
    comment_nodes=("comment",),
    member_context=("class _ {", "}"),
    doc_markup="xml",
    in_paper=True,
    toolchain=_TOOLCHAIN,
)
