"""Build a large corpus of real code for measurements: source packages of Debian, PyPI and npm in one Parquet file.

    python benchmarks/corpus.py corpus.parquet --gb 1

Columns repo, path, lang, content; row groups of about 64 MB; zstd. What is taken is written below as package names, so
two machines with the same package versions get the same files in the same order. Needs apt-get (for Debian's share),
pip and npm, each with whatever index it is set up for; a source that is not there is left out, and said so. Files
above 1 MB, empty, binary or in no language that we know are skipped.
"""

import argparse
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from magicoder.languages import detect

DEBIAN = (
    *("gcc-12", "llvm-toolchain-15", "openjdk-17", "mono", "rustc", "golang-1.19", "kotlin", "scala"),
    *("libreoffice", "chromium", "qt6-base", "boost1.81", "ghc", "php8.2", "ruby3.1", "nodejs", "postgresql-15"),
    *("spring-framework-6", "libspring-java", "tomcat10", "lucene9", "netty", "eclipse-jdt-core", "gradle", "maven"),
    *("phpunit", "symfony", "wordpress", "mediawiki", "roundcube", "nextcloud-desktop", "rails", "puppet", "jruby"),
    *("docker.io", "kubernetes", "prometheus", "consul", "hugo", "caddy", "rclone", "containerd", "etcd", "syncthing"),
    *("python-django", "scipy", "pandas", "sympy", "ansible", "salt", "mercurial", "calibre", "odoo", "sphinx"),
    *("nunit", "monodevelop", "keepass2", "gnome-subtitles", "banshee", "ripgrep", "cargo", "fd-find", "firefox-esr"),
    *("git", "bash-completion", "systemd", "dracut", "debhelper", "devscripts", "swift", "swiftlang", "opencv"),
)
PYPI = (
    *("django", "sympy", "scikit-learn", "pandas", "matplotlib", "sqlalchemy", "networkx", "twisted", "pygments"),
    *("botocore", "plotly", "ansible-core", "sphinx", "transformers", "torch", "statsmodels", "scipy", "aiohttp"),
)
NPM = (
    *("typescript", "rxjs", "lodash", "three", "date-fns", "@angular/core", "@angular/compiler", "react-dom", "vue"),
    *("@babel/standalone", "ramda", "d3", "webpack", "eslint", "prettier", "@types/node", "typeorm", "antd"),
)
MAX_FILE = 1_000_000
MAX_PACKAGE = 60_000_000
"""Text taken of one package, so that a few large ones do not decide the mixture of languages."""
GROUP_BYTES = 64_000_000
SCHEMA = pa.schema([(name, pa.string()) for name in ("repo", "path", "lang", "content")])

