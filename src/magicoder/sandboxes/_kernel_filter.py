"""The seccomp filter of a program: which system calls it does not get.

A list of what is denied, and nothing beyond the newest call that was looked at: kernels grow calls faster than lists
grow. What honest programs probe for is answered "no such call", so that their libraries fall back; the rest "not
permitted". Runs inside jails too: the standard library only.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from typing import Final

from magicoder.sandboxes import _kernel as kernel

NEWEST: Final = 449
"""Calls with higher numbers do not exist for a program; libraries have fall-backs for all of them."""

NOT_PERMITTED: Final = (
    # other processes' memory and execution
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp", "pidfd_getfd"),
    # the shape of the file system, and namespaces
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "setns", "unshare", "open_by_handle_at", "name_to_handle_at", "quotactl", "quotactl_fd"),
    *("fanotify_init", "fanotify_mark", "acct", "swapon", "swapoff"),
    # the kernel itself
    *("bpf", "perf_event_open", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("reboot", "syslog", "sysctl", "uselib", "nfsservctl", "lookup_dcookie", "iopl", "ioperm", "modify_ldt"),
    *("vhangup", "personality", "sethostname", "setdomainname"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"),
    # what outlives a process, or reaches beyond its processor
    *("keyctl", "add_key", "request_key", "sched_setaffinity"),
    *("mbind", "set_mempolicy", "migrate_pages", "move_pages"),
    # the network: only pairs of connected local sockets are left
    *("socket", "connect", "bind", "listen", "accept", "accept4"),
)
NO_SUCH_CALL: Final = (
    *("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "memfd_create", "memfd_secret"),
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop"),
    *("msgget", "msgsnd", "msgrcv", "msgctl"),
    *("mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr"),
)
STAY_IN_GROUP: Final = ("setsid", "setpgid")
"""Denied where the process group is what finds a program's descendants."""
METADATA: Final = (
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat"),
    *("utime", "utimes", "futimesat", "utimensat"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
)
"""Not done, though answered as if they were, where programs have the caller's uid: landlock does not look at these,
and would let a program take the caller's files, or the cell's own folder, out of the caller's reach. Copying a file
sets its mode; few programs look whether it is set."""
NO_SIGNALS: Final = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")
"""Denied where neither uid nor landlock keeps a program from signalling its neighbours."""

_NAMESPACES: Final = (
    kernel.NEWNS
    | kernel.NEWCGROUP
    | kernel.NEWUTS
    | kernel.NEWIPC
    | kernel.NEWUSER
    | kernel.NEWPID
    | kernel.NEWNET
    | kernel.PARENT
)
_ARCHITECTURE: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "arm64": 0xC00000B7}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_KILL, _ALLOW, _DONE, _EPERM, _ENOSYS = 0x80000000, 0x7FFF0000, 0x00050000, 0x00050001, 0x00050026
_NUMBER, _ARCH = 0, 4
_TIOCSTI, _FIOSETOWN, _SIOCSPGRP = 0x5412, 0x8901, 0x8902
_SETOWN, _SETSIG, _SETOWN_EX = 8, 10, 15
_SET_DUMPABLE, _SCHED_CORE = 4, 62
_ACCESS, _TRUNC = 3, 0o1000
_AF_UNIX, _SOCK_STREAM, _SOCK_SEQPACKET = 1, 1, 5


def _argument(position: int) -> int:
    return 16 + 8 * position  # the lower half: little-endian on both architectures


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _numbers(names: tuple[str, ...]) -> list[int]:
    return [n for name in names if (n := kernel.number(name)) is not None]


