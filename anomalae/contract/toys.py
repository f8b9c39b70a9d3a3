"""What the contract is tried on: upright bars, which are normal, and crosses of as much ink, which are not."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalae.detectors.detector import Detector
from anomalae.detectors.member import NetworkMember
from anomalae.errors import ContractError
from anomalae.evaluation.metrics import evaluate
from anomalae.models.base import build
from anomalae.settings import Settings

N_TRAIN, N_HELD_OUT, N_TEST = 160, 40, 40
LEAST_AUC = 0.6  # above chance
# Settings of networks that learn bars in a second or two.
SMALL: dict[str, Any] = {"hidden": (32, 16), "latent_dim": 4, "batch_size": 32, "epochs": 20}
SAMPLES = 4  # draws of a density, in place of 16
# Share of the largest number by which equal things may differ: batches of other sizes are added up in other orders.
ROUNDING = 1e-4


def strokes(count: int, seed: int, *, crossed: bool) -> np.ndarray:
    """Draw bars, or crosses of as much ink, a little slanted and shifted: uint8 (count, 28, 28)."""
    rng = np.random.default_rng([seed, crossed])
    slant, centre = rng.uniform(-0.25, 0.25, count), rng.uniform(11.5, 15.5, (2, count))
    down, across = np.mgrid[0:28, 0:28][:, None] - centre[:, :, None, None]
    image = np.zeros((count, 28, 28))
    for turn in (0, np.pi / 2) if crossed else (0,):
        sine, cosine = (f(slant + turn)[:, None, None] for f in (np.sin, np.cos))
        along, beside = cosine * down + sine * across, cosine * across - sine * down
        beyond = np.maximum(np.abs(along) - (4.5 if crossed else 9), 0)
        image = np.maximum(image, np.clip(2 - np.hypot(beyond, beside), 0, 1))
    return (image * 255).astype(np.uint8)


def tensor(images: np.ndarray) -> Tensor:
    """Images (N, 28, 28) as a network sees them: float32 (N, 1, 28, 28) in [0, 1]."""
    return torch.from_numpy(images.astype(np.float32) / 255)[:, None]


def mixed() -> Tensor:
    """A few bars and crosses, float32 (8, 1, 28, 28) in [0, 1]."""
    return tensor(np.concatenate([strokes(4, 5, crossed=False), strokes(4, 5, crossed=True)]))


def blank() -> Tensor:
    """An image without ink and one that is all ink, float32 (2, 1, 28, 28)."""
    return torch.stack([torch.zeros(1, 28, 28), torch.ones(1, 28, 28)])


class Trial:
    """Trains on bars with these settings, once for all checks that ask for it."""

    def __init__(self, make: Callable[[], Settings]) -> None:
        """make: returns the settings; it is called on first use, so that what it raises is a check's fault."""
        self._make = make
        self._error: Exception | None = None

    @cached_property
    def settings(self) -> Settings:
        """Settings of the part that is tried."""
        return self._make()

    def network(self, *, seed: int = 0, view: str | None = None, **more: Any) -> Any:
        """A network of these settings before its training, as `build` makes it, ready to score."""
        settings = Settings.of(**{**self.settings.to_dict(), **more}) if more else self.settings
        return build(settings.network(view or settings.views[0], seed)).eval()

    def fitted(self, **more: Any) -> Detector:
        """A detector of these settings and `more` of them, trained on bars."""
        return fit(Detector(device="cpu", **{**self.settings.to_dict(), **more}))

    @property
    def detector(self) -> Detector:
        """A detector of these settings, trained on bars. What its training raises is raised each time."""
        if self._error is not None:
            raise self._error
        return self._detector

    @cached_property
    def _detector(self) -> Detector:
        try:
            return self.fitted()
        except Exception as error:
            self._error = error
            raise

    @property
    def member(self) -> NetworkMember:
        """The trained network with what scores learned."""
        return self.detector._ensemble.first

    def roc_auc(self) -> float:
        """How well the score tells crosses from bars that the training has not seen."""
        images = np.concatenate([strokes(N_TEST, 4, crossed=False), strokes(N_TEST, 4, crossed=True)])
        truth = np.repeat([False, True], N_TEST)
        return float(evaluate(self.detector.score(images), is_anomaly=truth).roc_auc or 0.0)


