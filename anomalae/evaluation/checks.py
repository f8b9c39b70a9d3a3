"""What the functions of this package accept: finite scores, truth of both kinds, levels between 0 and 1."""

from numbers import Real

import numpy as np
import numpy.typing as npt

from anomalae.errors import AnomalaeError, ConfigError, DataError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def check_fraction(name: str, value: object) -> None:
    """Raise ConfigError unless the value is a number in the open interval (0, 1)."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ConfigError(f"{name} {value}: must be above 0 and below 1")


def real_array(name: str, values: npt.ArrayLike, ndim: int) -> Floats:
    """Return the values as float64; DataError, naming the first bad place, unless real, finite and not empty."""
    array = _as_float64(name, values, ndim, DataError)
    if array.size == 0:
        raise DataError(f"{name}: shape {array.shape}, at least 1 value is needed")
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        raise DataError(f"{name}{bad[0].tolist()} is {array[tuple(bad[0])]}: must be finite")
    return array


def ordered_vector(name: str, values: npt.ArrayLike) -> Floats:
    """Return the values (N,) as float64; ConfigError, naming the first bad place, unless real and none is NaN.

    N may be 0, and infinities are ordered like any other number.
    """
    array = _as_float64(name, values, 1, ConfigError)
    missing = np.flatnonzero(np.isnan(array))
    if missing.size:
        raise ConfigError(f"{name}[{missing[0]}] is nan: must be a number")
    return array


def _as_float64(name: str, values: npt.ArrayLike, ndim: int, error: type[AnomalaeError]) -> Floats:
    array = np.asarray(values)
    if array.ndim != ndim or array.dtype.kind not in "iuf":
        wanted = "(N,)" if ndim == 1 else "(M, N)"
        raise error(
            f"{name}: must be real numbers of shape {wanted}, not {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.float64)


def check_probabilities(name: str, values: Floats, error: type[AnomalaeError]) -> None:
    """Raise this error, naming the first bad place, unless all values (N,) are in [0, 1]."""
    outside = np.flatnonzero((values < 0) | (values > 1))
    if outside.size:
        raise error(f"{name}[{outside[0]}] is {values[outside[0]]:g}: must be between 0 and 1")


def check_truth(is_anomaly: npt.ArrayLike, shape: tuple[int, ...]) -> Bools:
    """Return `is_anomaly` as bool of this shape; DataError for anything but bool or integers 0 and 1."""
    array = np.asarray(is_anomaly)
    if array.shape != shape:
        raise DataError(f"is_anomaly: shape {array.shape}, must be {shape} as the scores")
    if array.dtype.kind not in "biu":
        raise DataError(f"is_anomaly: must be bool or integers 0 and 1, not {array.dtype}")
    bad = np.argwhere((array != 0) & (array != 1))
    if bad.size:
        raise DataError(f"is_anomaly{bad[0].tolist()} is {array[tuple(bad[0])]}: must be 0 or 1")
    return array.astype(np.bool_)


def check_counts(truth: Bools, least: int) -> None:
    """Raise DataError unless there are at least so many images of each kind."""
    anomalous, normal = int(truth.sum()), int((~truth).sum())
    if min(anomalous, normal) < least:
        raise DataError(
            f"{anomalous} anomalous and {normal} normal scores: at least {least} of each are needed"
        )


def class_names(labels: npt.ArrayLike, n: int) -> npt.NDArray[np.str_]:
    """Return the labels (N,) as text; DataError for another shape."""
    array = np.asarray(labels)
    if array.shape != (n,):
        raise DataError(f"labels: shape {array.shape}, must be ({n},) as the scores")
    return np.array([str(label) for label in array.tolist()])
