"""Rows written as they are ready, and gone on with after any end: FILE.part grows, and takes the place of FILE.

CSV and JSON lines are appended to, and whole after any end but for a torn last line; JSON is made of JSON lines at the
end, and Parquet of a folder of parts. FILE.part.json says what the rows were judged by, so that no others are added.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from anomalae import files
from anomalae.detectors.judged_rows import (
    BOX,
    COLUMNS,
    TEXTS,
    Row,
    cell,
    cells,
    columns_of,
    csv_text,
    lines,
    parquet_table,
    unmarked,
)
from anomalae.errors import BundleError
from anomalae.evaluation.conformal import benjamini_hochberg
from anomalae.text import shown

# Rows of a part of Parquet, and bytes that are looked at at a time.
PART_ROWS, BLOCK = 16_384, 2**20


@dataclass(frozen=True)
class Summary:
    """What is counted of rows."""

    n: int = 0
    n_flagged: int = 0
    n_failed: int = 0
    # The largest p-value that is flagged, where an FDR decided; None where nothing is.
    most: float | None = None


class RowFile:
    """A file of rows under way.

    path: of the file that will be there at the end.
    form: csv, json, jsonl or parquet.
    judged_by: what decides the rows, JSON-able: run, score, alpha, and so on.
    resume: whether to go on with what is there.
    anew: whether to put aside what is there.
    segmented: whether rows have boxes.
    spreadsheet: whether texts are marked that a spreadsheet would take for formulas, in csv.

    Raises BundleError where the file cannot be written, where another process writes it, where rows are there that are
    not gone on with, and where those were judged by something else.
    """

    def __init__(
        self,
        path: Path,
        form: str,
        judged_by: Mapping[str, Any],
        *,
        resume: bool = False,
        anew: bool = False,
        segmented: bool = False,
        spreadsheet: bool = False,
    ) -> None:
        self.path, self.form, self.judged_by = path, form, json.loads(json.dumps(dict(judged_by)))
        self.columns, self.spreadsheet = columns_of(segmented), spreadsheet
        self._stack = contextlib.ExitStack()
        self._pending: list[Row] = []
        self._n = self._n_flagged = self._n_failed = 0
        self._seen = np.zeros(0, np.uint64)
        self._file: BinaryIO | None = None
        with self._said():
            target = path.resolve() if path.is_symlink() else path
            # Into a pipe or a device rows go at the end; until then they are kept elsewhere.
            self._into = target.exists() and not target.is_file() and not target.is_dir()
            if target.is_dir():
                raise BundleError(f"{path}: cannot be written: Is a directory")
            self._target = target
            home = (
                Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
                if self._into
                else target.parent
            )
            self.part = home / f"{target.name}.part"
            self._record = home / f"{target.name}.part.json"
            self._lock()
            try:
                if anew and self.part.exists():
                    self._remove()
                self._begin(resume)
            except BaseException:
                self._stack.close()
                raise

    def _lock(self) -> None:
        lock = FileLock(self.part.with_name(f".{self.part.name}.lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise BundleError(f"{self.part}: another process is writing it") from None

        def release() -> None:
            # Removed while it is held: nobody waits for it.
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()

        self._stack.callback(release)

    def _begin(self, resume: bool) -> None:
        there = self.part.exists()
        if there and not resume:
            raise BundleError(
                f"{self.part}: rows of a call that did not end are there: go on with them (resume), or remove it",
                setting="resume",
            )
        if there:
            self._check_record()
        else:
            files.write_json(self._record, self.judged_by)
        if self.form == "parquet":
            self.part.mkdir(exist_ok=True)
        else:
            self._file = self._stack.enter_context(self.part.open("ab+"))
            self._cut()
            if self.form == "csv" and self._file.tell() == 0:
                self._file.write(csv_text([self.columns]))
                self._file.flush()
        if there:
            self._seen = np.sort(np.fromiter(self._counted(), np.uint64))

    def _counted(self) -> Iterator[int]:
        """Count the rows that are there, and give the hashes of their names."""
        for row in self._rows():
            self._count(row["p_value"] is None, row["flagged"] in (True, "1"))
            yield _hash(row["path"])

    def _check_record(self) -> None:
        before = files.read_json(self._record)
        if before == self.judged_by:
            return
        before = before if isinstance(before, dict) else {}
        differ = [key for key in self.judged_by if before.get(key) != self.judged_by[key]]
        shown = (
            ", ".join(f"{key} {before.get(key)}, now {self.judged_by[key]}" for key in differ)
            or "other settings"
        )
        raise BundleError(f"{self.part}: its rows were judged by {shown}: give the same, or remove it")

    @property
    def n(self) -> int:
        """Number of rows so far, those that were there among them."""
        return self._n

    def is_kept(self, name: str) -> bool:
        """Tell whether an input of this name has its row already."""
        if not len(self._seen):
            return False
        value = _hash(cell(name))
        at = int(np.searchsorted(self._seen, value))
        return at < len(self._seen) and self._seen[at] == value

    def kept_rows(self) -> Iterator[Row]:
        """Read the rows that are there; by an FDR nothing is flagged yet."""
        by_fdr = self.judged_by.get("fdr") is not None
        for row in self._rows():
            yield as_row(row if not by_fdr else {**row, "flagged": None})

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows; after a killed process they are there."""
        for row in rows:
            self._count(row.score is None, bool(row.flagged))
        with self._said():
            if self._file is None:
                self._pending += rows
                while len(self._pending) >= PART_ROWS:
                    self._write_part(PART_ROWS)
                return
            form = "csv" if self.form == "csv" else "jsonl"
            self._file.write(lines(form, rows, self.columns, spreadsheet=self.spreadsheet))
            self._file.flush()

    def finish(
        self, head: Mapping[str, Any], fdr: float | None = None, record: Path | None = None
    ) -> Summary:
        """Put the rows in the place of the file.

        head: what a JSON document says before its rows.
        fdr: flags by Benjamini-Hochberg, all rows together; None leaves the flags as they are.
        record: where to keep what the rows were judged by, and their number; None keeps it nowhere.
        """
        with self._said():
            if self._pending:
                self._write_part(len(self._pending))
            most = None if fdr is None else self._most(fdr)
            flagged = self._n_flagged if fdr is None else self._n_at_most(most)
            summary = Summary(self._n, flagged, self._n_failed, most)
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
            if record is not None:
                files.write_json(record, {**self.judged_by, "n": self._n})
            if self.form in ("csv", "jsonl") and fdr is None and not self._into:
                self.part.replace(self._target)
            else:
                with files.replacing(self.path) as file:
                    self._write_whole(file, head, summary, fdr is not None, most)
                self._remove()
            with contextlib.suppress(OSError):
                self._record.unlink()
        self.close()
        return summary

    def close(self) -> None:
        """Keep what was written as it is, to go on with; after `finish` there is nothing to do."""
        if self._pending:
            with contextlib.suppress(BundleError), self._said():
                self._write_part(len(self._pending))
        self._stack.close()

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remove(self) -> None:
        if self.part.is_dir():
            shutil.rmtree(self.part)
        else:
            self.part.unlink()

    def _write_part(self, n: int) -> None:
        import pyarrow.parquet as pq

        number = len(list(self.part.glob("*.parquet")))
        content = io.BytesIO()
        pq.write_table(parquet_table(self._pending[:n], self.columns), content)
        files.write_bytes(self.part / f"{number:05d}.parquet", content.getvalue())
        del self._pending[:n]

    def _cut(self) -> None:
        """Cut a last line that is torn."""
        assert self._file is not None
        whole, inside, at = 0, False, 0
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            levels = np.frombuffer(block, np.uint8)
            ends = levels == ord("\n")
            if self.form == "csv":
                # A name in quotes may hold ends of lines.
                quotes = np.cumsum(levels == ord('"')) + inside
                ends &= quotes % 2 == 0
                inside = bool(quotes[-1] % 2)
            last = np.flatnonzero(ends)
            whole = at + int(last[-1]) + 1 if len(last) else whole
            at += len(block)
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Read the rows that are written, with `path` as every form of file has it, and the whole path beside it."""
        form = "jsonl" if self.form == "json" else self.form
        for row in read_rows(self.part, form, self.spreadsheet):
            p_value = float(row["p_value"]) if row["p_value"] not in (None, "") else None
            yield {**row, "p_value": p_value, "path": cell(row["path"]), "whole_path": row["path"]}

    def _most(self, fdr: float) -> float | None:
        """Return the largest p-value that an FDR flags."""
        ps = np.fromiter((row["p_value"] for row in self._rows() if row["p_value"] is not None), np.float64)
        flagged = ps[benjamini_hochberg(ps, fdr)]
        return float(flagged.max()) if len(flagged) else None

    def _flagged(self, row: Mapping[str, Any], by_fdr: bool, most: float | None) -> bool | None:
        if row["p_value"] is None:
            return None
        if by_fdr:
            return most is not None and row["p_value"] <= most
        return row["flagged"] in (True, "1")

    def _n_at_most(self, most: float | None) -> int:
        return sum(bool(self._flagged(row, True, most)) for row in self._rows())

    def _count(self, failed: bool, flagged: bool) -> None:
        self._n += 1
        self._n_failed += failed
        self._n_flagged += flagged

    def _write_whole(
        self, file: BinaryIO, head: Mapping[str, Any], summary: Summary, by_fdr: bool, most: float | None
    ) -> None:
        """Write what the file holds at the end, row by row."""
        if self.form == "parquet":
            self._write_parquet(file, by_fdr, most)
            return
        if self.form == "json":
            counts = {"n": summary.n, "n_flagged": summary.n_flagged, "n_failed": summary.n_failed}
            file.write((json.dumps({**head, **counts}, indent=1)[:-2] + ',\n "rows": [').encode())
        if self.form == "csv":
            file.write(csv_text([self.columns]))
        before = "\n"
        for row in self._rows():
            flagged = self._flagged(row, by_fdr, most)
            if self.form == "csv":
                row = {**row, "flagged": flagged}
                file.write(csv_text([cells(row, self.columns, spreadsheet=self.spreadsheet)]))
                continue
            row = {name: row[name] for name in self.columns} | {"path": row["whole_path"], "flagged": flagged}
            if self.form == "jsonl":
                file.write((json.dumps(row) + "\n").encode())
            else:
                file.write((before + json.dumps(row)).encode())
                before = ",\n"
        if self.form == "json":
            file.write(b"\n ]\n}\n")

    def _write_parquet(self, file: BinaryIO, by_fdr: bool, most: float | None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        empty = parquet_table([], self.columns)
        with pq.ParquetWriter(file, empty.schema) as writer:
            for part in sorted(self.part.glob("*.parquet")):
                table = pq.read_table(part)
                if by_fdr:
                    flags = [self._flagged(row, True, most) for row in table.select(["p_value"]).to_pylist()]
                    at = self.columns.index("flagged")
                    table = table.set_column(at, "flagged", pa.array(flags, pa.bool_()))
                writer.write_table(table)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """Turn an error of the system into one that names the file."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise BundleError(f"{self.path}: cannot be written: {error.strerror or error}") from None


