"""`anomalae study`: questions answered by experiment, and grids of one's own."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.console import nearest, said, warn
from anomalae.cli.dry_run import dry_run, tell_of_others
from anomalae.cli.lines import tell
from anomalae.cli.progress import cells_line, studying
from anomalae.cli.setting_options import SETTINGS, asked_for, flag, make_settings, settings_options
from anomalae.cli.tables import Column
from anomalae.errors import ConfigError
from anomalae.text import plural, printable, typed

if TYPE_CHECKING:
    from anomalae.datasets.load import Dataset
    from anomalae.experiments.executors import Executor
    from anomalae.experiments.studies.base import Scope, Study
    from anomalae.reports.content import StudyReport

ALL = "all"


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from anomalae.experiments.studies import QUESTIONS

    return [CompletionItem(name) for name in (*QUESTIONS, ALL) if name.startswith(incomplete)]


@click.command("study")
@click.argument("name", required=False, shell_complete=_names)
@click.option("--list", "as_list", is_flag=True, help="Name the studies and their questions, or NAME alone.")
@click.option(
    "--quick",
    is_flag=True,
    help="Small networks and few values, on the bundled digits unless --dataset is given: under two minutes a study.",
)
@click.option(
    "--grid",
    "axes",
    multiple=True,
    metavar="AXIS=V,V",
    help="A study of your own: values of a setting, or of dataset, normal, seed or baseline; repeatable, every "
    "combination is a cell. Values that hold commas are separated by semicolons, as in "
    "'views=pixels;normalised,edges'.",
)
@click.option(
    "--normal",
    multiple=True,
    metavar="each|CLASSES",
    help="With --grid: classes that are normal in turn.  [default: each]",
)
@click.option("--seeds", metavar="SEEDS", help="With --grid: seeds, as in 0,1,2.  [default: 0]")
@click.option("--dry-run", is_flag=True, help="Print the cells and what they would take, and do nothing.")
@common.dataset_options
@settings_options
@common.executor_options("the number of cores")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the page, tables, figures and cells.  [default: reports/studies/NAME; of a grid of your own "
    "grid-AXES/HASH, each of other values or data, with the cells of all in grid-AXES/cells; with --quick these in "
    "reports/studies/quick]",
)
@common.json_option
@common.quiet_option
def command(**options: Any) -> None:
    """Answer a question by experiment: train a grid of networks, and write a page with figures, a table and words.

    NAME is a study, see --list, or `all`. Each cell of the grid is kept as soon as it is done; called again, a study
    goes on where it was. Cells of other data, code or versions are left as they are, and made anew. A cell has one
    thread, and gives the same bits by any --jobs or --backend. A study's classes, seeds and settings are its own; with
    --grid, in place of NAME, all can be given, and hold for all cells.

    \b
    Example:
      anomalae study --list
      anomalae study one-dimension --quick
      anomalae study all --quick
      anomalae study --grid latent-dim=1,2,4 --grid noise=0,1 --normal 0,8
    """
    from anomalae.experiments.studies.base import Scope
    from anomalae.experiments.studies.own_grid import hash_of

    common.end_on_signals()
    if options["as_list"]:
        _print_list(options)
        return
    studies, dataset, command_words = _asked(options)
    scope, base = Scope(dataset, options["quick"]), Path("reports") / "studies"
    if options["quick"]:
        # Beside the full ones, whose pages they do not replace.
        base /= "quick"
    if options["name"] == ALL:
        base = options["output"] or base
    folders = [base / study.name for study in studies]
    shelves = [folder / "cells" for folder in folders]
    if options["output"] and options["name"] != ALL:
        folders, shelves = [options["output"]], [options["output"] / "cells"]
    elif options["axes"]:
        folders = [folders[0] / hash_of(studies[0].cells(scope))]
    if options["dry_run"]:
        dry_run(studies, scope, shelves, as_json=options["as_json"])
        return
    executor = common.make_executor(options, os.cpu_count() or 1)
    made = [
        _made(
            study,
            scope,
            folder,
            shelf,
            executor,
            command_words if options["axes"] else f"{command_words} {study.name}",
            options,
        )
        for study, folder, shelf in zip(studies, folders, shelves, strict=True)
    ]
    index = None
    if options["name"] == ALL:
        from anomalae.experiments.studies import QUESTIONS
        from anomalae.reports.pages.studies import write_index

        index = write_index(base, tuple(QUESTIONS))
    if options["as_json"]:
        documents = [document for _, document in made]
        click.echo(json.dumps(documents if options["name"] == ALL else documents[0]))
    elif not options["quiet"]:
        for (report, document), folder in zip(made, folders, strict=True):
            _print(report, folder if document["files"] else None)
        if index is not None:
            tell(f"index: {index}")
    reports = [report for report, _ in made]
    for report in reports:
        _tell_of_failed(report)
    if all(report.nothing for report in reports):
        raise SystemExit(1)
    if any(report.missing for report in reports):
        raise SystemExit(common.IN_PART)


def _print_list(options: dict[str, Any]) -> None:
    """Print names and questions, of one study where it is named."""
    from anomalae.experiments.studies import QUESTIONS

    name = options["name"]
    _check_name(name)
    chosen = {key: question for key, question in QUESTIONS.items() if name in (None, ALL, key)}
    if options["as_json"]:
        click.echo(json.dumps([{"name": key, "question": question} for key, question in chosen.items()]))
        return
    columns = [Column("study", "name"), Column("question", "words")]
    tables.print_table(columns, list(chosen.items()), console.out_console())


def _check_name(name: str | None) -> None:
    """Refuse a name that no study has."""
    from anomalae.experiments.studies import QUESTIONS

    if name is not None and name != ALL and name not in QUESTIONS:
        near = nearest(name, (*QUESTIONS, ALL))
        hint = f" Did you mean {near!r}?" if near else ""
        raise click.UsageError(
            f"no study {printable(name)!r}; there are {', '.join(QUESTIONS)}, {ALL}.{hint}"
        )


def _asked(options: dict[str, Any]) -> tuple[list[Study], Dataset, str]:
    """Return the studies that are asked for, their data, and the command but for the study's name."""
    from anomalae.datasets.load import DATASETS
    from anomalae.experiments.studies import QUESTIONS, load_study

    name, own = options["name"], bool(options["axes"])
    if own == bool(name):
        what = "a study's name, or --grid" if not name else "a study's name or --grid, not both"
        raise click.UsageError(f"expected {what}; the studies are {', '.join(QUESTIONS)}, {ALL}")
    given = [flag(key) for key in SETTINGS if options[key] is not None]
    given += [option for option in ("--preset", "--normal", "--seeds") if options[option[2:]]]
    if given and not own:
        raise click.UsageError(f"{given[0]}: only with --grid; a study's settings are its own")
    _check_name(name)
    axes = _axes(options) if own else {}
    if "dataset" in axes and options["dataset"]:
        raise click.UsageError("--grid dataset and --dataset exclude each other")
    if options["quick"] and options["dataset"] is None:
        options["dataset"] = "digits"
    datasets = [
        common.load({**options, "dataset": name}) for name in axes.get("dataset", (options["dataset"],))
    ]
    dataset = datasets[0]
    for each in datasets:
        if len(each.classes) == 1:
            raise click.UsageError(
                f"--dataset {printable(each.short_name)}: has one class, none is left to be anomalous"
            )
    words = ["anomalae", "study"]
    if options["quick"]:
        words.append("--quick")
    if "dataset" not in axes and (not options["quick"] or dataset.name != "digits"):
        words += ["--dataset", dataset.name]
    if any(each.name not in DATASETS for each in datasets):
        words += [
            word
            for key in ("preprocess", "polarity")
            if options[key] != "auto"
            for word in (f"--{key}", options[key])
        ]
    if own:
        studies = [_own_study(options, axes, datasets)]
        words += [word for axis in options["axes"] for word in ("--grid", axis)]
        words += [word for chosen in options["normal"] for word in ("--normal", chosen)]
        words += ["--seeds", options["seeds"]] if options["seeds"] else []
        words += ["--preset", options["preset"]] if options["preset"] else []
        words += [
            word for key in SETTINGS if options[key] is not None for word in (flag(key), typed(options[key]))
        ]
    else:
        studies = [load_study(each) for each in (QUESTIONS if name == ALL else (name,))]
    return studies, dataset, shlex.join(words)


