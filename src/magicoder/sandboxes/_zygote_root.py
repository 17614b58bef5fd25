"""The inside of a cell on rung 3: a root of its own, with nothing in it that a program does not need.

Runs inside jails, in whatever Python is there: the standard library only.
"""
# A jail's Python need not pay for pathlib, and its places have fixed names.
# ruff: noqa: PTH102, PTH103, PTH106, PTH110, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211, S108

from __future__ import annotations

import contextlib
import os
import socket

from magicoder.sandboxes import _kernel as kernel

_DEVICES = ("null", "zero", "full", "random", "urandom")
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SCRATCH = ("/tmp", "/dev/shm")
_COVER = ("/mnt", "/media", "/srv", "/home", "/run", "/tmp")


def device_paths() -> tuple[str, ...]:
    """Where a program finds its devices."""
    return tuple(f"/dev/{name}" for name in _DEVICES)


def build(read_only: list[str], uid: int, *, proc: bool) -> tuple[int, str, list[tuple[str, str]]]:
    """Make a tiny read-only root with `read_only` and the system's programs in it, and move this process there.

    /tmp and /dev/shm are mounted by `_zygote_scratch`. Returns a descriptor of a /proc that only this process has, -1
    if there can be none, and why not; and what of `read_only` lies where those will be mounted: where it is meanwhile,
    and where it belongs.

    Raises:
        OSError: the kernel refuses.
    """
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    new = next(p for p in _COVER if os.path.isdir(p) and not any(_below(q, p) for q in [*read_only, "/usr"]))
    etc = _etc(uid)
    kernel.mount("tmpfs", new, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=8m,nr_inodes=4k,mode=755")
    for name in ("usr", "etc", "dev", "tmp", "proc", "old"):
        os.mkdir(f"{new}/{name}", 0o755)
    os.mkdir(f"{new}/dev/shm", 0o755)
    bound: list[str] = []
    _bind(new, "/usr", bound)
    for name in _SYSTEM:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{new}/{name}")
        elif os.path.isdir(f"/{name}"):
            _bind(new, f"/{name}", bound)
    for name, data in etc.items():
        with open(f"{new}/etc/{name}", "wb") as file:
            file.write(data)
    hidden: list[tuple[str, str]] = []
    for path in sorted({*read_only, "/etc/alternatives"}):
        if any(_below(path, place) for place in _SCRATCH):
            if os.path.isdir(path) and not any(_below(path, earlier) for _, earlier in hidden):
                hidden.append((f"/.shown/{len(hidden)}", path))
                _bind(new, path, bound, at=hidden[-1][0])
        elif os.path.exists(path):
            _bind(new, path, bound)
    for name in _DEVICES:
        os.close(os.open(f"{new}/dev/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
        kernel.mount(f"/dev/{name}", f"{new}/dev/{name}", "", kernel.MS_BIND)
    view, problem = _processes(new, keep=proc)
    os.chdir(new)
    kernel.pivot_root(".", "old")
    os.chdir("/")
    kernel.unmount("/old", kernel.DETACH)
    os.rmdir("/old")
    flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("", "/", "", flags)
    socket.sethostname("cell")
    return view, problem, hidden


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _bind(new: str, path: str, bound: list[str], at: str = "") -> None:
    """Show `path` of the outside at the same place below `new`, read-only, whatever is mounted below it too."""
    if any(_below(path, earlier) for earlier in bound):
        return
    target = new + (at or path)
    if os.path.isdir(path):
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    kernel.mount(path, target, "", kernel.MS_BIND | kernel.MS_REC)
    if not kernel.seal_mount(target):
        # An old kernel seals one mount at a time: leave out what is mounted below.
        kernel.unmount(target, kernel.DETACH)
        kernel.mount(path, target, "", kernel.MS_BIND)
        flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("", target, "", flags)
    bound.append(path)


def _etc(uid: int) -> dict[str, bytes]:
    """The few files of /etc that libraries ask for; nothing of this machine's but the loader's cache."""
    files = {
        "passwd": f"root:x:0:0::/:/bin/sh\ncell:x:{uid}:{uid}::/tmp/w:/bin/sh\n".encode(),
        "group": f"root:x:0:\ncell:x:{uid}:\n".encode(),
        "nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
        "hosts": b"127.0.0.1 localhost\n",
    }
    with contextlib.suppress(OSError), open("/etc/ld.so.cache", "rb") as file:
        files["ld.so.cache"] = file.read(4 << 20)
    return files


def _processes(new: str, *, keep: bool) -> tuple[int, str]:
    """Mount a /proc that shows a program its own processes only; without `keep` nobody but us can reach it."""
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    problem = ""
    # What nobody else can reach hides nothing: not even what is not ours to trace, whose times we have to read.
    for options in ("hidepid=2,subset=pid", "hidepid=2") if keep else ("subset=pid", ""):
        try:
            kernel.mount("proc", f"{new}/proc", "proc", flags, options)
        except OSError as e:
            problem = f"no /proc: {e}"
            continue
        view = os.open(f"{new}/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not keep:
            kernel.unmount(f"{new}/proc", kernel.DETACH)
        else:
            for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
                os.symlink(f"/proc/self/fd{target}", f"{new}/dev/{name}")
        return view, ""
    return -1, problem
