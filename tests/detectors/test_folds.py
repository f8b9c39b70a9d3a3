"""Few normal images: five trainings, in which every image trains and calibrates, and never where it was seen."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anomalae import Detector
from anomalae.datasets.splits import FOLDS, fold_order, fold_slices, split_indices
from anomalae.detectors.batches import to_tensor
from anomalae.detectors.judging import Judge
from anomalae.detectors.probe import read_probe
from anomalae.detectors.verifying import verify
from anomalae.errors import BundleError, ConfigError, DataError
from anomalae.images.sources import Canonical
from anomalae.runs.record import FORMAT_VERSION, VERSION_WITH_ARITHMETIC
from tests.conftest import SMALL

N = 32


@pytest.fixture(scope="module")
def zeros(digits):
    return digits.train.images[digits.train.labels == 0][:N]


@pytest.fixture(scope="module")
def few(zeros):
    return Detector(**SMALL, seed=3).fit(zeros)


def weights(detector: Detector) -> list[np.ndarray]:
    networks = [member.network for member in detector._ensemble.networks]
    return [tensor.numpy() for network in networks for tensor in network.state_dict().values()]


RICH = {"views": ("settled", "pixels"), "neighbours": 2}


@pytest.fixture(scope="module")
def rich(zeros):
    """Several members a fold."""
    return Detector(**SMALL, **RICH, seed=3).fit(zeros)


@pytest.mark.parametrize("more", [{}, pytest.param(RICH, marks=pytest.mark.slow)], ids=str)
def test_each_fold_is_scored_by_what_was_trained_without_it(zeros, images, more):
    settings = {**SMALL, "batch_size": 16} | more
    few = Detector(**settings, seed=3).fit(zeros)
    folds, alone = [fold_order(N, seed=3)[fold] for fold in fold_slices(N)], []
    for fold in folds:
        rest = [place for place in fold_order(N, seed=3) if place not in fold]
        alone.append(Detector(**settings, seed=3).fit(zeros[rest], None, zeros[fold]))
    ordered = [tensor for detector in alone for tensor in weights(detector)]
    for mine, theirs in zip(weights(few), ordered, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    found, by_fold = few.score_all(images), [detector.score_all(images) for detector in alone]
    for rule, positions in found.items():
        known = [detector.calibration_scores(rule) for detector in alone]
        new = [scores[rule] for scores in by_fold]
        above = sum((one[:, None] > held_out).sum(1) for one, held_out in zip(new, known, strict=True))
        np.testing.assert_array_equal(np.floor(positions), above)
        assert 0 < np.ptp(above) <= N
    above = np.floor(found[few.settings.rule])
    np.testing.assert_array_equal(few.p_values(images), (1 + N - above) / (N + 1))


def test_thirty_images_flag_at_alpha_5_percent_what_is_odd_and_put_aside_they_cannot(digits):
    zeros = digits.train.images[digits.train.labels == 0]
    settings = {**SMALL, "epochs": 25}
    few, split = (Detector(**settings).fit(zeros[:30], conformal=way) for way in ("auto", "split"))
    ones = digits.test.images[digits.test.labels == 1]
    assert few.threshold(0.05) == 30.0
    assert few.flags(ones).mean() > 0.9
    assert few.score(ones).max() < 31
    assert split.threshold(0.05) is None
    assert not split.flags(ones).any()


def test_put_aside_if_asked(zeros, images):
    split = Detector(**SMALL, seed=3).fit(zeros, conformal="split")
    parts = [zeros[part] for part in split_indices(N, 3)]
    np.testing.assert_array_equal(split.score(images), Detector(**SMALL, seed=3).fit(*parts).score(images))
    with pytest.raises(DataError, match="4 normal images: at least 5 are needed for 5 folds"):
        Detector(**SMALL).fit(zeros[:4], conformal="cross")
    with pytest.raises(ConfigError, match="conformal 'fold': must be one of auto, split, cross"):
        Detector(**SMALL).fit(zeros, conformal="fold")
    with pytest.raises(ConfigError, match="cannot be given with calibration images"):
        Detector(**SMALL).fit(zeros, None, zeros, conformal="cross")


@pytest.mark.slow
def test_folds_of_399_and_none_of_400_but_if_asked(zeros):
    many = np.concatenate([zeros] * 13)
    settings = {**SMALL, "epochs": 1}
    assert Detector(**settings).fit(many[:400]).data.folds == 0
    assert Detector(**settings).fit(many[:399]).data.folds == FOLDS
    assert Detector(**settings).fit(many, conformal="cross").n_calibration == 416


@pytest.mark.parametrize("more", [{}, pytest.param(RICH, marks=pytest.mark.slow)], ids=str)
def test_a_saved_one_scores_the_same_bits(zeros, images, tmp_path, more):
    few = Detector(**SMALL, **more).fit(zeros)
    few.calibrate(images[:50], "mine")
    few.save(tmp_path / "few")
    loaded = Detector.load(tmp_path / "few")
    there, here = few.score_all(images), loaded.score_all(images)
    assert list(here) == list(there)
    for rule, scores in there.items():
        np.testing.assert_array_equal(here[rule], scores)
        assert loaded.heatmap_level(rule=rule) == few.heatmap_level(rule=rule)
    np.testing.assert_array_equal(loaded.heatmap(images[:3]), few.heatmap(images[:3]))
    assert loaded.fingerprint == few.fingerprint
    assert loaded.calibrations["mine"].n == 50
    np.testing.assert_array_equal(
        loaded.p_values(images, calibration="mine"), few.p_values(images, calibration="mine")
    )


def test_only_runs_of_folds_have_a_format_that_older_ones_refuse(few, small, tmp_path):
    few.save(tmp_path / "few")
    small.save(tmp_path / "split")
    of_folds, split = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("few", "split"))
    assert (of_folds["format_version"], of_folds["data"]["folds"]) == (6, FOLDS)
    assert split["format_version"] in (FORMAT_VERSION, VERSION_WITH_ARITHMETIC)
    assert "folds" not in split["data"]


@pytest.mark.parametrize(
    ("folds", "message"),
    [(1, "of the wrong kind"), (-5, "of the wrong kind"), (10**9, "of the wrong kind"), (True, "of the wrong kind"),
     (40, "40: 32 training and 32"), (4, "weights.safetensors"), (0, "weights.safetensors")],
)  # fmt: skip
def test_a_run_with_other_folds_is_refused(few, tmp_path, folds, message):
    few.save(tmp_path / "few")
    path = tmp_path / "few" / "config.json"
    config = json.loads(path.read_text())
    config["data"]["folds"] = folds
    path.write_text(json.dumps(config))
    with pytest.raises(BundleError, match=message):
        Detector.load(tmp_path / "few")


@pytest.mark.parametrize("kind", ["few", "rich"])
def test_images_above_equally_many_are_ordered_by_how_unusual_they_are_to_all_folds(kind, images, request):
    detector = request.getfixturevalue(kind)
    ensemble = detector._ensemble
    for rule in ("mse", "nap"):
        by_fold = np.split(members(detector, images, rule), FOLDS)
        scores = [part.combine(rule, some) for part, some in zip(ensemble.parts, by_fold, strict=True)]
        known = ensemble.calibration[rule]
        # Errors are averaged as logarithms; the score of several members is an average of logarithms already.
        if kind == "few":
            scores, known = np.log(scores), np.log(known)
        unusual = (np.mean(scores, 0) - known.mean()) / known.std()
        fraction = detector.score(Canonical(images), rule) % 1
        np.testing.assert_allclose(fraction, 0.5 + 0.5 * unusual / (1 + abs(unusual)), rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["few", "rich"])
def test_a_heatmap_is_the_mean_of_those_of_the_folds(kind, images, request):
    detector, some = request.getfixturevalue(kind), images[:4]
    terms = [part.terms("mse", to_tensor(some)) for part in detector._ensemble.parts]
    found = detector.heatmap(Canonical(some), "mse")
    np.testing.assert_allclose(found, np.mean(terms, 0), rtol=1e-9, atol=1e-12)


def test_networks_alone_of_folds_that_have_neighbours_too_make_no_score(rich, images):
    by_member = rich.score_members(images[:4], ("mse",))["mse"]
    networks = {name: by_member[name] for name in rich.network_names}
    with pytest.raises(ConfigError, match="scores of 10 members: folds need those of all 15"):
        rich.combine({"mse": networks})


def test_networks_that_are_alike_find_their_sizes_of_block_once(rich, tmp_path):
    rich.save(tmp_path / "rich")
    for detector in (rich, Detector.load(tmp_path / "rich")):
        networks = detector._ensemble.networks
        for place, network in enumerate(networks):
            assert network.block_sizes is networks[place % 2].block_sizes
        assert networks[0].block_sizes is not networks[1].block_sizes


def test_members_are_named_by_fold_and_only_all_of_them_make_a_score(few, images):
    by_member = few.score_members(images[:4])
    assert list(by_member["mse"]) == [f"fold {k} settled" for k in range(1, 6)]
    np.testing.assert_array_equal(few.combine(by_member)["mse"], few.score(images[:4], "mse"))
    one = {"mse": {"fold 1 settled": by_member["mse"]["fold 1 settled"]}}
    with pytest.raises(ConfigError, match="must be fold 1 settled, fold 2 settled"):
        few.combine(one)


def test_calibrations_of_other_folds_of_as_many_images_are_told_apart(few, zeros):
    other = Detector(**SMALL, seed=4).fit(zeros)
    np.testing.assert_array_equal(few.calibration_scores(), other.calibration_scores())
    assert few.fingerprint != other.fingerprint
    assert Judge(few).calibration_hash != Judge(other).calibration_hash


def test_the_probe_of_a_run_is_no_rank(few, tmp_path):
    few.save(tmp_path / "few")
    found = verify(tmp_path / "few")
    assert found.sound
    assert found.probe.same_bits
    probe = read_probe(tmp_path / "few")
    # A last bit may move an image by a rank: what is kept moves by that bit.
    assert np.abs(probe.scores["bent"] - few.score(Canonical(probe.images))).max() > 1
    np.testing.assert_allclose(
        probe.scores["bent"], few._ensemble.smooth("bent", members(few, probe.images)), rtol=0, atol=1e-12
    )


def members(detector: Detector, images: np.ndarray, rule: str = "bent") -> np.ndarray:
    return np.stack(list(detector.score_members(Canonical(images), (rule,))[rule].values()))


def test_folds_start_from_the_same_folds_and_from_a_run_without(few, zeros, small):
    still = {**SMALL, "learning_rate": 1e-12, "weight_decay": 0.0, "epochs": 1, "seed": 3}
    again = Detector(**still).fit(zeros, start=few)
    for mine, theirs in zip(weights(again), weights(few), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)
    from_one = Detector(**still).fit(zeros, start=small)
    for mine, theirs in zip(weights(from_one), weights(small) * FOLDS, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)
    parts = [zeros[part] for part in split_indices(N, 3)]
    split = Detector(**still).fit(*parts, start=few)
    for mine, theirs in zip(weights(split), weights(few)[: len(weights(split))], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


KILLED = """
import os, signal, sys
from anomalae import Settings, load_dataset
from anomalae.experiments.training import Watcher, train_and_keep