def build(*, same_user: bool = False, no_signals: bool = False, no_truncation: bool = False) -> bytes:
    """Return the filter as the kernel reads it.

    same_user       programs have the caller's uid, and no namespace of processes around them
    no_signals      nothing else keeps programs from signalling the caller's processes
    no_truncation   landlock is too old to look at truncation: files are emptied by writing only
    """
    denied = NOT_PERMITTED + STAY_IN_GROUP * same_user + NO_SIGNALS * no_signals
    denied += ("truncate",) * no_truncation
    unknown = NO_SUCH_CALL + ("openat2",) * no_truncation  # whose flags a filter cannot read
    steps = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _ARCHITECTURE[platform.machine()], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        # Beyond the newest known (and the x32 calls, whose numbers begin at 2**30): no such call.
        _step(_AT_LEAST, NEWEST + 1, 0, 1),
        _step(_RETURN, _ENOSYS),
    ]
    for names, answer in ((denied, _EPERM), (unknown, _ENOSYS), (METADATA * same_user, _DONE)):
        for number in _numbers(names):
            steps += [_step(_EQUAL, number, 0, 1), _step(_RETURN, answer)]
    steps += _on("clone", [_step(_LOAD, _argument(0)), _step(_ANY_BIT, _NAMESPACES, 0, 1), _step(_RETURN, _EPERM)])
    # Input of terminals; signals that a descriptor's events send to whom one names.
    steps += _on("ioctl", _unless(1, _TIOCSTI, _FIOSETOWN, _SIOCSPGRP))
    steps += _on("fcntl", _unless(1, _SETOWN, _SETSIG, _SETOWN_EX))
    # Keeping neighbours off the other half of a core; hiding from who counts one's memory.
    steps += _on("prctl", _unless(0, _SCHED_CORE, _SET_DUMPABLE))
    # A program's limits and priority are its own, nobody else's: of the same uid may be the cell's keeper.
    steps += _on("prlimit64", _only_zero(0, _EPERM))
    # A runtime sets those of its threads, by number, and complains on stdout if it may not (mono).
    for name in ("sched_setscheduler", "sched_setparam", "sched_setattr"):
        steps += _on(name, _only_zero(0, _DONE))
    for name, own in (("setpriority", 0), ("ioprio_set", 1)):
        steps += _on(
            name, [_step(_LOAD, _argument(0)), _step(_EQUAL, own, 1, 0), _step(_RETURN, _EPERM), *_only_zero(1, _EPERM)]
        )
    if no_truncation:
        for name, flags in (("open", 1), ("openat", 2)):
            emptied = [_step(_LOAD, _argument(flags)), _step(_AND, _ACCESS | _TRUNC)]
            steps += _on(name, [*emptied, _step(_EQUAL, _TRUNC, 0, 1), _step(_RETURN, _EPERM)])
    pairs = [
        _step(_LOAD, _argument(0)),
        _step(_EQUAL, _AF_UNIX, 1, 0),
        _step(_RETURN, _EPERM),
        _step(_LOAD, _argument(1)),
        _step(_AND, 0xF),
        # Not datagrams: those can be sent anywhere.
        _step(_EQUAL, _SOCK_STREAM, 2, 0),
        _step(_EQUAL, _SOCK_SEQPACKET, 1, 0),
        _step(_RETURN, _EPERM),
    ]
    steps += _on("socketpair", pairs)
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def _unless(position: int, *values: int) -> list[bytes]:
    """Refuse these values of an argument."""
    steps = [_step(_LOAD, _argument(position))]
    for value in values:
        steps += [_step(_EQUAL, value, 0, 1), _step(_RETURN, _EPERM)]
    return steps


def _only_zero(position: int, answer: int) -> list[bytes]:
    """Refuse every other value of an argument; 0 stands for the calling process."""
    return [_step(_LOAD, _argument(position)), _step(_EQUAL, 0, 1, 0), _step(_RETURN, answer)]


def _on(name: str, steps: list[bytes]) -> list[bytes]:
    """`steps` for the call `name` only; what they do not refuse is allowed."""
    number = kernel.number(name)
    if number is None:
        return []
    return [_step(_EQUAL, number, 0, len(steps) + 1), *steps, _step(_RETURN, _ALLOW)]


class Filter:
    """A filter ready to be entered after a fork, without building anything then."""

    def __init__(self, program: bytes) -> None:
        self._steps = ctypes.create_string_buffer(program, len(program))
        head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(self._steps))
        self._head = ctypes.create_string_buffer(head, len(head))

    def enter(self) -> None:
        """Put this process, and all that it becomes, behind the filter; no_new_privs must be set. Raises OSError."""
        kernel.call("seccomp", 1, 0, self._head)
