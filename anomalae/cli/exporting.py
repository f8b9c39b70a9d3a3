"""What `export` and `demo` share: by what a run's model is made, and on which images it is compared with the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from anomalae.cli import completion
from anomalae.cli import options as common
from anomalae.cli.progress import downloads
from anomalae.detectors.export.names import TOLERANCE

if TYPE_CHECKING:
    import numpy as np

    from anomalae.experiments.run import Run

F = TypeVar("F", bound=Callable[..., Any])


def model_options(function: F) -> F:
    """Add the options by which a run becomes a model."""
    for option in reversed(
        (
            common.run_option,
            common.runs_dir_option,
            click.option(
                "--score",
                "rule",
                metavar="RULE",
                help="Another rule of the run, as in mse. Default: the run's own.",
            ),
            common.calibration_option,
            common.own_alpha_option,
            click.option(
                "--images",
                multiple=True,
                type=click.Path(path_type=Path),
                metavar="PATH",
                shell_complete=completion.files,
                help="Compare on these files and folders; repeatable. Default: the test part of the run's data.",
            ),
            click.option(
                "--tolerance",
                type=click.FloatRange(0),
                callback=common.no_nan,
                default=TOLERANCE,
                show_default=True,
                help="Write nothing if a score differs by more than this many standard deviations of the calibration "
                "scores.",
            ),
        )
    ):
        function = option(function)
    return function


def opened(options: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    """Return the run that the options name, and what they ask of its model, as `anomalae.detectors.export` takes it."""
    from anomalae.detectors.export.writing import check_packages
    from anomalae.experiments.run import Run
    from anomalae.settings import DEFAULT_ALPHA

    check_packages()
    common.end_on_signals()
    run = Run.open(options["run"], options["runs_dir"], device="cpu")
    images, source = _images(run, options)
    return run, {
        "images": images,
        "source": source,
        "rule": options["rule"],
        "alpha": next(a for a in (options["alpha"], run.kept_alpha, DEFAULT_ALPHA) if a is not None),
        "calibration": options["calibration"],
        "run": run.name,
        "tolerance": options["tolerance"],
    }


def _images(run: Run, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Return the images by which run and model are compared, and in words where they came from."""
    from anomalae.images.sources import Preparation, gather_images

    if not options["images"]:
        dataset = run.dataset(options["data_dir"], downloads(options["quiet"]))
        return dataset.test.images, f"test part of {run.record.data.name}"
    data = run.detector.data
    paths = [str(path) for path in options["images"]]
    return gather_images(paths, preparation=Preparation(data.preprocess, data.polarity)), ", ".join(paths)
