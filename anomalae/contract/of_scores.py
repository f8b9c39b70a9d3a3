"""What every score must do, a check a property: see `anomalae.scores.base.Score`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalae.contract.of_models import saved_and_loaded, tells_crosses_from_bars
from anomalae.contract.toys import (
    ROUNDING,
    Trial,
    blank,
    mixed,
    require,
    require_alike,
    require_each_by_itself,
    require_tensor,
    small,
    strokes,
    tensor,
    untouched,
)
from anomalae.errors import AnomalaeError
from anomalae.network_kinds import LIKELIHOODS, MODELS
from anomalae.plugins import SCORES, VIEWS
from anomalae.scores.base import Evidence
from anomalae.settings import MOST_LAYERS, Settings


def trial(name: str) -> Trial:
    """What the checks of a score share: a network that has it."""
    return Trial(lambda: _fitting(name))


def _fitting(name: str) -> Settings:
    """Settings of a network that has the score, ours and one's own being tried. Raises ContractError for none."""
    score = SCORES[name]
    for model, more, view in itertools.product(MODELS.names(), _variations(), VIEWS.names()):
        try:
            settings = small(model=model, views=(view,), **more)
        except AnomalaeError:
            continue
        if score.fits(settings.network(view)):
            return small(model=model, views=(view,), score=name, **more)
    require(False, "fits is true of no network that is known here, so nothing can be judged by it")
    raise AssertionError


def _variations() -> Iterator[dict[str, Any]]:
    """Settings that not all kinds have, and on which it may depend whether a score fits."""
    yield {}
    yield from ({"likelihood": likelihood} for likelihood in LIKELIHOODS)
    yield from ({"layers": layers} for layers in range(2, MOST_LAYERS + 1))


def _scored(trial: Trial, images: Tensor) -> Tensor:
    """Scores of images by the trained network."""
    member, rule = trial.member, trial.settings.rule
    scores: Tensor = SCORES[rule].score(member.look(images), member.learned.get(rule, {}))
    return scores


def _look(trial: Trial) -> Evidence:
    return trial.member.look(mixed())


def name_works(trial: Trial) -> None:
    settings = trial.settings
    score = SCORES[settings.rule]
    require(Settings.from_dict(settings.to_dict()) == settings, "its settings are not read back as written")
    require(bool(score.line), "line is empty: say in a few words what the score is")
    require(score.scale in ("error", "nats"), f"scale {score.scale!r}: must be 'error' or 'nats'")


def float64(trial: Trial) -> None:
    images = mixed()
    scores = _scored(trial, images)
    require_tensor("score", scores, (len(images),), torch.float64)
    require(scores.device.type == "cpu", f"score gives a tensor on {scores.device}: must be on the CPU")
    require(not scores.requires_grad, "score keeps a gradient: detach it")


def at_least_0(trial: Trial) -> None:
    least = float(_scored(trial, mixed()).min())
    if SCORES[trial.settings.rule].scale == "error":
        fault = f"score gives {least:.3g}: an error is at least 0, for ensembles average logarithms; else scale 'nats'"
        require(least >= 0, fault)


def blank_images(trial: Trial) -> None:
    require_tensor("score of a blank and a full image", _scored(trial, blank()), (2,), torch.float64)


def same_each_time(trial: Trial) -> None:
    first, second = (_scored(trial, mixed()) for _ in range(2))
    require(torch.equal(first, second), "score of the same images differs from call to call")


def images_by_themselves(trial: Trial) -> None:
    require_each_by_itself("score", lambda images: _scored(trial, images), mixed())


