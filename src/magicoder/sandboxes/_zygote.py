"""The trusted process behind a cell's walls: goes into the jail, imports what programs want warm, and keeps it.

`main` is started by `_cell_process` in an interpreter of its own, whose only arguments are this folder and a socket.
Two processes come of it: the starter, which stays outside to clean up, and the keeper, which the programs are
forked from. `nurse` warms up once and forks such pairs when it is asked to. Standard library only.
"""
# A jail's Python need not pay for pathlib, and its places have fixed names.
# ruff: noqa: PTH123

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import types
from collections.abc import Callable
from typing import Any, Final

from magicoder.sandboxes import _kernel as kernel
from magicoder.sandboxes import _kernel_cgroups as cgroups
from magicoder.sandboxes import _kernel_filter as barriers
from magicoder.sandboxes import _zygote_program as program
from magicoder.sandboxes import _zygote_root as root
from magicoder.sandboxes import _zygote_scratch as scratch
from magicoder.sandboxes import _zygote_watch as watch
from magicoder.sandboxes._zygote_processes import Processes, tasks_of

# What most programs import: cheaper once here than in every program. Nothing that starts threads or opens files.
WARM: Final = (
    *("abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions"),
    *("functools", "hashlib", "heapq", "io", "itertools", "json", "math", "operator", "random", "re", "statistics"),
    *("shutil", "string", "subprocess", "time", "typing"),
)
# World-readable parts of the system that programs need, for landlock where the root is the machine's own.
_SYSTEM: Final = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/etc/alternatives"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime"),
)
_SLOTS: Final = 0x60000000
"""The first uid of programs: far above what systems give to people and services."""

_GUARDS: Final = 0x10000000


class Refused(Exception):  # noqa: N818 - a reason, for the other side
    """This jail cannot be made; says why."""


def main() -> None:
    """Make the jail that the first message describes, say so, and serve. Never returns."""
    control = socket.socket(fileno=int(sys.argv[3]))
    config: dict[str, Any] = json.loads(control.recv(1 << 20))
    try:
        parent = os.pidfd_open(config["parent"])
    except OSError:
        os._exit(1)
    if os.getppid() != config["parent"]:
        os._exit(1)
    _make(control, parent, config)


def nurse() -> None:
    """Warm up, and fork a jail for each message that comes, until nobody can send any. Never returns.

    With a message come the jail's own socket and a handle of the process that it works for; a handle of the starter
    goes back.
    """
    line = socket.socket(fileno=int(sys.argv[3]))
    _warm_up([*WARM])
    gc.collect()
    gc.freeze()
    poll = select.poll()
    poll.register(line.fileno(), select.POLLIN)
    jails: dict[int, int] = {}  # handles of the starters, and their numbers
    while True:
        for fd, _ in poll.poll():
            if fd in jails:
                poll.unregister(fd)
                os.waitpid(jails.pop(fd), 0)
                os.close(fd)
                continue
            data, fds, _, _ = socket.recv_fds(line, 1 << 20, 2)
            if not data:
                with contextlib.suppress(ChildProcessError):
                    while True:
                        os.wait()  # they end, too: whom they worked for is gone
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                _branch(line, [*jails], data, fds)
            jail = os.pidfd_open(pid)
            jails[jail] = pid
            poll.register(jail, select.POLLIN)
            for passed in fds:
                os.close(passed)


def _branch(line: socket.socket, others: list[int], data: bytes, fds: list[int]) -> None:
    """Become the jail that a message describes. Never returns."""
    try:
        line.close()
        for other in others:
            os.close(other)
        os.setsid()
        control, parent = socket.socket(fileno=fds[0]), fds[1]
        own = os.pidfd_open(os.getpid())
        socket.send_fds(control, [b"-"], [own])
        os.close(own)
        _make(control, parent, json.loads(data))
    finally:
        os._exit(1)


def _make(control: socket.socket, parent: int, config: dict[str, Any]) -> None:
    """Make a jail. `parent` is a handle of the process that it works for. Never returns."""
    code = 1
    try:
        code = _start(control, parent, config)
    except (Refused, OSError) as e:
        with contextlib.suppress(OSError):
            control.send(watch.message({"failed": str(e)}))
    finally:
        os._exit(code)


