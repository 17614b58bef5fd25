"""Documents, and a run folder to publish them in: for the tests of the store."""

from pathlib import Path

import pytest

from magicoder.records import Document, Rejection
from magicoder.store import RunFolder, Writer


def document(name: str) -> Document:
    return Document(
        id=f"r@c:{name}",
        text=f"text of {name} é\n",
        language="python",
        repository="r",
        commit="c",
        path=name,
        license="",
    )


def rejection(name: str) -> Rejection:
    return Rejection(id=f"r@c:{name}", stage="documents", reason="binary")


def build_parts(*parts: tuple[list[str], list[str]]):
    def build(out: Writer[Document]) -> None:
        for kept, rejected in parts[out.done :]:
            out.write([document(k) for k in kept], [rejection(r) for r in rejected])
        out.add_facts({"what": "a test"})

    return build


PARTS = ((["a", "b"], ["x"]), (["c"], []), ([], ["y", "z"]))


def publish(folder: RunFolder, build=None, settings: object = "s", inputs: tuple[str, ...] = ("i",)):
    return folder.publish("documents", Document, build or build_parts(*PARTS), settings=settings, inputs=list(inputs))


def publish_readme(folder: RunFolder, text: str = "read me", settings: object = "s") -> tuple[Path, bool]:
    def build(place: Path) -> None:
        (place / "data").mkdir()
        (place / "data" / "README.md").write_text(text)

    return folder.publish_folder("dataset", build, settings=settings, inputs=[])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(name="run_folder")
def locked_run_folder(tmp_path: Path):
    with RunFolder.locked(tmp_path / "run") as folder:
        yield folder
