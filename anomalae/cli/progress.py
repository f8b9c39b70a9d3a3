"""Progress on standard error: Rich where somebody watches, plain lines where it is piped, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from anomalae.cli.lines import tell
from anomalae.text import duration, printable

if TYPE_CHECKING:
    from anomalae.experiments.kept_cells import Progress as Cells
    from anomalae.models.training.state import Epoch, Training

T = TypeVar("T")


class TrainingDisplay:
    """Shows epochs, losses, images a second and the time left; its methods are the training's callbacks."""

    def __init__(self, epochs: int, images: int, *, done: int = 0, quiet: bool = False) -> None:
        self.epochs, self.images, self.first = epochs, images, done
        self.begun = time.perf_counter()
        self.printed = self.begun
        self.quiet = quiet
        self.progress: Any = None
        if not quiet and sys.stderr.isatty():
            self.progress = _training_progress()
            self.task = self.progress.add_task(
                "training",
                total=epochs * images,
                completed=done * images,
                status=f"epoch {min(done + 1, epochs)}/{epochs}",
                held_out="",
                rate="",
            )

    def __enter__(self) -> TrainingDisplay:
        if self.progress:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress:
            self.progress.stop()

    def on_batch(self, done: int, loss: float) -> None:
        """Show a step, after which `done` images of the epoch under way are seen."""
        if self.progress:
            task = self.progress.tasks[0]
            epoch = int(task.fields.get("epoch", self.first))
            self.progress.update(
                self.task, completed=epoch * self.images + done, rate=self._rate(epoch, done)
            )

    def on_epoch(self, state: Training) -> None:
        """Show an epoch that is done."""
        last = state.history[-1]
        held_out = "" if last.validation_loss is None else f" validation {last.validation_loss:.3f}"
        status = f"epoch {last.epoch}/{self.epochs}  loss {last.loss:.3f}"
        if self.progress:
            self.progress.update(
                self.task,
                completed=last.epoch * self.images,
                status=status,
                held_out=held_out,
                epoch=last.epoch,
            )
        elif not self.quiet and self._is_due(last.epoch):
            left = (time.perf_counter() - self.begun) / (last.epoch - self.first) * (self.epochs - last.epoch)
            rate = self._rate(last.epoch, 0)
            click.echo(f"{status} {held_out}  {rate}  {_clock(left)} left", err=True)

    def tell_end(self, last: Epoch) -> None:
        """Say what the line of progress, which goes away, showed last."""
        if self.progress:
            held_out = "" if last.validation_loss is None else f", validation {last.validation_loss:.3f}"
            seconds = duration(time.perf_counter() - self.begun)
            tell(f"trained to epoch {last.epoch} in {seconds}: loss {last.loss:.3f}{held_out}")

    def on_scored(self, done: int) -> None:
        """Show how many held-out images are scored, after the last epoch."""
        if self.progress:
            status = f"calibrating: {done} held-out images"
            self.progress.update(self.task, status=status, held_out="", rate="")
        elif not self.quiet and time.perf_counter() - self.printed >= 2:
            self.printed = time.perf_counter()
            click.echo(f"calibrating: {done} held-out images", err=True)

    def _is_due(self, epoch: int) -> bool:
        """Tell whether a line is due: for the first epochs and the last, else at most one a second."""
        now = time.perf_counter()
        due = epoch - self.first <= 3 or epoch == self.epochs or now - self.printed >= 1
        if due:
            self.printed = now
        return due

    def _rate(self, epoch: int, done: int) -> str:
        seen = (epoch - self.first) * self.images + done
        return f"{seen / max(time.perf_counter() - self.begun, 1e-9):,.0f} images/s"


def _training_progress() -> Any:
    """Return a line that fits a terminal of 60 columns, and says more on a wider one; no trace of it stays behind.

    It leaves some columns free, so that the `^C` which a terminal prints does not push it on to a second line.
    """
    from rich.progress import Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn

    console = _err()

    class Where(ProgressColumn):
        """A field that is shown where the terminal has at least so many columns."""

        def __init__(self, field: str, least: int) -> None:
            super().__init__()
            self.field, self.least = field, least

        def render(self, task: Task) -> str:
            return str(task.fields[self.field]) if console.width >= self.least else ""

    return Progress(
        TextColumn("{task.fields[status]}"),
        Where("held_out", 80),
        _bar(console),
        Where("rate", 100),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
    )


