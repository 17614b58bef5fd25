"""Toolchains as they are on this machine: which are there, which version, how a program becomes commands.

Nothing here runs a program. What is asked of a tool is its version, and where its own files are.
"""

import functools
import glob
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from magicoder.errors import SandboxError
from magicoder.fingerprint import digest
from magicoder.languages import Toolchain, get
from magicoder.records import Limits
from magicoder.sandboxes import _java_names

SYSTEM: Final = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin")
"""What a jail shows of the system in any case: programs and libraries, no settings, nobody's files."""

# What the C library and its tools read; there is no secret in them.
_SETTINGS: Final = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A language's toolchain on this machine.

    version      what compiles and runs its programs (`tsc 5.9.3, node 20.20.2`), "" if something is missing
    missing      the executable that is not there, or why it cannot be used; `install` how to get it
    commands     name and argument list of each executable
    shows        files and folders outside `SYSTEM` that a jail must show, read only, at their own places
    cache        folder of what was made once for this compiler ("" if the toolchain keeps nothing)
    """

    language: str
    toolchain: Toolchain
    version: str
    missing: str
    install: str
    commands: tuple[tuple[str, tuple[str, ...]], ...]
    shows: tuple[str, ...]
    cache: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A program as commands.

    files          what lies in the working folder, the main file first
    compile, run   argument lists, `compile` is () where there is nothing to make
    makes          patterns of what compiling leaves and running needs, beside `files`
    """

    files: tuple[tuple[str, bytes], ...]
    compile: tuple[str, ...]
    run: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    makes: tuple[str, ...]


@functools.cache
def find(language: str) -> Found:
    """Look for the toolchain of `language`; what was found holds as long as this process.

    Raises:
        RecipeError: there is no such language.
        SandboxError: nothing here runs programs of this language on any machine.
    """
    toolchain = get(language).toolchain
    if toolchain is None:
        raise SandboxError(f"{language} programs cannot be run: languages/{language}.py has no toolchain")
    commands: dict[str, tuple[str, ...]] = {}
    for name in toolchain.needs:
        found = _locate(name)
        if not found:
            return _missing(language, toolchain, f"{name} not found")
        commands[name] = found
    version = _version(toolchain, commands)
    if not version:
        return _missing(language, toolchain, f"{' '.join(toolchain.version)} prints no version")
    return Found(
        language=language,
        toolchain=toolchain,
        version=version,
        missing="",
        install="",
        commands=tuple(commands.items()),
        shows=tuple(sorted(_shows(toolchain, commands))),
        cache=str(_cache(language, version, toolchain)) if toolchain.warm else "",
    )


def on_rung(found: Found, level: int) -> Found:
    """Return `found` as it can be used by cells of a rung (`_ladder.Rung.level`): missing where it would fail there.

    A program must not be called wrong because of the user that it runs as.
    """
    if not found.version or level not in (1, 2):
        return found
    if level < found.toolchain.least_rung:
        why = f"{found.toolchain.needs[0]} works on rung 3 only, with a /proc of its own"
        return _missing(found.language, found.toolchain, why, "let this user make namespaces, or use a container")
    words = [word for _, words in found.commands for word in words if word.startswith("/")]
    closed = next(filter(None, map(_closed, words)), "") if level == 2 else ""
    if closed:
        why = f"{closed} is closed to the users that programs run as"
        return _missing(found.language, found.toolchain, why, f"for all users: {found.toolchain.install}")
    return found


def _closed(path: str) -> str:
    """Return the outermost part of a path that other users cannot pass or read, "" if there is none."""
    parts = [(folder, 0o001) for folder in reversed(Path(path).parents)] + [(Path(path), 0o004)]
    return next((str(part) for part, wanted in parts if not part.stat().st_mode & wanted), "")


def cache_folder() -> Path:
    """Return where prepared things of compilers are kept; they can be deleted at any time.

    Root's own folder is closed to the users that programs run as, so root's cache is the system's.
    """
    if os.geteuid() == 0:
        return Path("/var/cache/magicoder")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "magicoder" / "toolchains"


