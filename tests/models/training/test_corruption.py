"""Noise: it is what the formula says, depends on its generator alone, and 0 is no noise."""

from __future__ import annotations

import pytest
import torch

from anomalae import seeds
from anomalae.models.training import corruption
from anomalae.models.training.corruption import corrupt


def test_strength_zero_returns_the_images_themselves():
    images = torch.rand(2, 1, 28, 28)
    assert corrupt(images, 0, seeds.generator(0, seeds.EPOCH, 1)) is images


def test_same_stream_same_noise_other_stream_other_noise():
    images = torch.rand(2, 1, 28, 28)
    first = corrupt(images, 1, seeds.generator(5, seeds.EPOCH, 1))
    assert torch.equal(first, corrupt(images, 1, seeds.generator(5, seeds.EPOCH, 1)))
    for seed, stream, index in ((6, seeds.EPOCH, 1), (5, seeds.VALIDATION, 1), (5, seeds.EPOCH, 2)):
        assert not torch.equal(first, corrupt(images, 1, seeds.generator(seed, stream, index)))


def test_noise_has_a_fine_part_and_a_coarse_part_of_the_stated_size():
    blank = torch.zeros(5000, 1, 28, 28)
    found = corrupt(blank, 2.0, seeds.generator(0, seeds.EPOCH))[:, 0] / 2
    fine, coarse = corruption.PIXEL_SIGMA**2, corruption.COARSE_SIGMA**2
    # Bilinear upsampling by 4 puts weights of 7/8 and 1/8 on pixel 14, of 5/8 and 3/8 on its right neighbour, and
    # repeats the grid's corner at pixel 0.
    own, neighbour = (49 + 1) / 64, (35 + 3) / 64
    assert found[:, 14, 14].var() == pytest.approx(fine + coarse * own**2, rel=0.1)
    assert found[:, 0, 0].var() == pytest.approx(fine + coarse, rel=0.1)
    covariance = (found[:, 14, 14] * found[:, 14, 15]).mean()
    assert covariance == pytest.approx(coarse * own * neighbour, rel=0.15)
    assert found.mean() == pytest.approx(0, abs=0.01)


def test_global_random_state_is_untouched():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    corrupt(torch.zeros(1, 1, 28, 28), 1.0, seeds.generator(0, seeds.EPOCH))
    assert torch.equal(before, torch.get_rng_state())
