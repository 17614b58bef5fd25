"""What stands behind a program that is tested on many inputs: calls its function, and says what came out in few bytes.

Runs inside a sandbox, in whatever Python is there, in a name space of its own, so it imports nothing of ours. It knows
no expected answer, so that nothing is to be gained by changing it. Sent back is a digest of each answer; whole answers
are asked for where the digest is not the expected one (`1.0` for `1`, a set in another order), which is rare.
"""

import array
import hashlib
import io
import itertools
import marshal
import math
import os
import pickle
import resource
import signal
import sys
import time
from typing import Any

NONE = bytes(16)  # the digest of what has none
SNAPSHOT = 1 << 16  # bytes up to which an answer is kept as it was, whatever the program does to it later
ENOUGH_BYTES = 1 << 24  # of answers in one batch
ENOUGH_S = 0.2

program: dict[str, Any] = globals().get("target", {})  # the name space of the program, put here by who runs this
kept: list[tuple[bytes | None, Any]] = []  # the answers of the last batch: marshalled if they are small, or as they are
raised: list[BaseException] = []
deadline = [0.0]  # in seconds of this process


class Sink(io.TextIOBase):
    """Swallows what a function prints while it is tested."""

    def write(self, text: str) -> int:
        """Take it and do nothing."""
        return len(text)


sink = Sink()


def numbers(value: Any) -> Any:
    """Return a list of numbers as one piece that is the same for equal numbers of different types, or None."""
    if set(map(type, value)) <= {int, float, bool}:
        try:
            if min(value) >= -(1 << 53) and max(value) <= 1 << 53:
                packed = array.array("d", value)
                total = sum(packed)
                if total == total:  # noqa: PLR0124 - not so with NaN in it
                    return packed
        except (OverflowError, ValueError):
            pass
    return None


def digest(value: Any) -> tuple[bytes, int, bytes | None]:
    """Return 16 bytes that only equal answers share, how large it is, and its form if that is small."""
    kind = type(value)
    try:
        if kind in (list, tuple) and len(value) >= 32:
            packed = numbers(value)
            tag = b"l" if kind is list else b"t"
            if packed is not None:
                size = 8 * len(packed)
                found = hashlib.blake2b(tag + b"d", digest_size=16)
                found.update(packed)
                return found.digest(), size, marshal.dumps(value, 2) if size <= SNAPSHOT else None
            if len(value) > 4096:
                return *long(value, tag), None
        data = marshal.dumps(value, 2)
    except (ValueError, TypeError):
        return NONE, 0, None
    return hashlib.blake2b(data, digest_size=16).digest(), len(data), data if len(data) <= SNAPSHOT else None


def long(value: Any, tag: bytes) -> tuple[bytes, int]:
    """Return the digest and the size of a long list: pickle and SHA-256 take half of marshal's and BLAKE2b's time."""
    found, size = hashlib.sha256(tag + b"%d" % len(value)), 0
    for start in range(0, len(value), 4096):
        piece = io.BytesIO()
        writer = pickle.Pickler(piece, 4)
        writer.fast = True  # says nothing about which objects are the same
        try:
            writer.dump(value[start : start + 4096])
        except Exception:  # an object of the program's own may raise what it likes
            return NONE, 0
        data = piece.getbuffer()
        size += len(data)
        found.update(data)
    return found.digest()[:16], size


def texts_only(value: Any) -> bool:
    """Whether nothing in it equals something of another form: lists and tuples of texts."""
    level: Any = [value]
    kinds = {type(value)}
    while kinds:
        if kinds <= {str, bytes, type(None)}:
            return True
        if len(kinds) != 1 or not kinds <= {list, tuple}:
            return False
        inner = itertools.chain.from_iterable
        kinds = set(map(type, inner(level)))
        level = [] if kinds <= {str, bytes, type(None)} else list(inner(level))
    return False


def overdue(_number: int, _frame: Any) -> None:
    """End the program if its time is up: the limit counts in ticks, which come early on a busy machine."""
    left = min(60.0, deadline[0] - time.process_time())
    if left < 0:
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGXCPU)
    allow(left)


def allow(seconds: float) -> None:
    """Let the kernel look in when so much more processor time is used; ticks may be ahead of the clock."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(max(time.process_time(), usage.ru_utime + usage.ru_stime) + seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def ask(what: str, *rest: Any) -> Any:
    """Answer the judge: `run` tests on inputs, `give` some of the answers, `raise` what the function raised."""
    if what == "run":
        return run(*rest)
    if what == "give":
        return [marshal.loads(data) if data is not None else value for data, value in map(kept.__getitem__, rest[0])]  # noqa: S302 - our own
    if what == "exact":
        data, value = kept[rest[0]]
        return texts_only(value if data is None else marshal.loads(data))  # noqa: S302 - our own
    raise raised[0]


def run(name: str, inputs: Any, cpu_s: Any) -> tuple[bytes, list[int], list[float], bool]:
    """Call the function on one input after another; stop where it raises, or when there is enough to look at.

    cpu_s       of processor time that each call may take; the kernel ends the program that takes more
    Returns the digests in one piece, the sizes, the seconds, and whether the next one raised.
    """
    function = program[name] if name in program else missing(name)
    kept.clear()
    digests: list[bytes] = []
    sizes: list[int] = []
    seconds: list[float] = []
    volume = 0
    out = sys.stdout
    sys.stdout = sink
    signal.signal(signal.SIGXCPU, overdue)
    allow(min(cpu_s))
    begin = now = time.process_time()
    try:
        for arguments, most in zip(inputs, cpu_s):  # noqa: B905 - any Python
            deadline[0] = now + most
            try:
                value = function(*arguments)
            except BaseException as e:
                raised[:] = [e]
                return b"".join(digests), sizes, seconds, True
            took = time.process_time() - now
            deadline[0] = math.inf
            found, size, data = digest(value)
            now = time.process_time()
            kept.append((data, None if data is not None else value))
            digests.append(found)
            sizes.append(size)
            seconds.append(took)
            volume += size
            if volume > ENOUGH_BYTES or now - begin > ENOUGH_S:
                break
        return b"".join(digests), sizes, seconds, False
    finally:
        deadline[0] = math.inf
        sys.stdout = out


def missing(name: str) -> Any:
    """Say that the program defines no such function."""
    raise NameError(f"name {name!r} is not defined")


program["__ask__"] = ask
