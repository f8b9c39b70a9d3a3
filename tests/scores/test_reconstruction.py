"""Scores: each rule equals its formula written as a loop, its terms sum to it, and its promises on blanks hold."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from anomalae.models import blur as smoothing
from anomalae.plugins import SCORES
from anomalae.scores.base import Evidence

SIDE = 28


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((4, SIDE, SIDE)), rng.random((4, SIDE, SIDE))


RULES = ("bent", "worst-place", "mse", "relative", "smooth")


def seen(x: torch.Tensor, y: torch.Tensor) -> Evidence:
    """Evidence of an image and its reconstruction."""
    evidence: Any = SimpleNamespace(target=x, rebuilt=y)
    return evidence


def score(rule: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return SCORES[rule].score(seen(x, y), {})


def terms_of(rule: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return SCORES[rule].terms(seen(x, y))


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32))[:, None]


def loop_mse(x: np.ndarray, y: np.ndarray) -> float:
    total = 0.0
    for i in range(SIDE):
        for j in range(SIDE):
            total += (x[i, j] - y[i, j]) ** 2
    return total / (SIDE * SIDE)


def loop_relative(x: np.ndarray, y: np.ndarray) -> float:
    energy = sum(x[i, j] ** 2 for i in range(SIDE) for j in range(SIDE))
    return loop_mse(x, y) * SIDE * SIDE / max(energy, 1.0)


def loop_blur(x: np.ndarray, sigma: float = 1.5, cut: int = 5) -> np.ndarray:
    weight = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-cut, cut + 1)]
    weight = [w / sum(weight) for w in weight]
    out = np.zeros_like(x)
    for i in range(SIDE):
        for j in range(SIDE):
            for di in range(-cut, cut + 1):
                for dj in range(-cut, cut + 1):
                    if 0 <= i + di < SIDE and 0 <= j + dj < SIDE:
                        out[i, j] += weight[di + cut] * weight[dj + cut] * x[i + di, j + dj]
    return out


def loop_smooth(x: np.ndarray, y: np.ndarray) -> float:
    a, b = loop_blur(x), loop_blur(y)
    return 1 - float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def loop_worst_place(x: np.ndarray, y: np.ndarray) -> float:
    squares = loop_blur(x - y, 0.7, 3) ** 2
    places = [squares[i : i + 11, j : j + 11].mean() for i in range(SIDE - 10) for j in range(SIDE - 10)]
    energy = max((loop_blur(y, 0.7, 3) ** 2).sum(), 1.0)
    return float(squares.sum() * math.sqrt(max(places)) / energy**0.75)


def loop_edges(x: np.ndarray) -> np.ndarray:
    """Sobel maps of length 1 together, (2, 28, 28)."""
    out = np.zeros((2, SIDE, SIDE))
    for i in range(SIDE):
        for j in range(SIDE):
            for step, weight in ((-1, 1), (0, 2), (1, 1)):
                for side in (-1, 1):
                    for way, (a, b) in enumerate(((i + step, j + side), (i + side, j + step))):
                        if 0 <= a < SIDE and 0 <= b < SIDE:
                            out[way, i, j] += side * weight * x[a, b]
    return out / math.sqrt((out**2).sum())


def loop_bent(x: np.ndarray, y: np.ndarray) -> float:
    far = 4
    a, b = (np.pad(loop_edges(z), ((0, 0), (far, far), (far, far))) for z in (x, y))

    def patch(z: np.ndarray, i: int, j: int) -> np.ndarray:
        return z[:, far + i - 1 : far + i + 2, far + j - 1 : far + j + 2]

    shifts = [(di, dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]
    apart = 0.0
    for p, q in ((a, b), (b, a)):
        for i in range(SIDE):
            for j in range(SIDE):
                apart += (
                    min(((patch(p, i, j) - patch(q, i + di, j + dj)) ** 2).sum() for di, dj in shifts) / 9
                )
    return math.sqrt(loop_mse(x, y)) * apart


@pytest.mark.parametrize(
    ("rule", "loop", "rtol"),
    [
        ("mse", loop_mse, 1e-9),
        ("relative", loop_relative, 1e-9),
        ("smooth", loop_smooth, 1e-9),
        # By numbers of 32 bits.
        ("bent", loop_bent, 1e-5),
        ("worst-place", loop_worst_place, 1e-5),
    ],
)
def test_rule_equals_a_loop(rule, loop, rtol, pairs):
    n = 1 if rule == "bent" else len(pairs[0])
    x, y = (p[:n].astype(np.float32).astype(np.float64) for p in pairs)
    found = score(rule, tensor(x), tensor(y))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), [loop(a, b) for a, b in zip(x, y, strict=True)], rtol=rtol)


@pytest.mark.parametrize("rule", ["mse", "bent", "worst-place"])
def test_rules_of_several_maps(rule, pairs):
    """Errors are means over all maps, what is bent is summed."""
    x, y = (tensor(p)[:2].transpose(0, 1) for p in pairs)
    alone = score(rule, x[:, :1], y[:, :1]), score(rule, x[:, 1:], y[:, 1:])
    both = score(rule, x, y)
    assert both.shape == (1,)
    if rule == "mse":
        torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)
    if rule == "bent":
        errors = [score("mse", x[:, i : i + 1], y[:, i : i + 1]) for i in (0, 1)]
        apart = sum(s / torch.sqrt(e) for s, e in zip(alone, errors, strict=True))
        torch.testing.assert_close(both, torch.sqrt((errors[0] + errors[1]) / 2) * apart)
    terms = terms_of(rule, x, y)
    assert terms.shape == x.shape
    torch.testing.assert_close(terms.abs().sum((1, 2, 3)), both)


def test_bent_forgives_a_step_aside_and_not_a_stroke_too_many():
    stroke = torch.zeros(1, 1, SIDE, SIDE)
    stroke[..., 5:23, 13:15] = 1
    aside, more = torch.roll(stroke, 1, 3), stroke.clone()
    more[..., 13:15, 13:22] = 1
    # The step aside is the larger error.
    assert score("mse", aside, stroke) > score("mse", more, stroke)
    assert score("bent", aside, stroke) < 1e-6 < 1e-2 < score("bent", more, stroke)


def test_bent_does_not_mind_who_is_the_image(pairs):
    x, y = map(tensor, pairs)
    torch.testing.assert_close(score("bent", x, y), score("bent", y, x), rtol=1e-5, atol=0)
    one_by_one = torch.cat([score("bent", x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    assert torch.equal(one_by_one, score("bent", x, y))


@pytest.mark.parametrize("rule", RULES)
def test_terms_sum_to_the_score_and_carry_the_sign_of_the_ink(rule, pairs):
    x, y = map(tensor, pairs)
    terms = terms_of(rule, x, y)
    torch.testing.assert_close(terms.abs().sum((1, 2, 3)), score(rule, x, y))
    more_ink = torch.ones(1, 1, SIDE, SIDE)
    half = more_ink * 0.5
    half[..., :14] = 1.0
    if rule == "smooth":  # scale-free: where the share of ink is too large, and where too small
        signs = terms_of(rule, more_ink, half)[0, 0]
        assert signs[14, 22] > 0 > signs[14, 5]
    elif rule == "bent":  # where edges differ too
        for x, y, sign in ((more_ink, half, 1), (half, more_ink, -1)):
            signs = sign * terms_of(rule, x, y)[..., 14:]
            assert (signs >= 0).all()
            assert (signs[..., 2, 2:-2] > 0).any() or (signs[..., 0] > 0).any()
    else:
        assert (terms_of(rule, more_ink, half)[..., 14:] > 0).all()
        assert (terms_of(rule, half, more_ink)[..., 14:] < 0).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_perfect_reconstruction_scores_zero(rule, pairs):
    x = tensor(pairs[0])
    assert (score(rule, x, x) == 0).all()


def test_blank_images():
    blank, ink = torch.zeros(1, 1, SIDE, SIDE), torch.full((1, 1, SIDE, SIDE), 0.5)
    for x, y in ((blank, ink), (ink, blank), (blank, blank)):
        assert score("smooth", x, y).item() == pytest.approx(1.0)
    assert score("relative", blank, ink).item() == pytest.approx(0.25 * SIDE * SIDE)
    assert score("mse", blank, blank).item() == 0
    assert score("worst-place", blank, blank).item() == 0
    for rule in ("bent", "worst-place"):
        assert score(rule, blank, ink).item() > 0
        assert score(rule, ink, blank).item() > 0
    # It is no digit, and a network may rebuild it.
    for rebuilt in (blank, ink, torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))):
        assert score("bent", blank, rebuilt).item() == 4 > score("bent", ink, rebuilt).item()


def test_smooth_does_not_mind_brightness_nor_a_little_cancellation(pairs):
    x = tensor(pairs[0])
    assert score("smooth", x, 0.3 * x).max() < 1e-12
    nearly = x.clone()
    nearly[:, :, 3, 3] += 1e-3
    assert (score("smooth", x, nearly) > 0).all()


def test_blur_matrix_is_a_symmetric_band():
    blur = smoothing.blur_matrix(SIDE, 1.5, 5)
    assert torch.equal(blur, blur.T)
    assert blur[0, 6] == 0
    assert blur[14].sum() == pytest.approx(1.0)