def _start(control: socket.socket, parent: int, config: dict[str, Any]) -> int:
    """The outer process: prepare what needs the outside, fork the keeper, clean up after it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, program.HIGHEST), hard))
    if config["cpu"] >= 0:
        os.sched_setaffinity(0, {config["cpu"]})
    level, capable = config["level"], False
    group, note = None, ""
    try:
        group = cgroups.create() if level > 0 and config["cgroup"] else None
    except OSError as e:
        note = str(e)
    if level == 3:
        capable = _leave()
    else:
        kernel.control(kernel.PR_SET_CHILD_SUBREAPER, 1)
    slot = _slot() if os.geteuid() == 0 and level >= 2 and not capable else None
    pid = os.fork()
    if pid == 0:
        _keep(control, parent, config, group, note, capable=capable, slot=slot)
    control.close()
    os.waitpid(pid, 0)
    if level < 3:  # had the keeper been killed: on rung 3 its namespace ended with it
        if slot is not None:
            _kill_slot(slot)
        Processes(os.open("/proc", os.O_RDONLY | os.O_DIRECTORY), alone=False).kill()
    if group is not None:
        group.remove()
    if config["folder"]:
        scratch.Folder.clear(config["folder"])
    return 0


def _leave() -> bool:
    """Enter new namespaces of users, if that is what it takes, and of processes (for children). True: of users too."""
    if os.geteuid() == 0:
        try:
            kernel.unshare(kernel.NEWPID)
        except OSError as e:
            problem = e
        else:
            return False
        with contextlib.suppress(OSError):
            _unshare_user()
            return True
        raise problem
    _unshare_user()
    return True


def _unshare_user() -> None:
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(kernel.NEWUSER | kernel.NEWPID)
    # Not mapped to 0, so that executing a file gives no capabilities back.
    for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _slot() -> int:
    """A uid that nobody else has: made of this process's id, in the highest range that this user namespace knows."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [(int(start), int(count)) for start, _, count in (line.split() for line in file)]
    if any(start <= _SLOTS and start + count > _SLOTS + _GUARDS + (1 << 23) for start, count in ranges):
        return _SLOTS + os.getpid()
    start, count = max(ranges, key=lambda r: r[1])
    if count < 60_001:
        raise Refused(f"only {count} user ids are mapped here")
    return start + 10_000 + os.getpid() % 25_000


def _guard(slot: int) -> int:
    """The uid that belongs to a slot and that no program ever has."""
    return slot + (_GUARDS if slot >= _SLOTS else 25_000)


def _keep(
    control: socket.socket,
    parent: int,
    config: dict[str, Any],
    group: cgroups.Group | None,
    note: str,
    *,
    capable: bool,
    slot: int | None,
) -> None:
    """The inner process: enter the jail, warm up, serve."""
    try:
        kernel.control(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        # A handler would let a program that may signal us end the cell: the first process of a namespace gets from
        # inside what it has handlers for, and nothing else. Programs have Python's again.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        keeper, problem = _enter(control, parent, config, group, capable=capable, slot=slot)
        notes = [n for n in (f"no control group: {note}" if note else "", problem) if n]
        missing = _warm_up([*WARM, *config["modules"]])
        ready = {"ready": True, "user": capable, "group": group is not None, "missing": missing, "notes": notes}
        ready["python"] = ".".join(map(str, sys.version_info[:3]))
        ready["landlock"] = kernel.landlock_abi()
        _forget(keeper.place)
        control.send(watch.message(ready))
        keeper.serve()
    except watch.Orphaned:
        os._exit(0)
    except BaseException as e:
        with contextlib.suppress(OSError):
            control.send(watch.message({"failed": f"{type(e).__name__}: {e}"}))
        os._exit(1)


def _enter(
    control: socket.socket,
    parent: int,
    config: dict[str, Any],
    group: cgroups.Group | None,
    *,
    capable: bool,
    slot: int | None,
) -> tuple[watch.Keeper, str]:
    level, problem = config["level"], ""
    place: scratch.Mounted | scratch.Folder
    prefixes = _prefixes()
    if level == 3:
        kernel.unshare(kernel.NEWNS | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS)
        uid = slot if slot is not None else os.getuid()
        view, problem, shown = root.build([*prefixes, *config["read_only"]], uid, proc=config["proc"])
        place = scratch.Mounted(uid, uid if slot is not None else os.getgid(), shown)
        place.prepare(16)
        processes = Processes(view, alone=True) if view >= 0 else None
    else:
        kernel.control(kernel.PR_SET_CHILD_SUBREAPER, 1)
        place = scratch.Folder(config["folder"], slot)
        processes = Processes(os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), alone=False)
    landlock, barrier = None, None
    if level > 0:
        if level < 3 and not kernel.landlock_abi():
            raise Refused("the kernel has no landlock, or it is switched off")
        readable = ["/"] if level == 3 else [*_SYSTEM, *prefixes, *config["read_only"]]
        if kernel.landlock_abi():
            landlock = functools.partial(kernel.landlock_rules, readable, place.writable, root.device_paths())
        barrier = barriers.Filter(
            barriers.build(
                same_user=level < 2,
                no_signals=level < 2 and kernel.landlock_abi() < 6,
                no_truncation=level < 3 and kernel.landlock_abi() < 3,
            )
        )
    keeper = watch.Keeper(
        control,
        parent,
        program.Walls(
            uid=slot,
            capable=capable,
            joins=group.joins if group else (),
            landlock=landlock,
            barrier=barrier,
            mortal=level < 3,
        ),
        place,
        group=group,
        view=processes,
        kill=_killer(level, slot, processes),
        answer=_codec(config["codec"]),
        processors=len(os.sched_getaffinity(0)),
        tasks=_tasks(level, capable=capable, slot=slot),
    )
    return keeper, problem


