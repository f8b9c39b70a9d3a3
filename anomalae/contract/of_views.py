"""What every view must do, a check a property: see `anomalae.models.views.View`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anomalae.contract.of_models import saved_and_loaded, tells_crosses_from_bars
from anomalae.contract.toys import (
    Trial,
    blank,
    mixed,
    require,
    require_alike,
    require_each_by_itself,
    require_finite,
    require_tensor,
    small,
    untouched,
)
from anomalae.plugins import VIEWS
from anomalae.settings import Settings


def trial(name: str) -> Trial:
    """What the checks of a view share: an autoencoder that sees it."""
    return Trial(lambda: small(views=(name,)))


def _view(trial: Trial) -> Any:
    return VIEWS[trial.settings.views[0]]


def _maps(trial: Trial, count: int = 8) -> Tensor:
    """Signed terms of the target's kind, float64 (count, C, 28, 28), of the ink's middle."""
    drawn = torch.randn(count, _view(trial).channels, 28, 28, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.pad(drawn.double()[..., 8:20, 8:20], (8, 8, 8, 8))


def name_works(trial: Trial) -> None:
    settings = trial.settings
    require(Settings.from_dict(settings.to_dict()) == settings, "its settings are not read back as written")
    require(bool(_view(trial).line), "line is empty: say in a few words what the view is")


def shapes(trial: Trial) -> None:
    images, view = mixed(), _view(trial)
    source, target = view.see(images)
    require_tensor("source", source, (len(images), 1, 28, 28), torch.float32)
    require_tensor("target", target, (len(images), view.channels, 28, 28), torch.float32)


def in_range(trial: Trial) -> None:
    for name, maps in zip(("source", "target"), _view(trial).see(mixed()), strict=True):
        require_tensor(name, maps, tuple(maps.shape), torch.float32, low=0)


def blank_images(trial: Trial) -> None:
    images, view = blank(), _view(trial)
    for name, maps in zip(("source", "target"), view.see(images), strict=True):
        require_finite(f"{name} of a blank and of a full image", maps)
    require_finite("back of a blank and of a full image", view.back(_maps(trial, 2), images.double(), True))


def same_each_time(trial: Trial) -> None:
    (source, target), (again, target_again) = (_view(trial).see(mixed()) for _ in range(2))
    same = torch.equal(source, again) and torch.equal(target, target_again)
    require(same, "source or target of the same images differs from call to call")


def images_by_themselves(trial: Trial) -> None:
    view = _view(trial)
    require_each_by_itself("source", lambda images: view.see(images)[0], mixed())
    require_each_by_itself("target", lambda images: view.see(images)[1], mixed())


def left_as_they_were(trial: Trial) -> None:
    images, maps, view = mixed(), _maps(trial), _view(trial)
    with untouched("source, target or back", images, maps):
        view.see(images)
        view.back(maps, images.double(), True)


def terms_laid_back(trial: Trial) -> None:
    maps, images = _maps(trial), mixed().double()
    laid = _view(trial).back(maps, images, True)
    require_tensor("back", laid, (len(maps), 28, 28), torch.float64)
    require_alike(
        "the absolute sum of terms",
        laid.abs().sum((1, 2)),
        maps.abs().sum((1, 2, 3)),
        "when they are laid back over the image: see View.back",
    )


def maps_laid_back(trial: Trial) -> None:
    view, images = _view(trial), mixed()
    laid = view.back(view.see(images)[1], images, False)
    require_tensor("back", laid, (len(images), 28, 28), torch.float32)
    least, most = float(laid.min()), float(laid.max())
    inside = least >= -1e-5 and most <= view.channels + 1e-5
    require(inside, f"back makes values from {least:.3g} to {most:.3g} of maps in [0, 1]: must keep them")


CHECKS: tuple[tuple[str, Callable[[Trial], None]], ...] = (
    ("its name works in Settings", name_works),
    ("what is seen is (N, 1, 28, 28), what is rebuilt (N, channels, 28, 28), float32", shapes),
    ("what is seen and rebuilt is in [0, 1]", in_range),
    ("blank and full images give finite numbers", blank_images),
    ("the same images look the same, bit for bit", same_each_time),
    ("each image is seen by itself: neither batch nor order matters", images_by_themselves),
    ("images are left as they were, and nothing is drawn", left_as_they_were),
    ("terms laid back over the image keep their absolute sum", terms_laid_back),
    ("maps laid back over the image keep their values", maps_laid_back),
    ("saved and loaded a network that sees it is the same, bit for bit", saved_and_loaded),
    ("a network that sees it tells crosses from bars", tells_crosses_from_bars),
)


def checks(name: str) -> tuple[tuple[str, Callable[[Trial], None]], ...]:
    """The checks of a view, by label."""
    return CHECKS
