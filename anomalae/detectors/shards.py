"""Shards of a folder, judged apart and put together again: which file belongs to which, and how their rows are merged.

A shard's file of rows has a record beside it, FILE.shard.json, of all that decided its rows.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalae import files
from anomalae.detectors.judged_rows import FORMATS, Row
from anomalae.detectors.row_files import RowFile, Summary, as_row, read_rows
from anomalae.errors import BundleError, ConfigError

SUFFIX = ".shard.json"
MOST_SHARDS = 100_000
# Rows that are written at a time.
TOGETHER = 1024
# What follows the path of a file in a row's name: an array of an archive, a row of an array, a page, a digit.
_PLACE = re.compile(r"(:[^/\[\]]*)?(\[\d+\])*$")


@dataclass(frozen=True)
class Shard:
    """A shard is one of so many parts of what is listed, chosen by a hash of each file's relative path.

    number: from 1 to `count`.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return a shard as it is typed; ConfigError for what is none.

        >>> Shard.parse("2/8")
        Shard(number=2, count=8)
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST_SHARDS:
            limits = f"I/N, as in 2/8, with I from 1 to N and N at most {MOST_SHARDS:,}"
            raise ConfigError(f"shard {text!r}: must be {limits}", setting="shard")
        return cls(int(match[1]), int(match[2]))

    def holds(self, relative: str) -> bool:
        """Tell whether a file belongs to it, by its path relative to the folder that was named."""
        digest = hashlib.blake2b(relative.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def record_path(path: Path) -> Path:
    """Return where the record of a shard's file lies."""
    return path.with_name(f"{path.name}{SUFFIX}")


def merge(
    paths: Sequence[Path],
    output: Path,
    form: str,
    fdr: float | None = None,
    on_rows: Callable[[int], None] = lambda n: None,
) -> Summary:
    """Put the rows of all shards into one file, in the order in which a single call would have written them.

    paths: of the shards' files, in any order.
    output, form: of the file.
    fdr: flags by Benjamini-Hochberg, all rows together; None leaves the flags as they are.
    on_rows: called with the number of rows so far.

    Raises BundleError for a file that is no shard's, a shard that is missing or double, shards of different calls, and
    rows that cannot be read.
    """
    records = [_record(path) for path in paths]
    _check(paths, records)
    judged_by = {**records[0], "shard": None, "fdr": fdr, "format": form, "spreadsheet": False}
    judged_by["alpha"] = judged_by["alpha"] if fdr is None else None
    judged_by["threshold"] = judged_by["threshold"] if fdr is None else None
    roots = records[0]["paths"]
    ordered = heapq.merge(
        *(_rows(path, record) for path, record in zip(paths, records, strict=True)),
        key=lambda row: listing_order(row.path, roots),
    )
    with RowFile(output, form, judged_by, anew=True, segmented=judged_by["segment"]) as file:
        while some := list(itertools.islice(ordered, TOGETHER)):
            file.add(some if fdr is None else [_without_flag(row) for row in some])
            on_rows(file.n)
        head = {key: judged_by[key] for key in ("run", "score", "alpha", "fdr", "threshold")}
        if judged_by.get("calibration") is not None:
            head["calibration"] = judged_by["calibration"]
        return file.finish(head, fdr)


def calibration_images(path: Path) -> int | None:
    """Return how many images calibrated the scores of a shard's file; None where its record does not say.

    Raises BundleError as `merge` does.
    """
    n = _record(path).get("n_calibration")
    return n if isinstance(n, int) else None


def listing_order(name: str, roots: Sequence[str]) -> tuple[int, tuple[tuple[int, str], ...]]:
    """Return by what the names of rows are ordered as the files were listed: files of a folder before its subfolders.

    >>> sorted(["a/b/1.png", "a/c.png", "a/b.png[10]", "a/b.png[9]"], key=lambda name: listing_order(name, ["a"]))
    ['a/b.png[10]', 'a/b.png[9]', 'a/c.png', 'a/b/1.png']
    """
    at = next(
        (n for n, root in enumerate(roots) if name == root or name.startswith(f"{root.rstrip('/')}/")), -1
    )
    inside = name[len(roots[at].rstrip("/")) + 1 :] if at >= 0 else name
    *folders, file = file_of(inside).split("/")
    return at, (*((1, folder) for folder in folders), (0, file))


def file_of(name: str) -> str:
    """Return the path of a row's file: its name without the place in an array, the page or the digit.

    >>> file_of("a/b.npz:images[3]"), file_of("page.tif[1][2]")
    ('a/b.npz', 'page.tif')
    """
    return _PLACE.sub("", name) or name


def _record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    beside = record_path(path)
    if not beside.is_file():
        raise BundleError(f"{path}: is no whole shard: there is no {beside.name} beside it", advice="shard")
    record = files.read_json(beside)
    wanted = {"run": str, "score": str, "shard": str, "format": str, "paths": list, "segment": bool, "n": int}
    if not isinstance(record, dict) or not all(
        isinstance(record.get(key), kind) for key, kind in wanted.items()
    ):
        raise BundleError(f"{beside}: is no record of a shard")
    texts = all(isinstance(path, str) for path in record["paths"])
    if not texts or record["format"] not in FORMATS or not {"alpha", "threshold"} <= record.keys():
        raise BundleError(f"{beside}: is no record of a shard")
    return record


def _check(paths: Sequence[Path], records: Sequence[dict[str, Any]]) -> None:
    """See that these are all shards of one call, each once."""
    first = {key: value for key, value in records[0].items() if key not in ("n", "format")}
    count = Shard.parse(records[0]["shard"]).count
    by_number: dict[int, Path] = {}
    for path, record in zip(paths, records, strict=True):
        differ = [key for key, value in first.items() if key != "shard" and record.get(key) != value]
        if differ:
            key = differ[0]
            raise BundleError(
                f"{path}: is of another call than {paths[0]}: {key} {record.get(key)}, not {first[key]}"
            )
        shard = Shard.parse(record["shard"])
        number = shard.number
        if shard.count != count:
            raise BundleError(f"{path}: is shard {record['shard']}, and {paths[0]} is {first['shard']}")
        if number in by_number:
            raise BundleError(f"{path}: is shard {record['shard']}, and so is {by_number[number]}")
        by_number[number] = path
    missing = [str(Shard(number, count)) for number in range(1, count + 1) if number not in by_number]
    if missing:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        raise BundleError(f"shards that are missing: {', '.join(missing[:5])}{more}")


def _rows(path: Path, record: dict[str, Any]) -> Iterator[Row]:
    return map(as_row, read_rows(path, record["format"], bool(record.get("spreadsheet"))))


def _without_flag(row: Row) -> Row:
    return Row(row.path, row.score, row.p_value, None, row.error, row.box)
