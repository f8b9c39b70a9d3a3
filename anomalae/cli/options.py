"""What the commands share: options."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from anomalae.cli import completion
from anomalae.cli.console import nearest, said, warn
from anomalae.cli.exit_status import FLAGGED as FLAGGED
from anomalae.cli.exit_status import IN_PART as IN_PART
from anomalae.cli.exit_status import INTERRUPTED as INTERRUPTED
from anomalae.errors import ConfigError
from anomalae.settings import DEFAULT_ALPHA, DESCRIPTIONS, DEVICES, POLARITIES, PREPROCESSES
from anomalae.text import plural, printable, shortened
from anomalae.threads import of_process

if TYPE_CHECKING:
    from anomalae.datasets.load import Dataset
    from anomalae.experiments.baselines.registry import Baseline
    from anomalae.experiments.executors import Executor

F = TypeVar("F", bound=Callable[..., Any])

# More make no better estimate of a mean, and days of work.
MOST_SEEDS = 100


class OneOf(click.Choice):
    """One of several names; the nearest is suggested for another."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return what is said of another name."""
        near = nearest(str(value), self.choices)
        hint = f" Did you mean {near!r}?" if near else ""
        return super().get_invalid_choice_message(value, ctx) + hint


def runs_dir_option(function: F) -> F:
    """Add `--runs-dir`, default `runs/` or ANOMALAE_RUNS."""
    return click.option(
        "--runs-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs"),
        envvar="ANOMALAE_RUNS",
        show_default=True,
        show_envvar=True,
        help="Folder that holds the runs.",
    )(function)


def run_option(function: F) -> F:
    """Add `--run RUN`, default the newest finished one."""
    return click.option(
        "--run",
        "run",
        metavar="RUN",
        help="Name or path of a run. Default: the newest finished one.",
        shell_complete=completion.runs,
    )(function)


def calibration_option(function: F) -> F:
    """Add `--calibration NAME`, default the run's own."""
    return click.option(
        "--calibration",
        metavar="NAME",
        shell_complete=completion.calibrations,
        help="Judge by the images that `anomalae calibrate --name NAME` was given. Default: the run's own.",
    )(function)


def run_operand(function: F) -> F:
    """Add RUN, as an argument or as `--run RUN`, to a command whose only operand is a run; it gets `run` either way."""

    @click.argument("operand", metavar="[RUN]", required=False, shell_complete=completion.runs)
    @run_option
    @functools.wraps(function)
    def command(*, operand: str | None, run: str | None, **options: Any) -> Any:
        if operand is not None and run is not None:
            raise click.UsageError(f"RUN {operand} and --run {run}: name one run")
        return function(run=run if operand is None else operand, **options)

    return cast("F", command)


def runs_operands(function: F) -> F:
    """Add RUN..., as arguments or as `--run RUN`, to a command that takes several runs; it gets `names`, none twice."""

    @click.argument("operands", nargs=-1, metavar="[RUN]...", shell_complete=completion.any_run)
    @click.option(
        "--run",
        "more",
        multiple=True,
        metavar="RUN",
        shell_complete=completion.any_run,
        help="Name or path of a run, as RUN; repeatable.",
    )
    @functools.wraps(function)
    def command(*, operands: tuple[str, ...], more: tuple[str, ...], **options: Any) -> Any:
        names = (*operands, *more)
        if len(set(names)) < len(names):
            raise click.UsageError("a run is named twice")
        return function(names=names, **options)

    return cast("F", command)


def run_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse a name that no run can have."""
    from anomalae import runs
    from anomalae.errors import BundleError

    try:
        return None if value is None else runs.check_name(value)
    except BundleError as error:
        raise click.BadParameter(str(error)) from None


def calibration_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse a name that no calibration can have."""
    from anomalae import runs
    from anomalae.errors import BundleError

    try:
        return None if value is None else runs.check_name(value, "calibration")
    except BundleError as error:
        raise click.BadParameter(str(error)) from None


def no_nan(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse NaN, which a range lets pass."""
    if value is not None and value != value:
        raise click.BadParameter("nan is not a number from 0 to 1")
    return value


def seconds(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse a time that is not above 0, or not finite."""
    if value is not None and not (value > 0 and value != float("inf")):
        raise click.BadParameter(f"{value:g}: must be a number of seconds above 0")
    return value


def end_on_signals() -> None:
    """End as by Ctrl-C when the terminal is closed or the process is asked to stop, so that nothing is left behind."""
    import signal
    import threading

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), stop)


def baselines(names: tuple[str, ...]) -> tuple[Baseline, ...]:
    """Return the baselines of these names; an unknown one is a usage error."""
    from anomalae.errors import ConfigError
    from anomalae.experiments.baselines.registry import choose

    try:
        return choose(names) if names else ()
    except ConfigError as error:
        raise click.UsageError(said(error)) from None


def alpha_option(function: F) -> F:
    """Add `--alpha`, checked against (0, 1)."""
    return _alpha_option(DEFAULT_ALPHA, "")(function)


def own_alpha_option(function: F) -> F:
    """Add `--alpha`, checked against (0, 1); None is that of the evaluation which the run keeps."""
    default = f"  [default: that of the evaluation the run keeps; else {DEFAULT_ALPHA}]"
    return _alpha_option(None, default)(function)


def _alpha_option(default: float | None, shown: str) -> Callable[[F], F]:
    return click.option(
        "--alpha",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        callback=no_nan,
        default=default,
        show_default=default is not None,
        help=f"False-alarm level: flag an image when its p-value is at most this.{shown}",
    )


