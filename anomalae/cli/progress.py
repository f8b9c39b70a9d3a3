"""Progress on standard error: Rich where somebody watches, plain lines where it is piped, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from anomalae.models.training.state import Training

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
                "training", total=epochs * images, completed=done * images, status="", rate=""
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
        held_out = "" if last.validation_loss is None else f"  validation {last.validation_loss:.3f}"
        status = f"epoch {last.epoch}/{self.epochs}  loss {last.loss:.3f}{held_out}"
        if self.progress:
            self.progress.update(
                self.task, completed=last.epoch * self.images, status=status, epoch=last.epoch
            )
        elif not self.quiet and self._is_due(last.epoch):
            left = (time.perf_counter() - self.begun) / (last.epoch - self.first) * (self.epochs - last.epoch)
            rate = self._rate(last.epoch, 0)
            click.echo(f"{status}  {rate}  {_clock(left)} left", err=True)

    def on_scored(self, done: int) -> None:
        """Show how many held-out images are scored, after the last epoch."""
        if self.progress:
            self.progress.update(self.task, status=f"calibrating: {done} held-out images", rate="")
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
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.fields[status]}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=_err(),
    )


@contextlib.contextmanager
def counting(what: str, total: int | None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Yield `done(n)`: call it with the number done so far. Plain lines come at most every two seconds."""
    if quiet:
        yield lambda n: None
    elif sys.stderr.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=_err(), transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda n: progress.update(task, completed=n)
    else:
        yield _plain_counter(what, total)


def _plain_counter(what: str, total: int | None) -> Callable[[int], None]:
    last = time.monotonic()

    def done(n: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 2:
            last = time.monotonic()
            click.echo(f"{what}: {n}" + (f" of {total}" if total else ""), err=True)

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


def counted(items: Iterable[T], what: str, total: int | None, *, quiet: bool = False) -> Iterator[T]:
    """Yield the items, with their progress shown."""
    with counting(what, total, quiet=quiet) as done:
        for n, item in enumerate(items, 1):
            yield item
            done(n)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _err() -> Any:
    from rich.console import Console

    return Console(stderr=True)
