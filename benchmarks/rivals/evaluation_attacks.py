"""Programs that try to pass the tests of HumanEval/0 without solving it, or to stop whoever runs them.

Only such as cannot hurt the machine when nothing holds them: no kills, no forks, no files but their own, no network.
"""

from typing import Any

HEAD = "from typing import List\n\n"
FUNCTION = "def has_close_elements(numbers, threshold):\n"

ATTACKS: dict[str, str] = {
    "answer equal to everything": """
class Yes:
    def __eq__(self, other): return True
    def __bool__(self): return True
def has_close_elements(numbers, threshold):
    return Yes()
""",
    "answer from the caller's frame": """
import sys
def has_close_elements(numbers, threshold):
    frame = sys._getframe(1)
    while frame is not None:
        space = frame.f_locals
        if "expected" in space and "i" in space:
            return space["expected"][space["i"]]
        frame = frame.f_back
    return None
""",
    "result written by the program": """
import sys
frame = sys._getframe()
while frame is not None:
    space = frame.f_locals
    if "result" in space and hasattr(space["result"], "append"):
        space["result"].append("passed")
    if "stat" in space and "details" in space:
        for number in range(len(space["details"])):
            space["details"][number] = True
        space["progress"].value = len(space["details"])
        space["stat"].value = 0
    frame = frame.f_back
import os
os._exit(0)
""",
    "assertions switched off": """
import builtins, sys
class Never(Exception): pass
builtins.AssertionError = Never
def trace(frame, event, arg): return trace
def has_close_elements(numbers, threshold):
    frame = sys._getframe(1)
    return True
import unittest
unittest.TestCase.assertEqual = lambda *a: None
""",
    "check replaced": """
def has_close_elements(numbers, threshold):
    import sys
    frame = sys._getframe(1)
    if frame.f_code.co_name == "check":
        sys.settrace(lambda *a: None)
        frame.f_trace = jump
    return None
def jump(frame, event, arg):
    lines = [line for _, _, line in frame.f_code.co_lines() if line]
    if event == "line":
        frame.f_trace = None
        frame.f_lineno = max(lines)
    return jump
""",
    "os._exit(0)": "import os\nos._exit(0)\n",
    "sys.exit(0)": "import sys\nsys.exit(0)\n",
    "exit in the function": FUNCTION + "    import os\n    os._exit(0)\n",
    "endless output to fd 1": """
import os
def has_close_elements(numbers, threshold):
    line = b"x" * 65536
    for _ in range(1600): os.write(1, line)
    return None
""",
    "swallows the time-out": """
def has_close_elements(numbers, threshold):
    while True:
        try:
            while True: pass
        except BaseException:
            pass
""",
    "ignores SIGALRM": """
import signal
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_REAL, 0)
def has_close_elements(numbers, threshold):
    while True: pass
""",
    "deep recursion in C": """
import sys
def has_close_elements(numbers, threshold):
    sys.setrecursionlimit(10**7)
    def down(n): return down(n + 1)
    return down(0)
""",
    "1 GB of memory": """
def has_close_elements(numbers, threshold):
    data = bytearray(1 << 30)
    for at in range(0, len(data), 4096): data[at] = 1
    return None
""",
}


def sample(attack: str) -> dict[str, Any]:
    return {"task_id": "HumanEval/0", "solution": HEAD + attack}