def read_rows(path: Path, form: str, spreadsheet: bool = False) -> Iterator[dict[str, Any]]:
    """Read the rows of a file one after another, by their columns; values of CSV are texts.

    path: of the file; of Parquet it may be a folder of parts.
    form: csv, json, jsonl or parquet.
    spreadsheet: whether texts of CSV are marked.

    Raises BundleError, naming file and row, for what is no row.
    """
    number = 0
    try:
        for row in _raw_rows(path, form):
            number += 1
            _check_row(row)
            yield (
                row | {name: unmarked(row[name]) for name in TEXTS} if spreadsheet and form == "csv" else row
            )
    except RecursionError:
        raise BundleError(f"{path}: row {number + 1}: nested too deeply") from None
    except (OSError, ValueError, TypeError, csv.Error) as error:
        at = number if isinstance(error, _RowError) else number + 1
        raise BundleError(f"{path}: row {at}: cannot be read: {' '.join(str(error).split())[:200]}") from None


class _RowError(ValueError):
    """A row that was read is none."""


def _raw_rows(path: Path, form: str) -> Iterator[Any]:
    if form == "parquet":
        import pyarrow.parquet as pq

        for part in sorted(path.glob("*.parquet")) if path.is_dir() else [path]:
            for batch in pq.ParquetFile(part).iter_batches():
                yield from batch.to_pylist()
    elif form == "csv":
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file, strict=True)
    elif form == "jsonl":
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)
    else:
        document = files.read_json(path)
        yield from document["rows"] if isinstance(document, dict) and "rows" in document else [document]