def _axes(options: dict[str, Any]) -> dict[str, list[Any]]:
    from anomalae.experiments.studies.own_grid import parse_axis

    axes: dict[str, list[Any]] = {}
    for axis in options["axes"]:
        try:
            key, values = parse_axis(axis)
        except ConfigError as error:
            raise click.UsageError(said(error)) from None
        if key in axes:
            raise click.UsageError(f"--grid {axis}: named twice")
        axes[key] = values
    return axes


def _own_study(options: dict[str, Any], axes: dict[str, list[Any]], datasets: Sequence[Dataset]) -> Study:
    from anomalae.experiments.studies.own_grid import own_study

    for key, option in (("normal", "normal"), ("seed", "seeds")):
        if key in axes and options[option]:
            raise click.UsageError(f"--grid {key} and --{option} exclude each other")
    for key in axes:
        if options.get(key) is not None and key in SETTINGS:
            raise click.UsageError(f"--grid {key.replace('_', '-')} and {flag(key)} exclude each other")
    problems = [(dataset, classes) for dataset in datasets for classes in _normal(options, axes, dataset)]
    seeds = axes.get("seed") or common.seed_list(options["seeds"] or "0")
    # Warns of what wins over a preset, and refuses what cannot be.
    make_settings(options)
    fixed = asked_for(options)
    if options["quick"]:
        fixed = {"hidden": (64,), "epochs": 15, **fixed}
    try:
        return own_study(axes, fixed, problems, seeds)
    except ConfigError as error:
        raise click.UsageError(said(error)) from None


