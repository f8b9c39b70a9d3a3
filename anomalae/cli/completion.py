"""What the shell is offered in place of a word that is being typed; nothing here imports PyTorch."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of finished runs that begin so, and let the shell offer folders."""
    return _named(ctx, incomplete, finished=True)


def unfinished_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of runs that can be gone on with, and let the shell offer folders."""
    return _named(ctx, incomplete, finished=False)


def any_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of all runs that begin so, and let the shell offer folders."""
    return _named(ctx, incomplete, finished=None)


def calibrations(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of a run's calibrations that begin so."""
    from anomalae import runs
    from anomalae.errors import BundleError

    try:
        folder = runs.resolve(ctx.params.get("run"), Path(ctx.params.get("runs_dir") or "runs"))
        names = runs.calibration_names(folder)
    except BundleError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def datasets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of data sets that begin so, and let the shell offer folders and files."""
    from anomalae.datasets.load import DATASETS

    return _offered(list(DATASETS), incomplete, "file")


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell offer files."""
    return [CompletionItem(incomplete, type="file")]


def _named(ctx: click.Context, incomplete: str, *, finished: bool | None) -> list[CompletionItem]:
    from anomalae.runs import is_finished, list_runs

    folders = list_runs(Path(ctx.params.get("runs_dir") or "runs"))
    names = [folder.name for folder in folders if finished is None or is_finished(folder) == finished]
    return _offered(names, incomplete)


def _offered(names: list[str], incomplete: str, paths: str = "dir") -> list[CompletionItem]:
    # Paths first, for bash forgets what came before them; it offers them only where no name fits.
    return [
        CompletionItem(incomplete, type=paths),
        *(CompletionItem(name) for name in names if name.startswith(incomplete)),
    ]
