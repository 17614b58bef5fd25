"""Programs run in containers of podman or docker, one a worker, with our own walls inside as far as they go there."""

import contextlib
import pickle
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import magicoder
from magicoder.errors import SandboxError
from magicoder.languages import all_languages, get
from magicoder.protocols import NOT_IDENTITY, Runner
from magicoder.records import Limits
from magicoder.sandboxes._container_server import read_frame, write_frame
from magicoder.sandboxes._judging import CODEC, Serves
from magicoder.sandboxes._plain import BadValue
from magicoder.sandboxes._runner import Controller
from magicoder.sandboxes._toolchains import Found
from magicoder.sandboxes._values import decode
from magicoder.sandboxes._verdicts import Verdicts
from magicoder.sandboxes._wire import Ended, Report, Request
from magicoder.sandboxes._workers import Workers

_ENGINES: Final = ("podman", "docker")
_SOURCES: Final = "/opt/magicoder"
# What it takes to give each program a uid of its own and to clear up after it; programs keep none of it.
_CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Containers without network, with a read-only root; toolchains are those of the image.

    image         has Python 3.11 or later as `python3`, and the toolchains of the languages to run
    engine        `podman` or `docker`, or a path; "" for the first of them that is there
    memory_mb     of a whole container; larger than what one program may use
    processes     in a whole container
    again         as in `cells`
    """

    image: str = ""
    engine: str = field(default="", metadata=NOT_IDENTITY)
    memory_mb: int = field(default=4096, metadata=NOT_IDENTITY)
    processes: int = field(default=1024, metadata=NOT_IDENTITY)
    again: bool = field(default=False, metadata=NOT_IDENTITY)

    @contextmanager
    def open(self, workers: int = 1, cache: Path | None = None) -> Iterator[Runner]:
        """See `protocols.Sandbox`. One container is started at once, to see what is in it.

        Raises:
            SandboxError: there is no engine or no image, or no container starts.
        """
        if not self.image:
            raise SandboxError(
                "container.image is not set: name an image with python3 (3.11+) and the compilers that are needed"
            )
        engine = self.engine or next((name for name in _ENGINES if shutil.which(name)), "")
        if not engine or shutil.which(engine) is None:
            raise SandboxError(f"{engine or 'neither podman nor docker'} is not on PATH; install it, or use `cells`")
        command = self._command(engine)
        with _Box(command) as box:
            seen = box.ask("find", tuple(one.name for one in all_languages() if one.toolchain is not None))
        try:
            found = tuple(_found(language, fields) for language, fields in seen["found"].items())
            isolation, level = str(seen["isolation"]), int(seen["level"])
        except (KeyError, TypeError, ValueError, AssertionError) as e:
            raise SandboxError(f"the container of {self.image} does not say what is in it: {e}") from e
        boxes = Boxes(command=command, found=found)
        with ExitStack() as stack:
            verdicts = None if cache is None else stack.enter_context(Verdicts.open(cache))
            processes = Workers(boxes, max(1, workers))
            stack.callback(processes.close)
            line = f"{Path(engine).name} container, {isolation}"
            yield Controller(boxes, processes, verdicts, line, f"container {self.image} {level}", again=self.again)

    def _command(self, engine: str) -> tuple[str, ...]:
        capabilities = [word for name in _CAPABILITIES for word in ("--cap-add", name)]
        package = Path(magicoder.__file__).parent
        return (
            *(engine, "run", "--rm", "--interactive", "--network", "none", "--read-only", "--cap-drop", "ALL"),
            *capabilities,
            *("--security-opt", "no-new-privileges", "--pids-limit", str(self.processes)),
            *("--memory", f"{self.memory_mb}m", "--memory-swap", f"{self.memory_mb}m", "--log-driver", "none"),
            *("--tmpfs", "/tmp:rw,exec,nosuid,nodev,size=1g"),  # noqa: S108 - the container's
            *("--tmpfs", "/var/cache/magicoder:rw,exec,nosuid,nodev,size=512m"),
            *("--volume", f"{package}:{_SOURCES}/magicoder:ro", "--env", f"PYTHONPATH={_SOURCES}"),
            *("--env", "PYTHONDONTWRITEBYTECODE=1", "--user", "0"),
            *("--entrypoint", "python3", self.image, "-m", "magicoder.sandboxes._container_server"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Makes the containers of the workers."""

    command: tuple[str, ...]
    found: tuple[Found, ...]

    @contextmanager
    def open(self, languages: Sequence[str], cpu: int) -> Iterator["_Box"]:  # noqa: ARG002 - the engine places them
        """Start a container with a cell in it."""
        with _Box(self.command) as box:
            box.ask("open", tuple(languages), CODEC)
            yield box

    def find(self, language: str) -> Found:
        """Return the toolchain of the image."""
        return next(one for one in self.found if one.language == language)

    def identity(self, language: str) -> str:
        """Return the version; the image is in the key already."""
        return self.find(language).version

    def serves(self) -> bool:
        """Warm compilers are not reached from out here."""
        return False


