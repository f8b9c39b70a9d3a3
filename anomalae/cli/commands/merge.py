"""`anomalae merge`: put the rows of shards together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.cli.lines import tell
from anomalae.cli.progress import counting
from anomalae.text import plural


@click.command("merge")
@click.argument("shards", nargs=-1, required=True, metavar="SHARD...", type=click.Path(path_type=Path))
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all rows to FILE.csv, .json, .jsonl or .parquet.",
)
@click.option(
    "--fdr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    callback=common.no_nan,
    help="Flag by Benjamini-Hochberg over all rows: at most this share of the flagged images is normal, in "
    "expectation.",
)
@common.json_option
@common.quiet_option
def command(shards: tuple[Path, ...], **options: Any) -> None:
    """Put the rows of `score --shard I/N` together, as if one call had scored all.

    SHARD is a file of rows, with the FILE.shard.json beside it that `score` left. All must be of one run and the same
    options, none missing and none twice. Rows come in the order in which a single call writes them.

    \b
    Example:
      anomalae score scans/ --shard 1/2 --output 1.csv
      anomalae score scans/ --shard 2/2 --output 2.csv
      anomalae merge 1.csv 2.csv --output all.csv --fdr 0.01
    """
    from anomalae.detectors.shards import calibration_images, merge
    from anomalae.evaluation.conformal import fdr_warning

    common.end_on_signals()
    form = tables.form_of(options["output"])
    with counting("merging", None, quiet=options["quiet"]) as done:
        summary = merge(shards, options["output"], form, options["fdr"], done)
    n_calibration = None if options["fdr"] is None else calibration_images(shards[0])
    warning = None if n_calibration is None else fdr_warning(n_calibration, options["fdr"])
    if warning is not None:
        console.warn(warning)
    if options["as_json"]:
        click.echo(json.dumps({"n": summary.n, "n_flagged": summary.n_flagged, "n_failed": summary.n_failed}))
    if not options["quiet"]:
        by = f" at FDR {options['fdr']:g}" if options["fdr"] else ""
        unread = f", {summary.n_failed} without a score" if summary.n_failed else ""
        tell(
            f"{plural(summary.n, 'row')} of {plural(len(shards), 'shard')}: {summary.n_flagged} flagged{by}{unread}"
        )
        tell(f"written: {options['output']}")
    if summary.n_failed:
        raise SystemExit(common.IN_PART)
