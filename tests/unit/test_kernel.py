import os
import stat
import struct
from pathlib import Path

import pytest

from magicoder.sandboxes import _kernel as kernel
from magicoder.sandboxes import _kernel_filter as barriers
from magicoder.sandboxes import _zygote_scratch as scratch

KILL, ALLOW, DONE, EPERM, ENOSYS = 0x80000000, 0x7FFF0000, 0x00050000, 0x00050001, 0x00050026
X86 = 0xC000003E


def decide(program: bytes, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Interpret a filter as the kernel does."""
    arch = architecture if architecture is not None else struct.unpack_from("=I", program, 8 + 4)[0]
    data = struct.pack("=IIQ", number, arch, 0) + struct.pack("=6Q", *arguments, *[0] * (6 - len(arguments)))
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = value = 0
    while True:
        code, yes, no, k = steps[at]
        at += 1
        if code == 0x20:
            value = struct.unpack_from("=I", data, k)[0]
        elif code == 0x54:
            value &= k
        elif code == 0x06:
            return k
        else:
            holds = {0x15: value == k, 0x35: value >= k, 0x45: bool(value & k)}[code]
            at += yes if holds else no


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: request.param)
    return request.param


def test_what_is_denied_is_denied_and_the_rest_allowed(machine):
    program = barriers.build()
    for name in barriers.NOT_PERMITTED:
        if (number := kernel.number(name)) is not None:
            assert decide(program, number) == EPERM, name
    for name in barriers.NO_SUCH_CALL:
        assert decide(program, kernel.number(name)) == ENOSYS, name
    denied = {kernel.number(n) for n in barriers.NOT_PERMITTED + barriers.NO_SUCH_CALL}
    looked_at = ("clone", "ioctl", "socketpair", "fcntl", "prctl", "prlimit64", "sched_setscheduler", "sched_setparam")
    special = {kernel.number(n) for n in (*looked_at, "sched_setattr", "setpriority", "ioprio_set")}
    for number in range(barriers.NEWEST + 1):
        if number not in denied | special:
            assert decide(program, number, 1, 1) == ALLOW, number


def test_calls_of_the_future_and_of_other_tables_do_not_exist(machine):
    program = barriers.build()
    assert {decide(program, n) for n in (450, 467, 1000, 1 << 30, (1 << 30) + 59, 2**32 - 1)} == {ENOSYS}
    assert decide(program, 0, architecture=0x40000003) == KILL


def test_clone_makes_threads_and_processes_but_no_namespaces(machine):
    program, clone = barriers.build(), kernel.number("clone")
    assert decide(program, clone, 17) == ALLOW
    assert decide(program, clone, 0x3D0F00) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x8000):
        assert decide(program, clone, flag | 17) == EPERM


def test_only_connected_local_sockets(machine):
    program, pair = barriers.build(), kernel.number("socketpair")
    verdicts = {(f, k): decide(program, pair, f, k | 0x80000) for f in (1, 2, 10, 16) for k in (1, 2, 3, 5)}
    assert {key for key, verdict in verdicts.items() if verdict == ALLOW} == {(1, 1), (1, 5)}


def test_rung_one_keeps_programs_in_their_group(machine):
    assert decide(barriers.build(), kernel.number("setsid")) == ALLOW
    strict = barriers.build(same_user=True, no_signals=True)
    for name in ("setsid", "setpgid", "kill", "tgkill", "pidfd_send_signal"):
        assert decide(strict, kernel.number(name)) == EPERM


def test_limits_and_priorities_of_others_are_out_of_reach(machine):
    program = barriers.build()
    for name in ("prlimit64", "sched_setscheduler", "sched_setparam", "sched_setattr"):
        assert decide(program, kernel.number(name), 0, 5) == ALLOW
        assert decide(program, kernel.number(name), 1, 5) == (EPERM if name == "prlimit64" else DONE)
    for name, own in (("setpriority", 0), ("ioprio_set", 1)):
        which = {w: decide(program, kernel.number(name), w, 0) for w in (0, 1, 2, 3)}
        assert {w for w, verdict in which.items() if verdict == ALLOW} == {own}
        assert decide(program, kernel.number(name), own, 7) == EPERM


def test_no_descriptor_signals_another_process(machine):
    program = barriers.build()
    assert decide(program, kernel.number("fcntl"), 5, 4) == ALLOW
    assert {decide(program, kernel.number("fcntl"), 5, c) for c in (8, 10, 15)} == {EPERM}
    assert {decide(program, kernel.number("ioctl"), 5, c) for c in (0x5412, 0x8901, 0x8902)} == {EPERM}


def test_a_program_with_the_callers_uid_leaves_modes_and_times_alone(machine):
    strict = barriers.build(same_user=True)
    for name in barriers.METADATA:
        if (number := kernel.number(name)) is not None:
            assert decide(barriers.build(), number) == ALLOW
            assert decide(strict, number) == DONE


def test_nothing_is_emptied_where_landlock_is_too_old_to_look(machine):
    old = barriers.build(no_truncation=True)
    assert decide(old, kernel.number("truncate")) == EPERM
    assert decide(old, kernel.number("openat2")) == ENOSYS
    openat = kernel.number("openat")
    assert decide(old, openat, 0, 0, 0o1000) == EPERM
    assert {decide(old, openat, 0, 0, flags) for flags in (0, 0o1001, 0o1002, 0o101)} == {ALLOW}


def test_a_filter_fits_the_kernel(machine):
    assert len(barriers.build(same_user=True, no_signals=True)) // 8 < 4096


def test_a_tree_is_removed_however_deep_and_locked_it_is(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    here = os.open(top, os.O_RDONLY)
    for i in range(400):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        if i % 100 == 0:
            os.symlink(outside, "link", dir_fd=inner)
            os.close(os.open("file", os.O_CREAT, dir_fd=inner))
            os.mkdir("locked", 0, dir_fd=inner)
        os.close(here)
        here = inner
    os.close(here)
    scratch.remove_tree(str(top))
    assert not top.exists()
    assert (outside / "kept").exists()


def test_only_plain_files_of_the_program_are_gathered(tmp_path):
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "a.class").write_bytes(b"aa")
    (tmp_path / "out" / "b.class").write_bytes(b"b")
    (tmp_path / "out" / "c.txt").write_bytes(b"c")
    (tmp_path / "out" / "link.class").symlink_to("/etc/passwd")
    (tmp_path / "linked").symlink_to("/etc")
    os.mkfifo(tmp_path / "out" / "pipe.class")
    fd, files = scratch.gather(str(tmp_path), ["out/**/*.class", "linked/*"], 100, frozenset({os.getuid()}))
    assert files == [("out/b.class", 1), ("out/deep/a.class", 2)]
    assert os.pread(fd, 99, 0) == b"baa"
    assert stat.S_ISREG(os.fstat(fd).st_mode)
    os.close(fd)
    assert scratch.gather(str(tmp_path), ["**"], 100, frozenset({os.getuid() + 1}))[1] == []
    with pytest.raises(OverflowError):
        scratch.gather(str(tmp_path), ["**"], 2, frozenset({os.getuid()}))


def test_nothing_but_the_wanted_files_stays_open_after_gathering(tmp_path):
    (tmp_path / "x").write_bytes(b"1")
    before = len(list(Path("/proc/self/fd").iterdir()))
    fd, _ = scratch.gather(str(tmp_path), ["*"], 100, frozenset({os.getuid()}))
    os.close(fd)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
