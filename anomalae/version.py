"""The version of anomalae, read by the build and by `anomalae --version`."""

__version__ = "0.1.0"
