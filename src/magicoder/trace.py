"""Walk an id back: sample → seed → document → repository, commit, lines and licence; or to where it was rejected."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from magicoder.conversation import conversation
from magicoder.errors import StoreError
from magicoder.journal import Journal
from magicoder.pipeline import STAGES, recipe_of, stages_of
from magicoder.records import Rejection, Seed
from magicoder.schema import from_table
from magicoder.store import Artifact, RunFolder, read_table


def trace(folder: RunFolder, wanted: str) -> dict[str, Any]:
    """Return where the record `wanted` came from and what each stage did with it.

    Returns:
        `id`, `origin` (repository, commit, path, first_line, last_line, license, …), `snippet` (the seed's text) and
        `history`, one entry for each stage in which the id, its seed or its document occurs.

    Raises:
        StoreError: no stage of the run knows the id.
    """
    ids = _ancestry(wanted)
    history = []
    origin: dict[str, Any] = {}
    snippet = ""
    for stage in stages_of(recipe_of(folder)):
        artifact: Artifact[Any] | None = folder.artifact(stage, STAGES[stage][0])
        if artifact is None:
            continue
        for name in artifact.manifest.parts:
            for row in _find(artifact.folder / name, STAGES[stage][0], ids):
                origin |= _origin(row)
                snippet = getattr(row, "seed", "") or (row.text if isinstance(row, Seed) else snippet)
                history.append({"stage": stage, "verdict": "kept", "id": row.id} | _outcome(stage, row))
            gone = _find(artifact.folder / "rejected" / name, Rejection, ids)
            history += [{"stage": stage, "verdict": "rejected", **_rejection(r)} for r in gone]
    if not any(step["id"] == wanted or step["verdict"] == "rejected" for step in history):
        raise StoreError(
            f"no stage of {folder.path} knows the id {wanted!r}; "
            "ids stand in the column `id` of the dataset, e.g. `repository@commit:path#L10/comment_pairs[0]`"
        )
    return {"id": wanted, "origin": origin, "snippet": snippet, "history": history}


def turns_of(folder: RunFolder, wanted: str, journal: Path) -> list[dict[str, str]]:
    """Return what was asked and answered for the seed behind the id `wanted`, from the journal.

    Empty where no teacher took part or the id has no seed. A turn is `request` (all messages as text) and `answer`.
    """
    seed = _seed(folder, wanted)
    if seed is None or not journal.exists():
        return []
    with Journal.open(journal) as answers:
        turns, _ = conversation(recipe_of(folder), seed, answers)
    return [{"request": turn.request, "answer": turn.answer} for turn in turns]


def _seed(folder: RunFolder, wanted: str) -> Seed | None:
    screened = folder.artifact("screened", Seed)
    if screened is None:
        return None
    paths = (screened.folder / name for name in screened.manifest.parts)
    return next((seed for path in paths for seed in _find(path, Seed, _ancestry(wanted))), None)


def _ancestry(wanted: str) -> list[str]:
    """Return the id and those it was made from: ids are built by appending, so prefixes are ancestors."""
    ids = [wanted]
    seed, slash, rest = wanted.rpartition("/")
    if slash and rest.endswith("]") and "[" in rest:
        ids.append(seed)
    document, hash_mark, line = ids[-1].rpartition("#L")
    if hash_mark and line.isdigit():
        ids.append(document)
    return ids


def _find(path: Any, record: type[Any], ids: list[str]) -> list[Any]:
    return list(from_table(record, read_table(path, ids=ids), str(path)))


def _origin(row: Any) -> dict[str, Any]:
    columns = ("repository", "commit", "path", "first_line", "last_line", "license", "language", "teacher", "parser")
    return {c: getattr(row, c) for c in columns if hasattr(row, c)}


def _outcome(stage: str, row: Any) -> dict[str, Any]:
    """Return what came of running the row, where the stage ran it; with the names that a rejection has."""
    if stage != "verified" or not row.outcome:
        return {}
    said = {"reason": row.outcome, "detail": row.outcome_detail or f"rests on {row.checked}"}
    return {name: value for name, value in said.items() if value}


def _rejection(row: Rejection) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if value and name != "stage"}
