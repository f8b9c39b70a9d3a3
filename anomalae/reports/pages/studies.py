"""Studies as pages: one of each, and an index of all that a folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalae import files, plots, text
from anomalae.errors import BundleError
from anomalae.reports.content import StudyReport
from anomalae.reports.pages import figures, page
from anomalae.reports.pages.folder import PAGE, claim, is_ours

TABLE = "table"
# Of a study's table as JSON.
KEYS = {"study", "question", "answer", "command", "quick"}
QUICK = "A quick version: small networks and few values. It shows what the study does; its figures are not to be cited."


def write_study(report: StudyReport, folder: Path) -> list[Path]:
    """Write a study's table as JSON, CSV and Markdown, its figures as PNG and SVG, and its page, the page last.

    Figures that an earlier writing left over are removed.

    Returns the files, the page first. BundleError where that cannot be done.
    """
    drawn = figures.of_study(report)
    claim_study(folder, report.name, report.quick, list(drawn))
    earlier = _table(folder).get("files")
    content = {
        "report": report,
        "quick_note": QUICK,
        "drawn": drawn,
        "lines": [[cell(row.get(key), digits) for key, _, digits in report.columns] for row in report.rows],
        "numeric": [_is_numeric(report, key) for key, _, _ in report.columns],
        "sections": [
            *([("answer", "Answer")] if report.answer else []),
            *([("figures", "Figures")] if drawn else []),
            *([("table", "Table")] if report.rows else []),
            ("method", "Method"),
        ],
    }
    filled = page.fill("study", content, None).encode("utf-8", "backslashreplace")
    drawings = [
        (f"{name}{suffix}", drawing.figure) for name, drawing in drawn.items() for suffix in (".svg", ".png")
    ]
    names = [
        PAGE,
        *(f"{TABLE}.{suffix}" for suffix in ("json", "csv", "md")),
        *(name for name, _ in drawings),
    ]
    files.write_json(folder / f"{TABLE}.json", study_document(report, names))
    files.write_bytes(folder / f"{TABLE}.csv", csv_table(report).encode("utf-8", "backslashreplace"))
    files.write_bytes(folder / f"{TABLE}.md", markdown(report).encode("utf-8", "backslashreplace"))
    for name, figure in drawings:
        plots.save(figure, folder / name)
    files.write_bytes(folder / PAGE, filled)
    for name in earlier if isinstance(earlier, list) else ():
        # A name, and nothing else that a table might hold.
        is_name = isinstance(name, str) and Path(name).name == name and name not in names
        if is_name and (folder / name).is_file():
            (folder / name).unlink()
    return [folder / name for name in names]


def study_document(report: StudyReport, names: Sequence[str]) -> dict[str, Any]:
    """Return a study's table as it is written, JSON-able.

    names: of the files that are written of it.
    """
    return {
        "study": report.name,
        "question": report.question,
        "answer": list(report.answer),
        "quick": report.quick,
        "command": report.command,
        "rows": [dict(row) for row in report.rows],
        "method": list(report.method),
        "facts": dict(report.facts),
        "missing": list(report.missing),
        "files": list(names),
    }


def has_rows(folder: Path) -> bool:
    """Tell whether an earlier writing of a study left a table with rows in a folder."""
    return bool(_table(folder).get("rows"))


def claim_study(folder: Path, study: str, quick: bool, figure_names: Sequence[str] = ()) -> None:
    """Make a study's folder, or check that nothing but the same study of ours would be overwritten; else BundleError.

    study: its name.
    quick: whether it is a quick version, which does not replace a full one.
    figure_names: of its drawings, where they are known.
    """
    earlier = _table(folder)
    if earlier and earlier["study"] != study:
        raise BundleError(
            f"{folder}: holds the study {text.printable(str(earlier['study']))}", advice="output"
        )
    if earlier and quick and not earlier["quick"]:
        raise BundleError(f"{folder}: holds the full study, no quick one takes its place", advice="output")
    if earlier and not (folder / PAGE).exists():
        # Its writing was broken off.
        return
    if is_ours(folder) and not (folder / f"{TABLE}.json").is_file():
        raise BundleError(f"{folder}: holds a report that is no study", advice="output")
    names = [PAGE, *(f"{TABLE}.{suffix}" for suffix in ("json", "csv", "md"))]
    claim(folder, [*names, *(f"{name}{suffix}" for name in figure_names for suffix in (".svg", ".png"))])


def _table(folder: Path) -> dict[str, Any]:
    """Return the table that an earlier writing of a study left in a folder; empty where there is none."""
    try:
        document = files.read_json(folder / f"{TABLE}.json")
    except BundleError:
        return {}
    return document if isinstance(document, dict) and document.keys() >= KEYS else {}


def write_index(folder: Path, order: Sequence[str] = ()) -> Path | None:
    """Write the page that lists all studies in a folder; returns it, or None where there is none.

    folder: holds a folder a study, each with its `table.json`; grids of one's own are in a folder of their axes.
    order: names of studies that come first, in this order; the others follow by name.
    """
    found = [path.parent for pattern in ("*", "grid-*/*") for path in folder.glob(f"{pattern}/{TABLE}.json")]
    entries = [
        {**document, "place": place.relative_to(folder).as_posix()}
        for place in sorted(found)
        if (document := _table(place))
    ]
    if not entries:
        return None
    # Sorting keeps the order of those that are equal.
    entries.sort(key=lambda entry: order.index(entry["study"]) if entry["study"] in order else len(order))
    claim(folder, [PAGE])
    content = {"entries": entries, "sections": [(entry["place"], entry["study"]) for entry in entries]}
    files.write_bytes(folder / PAGE, page.fill("studies", content, None).encode("utf-8", "backslashreplace"))
    return folder / PAGE


def markdown(report: StudyReport) -> str:
    """Return question, answer and table as Markdown."""
    head = [title for _, title, _ in report.columns]
    # Without a row, a head says nothing.
    lines = (
        []
        if not report.rows
        else [
            "| " + " | ".join(map(text.table_cell, head)) + " |",
            "|"
            + "|".join("--:" if _is_numeric(report, key) else "---" for key, _, _ in report.columns)
            + "|",
        ]
    )
    for row in report.rows:
        cells = [text.table_cell(cell(row.get(key), digits)) for key, _, digits in report.columns]
        lines.append("| " + " | ".join(cells) + " |")
    answer = "".join(f"- {sentence}\n" for sentence in report.answer)
    missing = "".join(f"- failed: {text.table_cell(line)}\n" for line in report.missing)
    versions = report.facts.get("versions", "")
    return (
        f"# {report.question}\n\n"
        + (f"{QUICK}\n\n" if report.quick else "")
        + f"{answer}\n"
        + "\n".join(lines)
        + "\n\n"
        + " ".join(report.method)
        + "\n\n"
        f"Measure it again: `{report.command}`\n\n"
        + (f"{missing}\n" if missing else "")
        + f"Versions: {versions}.\n"
    )


def csv_table(report: StudyReport) -> str:
    """Return the rows as CSV, all keys, numbers as they are."""
    keys = list(dict.fromkeys(key for row in report.rows for key in row))
    writer = files.CsvText()
    writer.writerow(keys)
    for row in report.rows:
        writer.writerow(["" if row.get(key) is None else _plain(row[key]) for key in keys])
    return writer.text()


def cell(value: Any, digits: int | None) -> str:
    """Return a value of a table as people read it; nothing for None.

    >>> cell(0.98765, 3), cell(None, 3), cell(12, None)
    ('0.988', '', '12')
    """
    if value is None:
        return ""
    if digits is not None and isinstance(value, (int, float)):
        return f"{value:.{digits}f}"
    if isinstance(value, float):
        return text.short(value, 4)
    if isinstance(value, (list, tuple)):
        return text.listed(value)
    return str(value)


def _plain(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _is_numeric(report: StudyReport, key: str) -> bool:
    values: Sequence[Any] = [row.get(key) for row in report.rows]
    return all(value is None or isinstance(value, (int, float)) for value in values)
