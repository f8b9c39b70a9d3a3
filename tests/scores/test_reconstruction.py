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


RULES = ("mse", "relative", "smooth")


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


def loop_blur(x: np.ndarray) -> np.ndarray:
    weight = [math.exp(-(d**2) / (2 * 1.5**2)) for d in range(-5, 6)]
    weight = [w / sum(weight) for w in weight]
    out = np.zeros_like(x)
    for i in range(SIDE):
        for j in range(SIDE):
            for di in range(-5, 6):
                for dj in range(-5, 6):
                    if 0 <= i + di < SIDE and 0 <= j + dj < SIDE:
                        out[i, j] += weight[di + 5] * weight[dj + 5] * x[i + di, j + dj]
    return out


def loop_smooth(x: np.ndarray, y: np.ndarray) -> float:
    a, b = loop_blur(x), loop_blur(y)
    return 1 - float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize(
    ("rule", "loop"), [("mse", loop_mse), ("relative", loop_relative), ("smooth", loop_smooth)]
)
def test_rule_equals_a_loop(rule, loop, pairs):
    x, y = (p.astype(np.float32).astype(np.float64) for p in pairs)
    found = score(rule, tensor(x), tensor(y))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), [loop(a, b) for a, b in zip(x, y, strict=True)], rtol=1e-9)


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
