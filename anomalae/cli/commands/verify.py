"""`anomalae verify`: whether a run is whole, and scores as when it was trained."""

from __future__ import annotations

import json
from pathlib import Path

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common


@click.command("verify")
@common.runs_operands
@common.runs_dir_option
@common.machine_options
@common.json_option
@common.quiet_option
def command(
    names: tuple[str, ...], runs_dir: Path, device: str, threads: int | None, as_json: bool, quiet: bool
) -> None:
    """Check that runs are whole, and score as when they were trained. Without a RUN it is the newest finished one.

    Files are compared with the hashes that the run keeps of them, and read; images that were made for it are scored,
    by default on the device and with the threads of the training. The exit status is 1 where anything is wrong. The
    hashes tell of faults, not of malice: whoever can change a file can change its hash.

    \b
    Example:
      anomalae verify mnist-0-ae
      anomalae verify --json mnist-0-ae mnist-1-ae
    """
    from anomalae import runs
    from anomalae.detectors.verifying import verify

    folders = [runs.resolve(name, runs_dir) for name in names or (None,)]
    documents = []
    for folder in folders:
        found = verify(folder, device=device, threads=threads)
        documents.append(found.to_dict())
        if not (as_json or quiet):
            tables.print_pairs(found.in_words(), console.out_console())
    if as_json:
        click.echo(json.dumps(documents))
    if not all(document["sound"] for document in documents):
        raise SystemExit(1)
