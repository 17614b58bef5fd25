"""Compilers that stay loaded, or begin with most of their work done. What they say is what the cold compiler says.

Java and TypeScript are compiled by servers that run in a jail (`server`, `ask`); C++ begins with the standard library
already read (`begun`); Go has its standard library built. All of that is made once by `prepare`, from sources of ours
and the compiler's own files, in `Found.cache`. Where a server is unsure, dies or takes too long, the cold compiler
decides.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from magicoder.errors import SandboxError
from magicoder.records import Limits
from magicoder.sandboxes._compilers.messages import Compiled, compiled, question
from magicoder.sandboxes._toolchains import Found, Job

HERE: Final = Path(__file__).parent


class Asks(Protocol):
    """A started server: `_cell.Service`, or a stand-in of a test."""

    def ask(self, data: bytes, *, wall_s: float = 0.0) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How the server of a language is started in a cell (`Cell.serve`), and how long it may live.

    limits     for each answer
    programs   after so many it is to be started anew, so that what a compiler forgets to free does not add up
    """

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    limits: Limits
    programs: int = 2000


def prepare(found: Found) -> None:
    """Make what `found.cache` holds, unless it is there. Nothing of any program takes part in it.

    Raises:
        SandboxError: the folder cannot be written, or the compiler does not compile what comes with it.
    """
    if not found.cache or Path(found.cache).is_dir():
        return
    make = _MAKERS[found.toolchain.warm]
    folder = Path(found.cache)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as e:
        raise SandboxError(f"{folder.parent} cannot be written ({e.strerror}); compilers keep their files there") from e
    try:
        make(found, building)
        _open_to_all(building)
        try:
            building.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was sooner; what it made is the same
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def server(found: Found) -> Server | None:
    """Return how to start the warm compiler of `found` once it is prepared; None where there is none."""
    commands = dict(found.commands)
    limits = Limits(
        cpu_s=found.toolchain.compile_cpu_s, memory_mb=found.toolchain.compile_memory_mb, output_kb=16 * 1024
    )
    if found.toolchain.warm == "java":
        flags = (
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            "-XX:TieredStopAtLevel=1",
            "-Xss16m",
            "-Xmx768m",
            "-Xshare:auto",
        )
        class_path = found.toolchain.compile[found.toolchain.compile.index("-cp") + 1]
        libraries = [entry for entry in class_path.split(":") if entry != "."]
        argv = (*commands["java"], *flags, "-cp", found.cache, "CompileServer", *libraries)
    elif found.toolchain.warm == "typescript":
        node, compiler = commands["tsc"]
        module = Path(compiler).with_name("typescript.js")
        if not module.is_file():  # the native compiler has no such interface
            return None
        argv = (node, "--max-old-space-size=1024", f"{found.cache}/compile_server.js", str(module))
    else:
        return None
    return Server(argv=argv, environment=(), limits=limits)


def ask(service: Asks, job: Job, *, wall_s: float = 0.0) -> Compiled | None:
    """Have a warm compiler compile the sources of `job`; None where the cold one has to decide.

    Raises:
        Ended: the server died or took too long over this program; `_cell.Service` starts another the next time.
    """
    return compiled(service.ask(question(job.files), wall_s=wall_s))


def begun(found: Found, job: Job) -> Job:
    """Return `job` with a compile command that begins where the standard library has been read.

    Only where the program itself begins by including all of it (`<bits/stdc++.h>`), before anything that could change
    what it means: a program that forgets an include fails here as it fails elsewhere.
    """
    if found.toolchain.warm != "cpp" or not job.compile or not _begins_with_everything(job.files[0][1]):
        return job
    linker = ("-fuse-ld=gold",) if shutil.which("ld.gold") else ()
    compiler, *rest = job.compile
    return replace(job, compile=(compiler, "-include", f"{found.cache}/everything.h", *linker, *rest))


_PASSED_OVER = re.compile(rb"\s+|//[^\n\\]*\n|/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(rb"#[ \t]*include[ \t]*<([\w./+-]+)>[ \t]*(?://[^\n\\]*)?(?:\r?\n|\Z)")


def _begins_with_everything(source: bytes) -> bool:
    """Whether a C++ file includes all of the standard library with nothing but standard includes before that."""
    at = 0
    while True:
        while blank := _PASSED_OVER.match(source, at):
            at = blank.end()
        include = _INCLUDE.match(source, at)
        if include is None:
            return False
        if include[1] == b"bits/stdc++.h":
            return True
        if b"/" in include[1]:  # <boost/…> and its kin may set macros that the standard headers heed
            return False
        at = include.end()


def _make_java(found: Found, folder: Path) -> None:
    shutil.copy(HERE / "CompileServer.java", folder)
    javac = dict(found.commands)["javac"]
    _run((*javac, "-proc:none", "-d", str(folder), str(folder / "CompileServer.java")), folder)


def _make_typescript(found: Found, folder: Path) -> None:  # noqa: ARG001 - as all makers
    shutil.copy(HERE / "compile_server.js", folder)


def _make_cpp(found: Found, folder: Path) -> None:
    (folder / "everything.h").write_text("#include <bits/stdc++.h>\n")
    # Of the program's own flags those that decide whether what was read before still holds.
    flags = [flag for flag in found.toolchain.compile[1:] if flag.startswith(("-std", "-O", "-f", "-m", "-D", "-w"))]
    compiler = dict(found.commands)["g++"]
    _run((*compiler, *flags, "-x", "c++-header", "everything.h", "-o", "everything.h.gch"), folder)


_GO = """package main

import (
    _ "bufio"; _ "bytes"; _ "container/heap"; _ "container/list"; _ "errors"; _ "fmt"; _ "io"; _ "math"; _ "math/big"
    _ "math/bits"; _ "math/cmplx"; _ "math/rand"; _ "os"; _ "reflect"; _ "regexp"; _ "sort"; _ "strconv"; _ "strings"
    _ "sync"; _ "testing"; _ "time"; _ "unicode"; _ "unicode/utf8"; _ "crypto/md5"; _ "crypto/sha256"; _ "encoding/hex"
    _ "encoding/json"; _ "encoding/base64"; _ "context"; _ "sync/atomic"; _ "text/template"
)

func main() {}
"""


def _make_go(found: Found, folder: Path) -> None:
    """Build the packages that programs import, and the main package of tests, into a cache that programs only read."""
    (folder / "build").mkdir()
    with tempfile.TemporaryDirectory() as away:
        main, test = Path(away, "main.go"), Path(away, "some_test.go")
        main.write_text(_GO)
        test.write_text(_GO.replace("package main", "package some_test").replace("func main() {}", ""))
        own = {name: value for name, value in found.toolchain.environment if "{" not in value}
        environment = {**own, "GOCACHE": str(folder / "build"), "HOME": away, "PATH": os.environ.get("PATH", "")}
        go = dict(found.commands)["go"]
        _run((*go, "build", "-o", f"{away}/program", str(main)), Path(away), environment)
        _run((*go, "test", "-c", "-vet=off", "-o", f"{away}/program", str(test)), Path(away), environment)


_MAKERS: Final[dict[str, Callable[[Found, Path], None]]] = {
    "java": _make_java,
    "typescript": _make_typescript,
    "cpp": _make_cpp,
    "go": _make_go,
}


def _run(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - a toolchain's own executable over sources of ours
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as e:
        raise SandboxError(f"{command[0]} cannot be run: {e}") from e
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise SandboxError(f"{command[0]} does not compile what comes with it (exit code {done.returncode}): {said}")


def _open_to_all(folder: Path) -> None:
    """Let the users that programs run as read what is there, and nobody but its owner write it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