File = tuple[str, str, bytes]
"""Package, path inside it, content."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--gb", type=float, default=1.0, help="stop after so much text (default 1)")
    args = parser.parse_args(argv)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        written = write(args.out, taken_in_turns(Path(scratch)), int(args.gb * 1e9), counts)
    for language, size in counts.most_common():
        print(f"{language:12} {size / 1e6:8,.0f} MB")
    print(f"{'all':12} {written / 1e6:8,.0f} MB of text in {args.out} ({args.out.stat().st_size / 1e6:,.0f} MB)")
    return 0


def taken_in_turns(scratch: Path) -> Iterator[File]:
    """Yield the files of one package of each source after the other, so that any prefix is a mixture."""
    sources = [debian(scratch / "debian"), pypi(scratch / "pypi"), npm(scratch / "npm")]
    while sources:
        for source in list(sources):
            package = next(source, None)
            if package is None:
                sources.remove(source)
            else:
                yield from unpacked(*package)


def debian(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield Debian's source packages, through a source list of our own made from the machine's list of binaries."""
    folder.mkdir()
    lists = [*Path("/etc/apt").glob("sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    entries = [re.sub(r"^deb ", "deb-src ", p.read_text(), flags=re.M) for p in lists if p.suffix in (".list",)]
    stanzas = [
        re.sub(r"^Types:.*", "Types: deb-src", p.read_text(), flags=re.M) for p in lists if p.suffix == ".sources"
    ]
    (folder / "own.list").write_text("\n".join(entries))
    (folder / "parts").mkdir()
    for number, stanza in enumerate(stanzas):
        (folder / "parts" / f"{number}.sources").write_text(stanza)
    (folder / "lists" / "partial").mkdir(parents=True)
    options = {
        "Dir::Etc::sourcelist": folder / "own.list",
        "Dir::Etc::sourceparts": folder / "parts",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Cache::pkgcache": "",
        "APT::Sandbox::User": "root",
    }
    flags = [f"-o{name}={value}" for name, value in options.items()]
    if not called(["apt-get", *flags, "-q", "update"], folder):
        return
    for name in DEBIAN:
        place = folder / name
        place.mkdir()
        if called(["apt-get", *flags, "-q", "source", "--download-only", name], place):
            archives = sorted(p for p in place.iterdir() if ".tar." in p.name and ".debian.tar" not in p.name)
            yield f"debian/{name}", [p for p in archives if not p.name.endswith(".asc")]


def pypi(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield wheels: unlike building a source distribution, unpacking one runs no code of the package."""
    folder.mkdir()
    for name in PYPI:
        place = folder / name
        place.mkdir()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", name]
        if called(pip, place):
            yield f"pypi/{name}", sorted(place.iterdir())


def npm(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield npm packages."""
    folder.mkdir()
    for name in NPM:
        place = folder / name.replace("/", "_")
        place.mkdir()
        if called(["npm", "pack", "--silent", name], place):
            yield f"npm/{name}", sorted(place.iterdir())


def called(command: list[str], place: Path) -> bool:
    """Run a command in `place`; say which one failed, and answer whether it did not."""
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        print(f"{command[0]} is not here; its packages are left out", file=sys.stderr)
        return False
    if done.returncode:
        print(f"left out: {command[-1]} ({done.stderr.strip().splitlines()[-1:] or done.returncode})", file=sys.stderr)
    return done.returncode == 0


def unpacked(package: str, archives: list[Path]) -> Iterator[File]:
    """Yield the regular files of a package, archives inside it not opened, and remove what was downloaded."""
    for archive in archives:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                for info in wheel.infolist():
                    if 0 < info.file_size <= MAX_FILE:
                        yield package, info.filename, wheel.read(info)
        else:
            with tarfile.open(archive) as tar:
                for member in tar:
                    if member.isfile() and 0 < member.size <= MAX_FILE:
                        content = tar.extractfile(member)
                        yield package, member.name, content.read() if content else b""
        archive.unlink()


def write(out: Path, files: Iterator[File], limit: int, counts: Counter[str]) -> int:
    """Write the files in known languages until there is enough; return the bytes of text."""
    written = size = 0
    rows: list[tuple[str, str, str, str]] = []
    taken: Counter[str] = Counter()
    bar = tqdm(total=limit, unit="B", unit_scale=True, desc="text")
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        for package, path, content in files:
            text = decoded(content)
            language = detect(path, text[:4096]) if text and taken[package] < MAX_PACKAGE else ""
            if not language:
                continue
            taken[package] += len(content)
            rows.append((package, path, language, text))
            counts[language] += len(content)
            size += len(content)
            written += len(content)
            bar.update(len(content))
            if size >= GROUP_BYTES:
                writer.write_table(pa.Table.from_arrays([pa.array(c) for c in zip(*rows, strict=True)], schema=SCHEMA))
                rows, size = [], 0
            if written >= limit:
                break
        if rows:
            writer.write_table(pa.Table.from_arrays([pa.array(c) for c in zip(*rows, strict=True)], schema=SCHEMA))
    bar.close()
    return written


def decoded(content: bytes) -> str:
    """Return the text of UTF-8 without NUL, "" for anything else."""
    if b"\0" in content:
        return ""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
