"""On the real MNIST: the promises a user would check first. Marked `mnist`; CI has the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalae import Detector, evaluate, load_dataset
from anomalae.datasets.load import Dataset, OneClassSplit
from anomalae.evaluation.conformal import false_alarm_band
from anomalae.images.canonical import preprocess
from anomalae.images.inputs import read_inputs
from tests.cli import ok, parsed
from tests.scans import redraw_as_scan

pytestmark = pytest.mark.mnist


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return load_dataset("mnist")


@pytest.fixture(scope="module")
def split(mnist: Dataset) -> OneClassSplit:
    return mnist.one_class(normal=[2], seed=0)


@pytest.fixture(scope="module")
def twos(split: OneClassSplit) -> Detector:
    """A smaller, shorter training than the default's, on a digit that is not easy."""
    detector = Detector(hidden=(512, 256), epochs=8, seed=0)
    return detector.fit(split.train.images, split.validation.images, split.calibration.images)


def test_official_parts_and_the_split(mnist: Dataset):
    assert (len(mnist.train), len(mnist.test)) == (60000, 10000)
    assert mnist.provenance["verified"]
    zero = mnist.one_class(normal=[0], seed=0)
    assert (len(zero.train), len(zero.validation), len(zero.calibration)) == (5035, 296, 592)


def test_a_short_training_separates_twos_well(twos: Detector, split: OneClassSplit):
    found = evaluate(twos.score(split.test.images), split.test.labels != 2).roc_auc
    assert found is not None
    assert found > 0.96


def test_false_alarms_lie_in_their_band(twos: Detector, split: OneClassSplit):
    normal = split.test.images[split.test.labels == 2]
    low, high = false_alarm_band(twos.n_calibration, len(normal), 0.05, level=0.999)
    assert low <= twos.flags(normal, 0.05).mean() <= high


def test_scans_of_digits_are_judged_like_the_digits(twos: Detector, split: OneClassSplit, tmp_path: Path):
    """Dark ink on light paper at several sizes, off centre, with noise, as JPEG: at most 0.01 ROC-AUC is lost."""
    rng = np.random.default_rng(0)
    twos_there = np.flatnonzero(split.test.labels == 2)[:120]
    others = rng.permutation(np.flatnonzero(split.test.labels != 2))[:240]
    chosen = np.concatenate([twos_there, others])
    for place, index in enumerate(chosen):
        redraw_as_scan(split.test.images[index], rng).save(tmp_path / f"{place:04d}.jpg", quality=80)
    read = list(read_inputs([tmp_path]))
    assert not [one.error for one in read if one.error]
    scans = np.stack([one.image for one in read if one.image is not None])
    anomalous = split.test.labels[chosen] != 2
    originals = evaluate(twos.score(split.test.images[chosen]), anomalous).roc_auc
    scanned = evaluate(twos.score(scans), anomalous).roc_auc
    assert originals is not None
    assert scanned is not None
    assert scanned >= originals - 0.01


def test_canonical_digits_pass_through_untouched(split: OneClassSplit):
    for image in split.test.images[:50]:
        assert np.array_equal(preprocess(image, "auto", "auto"), image)


def test_the_main_job_from_the_command_line(tmp_path: Path):
    ok("train", "--normal", "0", "--hidden", "128", "--epochs", "3", "--quiet")
    ok("data", "export", "mnist", "images", "--limit", "100", "--quiet")
    ok("score", "images", "--output", "scores.json", "--quiet")
    document = parsed("evaluate", "--json")
    assert document["dataset"] == "mnist"
    assert (document["n_normal"], document["n_anomalous"]) == (980, 9020)
    assert document["roc_auc"] > 0.98
