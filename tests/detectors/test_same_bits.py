"""A score is the same bits alone and in a batch of any size and order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalae import Detector, Score, register_score
from anomalae.detectors import member
from anomalae.detectors.batches import BLOCKS, agreeing, blocks, noise
from anomalae.detectors.tabular import TableDetector
from anomalae.plugins import SCORES
from anomalae.threads import limited

NUMBERS = (1, 2, 3, 4, 5, 31, 33, 100)  # images given at once


@pytest.mark.parametrize(
    ("settings", "threads"),
    [
        ({}, 1),
        ({}, 2),
        # Threads that share a block unevenly give some places other bits.
        ({}, 3),
        ({"architecture": "conv"}, 1),
        ({"views": ("normalised",), "hidden": (256, 128), "latent_dim": 32, "score": "nap"}, 1),
        ({"views": ("pixels", "edges", "deskewed"), "neighbours": 5}, 1),
        ({"views": ("normalised",), "neighbours": 3, "distance": "sum", "score": "smooth"}, 2),
        ({"model": "vae", "samples": 4}, 1),
        pytest.param(
            {"model": "vae", "samples": 4, "likelihood": "bernoulli", "architecture": "conv"},
            2,
            marks=pytest.mark.slow,
        ),
        ({"model": "ladder-vae", "samples": 2}, 1),
        pytest.param({"model": "adgm", "samples": 2}, 1, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_of_images(settings, threads, digits, images):
    before = torch.get_num_threads()
    split = digits.one_class(normal=[0], seed=0)
    try:
        detector = Detector(**{"epochs": 1, "threads": threads, **settings})
        detector.fit(split.train.images[:50], split.validation.images, split.calibration.images)
        many = np.concatenate([images, split.test.images])[:300]
        order = np.random.default_rng(0).permutation(len(many))
        whole, shuffled = detector.score_all(many), detector.score_all(many[order])
        calibration = detector.score_all(split.calibration.images)
        for rule, scores in whole.items():
            np.testing.assert_array_equal(shuffled[rule], scores[order])
            np.testing.assert_array_equal(calibration[rule], detector.calibration_scores(rule))
        for number in NUMBERS:
            some = detector.score_all(many[200 : 200 + number])
            for rule, scores in whole.items():
                np.testing.assert_array_equal(some[rule], scores[200 : 200 + number])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("model", ["ae", "vae"])
def test_of_rows_of_a_table(model):
    rows = np.random.default_rng(0).normal(size=(300, 30))
    detector = TableDetector(model=model, epochs=2).fit(rows)
    whole = detector.score(rows)
    for number in NUMBERS:
        np.testing.assert_array_equal(detector.score(rows[100 : 100 + number]), whole[100 : 100 + number])


def test_blocks_are_filled_up_and_hold_every_row_once():
    rows = torch.arange(300)[:, None]
    for number in (1, 4, 5, 32, 33, 256, 257, 300):
        cut = list(blocks(rows[:number], BLOCKS))
        assert all(len(block) in BLOCKS for block, _ in cut)
        assert torch.equal(torch.cat([block[:count] for block, count in cut]), rows[:number])
    assert len(next(blocks(rows[:1], BLOCKS))[0]) == BLOCKS[0]


def test_sizes_and_places_that_give_other_bits_are_not_used():
    sample = noise(3)
    assert agreeing(lambda rows: rows.sum(1), sample) == BLOCKS
    assert agreeing(lambda rows: rows.sum(1) + (len(rows) == 4) * 1e-7, sample) == BLOCKS[1:]
    assert agreeing(lambda rows: rows.sum(1) + 1 / len(rows), sample) == BLOCKS[-1:]
    last = BLOCKS[-1]
    by_place = lambda rows: rows.sum(1) + (torch.arange(len(rows)) == last // 2) * 1e-7  # noqa: E731
    assert agreeing(by_place, sample) == BLOCKS[:-1]
    assert agreeing(lambda rows: rows.sum(1) * torch.nan, sample) == BLOCKS[:1]


def test_where_the_shares_of_three_threads_meet_few_rows_have_other_bits():
    """Of few of the images that come to stand there: it is seen all the same."""
    meeting = torch.zeros(BLOCKS[-1], dtype=torch.bool)
    meeting[BLOCKS[-1] // 3] = True
    with limited(3):
        sizes = agreeing(
            lambda rows: rows.sum(1) + (meeting[: len(rows)] & (rows[:, 0] > 0.6)) * 1e-6, noise(3)
        )
    assert sizes == BLOCKS[:-1]


def test_networks_that_compute_alike_share_what_was_found_and_others_do_not(digits, monkeypatch):
    tried = []

    def seen(function, sample, alike=None):
        tried.append(alike)
        return agreeing(function, sample, alike)

    monkeypatch.setattr(member, "agreeing", seen)
    zeros = digits.train.images[digits.train.labels == 0][:60]

    def fit(**asked):
        tried.clear()
        Detector(**{"epochs": 1, "hidden": (16,), "threads": 1, **asked}).fit(zeros, conformal="split")
        assert None not in tried
        return set(tried)

    first = fit()
    assert fit(seed=5) == first
    for other in ({"latent_dim": 5}, {"views": ("pixels",)}, {"model": "vae"}, {"passes": 2}):
        assert not fit(**other) & first
    assert not fit(threads=2) & first


class Own(Score):
    """A score that does not come with anomalae."""

    name = "own"

    def score(self, seen, learned):
        return (seen.source - seen.rebuilt).square().mean((1, 2, 3)).cpu().double()


def test_a_part_of_ones_own_is_tried_each_time(digits, monkeypatch):
    monkeypatch.setattr(SCORES, "_own", {})
    register_score(Own())
    zeros = digits.train.images[digits.train.labels == 0][:60]
    detector = Detector(epochs=1, hidden=(16,), score="own").fit(zeros, conformal="split")
    (one,) = detector._ensemble.members
    assert one._alike((("own",), one.device, 1, one.arithmetic)) is None
    assert one._alike((("mse",), one.device, 1, one.arithmetic)) is not None
