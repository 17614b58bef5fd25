# ruff: noqa: E501 - programs in one string each
"""Programs that try to cheat, to break out, or to break the harness, and what has to come of each.

Bounded and local by construction: no network but loopback, no more processes and memory than the limits allow. Used
by test_cells.py on every rung, and by it again as an ordinary user, for which this module is a script.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

from magicoder.records import Limits
from magicoder.sandboxes._cell import Cell
from magicoder.sandboxes._ladder import choose
from magicoder.sandboxes._wire import Report, Request

# Where the clock is not what ends it, the clock must not: the machine may be busy.
PATIENT = Limits(cpu_s=5, wall_s=60, memory_mb=200, processes=24, output_kb=300, tmp_mb=16)
LIMITS = Limits(cpu_s=0.4, wall_s=1.0, memory_mb=200, processes=24, output_kb=300, tmp_mb=16)
CHECK = "assert f(20) == 21"
HONEST = "def f(x):\n    return x + 1"
NEVER = "\nimport ctypes, fcntl, os, resource\nlibc = ctypes.CDLL(None, use_errno=True)\n"


@dataclass(frozen=True)
class Attack:
    """`wanted` says what the report must be like; without it the program must simply not pass its tests."""

    source: str
    tests: str = ""
    wanted: Callable[[Report], bool] | None = None
    least_rung: int = 1
    limits: Limits = LIMITS


def _refused(*lines: str) -> str:
    """A program that tries each line and prints those that succeed."""
    head = (
        NEVER
        + "def call(*a):\n    r = libc.syscall(*a)\n    if r < 0:\n        raise OSError(ctypes.get_errno())\n    return r\n"
    )
    body = [f"try:\n    {line}\nexcept OSError:\n    pass\nelse:\n    print({line.strip()!r})" for line in lines]
    return head + "\n".join(body) + "\nprint('end')"


def _nothing(report: Report) -> bool:
    return report.completed and report.stdout == b"end\n"


def _killed(report: Report) -> bool:
    return report.signal == 9 and not report.completed


CHEATS = {
    "os._exit before the tests": Attack("import os\nos._exit(0)", CHECK),
    "os._exit inside the function": Attack("import os\ndef f(x):\n    os._exit(0)", CHECK),
    "sys.exit before the tests": Attack("import sys\nsys.exit(0)", CHECK),
    "sys.exit inside the function": Attack("import sys\ndef f(x):\n    sys.exit(0)", CHECK),
    "atexit turns a failure into exit 0": Attack(
        "import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    return 3", CHECK
    ),
    "equals everything": Attack(
        "class Yes:\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return Yes()", CHECK
    ),
    "equals every number": Attack(
        "class Yes(int):\n    def __eq__(self, other):\n        return isinstance(other, int)\n    __ne__ = lambda s, o: False\n    __hash__ = None\ndef f(x):\n    return Yes()",
        CHECK,
    ),
    "equals everything in a list": Attack(
        "Yes = type('Yes', (), {'__eq__': lambda s, o: True})\ndef f(x):\n    return [Yes(), {'a': Yes()}]",
        "assert f(20) == [21, {'a': 22}]",
    ),
    "borrows what equals everything": Attack("from unittest import mock\ndef f(x):\n    return mock.ANY", CHECK),
    "a thread exits": Attack(
        "import threading, os, time\ndef f(x):\n    threading.Thread(target=os._exit, args=(0,)).start()\n    time.sleep(9)",
        CHECK,
    ),
    "a forked child goes on": Attack("import os\nif os.fork():\n    os._exit(0)\ndef f(x):\n    return x + 1", CHECK),
    "builtins are replaced": Attack(
        "import builtins\nbuiltins.int = builtins.len = builtins.sum = lambda *a: 21\ndef f(x):\n    return 0",
        "assert len([f(20)]) == 1\nassert int(f(20)) == 21",
    ),
    "AssertionError is swallowed": Attack(
        "import builtins\nclass Quiet(Exception):\n    pass\nbuiltins.AssertionError = Quiet\ndef f(x):\n    return 0",
        CHECK,
    ),
    "excepthook exits 0": Attack(
        "import os, sys\nsys.excepthook = lambda *a: os._exit(0)\ndef f(x):\n    return 0", CHECK
    ),
    "writes to every descriptor": Attack(
        "import os\nfor fd in range(3, 4096):\n    for word in (b'D', b'T', b'S', b'passed', b'0'):\n        try:\n"
        "            os.write(fd, word)\n        except OSError:\n            pass\ndef f(x):\n    os._exit(0)",
        CHECK,
    ),
    "echoes every descriptor": Attack(
        "import os, select\ndef f(x):\n    for fd in range(3, 4096):\n        try:\n            os.set_blocking(fd, False)\n"
        "            got = os.read(fd, 99)\n        except OSError:\n            continue\n        for to in range(3, 4096):\n"
        "            try:\n                os.write(to, got)\n            except OSError:\n                pass\n    os._exit(0)",
        CHECK,
    ),
    "looks for the tests while it is loaded": Attack(
        "import gc, sys\nseen = [o for o in gc.get_objects() if isinstance(o, (str, bytes)) and 'f(20)' in str(o)]\n"
        "frame = sys._getframe()\nwhile frame:\n    seen += [v for v in frame.f_locals.values() if 'f(20)' in str(v)]\n"
        "    frame = frame.f_back\nseen = [s for s in seen if 'isinstance' not in str(s)]\n"
        "def f(x):\n    return 21 if seen else 0",
        CHECK,
    ),
    "a tracer jumps over the asserts": Attack(
        "import sys\ndef local(frame, event, arg):\n    if event == 'line' and frame.f_code.co_filename == 'tests.py':\n"
        "        last = max(line for _, _, line in frame.f_code.co_lines() if line)\n"
        "        if frame.f_lineno < last:\n            frame.f_lineno = last\n    return local\n"
        "sys.settrace(lambda *a: local)\ndef f(x):\n    return 0",
        CHECK + "\nassert f(3) == 4\npass",
    ),
    "what restores builtins is replaced": Attack(
        "import builtins\nbuiltins.vars = lambda *a: {}\nbuiltins.exec = lambda *a, **k: None\ndef f(x):\n    return 0",
        CHECK,
    ),
    "what reads the tests is replaced": Attack(
        "import os\nos.fstat = lambda fd: type('S', (), {'st_size': 0})\nos.pread = lambda *a: b''\ndef f(x):\n    return 0",
        CHECK,
    ),
    "what compiles the tests is replaced": Attack(
        "import ast\nast.NodeVisitor.visit = lambda s, n: ast.Module([], [])\nast.parse = lambda *a: ast.Module([], [])\n"
        "'__eq__'\ndef f(x):\n    return 0",
        CHECK,
    ),
    "unittest is patched": Attack(
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\nunittest.TestResult.wasSuccessful = lambda s: True\n"
        "unittest.main = lambda *a, **k: None\ndef f(x):\n    return 0",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(20), 21)\n"
        "tests = unittest.defaultTestLoader.loadTestsFromTestCase(T)\nassert unittest.TextTestRunner().run(tests).wasSuccessful()",
    ),
    "signals itself": Attack("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", CHECK),
    "kills everything": Attack("import os\nos.kill(-1, 9)\ndef f(x):\n    os._exit(0)", CHECK),
    "stack overflow": Attack("import sys\nsys.setrecursionlimit(10**9)\ndef f(x):\n    return f(x + 1)", CHECK),
    "segmentation fault": Attack("import ctypes\nctypes.string_at(0)", CHECK, lambda r: r.signal == 11),
}

BREAKOUTS = {
    # Each would set what is set already: harmless even where it works.
    "limits and priority of the keeper": Attack(
        _refused(
            "resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))",
            "os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid()))",
            "os.setpriority(os.PRIO_USER, 0, os.getpriority(os.PRIO_PROCESS, 0))",
            "os.sched_setscheduler(os.getppid(), os.SCHED_BATCH, os.sched_param(0))\n"
            "    os.sched_getscheduler(os.getppid()) == os.SCHED_BATCH or call(-1)",
            "call(251 if os.uname().machine == 'x86_64' else 30, 3, 0, 0)",
        ),
        wanted=_nothing,
    ),
    "signals by way of a descriptor": Attack(
        _refused(
            "fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid())",
            "fcntl.fcntl(1, fcntl.F_SETSIG, 9)",
            "fcntl.ioctl(os.pipe()[0], 0x8901, os.getppid().to_bytes(4, 'little'))",
        ),
        wanted=_nothing,
    ),
    "hiding from who counts, and cores of its own": Attack(
        _refused("libc.prctl(4, 0, 0, 0, 0) == 0 or call(-1)", "libc.prctl(62, 1, 0, 0, 0) == 0 or call(-1)"),
        wanted=_nothing,
    ),
    "modes, times and attributes outside of its folder": Attack(
        "import os\nfor p in ('../..', os.__file__, '/usr'):\n    about = os.stat(p)\n    for change in (\n"
        "        lambda: os.chmod(p, about.st_mode & 0o7777), lambda: os.utime(p, ns=(about.st_atime_ns, about.st_mtime_ns)),\n"
        "        lambda: os.setxattr(p, 'user.attack', b''), lambda: os.chown(p, os.getuid(), os.getgid())):\n"
        "        try:\n            change()\n        except OSError:\n            pass\n"
        "        if os.stat(p).st_ctime_ns != about.st_ctime_ns:\n            print(p)\nprint('end')",
        wanted=_nothing,
    ),
    "signals to the parent": Attack(
        "import os\nfor s in (15, 19, 9):\n    try:\n        os.kill(os.getppid(), s)\n    except OSError:\n        pass\nprint('end')",
        wanted=_nothing,
    ),
    "signals to all": Attack(
        "import os\nfor s in (15, 19, 9):\n    try:\n        os.kill(-1, s)\n    except OSError:\n        pass\nprint('end')",
        wanted=lambda r: r.stdout == b"end\n" or r.signal in (9, 15),
    ),
    "sockets": Attack(
        "import socket\nfor a, k in ((2, 1), (2, 2), (10, 1), (1, 1), (1, 2), (16, 3), (17, 3), (40, 1)):\n    try:\n"
        "        socket.socket(a, k)\n    except OSError:\n        pass\n    else:\n        print(a, k)\n"
        "try:\n    socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n    print('datagrams')\nexcept OSError:\n    pass\n"
        "a, b = socket.socketpair()\na.send(b'x')\nassert b.recv(1) == b'x'\nprint('end')",
        wanted=_nothing,
    ),
    "system calls": Attack(
        _refused(
            "assert libc.ptrace(16, os.getppid(), 0, 0) == 0 or call(-1)",
            *(
                f"call({n}, 0, 0, 0, 0, 0)"
                for n in range(424, 500)
                if n not in (424, 434, 435, 436, 437, 439, 441, 448, 449) and n not in range(444, 447)
            ),
            "call(500, 0)",
            "libc.unshare(0x10000000) == 0 or call(-1)",
            "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 or call(-1)",
            "libc.personality(0x40000) >= 0 or call(-1)",
            "libc.shmget(0, 4096, 0o1600) >= 0 or call(-1)",
            "libc.msgget(0, 0o1600) >= 0 or call(-1)",
            "libc.memfd_create(b'x', 0) >= 0 or call(-1)",
            "os.sched_setaffinity(0, {0, 1})",
            "os.chroot('/tmp')",
            "os.setuid(0)",
            "os.setgroups([0])",
        ),
        wanted=_nothing,
    ),
    "namespaces by clone": Attack(
        NEVER + "import platform\nn = 56 if platform.machine() == 'x86_64' else 220\n"
        "for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x8000):\n"
        "    assert libc.syscall(n, flag | 17, 0, 0, 0, 0) == -1, hex(flag)\nassert libc.syscall(435, 0, 88) == -1\nprint('end')",
        wanted=_nothing,
    ),
    "files of the machine": Attack(
        "import os, sys\nfor p in ('/etc/shadow', '/etc/hostname', '/root/.bashrc', '/proc/1/environ', '/proc/self/mem',\n"
        "          '/proc/sys/kernel/core_pattern', '/sys/fs/cgroup', '/dev/mem', '/dev/kmsg', '/var/log', '/home', '/boot'):\n"
        "    for mode in (os.O_RDONLY, os.O_RDWR):\n        try:\n            os.open(p, mode)\n        except OSError:\n"
        "            continue\n        print(p, mode)\nprint('end')",
        wanted=_nothing,
    ),
    "writing outside of its folder": Attack(
        "import os, sys, time\nbefore = time.time_ns() - 10**8\nfor p in ('/', '/usr', '/usr/lib', '/etc', '/dev', '/proc', '/bin', sys.prefix, sys.base_prefix,\n"
        "          os.path.dirname(os.__file__), '/var/tmp', '/run', '/home'):\n    try:\n"
        "        open(p + '/attack', 'w')\n    except OSError:\n        continue\n    print(p)\n"
        "for p in (os.__file__, sys.executable):\n    try:\n        os.chmod(p, 0o755)\n    except OSError:\n        continue\n    if os.access(p, os.W_OK) or os.stat(p).st_ctime_ns > before:\n        print(p)\nprint('end')",
        wanted=_nothing,
    ),
    "secrets of the environment": Attack(
        "import os\nfor name in sorted(os.environ):\n    if name not in ('HOME', 'LANG', 'PATH', 'TMPDIR'):\n        print(name)\nprint('end')",
        wanted=_nothing,
    ),
    "inherited descriptors": Attack(
        "import os\nfor fd in range(3, 690):\n    try:\n        os.fstat(fd)\n    except OSError:\n        continue\n    print(fd)\nprint('end')",
        wanted=_nothing,
    ),
}

HOGS = {
    "spins": Attack("while True:\n    pass", wanted=lambda r: _killed(r) and r.timed_out != ""),
    "swallows every exception and spins": Attack(
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass",
        wanted=lambda r: _killed(r) and r.timed_out != "",
    ),
    "ignores signals and sleeps": Attack(
        "import signal, time\nfor s in range(1, 65):\n    try:\n        signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\n"
        "time.sleep(60)",
        wanted=lambda r: _killed(r) and r.timed_out == "wall",
    ),
    "stops itself": Attack("import os\nos.kill(os.getpid(), 19)\nprint(1)", wanted=lambda r: not r.completed),
    "fork bomb": Attack(
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        wanted=lambda r: _killed(r) and r.timed_out != "",
    ),
    "sleepers left behind": Attack(
        "import os, time\nfor _ in range(15):\n    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)\nprint('end')",
        wanted=_nothing,
    ),
    "daemon": Attack(
        "import os, time\nif os.fork() == 0:\n    try:\n        os.setsid()\n    except OSError:\n        pass\n    if os.fork() == 0:\n"
        "        time.sleep(60)\n    os._exit(0)\nprint('end')",
        wanted=_nothing,
    ),
    "memory": Attack(
        "x = bytearray(400 << 20)\nfor i in range(0, len(x), 4096):\n    x[i] = 1",
        wanted=lambda r: r.out_of_memory and not r.completed,
        limits=PATIENT,
    ),
    "memory of many": Attack(
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(b'1') * (80 << 20)\n        time.sleep(60)\n"
        "time.sleep(60)",
        wanted=lambda r: not r.completed and (r.out_of_memory or r.timed_out != ""),
    ),
    "memory that no process shows": Attack(
        "import mmap, time\nkept = []\nfor _ in range(10):\n    m = mmap.mmap(-1, 50 << 20)\n    for at in range(0, 50 << 20, 4096):\n"
        "        m[at] = 1\n    m.madvise(mmap.MADV_DONTNEED)\n    kept.append(m)\ntime.sleep(60)",
        wanted=lambda r: not r.completed and r.out_of_memory,
        limits=PATIENT,
    ),
    "memory in buffers of sockets": Attack(
        "import os, socket, time\nos.fork(), os.fork()\nkept = []\ntry:\n    while True:\n        kept += socket.socketpair()\n"
        "        for s in kept[-2:]:\n            s.setblocking(False)\n            try:\n                while True:\n"
        "                    s.send(bytes(65536))\n            except BlockingIOError:\n                pass\n"
        "except OSError:\n    time.sleep(60)",
        wanted=lambda r: not r.completed and r.out_of_memory,
        limits=PATIENT,
    ),
    "talks to the keeper without end": Attack(
        "import os\nos.write(700, b'Eassert\\0')\nfor _ in range(3):\n    os.fork()\nwhile True:\n    try:\n"
        "        os.write(700, b'x')\n    except OSError:\n        pass",
        CHECK,
        wanted=lambda r: _killed(r) and r.timed_out != "",
    ),
    "disk": Attack(
        "with open('big', 'wb') as f:\n    while True:\n        f.write(bytes(1 << 20))",
        wanted=lambda r: not r.completed and r.error.startswith("OSError"),
    ),
    "output without end": Attack(
        "import os\nwhile True:\n    os.write(1, bytes(65536))", wanted=lambda r: _killed(r) and r.output_limit
    ),
    "one long line on stderr": Attack(
        "import os\nos.write(2, b'x' * (3 << 20))", wanted=lambda r: _killed(r) and r.output_limit
    ),
    "a folder without bottom": Attack(
        "import os\nfor _ in range(300):\n    os.mkdir('d')\n    os.chdir('d')\nos.symlink('/', 'l')\nos.chmod('.', 0)\nprint('end')",
        wanted=_nothing,
    ),
    "what it left is gone": Attack(
        # An environment below /tmp is shown there, so the folder that leads to it is.
        "import os, sys\nshown = {p.split('/')[2] for p in (sys.prefix, sys.base_prefix) if p.startswith('/tmp/')}\n"
        "left = os.listdir('.') + [n for n in os.listdir(os.environ['TMPDIR']) if n != 'w' and n not in shown]\n"
        "left += os.listdir('/dev/shm') if os.access('/dev/shm', os.R_OK) and os.environ['TMPDIR'] == '/tmp' else []\nprint(*left, 'end', sep='')",
        wanted=lambda r: r.completed and r.stdout == b"end\n",
    ),
}
ATTACKS = CHEATS | BREAKOUTS | HOGS


def problems(cell: Cell, names: list[str] | None = None) -> list[str]:
    """Run the attacks and return what went wrong, one line each."""
    found = []
    for name in names or list(ATTACKS):
        attack = ATTACKS[name]
        report = cell.run(Request(source=attack.source, tests=attack.tests, limits=attack.limits))
        fine = attack.wanted(report) if attack.wanted else not (report.completed and report.exit_code == 0)
        if not fine:
            found.append(f"{name}: {report}")
        honest = cell.run(Request(source=HONEST, tests=CHECK))
        if not honest.completed or honest.exit_code:
            found.append(f"after {name}: {honest}")
    return found


if __name__ == "__main__":
    rung = choose(int(sys.argv[1]))
    with Cell.open(rung) as opened:
        print(json.dumps({"line": rung.line, "problems": problems(opened)}))
