"""Command lines that make a run or a table again: the one place of the library that knows flags."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalae.datasets.load import DATASETS
from anomalae.datasets.splits import choose_folds
from anomalae.runs.environment import Environment
from anomalae.runs.record import Data
from anomalae.settings import DEFAULT_ALPHA, PRESETS, Settings
from anomalae.text import typed

if TYPE_CHECKING:
    from anomalae.experiments.grid import Grid

Values = Settings | Mapping[str, Any]

# Settings of a training on which the defaults of others depend, besides the model.
_LEADING = ("architecture", "batch_size", "noise")


def flags(asked: Values, usual: Values = {}) -> list[str]:  # noqa: B006 - never written to
    """Return the words that ask for settings, of those that are not usual.

    asked: settings, or a dict of some of them; what is None is not asked for.
    usual: what holds without a word; a dict may lack settings.

    >>> flags({"latent_dim": 8, "views": ("pixels", "edges"), "noise": 0.0}, Settings())
    ['--latent-dim', '8', '--views', 'pixels,edges', '--noise', '0']
    """
    before = _values(usual)
    return [
        text
        for name, value in _values(asked).items()
        if value is not None and (name not in before or before[name] != value)
        for text in (f"--{name.replace('_', '-')}", typed(value))
    ]


def train_command(
    data: Data,
    settings: Settings,
    environment: Environment,
    *,
    alpha: float = DEFAULT_ALPHA,
    name: str | None = None,
    start: str | None = None,
) -> str:
    """Return the command that trains a run again: what is not at its default, and always data, classes and seed.

    data, settings, environment: of the run; its epochs and batch size are named where other images would not give them.
    alpha: false-alarm level of its evaluation.
    name: of the run.
    start: name of the run with whose weights it began.
    """
    words = ["anomalae", "train", "--dataset", data.name or "arrays", *_classes("normal", data.normal)]
    words += _prepared(data.name, data.preprocess, data.polarity)
    words += _of_training(settings, data.n_trained)
    words += flags({"conformal": _conformal(data)})
    words += flags({"seed": settings.seed, "threads": environment.threads})
    words += flags({"device": environment.device}, {"device": "cpu"})
    words += flags({"alpha": alpha}, {"alpha": DEFAULT_ALPHA})
    return shlex.join([*words, *flags({"name": name, "start": start})])


def benchmark_command(
    grid: Grid,
    *,
    baselines: Sequence[str] = (),
    time_limit: float | None = None,
    threads: int | None = None,
) -> str:
    """Return the command that measures a grid, with the options that are not at their defaults.

    grid: what is measured.
    baselines: names of those beside it.
    time_limit, threads: of the baselines.
    """
    dataset = grid.dataset
    words = ["anomalae", "benchmark", "--dataset", dataset.name]
    if tuple(grid.classes) != tuple(dataset.classes):
        words += _classes(grid.side, grid.classes)
    elif grid.side != "normal":
        words += [f"--{grid.side}", "each"]
    words += [word for other in grid.also for word in ("--also", other.name)]
    # All that are prepared at all are prepared alike.
    read = next((some for some in (dataset, *grid.also) if some.name not in DATASETS), dataset)
    origin = read.provenance
    words += _prepared(read.name, origin.get("preprocess", "auto"), origin.get("polarity", "auto"))
    words += flags({"seeds": grid.seeds})
    words += flags({"part": grid.part, "alpha": grid.alpha}, {"part": "test", "alpha": DEFAULT_ALPHA})
    words += _of_grid(grid.settings)
    words += flags({"baseline": ",".join(baselines) or None, "time_limit": time_limit, "threads": threads})
    return shlex.join(words)


def with_baselines_of(before: str, command: str) -> str:
    """Return the command of a benchmark with the baselines that an earlier one names.

    before: the earlier one.
    command: names no baselines.

    >>> with_baselines_of("anomalae benchmark --seeds 0 --baseline knn", "anomalae benchmark --seeds 0,1")
    'anomalae benchmark --seeds 0,1 --baseline knn'
    """
    # What asks for baselines stands last.
    _, flag, words = before.partition(" --baseline ")
    return command + flag + words


def compare_command(
    run: str,
    baselines: str,
    *,
    runs_dir: Path = Path("runs"),
    seed: int,
    pca: int | None = None,
    time_limit: float | None = None,
    threads: int | None = None,
) -> str:
    """Return the command that compares a run with baselines again.

    run: its name or path.
    baselines: as they were asked for, with commas.
    runs_dir: folder that holds the runs.
    seed, pca, time_limit, threads: of the baselines; None is not named.
    """
    words = ["anomalae", "compare", "--run", run]
    words += flags({"runs_dir": str(runs_dir)}, {"runs_dir": "runs"})
    words += flags({"baseline": baselines, "seed": seed, "pca": pca})
    return shlex.join([*words, *flags({"time_limit": time_limit, "threads": threads})])


def report_command(run: str, scores: str | None = None) -> str:
    """Return the command that reports on a run, or on the images scored by it in a file."""
    return shlex.join(["anomalae", "report", run, *flags({"scores": scores})])


def _conformal(data: Data) -> str | None:
    """Return how a run is calibrated where its number of images would not give that by itself."""
    n = data.n_train if data.folds else data.n_train + data.n_validation + data.n_calibration
    if choose_folds(n) == data.folds:
        return None
    return "cross" if data.folds else "split"


def _of_training(settings: Settings, n_train: int) -> list[str]:
    """Return words for the settings of a training whose epochs and batch size are filled in, for so many images."""
    values, model = _values(settings), settings.model
    kind = flags({"model": model}, Settings())
    bare = _values(Settings.of(model=model).for_images(n_train))
    leading = {name: values[name] for name in _LEADING if values[name] != bare[name]}
    usual = _values(Settings.of(model=model, **leading).for_images(n_train))
    # The seed is always named.
    return [*kind, *flags(leading), *flags(values, {**usual, "seed": settings.seed})]


def _of_grid(settings: Settings) -> list[str]:
    """Return words for the settings of a grid, which names a preset where one fits, and no seed."""
    kind = {"model": settings.model, "architecture": settings.architecture}
    preset = next((name for name in PRESETS if _fits(settings, PRESETS[name])), None)
    explicit = {**kind, **(PRESETS[preset] if preset else {})}
    noise = Settings.of(**explicit).noise
    # The default of passes depends on the noise.
    usual = _values(Settings.of(**{**explicit, "noise": settings.noise}))
    return [
        *flags({"preset": preset}),
        *flags(kind, Settings()),
        *flags(settings, {**usual, "noise": noise, "seed": settings.seed}),
    ]


def _fits(settings: Settings, preset: Mapping[str, Any]) -> bool:
    return all(getattr(settings, name) == value for name, value in preset.items())


def _classes(side: str, classes: Sequence[int | str]) -> list[str]:
    """Return words for classes: numbers with commas; names one by one, for they may hold commas."""
    if all(isinstance(name, int) for name in classes):
        return flags({side: tuple(classes)})
    return [text for name in classes for text in (f"--{side}", str(name))]


def _prepared(dataset: str | None, preprocess: str, polarity: str) -> list[str]:
    """Return words for how the images of a folder or a file were prepared."""
    if dataset in DATASETS:
        return []
    asked = {"preprocess": preprocess, "polarity": polarity}
    return flags(asked, dict.fromkeys(asked, "auto"))


def _values(settings: Values) -> dict[str, Any]:
    """Return settings as a dict, lists as tuples."""
    if isinstance(settings, Settings):
        settings = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