def working() -> Any:
    """Return a line that turns while something without a known end is done; no trace of it stays behind."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    described = TextColumn("{task.description}", markup=False)
    return Progress(SpinnerColumn(), described, TimeElapsedColumn(), console=_err(), transient=True)


@contextlib.contextmanager
def counting(what: str, total: int | None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Yield `done(n)`: call it with the number done so far. Plain lines come at most every two seconds."""
    if quiet:
        yield lambda n: None
    elif sys.stderr.isatty():
        from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = _err()
        columns = (
            # Text of a person's own, as a path is, is neither markup nor a pattern.
            TextColumn("{task.description}", markup=False),
            _bar(console),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task, begun = progress.add_task(what, total=total, rate=""), time.monotonic()

            def done(n: int) -> None:
                rate = f"{n / max(time.monotonic() - begun, 1e-9):,.0f}/s" if console.width >= 80 else ""
                # A file that turns out to hold more than it was counted for.
                progress.update(task, completed=n, total=total and max(total, n), rate=rate)

            yield done
    else:
        yield _plain_counter(what, total)


def _plain_counter(what: str, total: int | None) -> Callable[[int], None]:
    begun = last = time.monotonic()

    def done(n: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 2:
            last = time.monotonic()
            spent = last - begun
            of = f" of {max(total, n)}" if total else ""
            left = f", {_clock(spent / n * (total - n))} left" if total and 0 < n < total else ""
            click.echo(f"{what}: {n}{of}, {n / spent:,.0f}/s{left}", err=True)

    return done


def downloads(quiet: bool = False) -> Callable[[str, int, int | None], None]:
    """Return a callback for `load_dataset`: a plain line a file and a quarter of it; nothing when quiet."""
    quarters: dict[str, int] = {}

    def report(name: str, done: int, total: int | None) -> None:
        if quiet:
            return
        quarter = 4 * done // total if total else done // 10_000_000
        if quarters.get(name, -1) != quarter:
            quarters[name] = quarter
            share = f" of {total / 1e6:.1f}" if total else ""
            click.echo(f"downloading {name}: {done / 1e6:.1f}{share} MB", err=True)

    return report


@contextlib.contextmanager
def reading(name: str | None, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback for `load_dataset` that shows how many images of a folder are read; nothing of other data."""
    with contextlib.ExitStack() as shown:
        done: Callable[[int], None] | None = None

        def on_read(n: int, total: int) -> None:
            nonlocal done
            if done is None:
                done = shown.enter_context(counting(f"reading {printable(str(name))}", total, quiet=quiet))
            done(n)

        yield on_read


def counted(items: Iterable[T], what: str, total: int | None, *, quiet: bool = False) -> Iterator[T]:
    """Yield the items, with their progress shown."""
    with counting(what, total, quiet=quiet) as done:
        for n, item in enumerate(items, 1):
            yield item
            done(n)


@contextlib.contextmanager
def studying(name: str, *, quiet: bool = False) -> Iterator[Callable[[Cells], None]]:
    """Yield `change(progress)`: call it as cells begin and end. Piped, a plain line at most every five seconds."""
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        from rich.progress import Progress, TextColumn

        console = _err()
        columns = (
            TextColumn("{task.description}", markup=False),
            _bar(console),
            TextColumn("{task.fields[said]}"),
        )
        with Progress(*columns, console=console, transient=True) as shown:
            task = shown.add_task(name, total=None, said="")
            yield lambda progress: shown.update(
                task,
                total=progress.total,
                completed=progress.total - progress.left,
                said=cells_line(progress),
            )
    else:
        yield _plain_cells(name)


def _plain_cells(name: str) -> Callable[[Cells], None]:
    told = 0.0

    def change(progress: Cells) -> None:
        nonlocal told
        if progress.last is not None and (time.monotonic() - told >= 5 or not progress.left):
            told = time.monotonic()
            click.echo(f"{name}: {cells_line(progress)}", err=True)

    return change


def cells_line(progress: Cells) -> str:
    """Return how far a grid is, in words."""
    parts = [f"{progress.kept + progress.done} of {progress.total} cells done"]
    parts += [f"{progress.kept} kept"] if progress.kept else []
    parts += [f"{progress.running} running"] if progress.running else []
    parts += [f"{progress.failed} failed"] if progress.failed else []
    if progress.seconds_left is not None and progress.left:
        parts.append(f"{_clock(progress.seconds_left)} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _bar(console: Any) -> Any:
    from rich.progress import BarColumn

    return BarColumn(bar_width=24 if console.width >= 120 else 12)


def _err() -> Any:
    from rich.console import Console

    return Console(stderr=True)
