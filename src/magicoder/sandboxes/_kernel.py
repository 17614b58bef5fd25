"""The system calls that Python lacks, on x86-64 and aarch64: namespaces, mounts, landlock, capabilities.

Runs inside jails too, in whatever Python is there: the standard library only.
"""

# A jail's Python need not pay for pathlib, and its places have fixed names.
# ruff: noqa: PTH112

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Sequence
from typing import Any, Final

NEWNS: Final = 0x20000
NEWCGROUP: Final = 0x02000000
NEWUTS: Final = 0x04000000
NEWIPC: Final = 0x08000000
NEWUSER: Final = 0x10000000
NEWPID: Final = 0x20000000
NEWNET: Final = 0x40000000
PARENT: Final = 0x8000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
DETACH: Final = 2

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38

# Numbers of system calls: x86-64 and aarch64, which alone are supported. None: the architecture has no such call.
NUMBERS: Final[dict[str, tuple[int, int | None]]] = {
    "accept": (43, 202),
    "accept4": (288, 242),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bind": (49, 200),
    "bpf": (321, 280),
    "capset": (126, 91),
    "chmod": (90, None),
    "chown": (92, None),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "fcntl": (72, 25),
    "finit_module": (313, 273),
    "fremovexattr": (199, 16),
    "fsconfig": (431, 431),
    "fsetxattr": (190, 7),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "futimesat": (261, None),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, None),
    "iopl": (172, None),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "lchown": (94, None),
    "listen": (50, 201),
    "lookup_dcookie": (212, 18),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "mbind": (237, 235),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_getsetattr": (245, 185),
    "mq_notify": (244, 184),
    "mq_open": (240, 180),
    "mq_timedreceive": (243, 183),
    "mq_timedsend": (242, 182),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open": (2, None),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "openat": (257, 56),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "removexattr": (197, 14),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "seccomp": (317, 277),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setpgid": (109, 154),
    "setpriority": (141, 140),
    "setsid": (112, 157),
    "settimeofday": (164, 170),
    "setxattr": (188, 5),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysctl": (156, None),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "truncate": (76, 45),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "utime": (132, None),
    "utimensat": (280, 88),
    "utimes": (235, None),
    "vhangup": (153, 58),
}

_MACHINES: Final = {"x86_64": 0, "aarch64": 1, "arm64": 1}


def supported() -> bool:
    """Whether this machine's kernel and processor are among those whose numbers are known here."""
    return platform.system() == "Linux" and platform.machine() in _MACHINES and struct.calcsize("P") == 8


def number(name: str) -> int | None:
    """Return the number of the system call `name` on this machine; None if there is none."""
    return NUMBERS[name][_MACHINES[platform.machine()]]


_libc: Any = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(name: str, *arguments: Any) -> int:
    """Make a system call; integers are passed as longs, everything else as ctypes takes it.

    Raises:
        OSError: it failed.
    """
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number(name) or -1), *given))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def control(option: int, value: int) -> None:
    """prctl(2) with one argument. Raises OSError."""
    if _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Leave the parent's namespaces. Raises OSError."""
    call("unshare", flags)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    try:
        call("mount", source.encode() or None, target.encode(), kind.encode() or None, flags, options.encode() or None)
    except OSError as e:
        raise OSError(e.errno, f"mount {target}: {os.strerror(e.errno or 0)}") from None


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2). Raises OSError."""
    call("umount2", target.encode(), flags)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2). Raises OSError."""
    call("pivot_root", new.encode(), old.encode())


def seal_mount(target: str) -> bool:
    """Make `target` and every mount below it read-only, without setuid and devices; False if the kernel cannot.

    Raises:
        OSError: the kernel can but refuses.
    """
    attributes = struct.pack("=QQQQ", 1 | 2 | 4, 0, 0, 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    try:
        call("mount_setattr", -100, target.encode(), 0x8000, buffer, len(attributes))
    except OSError as e:
        if e.errno == 38:  # ENOSYS: older than 5.12
            return False
        raise
    return True


def drop_capabilities() -> None:
    """Give up every capability for good. Raises OSError."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
    call("capset", header, ctypes.create_string_buffer(24))


# Landlock: which rights a rule may give. The later ones exist from an ABI on.
EXECUTE: Final = 1
WRITE_FILE: Final = 2
READ_FILE: Final = 4
READ_DIR: Final = 8
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_IOCTL_DEV: Final = 1 << 15
_MAKE_DEVICES: Final = (1 << 6) | (1 << 11)
READ_ONLY: Final = EXECUTE | READ_FILE | READ_DIR


def landlock_abi() -> int:
    """Return the version of landlock that the kernel speaks, 0 for none."""
    try:
        return call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def landlock_rules(read: Sequence[str], write: Sequence[str], devices: Sequence[str]) -> int:
    """Return a ruleset: read and execute below `read`, everything below `write`, read and write `devices`; no TCP.

    Where the kernel can, signals and abstract sockets end at the border too. Missing paths are passed over.

    Raises:
        OSError: the kernel has no landlock, or refuses.
    """
    abi = landlock_abi()
    handled = (1 << 13) - 1
    handled |= _REFER * (abi >= 2) | _TRUNCATE * (abi >= 3) | _IOCTL_DEV * (abi >= 5)
    attributes = struct.pack("=Q", handled)
    if abi >= 4:
        attributes += struct.pack("=Q", 3)
    if abi >= 6:
        attributes += struct.pack("=Q", 3)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    rules = call("landlock_create_ruleset", buffer, len(attributes), 0)
    everything = handled & ~_MAKE_DEVICES & ~_IOCTL_DEV
    device = (READ_FILE | WRITE_FILE | _TRUNCATE | _IOCTL_DEV) & handled
    for paths, access in ((read, READ_ONLY), (write, everything), (devices, device)):
        for path in paths:
            _allow(rules, path, access)
    return rules


def _allow(rules: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            access &= EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV
        rule = struct.pack("=Qi", access, place)
        call("landlock_add_rule", rules, 1, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(place)


def landlock_enter(rules: int) -> None:
    """Put this process, and all that it becomes, behind the ruleset. Raises OSError."""
    call("landlock_restrict_self", rules, 0)