def fit(detector: Detector, **more: Any) -> Detector:
    """Train a detector on bars; more goes to its `fit`."""
    bars = (strokes(n, seed, crossed=False) for seed, n in enumerate((N_TRAIN, N_HELD_OUT, N_HELD_OUT)))
    return detector.fit(*bars, **more)


def small(**settings: Any) -> Settings:
    """Settings of a small network; those given win."""
    settings = SMALL | settings
    if "samples" in Settings.of(model=settings.get("model", "ae")).kind.own:
        settings.setdefault("samples", SAMPLES)
    return Settings.of(**settings)


# --- what checks say ---


def require(holds: bool, fault: str) -> None:
    """Raise ContractError with this line unless it holds."""
    if not holds:
        raise ContractError(fault)


def require_tensor(
    what: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype, low: float | None = None
) -> None:
    """Raise ContractError unless `value` is a finite tensor of this shape and dtype; from `low` to 1 where given."""
    require(isinstance(value, Tensor), f"{what} gives a {type(value).__name__}, not a Tensor")
    require(tuple(value.shape) == shape, f"{what} gives shape {tuple(value.shape)}: must be {shape}")
    require(value.dtype == dtype, f"{what} gives {value.dtype}: must be {dtype}")
    require_finite(what, value)
    if low is not None and value.numel():
        least, most = float(value.min()), float(value.max())
        inside = least >= low and most <= 1
        require(inside, f"{what} gives values from {least:.3g} to {most:.3g}: must be in [{low:g}, 1]")


def require_finite(what: str, value: Tensor) -> None:
    """Raise ContractError unless all values are finite."""
    require(bool(torch.isfinite(value).all()), f"{what} gives values that are not finite numbers")


def require_alike(what: str, value: Tensor, expected: Tensor, why: str) -> None:
    """Raise ContractError unless two tensors are alike but for rounding."""
    require(value.shape == expected.shape, f"{what} changes its shape {why}")
    apart = float((value.double() - expected.double()).abs().max()) if value.numel() else 0.0
    limit = ROUNDING * max(float(expected.double().abs().max()), 1e-3) if expected.numel() else 0.0
    require(apart <= limit, f"{what} changes by {apart:.3g} {why}")


def require_each_by_itself(what: str, function: Callable[[Tensor], Tensor], batch: Tensor) -> None:
    """Raise ContractError where what a function makes of a row depends on the rows beside it, or on their order."""
    whole = function(batch)
    order = torch.arange(len(batch)).flip(0)
    why = "of an image with the images beside it: each must be by itself, see torch.nn.BatchNorm, sums over dim 0"
    require_alike(
        what, function(batch[order])[order], whole, why.replace("images beside it", "order of images")
    )
    require_alike(what, torch.cat([function(row[None]) for row in batch]), whole, why)


@contextlib.contextmanager
def untouched(what: str, *arrays: Tensor) -> Iterator[None]:
    """Raise ContractError where the block draws from a global generator, or changes one of the arrays."""
    before = [array.clone() for array in arrays]
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    numpy_state = str(np.random.get_state())  # noqa: NPY002 - to see that it is not used
    yield
    drawn = [
        name
        for name, same in (
            ("torch", torch.equal(torch_state, torch.get_rng_state())),
            ("numpy.random", numpy_state == str(np.random.get_state())),  # noqa: NPY002
            ("random", python_state == random.getstate()),
        )
        if not same
    ]
    require(
        not drawn, f"{what} draws from the global generator of {', '.join(drawn)}: use the one it is given"
    )
    changed = any(not torch.equal(old, new) for old, new in zip(before, arrays, strict=True))
    require(not changed, f"{what} changes the tensor it is given: work on a copy")
