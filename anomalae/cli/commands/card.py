"""`anomalae card`: the model card of a run, in Markdown."""

from __future__ import annotations

from pathlib import Path

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.progress import downloads


@click.command("card")
@common.run_operand
@common.runs_dir_option
@common.calibration_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the card to this file, not to the screen.",
)
@common.data_dir_option
@common.machine_options
@common.quiet_option
def command(
    run: str | None,
    runs_dir: Path,
    calibration: str | None,
    output: Path | None,
    data_dir: str | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Print the model card of RUN: its data, training, numbers with intervals, limits, and how to load it.

    It is Markdown with a header of YAML, as hubs of models expect a README.md. A run that was not evaluated is
    evaluated first. `anomalae report` writes the card of a run beside its page.

    \b
    Example:
      anomalae card mnist-0-ae
      anomalae card mnist-0-ae --calibration mine --output README.md
    """
    from anomalae import files, runs
    from anomalae.reports import collect
    from anomalae.reports.pages.card import model_card

    report = collect.run_report(
        runs.resolve(run, runs_dir),
        device=device,
        threads=threads,
        data_dir=data_dir,
        progress=downloads(quiet),
        pictures=False,
        calibration=calibration,
    )
    card = model_card(report)
    if output is None:
        click.echo(card, nl=False)
        return
    files.write_bytes(output, card.encode("utf-8", "backslashreplace"))
    if not quiet:
        tables.say(f"model card: {output}", console.out_console())