def left_as_they_were(trial: Trial) -> None:
    images, rule, member = mixed(), trial.settings.rule, trial.member
    learned = {name: array.copy() for name, array in member.learned.get(rule, {}).items()}
    seen, score = member.look(images), SCORES[rule]
    state = dict(getattr(score, "__dict__", {}))
    with untouched("score", images, seen.source, seen.target, seen.rebuilt):
        score.score(seen, learned)
        score.terms(seen)
        score.learn(seen)
    kept = getattr(score, "__dict__", {})
    same = kept.keys() == state.keys() and all(kept[name] is state[name] for name in state)
    require(
        same,
        "score changes its own attributes: one object serves all networks, return what is learned by learn",
    )
    same = all(np.array_equal(array, member.learned[rule][name]) for name, array in learned.items())
    require(same, "score changes what it has learned")


def learned(trial: Trial) -> None:
    score = SCORES[trial.settings.rule]
    train = tensor(strokes(max(20, score.least_images), 0, crossed=False))
    arrays = score.learn(trial.member.look(train))
    names = ", ".join(arrays) or "nothing"
    require(set(arrays) == set(score.learned), f"learn returns {names}, Score.learned names {score.learned}")
    for name, array in arrays.items():
        kind = f"{array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        require(kind == "float32", f"learn returns {name!r} as {kind}: must be a float32 array")
        require(bool(np.isfinite(array).all()), f"learn returns {name!r} with values that are not finite")


def terms(trial: Trial) -> None:
    score, seen = SCORES[trial.settings.rule], _look(trial)
    signed = score.terms(seen)
    if not score.has_terms:
        require(signed is None, "terms returns something, but has_terms is false")
        return
    require(score.scale == "error", "has_terms needs scale 'error': absolute terms cannot sum to nats")
    require_tensor("terms", signed, tuple(seen.target.shape), torch.float64)
    assert signed is not None
    scores = _scored(trial, mixed())
    apart = float((signed.abs().flatten(1).sum(1) - scores).abs().max())
    require(
        apart <= ROUNDING * float(scores.abs().max()),
        f"absolute terms miss the score by {apart:.3g}: see Score.terms",
    )


def heatmap(trial: Trial) -> None:
    detector, images = trial.detector, strokes(4, 5, crossed=True)
    heat = detector.heatmap(images)
    right = heat.shape == images.shape and heat.dtype == np.float64 and np.isfinite(heat).all()
    require(bool(right), f"a heatmap is {heat.dtype} {heat.shape}, or not finite: see Score.terms")
    if SCORES[trial.settings.rule].has_terms:
        total = torch.from_numpy(np.abs(heat).sum((1, 2)))
        require_alike("a heatmap's sum", total, torch.from_numpy(detector.score(images)), "against the score")


def ensemble(trial: Trial) -> None:
    detector = trial.fitted(members=2, epochs=1)
    scores = detector.score(strokes(4, 5, crossed=True))
    require(
        bool(np.isfinite(scores).all()),
        "two networks together give scores that are not finite: see Score.scale",
    )


_ALWAYS: tuple[tuple[str, Callable[[Trial], None]], ...] = (
    ("its name works in Settings, and it fits a network", name_works),
    ("scores are finite, float64 (N,), on the CPU", float64),
    ("an error is at least 0", at_least_0),
    ("blank and full images have finite scores", blank_images),
    ("the same images score the same, bit for bit", same_each_time),
    ("each image scores by itself: neither batch nor order matters", images_by_themselves),
    ("images and what was learned are left as they were, and nothing is drawn", left_as_they_were),
    ("what it learns is float32, by the names it says", learned),
    ("its terms sum to the score, where it has terms", terms),
    ("it has a heatmap, its own or that of `smooth`", heatmap),
    ("saved and loaded it is the same, bit for bit", saved_and_loaded),
    ("it works in an ensemble", ensemble),
)
_JUDGES = ("it tells crosses from bars", tells_crosses_from_bars)


def checks(name: str) -> tuple[tuple[str, Callable[[Trial], None]], ...]:
    """The checks of a score, by label; one that is not made to judge need not tell crosses from bars."""
    return (*_ALWAYS, *([_JUDGES] if SCORES[name].judges else []))