def _killer(level: int, slot: int | None, processes: Processes | None) -> Callable[[int], None]:
    """How everything that a program left is killed, in one stroke that no fork can slip through."""

    def namespace(pid: int) -> None:  # noqa: ARG001 - the same shape as the others
        if os.getpid() != 1:
            raise AssertionError("not the first process of its namespace")
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)

    def user(pid: int) -> None:  # noqa: ARG001 - the same shape as the others
        if slot is not None:
            _kill_slot(slot)

    def group(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # had it not got as far as its own group
        if processes is not None:
            processes.kill()

    return namespace if level == 3 else user if slot is not None else group


def _kill_slot(slot: int) -> None:
    """Kill every process of a uid, from a process that may signal that uid only and that it may not signal."""
    pid = os.fork()
    if pid == 0:
        try:
            guard = _guard(slot)
            os.setgroups([])
            os.setresgid(guard, guard, guard)
            os.setresuid(guard, slot, guard)  # no real or saved uid of the slot: it cannot signal us back
            if 0 in os.getresuid():
                os._exit(1)
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _tasks(level: int, *, capable: bool, slot: int | None) -> Callable[[dict[str, Any]], int]:
    """What RLIMIT_NPROC is to be: it counts all tasks of a user, in a user namespace those in there."""

    def limit(limits: dict[str, Any]) -> int:
        wanted = int(limits["processes"])
        if slot is not None:
            return wanted
        if os.getuid() == 0:
            return 0  # does not hold for root
        return wanted + 2 if capable and level == 3 else wanted + tasks_of(os.getuid())

    return limit


def _prefixes() -> list[str]:
    """Where this interpreter and its packages are, outside /usr."""
    found = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)}
    found |= {sys.prefix, sys.base_prefix}
    found = {p for p in found if not any(p != q and p.startswith(q + "/") for q in found)}
    outside = [p for p in found if p != "/usr" and not p.startswith("/usr/")]
    if "/" in outside or any(p.count("/") < 2 and p in ("/home", "/root", "/etc", "/var") for p in outside):
        raise Refused(f"an interpreter whose prefix is {outside} cannot be shown without the rest of the machine")
    return sorted(outside)


def _codec(source: str) -> Any:
    if not source:
        return None
    module = types.ModuleType("codec")
    sys.modules["codec"] = module
    exec(compile(source, "codec", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - a file of ours
    del sys.modules["codec"]
    return module.__dict__["answer"]


def _warm_up(modules: list[str]) -> list[str]:
    """Import, and return what is not there."""
    missing = []
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as e:  # whatever a package does when it fails
            missing.append(f"{name} ({type(e).__name__}: {e})"[:200])
    return missing


def _forget(place: scratch.Mounted | scratch.Folder) -> None:
    """Leave nothing of ours where a program looks by accident: not to hide it, but so that it changes nothing."""
    for name in [n for n in sys.modules if n == "magicoder" or n.startswith("magicoder.")]:
        del sys.modules[name]
    sys.path[:] = [p for p in sys.path if p]
    sys.argv = [program.MAIN]
    os.environ.clear()
    os.environ.update(HOME=place.work, TMPDIR=place.temporary, LANG="C.UTF-8", PATH="/usr/local/bin:/usr/bin:/bin")
    program.fix_limits()
    kernel.control(kernel.PR_SET_NO_NEW_PRIVS, 1)  # handed down to programs, which cannot do without their walls
    gc.collect()
    gc.disable()
    gc.freeze()
