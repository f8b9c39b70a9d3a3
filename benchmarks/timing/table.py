"""What is kept of a measurement, and what got slower since another."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from anomalae import files
from anomalae.runs.environment import record_environment
from timing.rounds import SHARE, Row

# Times the noise of both that a figure must differ by.
SURE = 2
# Noise below this is luck: another day's differ by as much.
LEAST_NOISE = 0.01
# Of a measurement and of its rounds; others are not compared.
ALIKE = ("processor", "threads", "dataset", "normal", "quick")


def document(rows: Sequence[Row], **made_with: Any) -> dict[str, Any]:
    """What is kept as JSON: the rows, each with its noise, and where they were measured.

    rows: of one measurement.
    made_with: what else is kept: data set, normal class, threads and so on.
    """
    here = record_environment(torch.device("cpu"))
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "platform": platform.platform(),
        **made_with,
        "versions": here.versions | {name: metadata.version(name) for name in ("pyod", *_there("numba"))},
        "rows": [_kept(row, noise) for row, noise in zip(rows, noises(rows), strict=True)],
    }


def noises(rows: Sequence[Row]) -> list[float | None]:
    """By how much of itself each figure is unsure: by its rounds, and at least by what is usual in its section.

    Two or three rounds that happen to agree would promise too much. A single one promises nothing: None.
    """
    usual = {}
    for section in {row.section for row in rows}:
        spreads = [
            r.spread for r in rows if r.section == section and r.unit != SHARE and r.spread is not None
        ]
        usual[section] = statistics.median(spreads) if spreads else 0.0
    return [None if row.spread is None else max(row.spread, usual[row.section], LEAST_NOISE) for row in rows]


def processor() -> str:
    """Name of the processor as its maker gives it, with family and model where names do not tell them apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    name = said.get("model name", platform.machine())
    model = [
        f"{what} {said[key]}" for what, key in (("family", "cpu family"), ("model", "model")) if key in said
    ]
    return ", ".join([name, *model])


def newest(folder: Path, now: dict[str, Any]) -> Path | None:
    """The last measurement kept in a folder that was made alike and has the sections of this one; None for none.

    now: a document.
    """
    made: list[tuple[str, Path]] = []
    for path in folder.glob("*.json"):
        kept = files.read_json(path)
        if all(kept.get(key) == now[key] for key in ALIKE) and sections(kept) >= sections(now):
            made.append((kept["created"], path))
    return max(made)[1] if made else None


def sections(document: dict[str, Any]) -> set[str]:
    """Names of what was measured."""
    return {row["section"] for row in document["rows"]}


def changes(now: dict[str, Any], before: dict[str, Any]) -> dict[str, list[str]]:
    """Lines on what is slower and what is faster than before, by more than twice the noise of both.

    Shares are neither, and what was measured in a single round is not compared.

    now, before: documents; what was not measured now is not missed.

    Returns lines by "slower", "faster", "not there before" and "gone".
    """
    known = {(row["section"], row["name"]): row for row in before["rows"]}
    there = {(row["section"], row["name"]) for row in now["rows"]}
    lines: dict[str, list[str]] = {"slower": [], "faster": [], "not there before": [], "gone": []}
    for row in now["rows"]:
        old = known.get((row["section"], row["name"]))
        name = f"{row['section']}, {row['name']}"
        if old is None:
            lines["not there before"].append(name)
        elif row["unit"] != SHARE and None not in (row["noise"], old["noise"]):
            ratio, sure = row["median"] / old["median"], SURE * math.hypot(row["noise"], old["noise"])
            said = f"{name}: {shown(row['median'])} {row['unit']}, before {shown(old['median'])}: "
            said += f"{ratio:.2f} times, noise {row['noise']:.0%} and {old['noise']:.0%}"
            if ratio > 1 + sure:
                lines["slower"].append(said)
            if ratio < 1 / (1 + sure):
                lines["faster"].append(said)
    lines["gone"] = [f"{key[0]}, {key[1]}" for key in known if key[0] in sections(now) and key not in there]
    return lines


def markdown(document: dict[str, Any]) -> str:
    """The rows as a table for people, and what they were measured with."""
    lines = ["| | | median | noise | |", "|---|---|--:|--:|---|"]
    section = ""
    for row in document["rows"]:
        head, section = "" if row["section"] == section else row["section"], row["section"]
        unit = row["unit"].replace("us ", "µs ")
        noise = "" if row["noise"] is None or row["unit"] == SHARE else f"{row['noise']:.0%}"
        lines.append(f"| {head} | {row['name']} | {shown(row['median'])} {unit} | {noise} | {row['note']} |")
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return "\n".join(
        [
            *lines,
            "",
            f"CPU time where nothing else is said, {document['threads']} thread; medians of rounds in turn, noise "
            "half of what least and greatest round differ by, at least what is usual in the section. "
            f"{document['dataset']}, normal class {document['normal']}; {document['processor']}; "
            f"load {document['load']:.1f} when it began; {document['created']}.",
            "",
            f"Versions: {versions}.",
            "",
        ]
    )


def shown(value: float) -> str:
    """Three digits of a figure."""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def _kept(row: Row, noise: float | None) -> dict[str, Any]:
    return {
        "section": row.section,
        "name": row.name,
        "unit": row.unit,
        "median": row.median,
        "noise": noise,
        "values": list(row.values),
        "note": row.note,
    }


def _there(*packages: str) -> list[str]:
    installed = {found.metadata["Name"].lower() for found in metadata.distributions()}
    return [package for package in packages if package in installed]