class Kill(Watcher):
    epoch = 0
    def on_epoch(self, state):
        self.epoch = state.epoch
    def on_batch(self, done, loss):
        # Of 125 images 100 train in each fold: in the third training of the third epoch.
        if self.epoch == 2 and 200 < done <= 300:
            os.kill(os.getpid(), signal.SIGKILL)

settings = Settings.of(hidden=(32,), latent_dim=8, epochs=4, batch_size=32)
watcher = Kill() if sys.argv[1] == "killed" else None
train_and_keep(load_dataset("digits"), settings, normal=[0], name=sys.argv[1], threads=1, watcher=watcher)
"""


@pytest.mark.slow
def test_a_training_killed_in_its_third_fold_goes_on_to_the_same_bits(images):
    for name, status in (("killed", -signal.SIGKILL), ("whole", 0)):
        done = subprocess.run([sys.executable, "-c", KILLED, name], capture_output=True, text=True)
        assert done.returncode == status, done.stderr
    assert Path("runs/killed/checkpoint.safetensors").exists()
    command = [sys.executable, "-m", "anomalae", "train", "--resume", "killed", "--quiet"]
    subprocess.run(command, check=True, capture_output=True)
    killed, whole = (Detector.load(f"runs/{name}", threads=1) for name in ("killed", "whole"))
    assert killed.data.folds == FOLDS
    assert len(killed.history) == 4
    for mine, theirs in zip(weights(killed), weights(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(killed.score(images), whole.score(images))


def test_it_does_not_go_on_with_images_put_aside(zeros, tmp_path):
    def stop(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Detector(**SMALL).fit(zeros, folder=tmp_path, on_epoch=stop)
    with pytest.raises(BundleError, match="other images \\(n_train\\)"):
        Detector(**SMALL).fit(zeros, conformal="split", folder=tmp_path, resume=True)
