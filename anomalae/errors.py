"""Named errors. Each message is one line that names the value, the limit and, where there is one, the path."""


class AnomalaeError(Exception):
    """Base of every error that anomalae raises on purpose; the command line prints it without a traceback."""


class ConfigError(AnomalaeError, ValueError):
    """A setting is unknown or out of its range."""


class ImageError(AnomalaeError, ValueError):
    """An array or a file is not a usable image."""


class DataError(AnomalaeError, ValueError):
    """A data set is missing, broken, or lacks what was asked of it."""


class BundleError(AnomalaeError):
    """A run folder is missing, unfinished, broken or locked."""


class TrainingError(AnomalaeError):
    """Training cannot go on, for instance because the loss is not a number."""
