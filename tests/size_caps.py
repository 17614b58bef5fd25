"""Fail when a file or a function of the package outgrows its cap: 500 lines a file, 60 a function."""

import ast
import sys
from pathlib import Path

FILE_CAP = 500
FUNCTION_CAP = 60


def too_big(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        lines = source.count("\n")
        if lines > FILE_CAP:
            found.append(f"{path}: {lines} lines, cap {FILE_CAP}")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_CAP:
                    found.append(f"{path}:{node.lineno} {node.name}: {length} lines, cap {FUNCTION_CAP}")
    return found


if __name__ == "__main__":
    problems = too_big(Path(__file__).parent.parent / "src")
    print("\n".join(problems) or "size caps: ok")
    sys.exit(bool(problems))
