"""Git as a child process: nothing of the user's environment or of the repository's configuration is executed."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from magicoder.corpora._files import CHUNK, decode_name
from magicoder.errors import CorpusError

# A repository is untrusted: no file-system monitor or hook of its own runs, and nothing is fetched over a network
# (a partial clone would fetch what it lacks). Large files are streamed by Git instead of held in its memory.
_SETTINGS: Final = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.bigFileThreshold=4m",
)
_SCP: Final = re.compile(r"(?:[^@/:]+@)?([^/:@]+):(?!//)(.+)")


def installed() -> bool:
    """Return whether there is a `git` to run."""
    return shutil.which("git") is not None


def is_bare(folder: Path) -> bool:
    """Return whether a folder looks like a repository without files checked out (or like a checkout's `.git`)."""
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    # GIT_ALLOW_PROTOCOL overrules the repository's own settings; no protocol is called "none".
    return kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "none"}


def _command(folder: Path, arguments: tuple[str, ...]) -> list[str]:
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    return ["git", "--no-pager", "-C", str(folder), *settings, *arguments]


def ask(folder: Path, *arguments: str) -> str | None:
    """Return the output of a short Git command without its last newline, None if it fails.

    Raises:
        CorpusError: Git refuses the repository because of its owner, or is not installed.
    """
    done = subprocess.run(  # noqa: S603 - a list, no shell
        _command(folder, arguments), env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode == 0:
        return decode_name(done.stdout).removesuffix("\n")
    _refuse_owner(folder, done.stderr)
    return None


def _refuse_owner(folder: Path, stderr: bytes) -> None:
    if b"dubious ownership" in stderr:
        raise CorpusError(
            f"git refuses to read {folder} because another user owns it; "
            f"if you trust it: git config --global --add safe.directory {folder.resolve()}"
        )


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Run a Git command and give its input and output; it is killed if the caller leaves early.

    Raises:
        CorpusError: it ended with an error although its output was read to the end.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - a list, no shell
            _command(folder, arguments),
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdin, process.stdout
            process.stdin.close()
            at_end = not process.stdout.read(1)
            if at_end and process.wait() != 0:
                raise failed(folder, errors)
        except (BrokenPipeError, EOFError):
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
            raise failed(folder, errors) from None
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(BrokenPipeError):
                    pipe.close()


def failed(folder: Path, errors: IO[bytes]) -> CorpusError:
    """Return the error for a Git command that gave up midway."""
    errors.seek(0)
    said = errors.read(CHUNK)
    _refuse_owner(folder, said)
    lines = said.decode("utf-8", "replace").strip().splitlines() or ["an object is missing"]
    return CorpusError(
        f"git cannot read {folder}: {lines[-1].removeprefix('fatal: ')}; "
        "`git fsck` shows damage, and a partial clone must be cloned again in full"
    )


def records(folder: Path, *arguments: str) -> Iterator[bytes]:
    """Yield the NUL-terminated records that a Git command prints, as they come."""
    with running(folder, *arguments) as (_, output):
        rest = b""
        while chunk := os.read(output.fileno(), CHUNK):
            *complete, rest = (rest + chunk).split(b"\0")
            yield from complete


def provenance(url: str) -> str:
    """Return `host/owner/name` for a remote's URL, without user, password, port or query; a local path's last name."""
    if scp := _SCP.fullmatch(url):
        host, path = scp.group(1), scp.group(2)
    else:
        parts = urlsplit(url)
        host, path = (parts.hostname or "", parts.path) if parts.scheme not in ("", "file") else ("", parts.path or url)
    path = path.strip("/").removesuffix(".git").rstrip("/")
    return f"{host}/{path}" if host and path else path.rpartition("/")[2]


def repository_name(folder: Path) -> str:
    """Return the name that a repository's remote gives it (`origin`, else the first), "" without a remote."""
    url = ask(folder, "config", "--get", "remote.origin.url")
    if not url:
        remotes = (ask(folder, "config", "--get-regexp", r"^remote\..*\.url$") or "").splitlines()
        url = remotes[0].partition(" ")[2] if remotes else ""
    try:
        return provenance(url) if url else ""
    except ValueError:  # a URL that cannot be parsed, such as one with an unclosed bracket
        return ""