def _normal(
    options: dict[str, Any], axes: dict[str, list[Any]], dataset: Dataset
) -> Sequence[Sequence[int | str]]:
    """Return the normal classes of each problem of a data set."""
    from anomalae.datasets.load import parse_classes

    if "normal" in axes:
        normal = [parse_classes(words, dataset.classes, dataset.short_name) for words in axes["normal"]]
    elif list(options["normal"] or ["each"]) == ["each"]:
        normal = [(name,) for name in dataset.classes]
    else:
        normal = [(name,) for name in parse_classes(options["normal"], dataset.classes, dataset.short_name)]
    for classes in normal:
        if len(classes) == len(dataset.classes):
            raise click.UsageError(
                f"--grid normal={','.join(map(str, classes))}: leaves no class of {dataset.short_name} to be anomalous"
            )
    return normal


def _made(
    study: Study,
    scope: Scope,
    folder: Path,
    shelf_folder: Path,
    executor: Executor,
    words: str,
    options: dict[str, Any],
) -> tuple[StudyReport, dict[str, Any]]:
    """Do a study's cells, and write its page; return what is on it, and its table.

    Where no cell gave a result, the page of an earlier time that has some is left as it is.
    """
    from anomalae.experiments.kept_cells import Progress, Shelf, do_all
    from anomalae.reports.collect.studies import study_report
    from anomalae.reports.pages.studies import claim_study, has_rows, study_document, write_study
    from anomalae.runs.locks import lock

    cells, shelf = study.cells(scope), Shelf(shelf_folder)
    if not cells:
        raise click.UsageError(f"study {study.name}: no cell is left on {scope.dataset.short_name}")
    # Before hours of work, and not after them.
    claim_study(folder, study.name, scope.quick)
    tell_of_others(cells, shelf)
    latest: list[Progress] = []
    shelf.make()
    try:
        with (
            lock(shelf.folder, "another study is at work here"),
            studying(study.name, quiet=options["quiet"]) as show,
        ):

            def change(progress: Progress) -> None:
                latest[:] = [progress]
                show(progress)

            outcomes = do_all(cells, shelf, executor, change)
    except KeyboardInterrupt:
        at = cells_line(latest[0]) if latest else "none done"
        tell(f"Interrupted with {at}; the same command goes on.")
        raise SystemExit(common.INTERRUPTED) from None
    report = study_report(study, scope, outcomes, words)
    if report.nothing and has_rows(folder):
        warn(f"study {study.name}: {folder} is left as it was made before")
        return report, study_document(report, ())
    names = [path.name for path in write_study(report, folder)]
    return report, study_document(report, names)


def _tell_of_failed(report: StudyReport) -> None:
    """Say in a line how many cells failed, and why the first did."""
    if report.nothing:
        tell(f"Error: study {report.name}: no cell gave a result; {report.missing[0]}")
    elif report.missing:
        total = plural(report.cells[0], "cell")
        warn(f"study {report.name}: {len(report.missing)} of {total} failed; {report.missing[0]}")


def _print(report: StudyReport, folder: Path | None) -> None:
    """Print question, answer and table, as Markdown where they are piped, and where they were written, if they were."""
    from anomalae.reports.pages import studies as pages
    from anomalae.reports.pages.studies import QUICK

    if not sys.stdout.isatty():
        click.echo(pages.markdown(report))
    else:
        out = console.out_console()
        tables.say(report.question, out, style="bold")
        for sentence in report.answer:
            tables.say(sentence, out)
        columns = [Column(title, "number", rank=place) for place, (_, title, _) in enumerate(report.columns)]
        lines = [
            [pages.cell(row.get(key), digits) for key, _, digits in report.columns] for row in report.rows
        ]
        if lines:
            tables.print_table(columns, lines, out, elsewhere="table.md has them")
        if report.quick:
            tables.say(QUICK, out, style="yellow")
        for line in report.missing:
            tables.say(f"failed: {line}", out, style="yellow")
    if folder is not None:
        tell(f"report: {folder / 'index.html'}")
