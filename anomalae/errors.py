"""Named errors. Each message is one line that names the value, the limit and, where there is one, the path."""

from collections.abc import Iterable


class AnomalaeError(Exception):
    """Base of every error that anomalae raises on purpose; the command line prints it without a traceback.

    message: one line; it names settings and arguments as Python does.
    setting: the setting or argument that the message speaks of; the command line writes it as its flag.
    advice: what would help, as a key such as "name" or "resume" (see `anomalae.cli.console.ADVICE`), which the command
        line puts into words.
    about: the name that the advice needs, for instance of a run.
    unknown: the name that was asked for, where no class, data set, run, score, view or the like has it.
    known: the names there are; the command line suggests the nearest.

    >>> str(BundleError("runs/a: not finished", advice="resume", about="a"))
    'runs/a: not finished'
    """

    def __init__(
        self,
        message: str = "",
        *,
        setting: str | None = None,
        advice: str | None = None,
        about: str = "",
        unknown: str | None = None,
        known: Iterable[object] = (),
    ) -> None:
        super().__init__(message)
        self.setting, self.advice, self.about = setting, advice, about
        self.unknown, self.known = unknown, tuple(str(name) for name in known)


class ConfigError(AnomalaeError, ValueError):
    """A setting is unknown or out of its range."""


class PartError(ConfigError):
    """A part that does not come with anomalae, or its package, cannot be used: not the fault of who asks for it."""


class ContractError(AnomalaeError, AssertionError):
    """A part does not do what a part of its sort must do; see `anomalae.contract`.

    >>> isinstance(ContractError("view upside: changes its input"), AssertionError)
    True
    """


class PartWarning(UserWarning):
    """A part that does not come with anomalae is passed over, because it or its package does not work."""


class PathWarning(UserWarning):
    """A run names a path outside of where one works and keeps data sets, and data are read from there."""


class ImageError(AnomalaeError, ValueError):
    """An array or a file is not a usable image."""


class ImageWarning(UserWarning):
    """Images are not used as they were given, but brought to another size or to grey."""


class DataError(AnomalaeError, ValueError):
    """A data set is missing, broken, or lacks what was asked of it."""


class BundleError(AnomalaeError):
    """A run folder is missing, unfinished, broken or locked."""


class TrainingError(AnomalaeError):
    """Training cannot go on, for instance because the loss is not a number."""