def machine_options(function: F) -> F:
    """Add `--device` and `--threads`."""
    function = click.option(
        "--threads",
        type=click.IntRange(1),
        callback=_use_threads,
        help="CPU threads of all that computes. Default: 1 for dense networks without neighbours (more made none "
        "faster), else as many as PyTorch chooses.",
    )(function)
    return click.option(
        "--device", type=OneOf(DEVICES), default="auto", show_default=True, help="Where to compute."
    )(function)


def _use_threads(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    """Let this process and its children compute by so many threads until the command is done."""
    if not ctx.resilient_parsing:
        ctx.with_resource(of_process(value))
    return value


def dataset_options(function: F) -> F:
    """Add `--dataset`, `--data-dir`, `--preprocess`, `--polarity`."""
    function = preprocess_options("auto", "auto")(function)
    function = data_dir_option(function)
    return click.option(
        "--dataset",
        metavar="NAME|FOLDER|FILE.npz",
        shell_complete=completion.datasets,
        help="mnist, fashion-mnist, kmnist, emnist-digits, digits, or a folder FOLDER/CLASS/*.png, "
        "FOLDER/{train,test}/CLASS/*.png or, of normal images alone, FOLDER/*.png, "
        "or a file of the arrays images and labels. Default: mnist, and the "
        "bundled digits where it cannot be had.",
    )(function)


def load(options: dict[str, Any], name: str | None = None) -> Dataset:
    """Load the data set that is named by the options which `dataset_options` adds, and `--quiet`.

    options: of the command.
    name: of another data set, which is looked for and read in the same way.
    """
    from anomalae.cli.progress import downloads, reading
    from anomalae.datasets.load import load_dataset

    name = options["dataset"] if name is None else name
    with reading(name, quiet=options["quiet"]) as on_read:
        return load_dataset(
            name,
            options["data_dir"],
            preprocess=options["preprocess"],
            polarity=options["polarity"],
            progress=downloads(options["quiet"]),
            warn=warn,
            on_read=on_read,
        )


def data_dir_option(function: F) -> F:
    """Add `--data-dir`."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False),
        help="Where data sets are looked for and downloaded to. Default: ANOMALAE_DATA, then data/.",
    )(function)


def preprocess_options(preprocess: str | None, polarity: str | None) -> Callable[[F], F]:
    """Return a decorator that adds `--preprocess` and `--polarity` with these defaults; None means as in the run."""

    def add(function: F) -> F:
        inherited = "" if preprocess else " Default: as in the run."
        function = click.option(
            "--polarity",
            type=OneOf(POLARITIES),
            default=polarity,
            show_default=polarity is not None,
            help="Whether the ink is light or dark." + inherited,
        )(function)
        return click.option(
            "--preprocess",
            type=OneOf(PREPROCESSES),
            default=preprocess,
            show_default=preprocess is not None,
            help="How image files become 28x28: as MNIST was made, resized only, or taken as they are."
            + inherited,
        )(function)

    return add


def json_option(function: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")(function)


def quiet_option(function: F) -> F:
    """Add `--quiet`."""
    return click.option("--quiet", is_flag=True, help="No progress and no summary.")(function)


def check_suffix(path: Path, *allowed: str) -> None:
    """Raise a usage error for an --output whose suffix is not one of these."""
    if path.suffix.lower() not in allowed:
        raise click.UsageError(f"--output {path}: the suffix must be one of {', '.join(allowed)}")


def seed_list(text: str) -> tuple[int, ...]:
    """Return the seeds that `--seeds` names, as in 0,1,2; a usage error for anything else."""
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise click.UsageError(
            f"--seeds {shortened(text)!r}: expected whole numbers with commas, as in 0,1,2"
        ) from None
    if len(seeds) > MOST_SEEDS:
        raise click.UsageError(f"--seeds: {len(seeds)} seeds, at most {MOST_SEEDS} are taken")
    if len(set(seeds)) < len(seeds):
        raise click.UsageError(f"--seeds {text}: none may be named twice")
    for seed in seeds:
        try:
            DESCRIPTIONS["seed"].range.check("seed", seed)
        except ConfigError as error:
            raise click.UsageError(f"--seeds: {error}") from None
    return seeds


def executor_options(jobs: str) -> Callable[[F], F]:
    """Return a decorator that adds `--jobs`, `--backend` and `--scheduler`.

    jobs: what holds where `--jobs` is not given, in words.
    """

    def add(function: F) -> F:
        function = click.option(
            "--scheduler", metavar="ADDRESS", help="Of a Dask scheduler, as in tcp://HOST:8786."
        )(function)
        function = click.option(
            "--backend",
            type=OneOf(["joblib", "dask"]),
            help="Who does the cells: processes of this machine, or a Dask cluster (pip install 'anomalae[dask]').  "
            "[default: joblib]",
        )(function)
        return click.option(
            "--jobs", type=click.IntRange(1, 1024), help=f"Processes that work at once.  [default: {jobs}]"
        )(function)

    return add


def tell_of_broken(problems: Sequence[str]) -> None:
    """Warn in a line of kept cells that are broken and done again.

    problems: what is wrong with each.
    """
    if problems:
        warn(f"{plural(len(problems), 'kept cell')} broken, done again; {printable(problems[0])}")


def make_executor(options: dict[str, Any], jobs: int) -> Executor:
    """Return the executor of the options which `executor_options` adds.

    options: of the command.
    jobs: how many where none are named.
    """
    from anomalae.experiments.executors import make_executor

    scheduler = options["scheduler"]
    backend = options["backend"] or ("joblib" if scheduler is None else "dask")
    if backend == "dask" and options["jobs"] is not None:
        warn("--jobs is of processes of this machine; a cluster has as many as its workers")
    try:
        executor = make_executor(options["jobs"] or jobs, backend, scheduler)
    except ConfigError as error:
        raise click.UsageError(said(error)) from None
    click.get_current_context().call_on_close(executor.close)
    return executor