class _Box:
    """A running container: a cell at the other end of a pipe."""

    def __init__(self, command: Sequence[str]) -> None:
        # Named so that it can be ended by the engine too; it ends by itself when its stdin closes.
        name = f"magicoder-{uuid.uuid4().hex[:12]}"
        self._kill = (command[0], "kill", name)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed on exit
        try:
            self._process = subprocess.Popen(  # noqa: S603 - an engine that the user chose
                [*command[:2], "--name", name, *command[2:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
            )
        except OSError as e:
            self._said.close()
            raise SandboxError(f"{command[0]} does not start: {e}") from e

    def __enter__(self) -> "_Box":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        streams = (self._process.stdin, self._process.stdout, self._said)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(self._kill, capture_output=True, timeout=30, check=False)  # noqa: S603
            self._process.kill()
            self._process.wait()
        for stream in streams:
            if stream is not None:
                stream.close()

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Have an operation of `_container_server` done.

        Raises:
            SandboxError: the container has died, or what comes from it makes no sense.
            Ended: the program has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            write_frame(self._process.stdin, pickle.dumps((operation, arguments), protocol=5))  # type: ignore[arg-type]
            data = read_frame(self._process.stdout)  # type: ignore[arg-type]
        except OSError as e:
            raise SandboxError(f"a container has died: {self._last_words() or e}") from e
        except ValueError as e:
            raise SandboxError(f"a container answers nonsense: {e}") from e
        if not data:
            raise SandboxError(f"a container has died: {self._last_words() or 'it says nothing'}")
        try:
            kind, answer = decode(data)
        except (BadValue, TypeError, ValueError) as e:
            raise SandboxError(f"a container answers nonsense: {e}") from e
        if kind == "ended":
            raise Ended(_report(answer))
        if kind != "fine":
            raise SandboxError(f"in a container: {answer}")
        return answer

    def run(self, request: Request) -> Report:
        """As `Cell.run`."""
        return _report(self.ask("run", request))

    @contextmanager
    def converse(self, request: Request) -> Iterator["_Line"]:
        """As `Cell.converse`."""
        self.ask("converse", request)
        line = _Line(self)
        try:
            yield line
        finally:
            line.hang_up()

    def serve(
        self,
        argv: tuple[str, ...],  # noqa: ARG002
        environment: tuple[tuple[str, str], ...] = (),  # noqa: ARG002
        files: tuple[tuple[str, bytes], ...] = (),  # noqa: ARG002
        limits: Limits | None = None,  # noqa: ARG002
    ) -> Serves:
        """Not here."""
        raise SandboxError("there are no warm compilers in containers")

    def _last_words(self) -> str:
        """Return what the engine says about a container that has ended."""
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            return ""
        self._said.seek(0)
        lines = self._said.read(65536).decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:500] if lines else f"exit code {self._process.returncode}"


class _Line:
    """As `_cell.Conversation`."""

    report: Report

    def __init__(self, box: _Box) -> None:
        self._box = box

    def call(self, args: bytes) -> bytes:
        """Return the reply to a call. Raises Ended, SandboxError."""
        answer = self._box.ask("call", args)
        if type(answer) is not bytes:
            raise SandboxError("a container answers nonsense: a reply that is no bytes")
        return answer

    def hang_up(self) -> None:
        """End the program; `report` is there afterwards."""
        self.report = _report(self._box.ask("hang_up"))


def _report(fields: Any) -> Report:
    try:
        report = Report(**fields)
        report.stdout.decode("utf-8", "replace"), report.stderr.decode("utf-8", "replace")
    except (TypeError, AttributeError) as e:
        raise SandboxError(f"a container answers nonsense: {e}") from e
    return report


def _found(language: str, fields: Any) -> Found:
    toolchain = get(language).toolchain
    assert toolchain is not None
    version, missing, install, commands, shows, cache = fields
    return Found(
        language=language,
        toolchain=toolchain,
        version=version,
        missing=missing,
        install=install,
        commands=commands,
        shows=shows,
        cache=cache,
    )


PLUGIN = Container
