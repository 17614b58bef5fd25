"""Kill a run before every change it makes in its folder, go on, and compare; see test_kill_and_resume.py."""

import os
import shutil
import sys
from pathlib import Path

from magicoder import pipeline
from magicoder.corpora.local_files import LocalFiles
from magicoder.engines.local import Local
from magicoder.llms.mock import Mock
from magicoder.pipeline import Surroundings
from magicoder.recipe import Recipe
from magicoder.stages.clean import Clean
from magicoder.stages.documents import Documents
from magicoder.store import RunFolder
from magicoder.strategies.oss_instruct import OssInstruct

CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir")


class Count:
    def __init__(self, folder: Path, last: int | None) -> None:
        self.folder, self.last, self.number = str(folder), last, 0

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        is_change = event in CHANGES or (event == "open" and int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))
        if is_change and str(arguments[0]).startswith(self.folder):
            if self.number == self.last:
                os._exit(9)
            self.number += 1


def recipe(source: Path, strict: bool) -> Recipe:
    return Recipe(
        corpora=(LocalFiles(path=str(source)),),
        documents=Documents(part_documents=2, min_bytes=40 if strict else 32),
        strategy=OssInstruct(),
        teacher=Mock(truncate_every=3),
        clean=Clean(require_code=strict),
    )


def run(made: Recipe, out: Path, last: int | None = None) -> int:
    """Run in a process of its own, which dies just before change number `last`; return how many changes it made."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        count = Count(out, last)
        sys.addaudithook(count)
        with RunFolder.locked(out) as folder:
            pipeline.run(made, folder, Surroundings(engine=Local(), journal=out.with_suffix(".sqlite")))
        os.write(writer, str(count.number).encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        number = int(answer.read() or -1)
    assert (number == -1) == (last is not None), f"ended with {status}"
    return number


def tree(folder: Path) -> dict[str, bytes]:
    """All that is to be the same, and that nothing is left over; the lock holds a process number."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def main(base: Path, source: Path, step: int) -> None:
    mild, strict = recipe(source, strict=False), recipe(source, strict=True)
    changes = run(mild, base / "mild")
    run(strict, base / "strict")
    before = base / "before"
    shutil.copytree(base / "mild", before)
    again = run(strict, before)
    wanted = {True: tree(base / "strict"), False: tree(base / "mild")}
    assert tree(before) == wanted[True], "a run over an older one differs"
    tried = 0
    for last in range(0, changes, step):
        out = base / f"fresh-{last}"
        run(mild, out, last)
        run(mild, out)
        assert tree(out) == wanted[False], f"killed before change {last} of {changes}"
        shutil.rmtree(out)
        tried += 1
    for last in range(0, again, step):
        for back in (False, True):
            out = base / f"over-{last}-{back}"
            shutil.copytree(base / "mild", out)
            shutil.copy(base / "mild.sqlite", out.with_suffix(".sqlite"))
            run(strict, out, last)
            run(mild if back else strict, out)
            found = tree(out)
            left = {name for name in found if ".building" in name}
            assert {k: v for k, v in found.items() if k not in left} == wanted[not back], (
                f"killed before {last}, {back}"
            )
            shutil.rmtree(out)
            tried += 1
    print(tried)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