def _cache(language: str, version: str, toolchain: Toolchain) -> Path:
    """Return the folder of what is made for this very compiler by these very sources of ours."""
    ours = sorted(Path(__file__).with_name("_compilers").iterdir())
    sources = [path.read_text() for path in ours if path.is_file()]
    return cache_folder() / f"{language}-{digest([version, toolchain.compile, toolchain.environment, sources])[:16]}"


def shown(languages: Iterable[str]) -> tuple[str, ...]:
    """Return what a jail must show for programs of all `languages`, missing ones left out, outer folders first."""
    paths = {path for found in map(find, languages) if found.version for path in (*found.shows, found.cache) if path}
    return tuple(sorted(path for path in paths if not any(_inside(path, other) for other in paths if other != path)))


def job(found: Found, files: Sequence[tuple[str, str]], limits: Limits) -> Job:
    """Return how the program in `files` (main file first, "" for a name the toolchain chooses) is compiled and run.

    Raises:
        ValueError: no file, two files of one name, or a name that leaves the working folder.
    """
    toolchain = found.toolchain
    named = _named(toolchain, files)
    source = named[0][0]
    compile_ = next((c for ending, c in toolchain.variants if source.endswith(ending)), toolchain.compile)
    kind = PurePosixPath(source).suffix
    sources = [name for name, _ in named if PurePosixPath(name).suffix == kind]
    values = {
        "source": source,
        "stem": source.removesuffix(kind),
        "main": _main(toolchain, [text for name, text in named if name in sources]),
        "cache": found.cache,
        "heap_mb": str(max(16, limits.memory_mb * 3 // 4)),
    }
    beside = [(name, text) for name, text in toolchain.beside if name not in {n for n, _ in named}]
    return Job(
        files=tuple((name, text.encode("utf-8", "surrogatepass")) for name, text in (*named, *beside)),
        compile=_filled(found, compile_, values, sources),
        run=_filled(found, toolchain.run, values, sources),
        environment=environment(found, limits),
        makes=toolchain.makes if compile_ else (),
    )


def environment(found: Found, limits: Limits) -> tuple[tuple[str, str], ...]:
    """Return the variables that the toolchain wants, beside those that every cell sets (`_wire.Request`)."""
    values = {"cache": found.cache, "heap_mb": str(max(16, limits.memory_mb * 3 // 4))}
    return tuple((name, _fill(value, values)) for name, value in found.toolchain.environment)


def wants_proc(languages: Iterable[str]) -> bool:
    """Whether a toolchain of `languages` that is there does not work without /proc."""
    return any(found.version and found.toolchain.proc for found in map(find, languages))


def _named(toolchain: Toolchain, files: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    if not files:
        raise ValueError("a program has at least one file")
    named = [(name or _file_name(toolchain, text), text) for name, text in files]
    for name, _ in named:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or str(path) != name or name.startswith("-"):
            raise ValueError(f"{name!r} is no relative name of a file inside the working folder")
        if name == "." or len(name.encode()) > 1000 or max(len(part.encode()) for part in path.parts) > 255:
            raise ValueError(f"{name[:200]!r} cannot be the name of a file")
    folders = {str(folder) for name, _ in named for folder in PurePosixPath(name).parents}
    both = next((name for name, _ in named if name in folders), "")
    if both:
        raise ValueError(f"{both!r} is the name of a file and of a folder with files")
    if len({name for name, _ in named}) < len(named):
        raise ValueError(f"two files of one name among {', '.join(name for name, _ in named)}")
    return named


def _file_name(toolchain: Toolchain, text: str) -> str:
    """Return what a main file without a name is called: in Java its name must be that of its public class."""
    return f"{_java_names.file_class(text)}.java" if toolchain.main == "java" else toolchain.source


def _main(toolchain: Toolchain, texts: Sequence[str]) -> str:
    if toolchain.main == "java":
        return next((name for name in map(_java_names.main_class, texts) if name), "") or (
            _java_names.file_class(texts[0])
        )
    if not toolchain.main:
        return ""
    matches = (re.search(toolchain.main, text) for text in texts)
    return next((m.group(1) for m in matches if m), "Main")


def _filled(found: Found, command: Sequence[str], values: dict[str, str], sources: Sequence[str]) -> tuple[str, ...]:
    if not command:
        return ()
    known = dict(found.commands)
    arguments = [word for part in command[1:] for word in (sources if part == "{sources}" else [_fill(part, values)])]
    # A compiler that is told a bare name looks it up by PATH, which is ours.
    return (*known.get(command[0], (command[0],)), *arguments)


def _fill(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m.group(1), m.group(0)), text)


def _missing(language: str, toolchain: Toolchain, why: str, install: str = "") -> Found:
    return Found(
        language=language,
        toolchain=toolchain,
        version="",
        missing=why,
        install=install or toolchain.install,
        commands=(),
        shows=(),
    )


def _locate(name: str) -> tuple[str, ...]:
    """Return the argument list that starts `name`, () if it is not there; version managers are seen through."""
    if name == "python3":
        return (os.path.realpath(sys.executable),)
    if name == "tsc":
        return _locate_tsc()
    there = shutil.which(name)
    if there is None:
        return ()
    real = os.path.realpath(there)
    if name == "rustc" and Path(real).name == "rustup":
        sysroot = _output((there, "--print", "sysroot"))
        real = f"{sysroot}/bin/rustc" if sysroot else ""
        return (real,) if real and os.access(real, os.X_OK) else ()
    # A tool that goes by the name it is called by (`g++`, busybox) keeps it where that is in the system's own folders.
    return (there if there.startswith(SYSTEM) and not _is_managed(there) else real,)


def _is_managed(path: str) -> bool:
    """Whether a link leads through /etc/alternatives, which jails need not show."""
    target = os.readlink(path) if os.path.islink(path) else ""  # noqa: PTH115, PTH114 - a link's own text
    return target.startswith("/etc/")


def _locate_tsc() -> tuple[str, ...]:
    """The compiler's script beside `tsc` on PATH, in npm's global folder, or installed into our cache folder."""
    node = _locate("node")
    if not node:
        return ()
    on_path = shutil.which("tsc")
    candidates = [Path(os.path.realpath(on_path)).parent.parent] if on_path else []
    candidates += [cache_folder() / "node_modules" / "typescript"]
    for folder in candidates:
        if (folder / "lib" / "tsc.js").is_file():
            return (*node, str(folder / "lib" / "tsc.js"))
    everywhere = _output(("npm", "root", "--global")) if shutil.which("npm") else ""
    script = Path(everywhere) / "typescript" / "lib" / "tsc.js"
    return (*node, str(script)) if everywhere and script.is_file() else ()


def _version(toolchain: Toolchain, commands: dict[str, tuple[str, ...]]) -> str:
    """Return name and number of each command that decides, `tsc 5.9.3, node 20.20.2`; "" if one prints none."""
    parts = []
    for name, *arguments in (toolchain.version, *toolchain.versions):
        found = re.search(r"\d+(?:\.\d+)+", _output((*commands.get(name, (name,)), *arguments)))
        if found is None:
            return ""
        parts.append(f"{name} {found.group()}")
    return ", ".join(parts)


def _shows(toolchain: Toolchain, commands: dict[str, tuple[str, ...]]) -> set[str]:
    shows = {path for pattern in (*_SETTINGS, *toolchain.shows) for path in glob.glob(pattern)}  # noqa: PTH207 - absolute
    for words in commands.values():
        for word in words:
            if word.startswith("/") and not word.startswith(tuple(f"{folder}/" for folder in SYSTEM)):
                folder = Path(word).parent
                shows.add(str(folder.parent if folder.name in {"bin", "lib"} else folder))
    return shows


def _inside(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _output(command: Sequence[str]) -> str:
    """Return what a command prints, stdout before stderr, "" if it cannot be run or fails."""
    try:
        done = subprocess.run(  # noqa: S603 - a toolchain's own executable
            command, capture_output=True, text=True, timeout=20, check=True, stdin=subprocess.DEVNULL, cwd="/"
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{done.stdout.strip()}\n{done.stderr.strip()}".strip()
