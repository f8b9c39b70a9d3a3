"""`manifest.json` of a run: the SHA-256 of each file that its training left, by which a change is seen."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from anomalae import files, runs
from anomalae.errors import BundleError

# What a training leaves besides `config.json`; a run may lack some of them.
_TRAINED = (runs.WEIGHTS, runs.PATHWAY, runs.NEIGHBOURS, runs.CALIBRATION, runs.HISTORY, runs.PROBE)
# What comes later, or is left where a process was killed: no part of what was trained.
_LATER = (
    runs.MANIFEST, runs.EVALUATION, runs.SCORES, runs.COMPARISON, runs.COMPARISON_SCORES, runs.CHECKPOINT, runs.LOCK,
    runs.CALIBRATIONS, runs.MODEL,
)  # fmt: skip
_PART = re.compile(r"\..*\.part")
_HASH = re.compile(r"[0-9a-f]{64}")


def write_manifest(folder: Path, config: bytes) -> None:
    """Write the hashes of a run's files, all of which stand in the folder but `config.json`, which is written last.

    folder: of the run.
    config: what `config.json` will hold.
    """
    hashes = {name: files.sha256(folder / name) for name in _TRAINED if (folder / name).is_file()}
    hashes[runs.CONFIG] = hashlib.sha256(config).hexdigest()
    files.write_json(runs.own_file(folder, runs.MANIFEST), {"sha256": hashes})


def read_manifest(folder: Path) -> dict[str, str] | None:
    """Read the hash of each file by its name; None where there is no manifest.

    folder: of the run.

    Raises BundleError for one that holds something else.
    """
    path = folder / runs.MANIFEST
    if not path.exists() and not path.is_symlink():
        return None
    document = files.read_json(path)
    hashes = document.get("sha256") if isinstance(document, dict) else None
    known = {runs.CONFIG, *_TRAINED}
    if (
        not isinstance(hashes, dict)
        or not {runs.CONFIG, runs.WEIGHTS} <= set(hashes) <= known
        or not all(isinstance(value, str) and _HASH.fullmatch(value) for value in hashes.values())
    ):
        raise BundleError(f"{path}: is no list of hashes of a run's files")
    return hashes


def compare_files(folder: Path, hashes: dict[str, str]) -> dict[str, str]:
    """Tell of each file of a run whether it is `same`, `changed`, `missing` or `extra`, or why it cannot be read.

    folder: of the run.
    hashes: as `read_manifest` gives them.

    Evaluation, comparison and calibrations of one's own come later, and are not among them.
    """
    found = {}
    for name, value in hashes.items():
        path = folder / name
        try:
            found[name] = "same" if files.sha256(path) == value else "changed"
        except BundleError as error:
            found[name] = str(error).removeprefix(f"{path}: ") if path.exists() else "missing"
    there = sorted(path.name for path in folder.iterdir())
    strangers = [name for name in there if name not in (*hashes, *_LATER) and not _PART.fullmatch(name)]
    return found | dict.fromkeys(strangers, "extra")