def _check_row(row: Any) -> None:
    """Raise _RowError unless this is what was written of an image."""
    if not isinstance(row, dict) or not set(COLUMNS) <= set(row) or not set(row) <= {*COLUMNS, BOX}:
        raise _RowError(f"expected {', '.join(COLUMNS)}")
    if not isinstance(row["path"], str) or not isinstance(row["error"], str | None):
        raise _RowError("path and error must be texts")
    for name, least, most in (("score", -math.inf, math.inf), ("p_value", 0.0, 1.0)):
        value = row[name]
        try:
            number = 0.0 if value in (None, "") else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (math.isfinite(number) and least <= number <= most):
            raise _RowError(f"{name} is {shown(value)}, of the wrong kind")
    if (row["score"] in (None, "")) != (row["p_value"] in (None, "")):
        raise _RowError("has one of score and p_value, must have both or none")
    if row["flagged"] not in (None, "", "0", "1", False, True):
        raise _RowError(f"flagged is {shown(row['flagged'])}, of the wrong kind")
    box = row.get(BOX)
    sides = box.split() if isinstance(box, str) else box or []
    whole = isinstance(sides, list) and all(re.fullmatch(r"\d{1,9}", str(side)) for side in sides)
    if not whole or len(sides) not in (0, 4):
        raise _RowError(f"{BOX} is {shown(box)}, of the wrong kind")


def as_row(values: Mapping[str, Any]) -> Row:
    """Return a row of values as `read_rows` gives them."""
    score, p_value, flagged = (values[name] for name in ("score", "p_value", "flagged"))
    box = values.get(BOX) or None
    return Row(
        values.get("whole_path", values["path"]),
        None if score in (None, "") else float(score),
        None if p_value in (None, "") else float(p_value),
        None if flagged in (None, "") else flagged in (True, "1"),
        values["error"] or None,
        tuple(map(int, box.split() if isinstance(box, str) else box)) if box else None,  # type: ignore[arg-type]
    )


def _hash(name: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )
