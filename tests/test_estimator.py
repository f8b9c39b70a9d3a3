"""The estimators keep PyOD's and scikit-learn's contracts, equal `Detector` on images, and find outliers in tables.

PyOD's part is our own version of what PyOD's test modules ask of a detector; scikit-learn's is its own suite.
"""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import pickletools
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pyod.models.base import BaseDetector
from pyod.models.knn import KNN
from pyod.models.lscp import LSCP
from pyod.utils.data import evaluate_print, generate_data
from pyod.utils.utility import check_detector, standardizer
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from anomalae import Detector
from anomalae.detectors.tabular import TableDetector, table_settings
from anomalae.errors import ConfigError, DataError, TrainingError
from anomalae.estimator import AutoencoderDetector, VAEDetector
from anomalae.network_kinds import MODELS
from anomalae.settings import DESCRIPTIONS, Settings

BOTH = [AutoencoderDetector, VAEDetector]
TINY = {"hidden": (8,), "epochs": 2}
SHORT = {"epochs": 10, "batch_size": 16}
IMAGE = {"hidden": (32,), "latent_dim": 8, "epochs": 2, "batch_size": 32}

SIGNS = (
    "PyOD's convention, not scikit-learn's: labels are 0 and 1, not 1 and -1, and higher scores are abnormal"
)
CANNOT_HOLD = {"check_outliers_train": SIGNS, "check_outliers_fit_predict": SIGNS}


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """PyOD's toy data: 200 rows to train and 100 to test, a tenth of each outliers; and which they are."""
    return generate_data(n_train=200, n_test=100, n_features=5, contamination=0.1, random_state=42)


@pytest.fixture(scope="module", params=BOTH)
def fitted(request, table) -> BaseDetector:
    return request.param(**SHORT).fit(table[0])


@pytest.fixture(scope="module")
def zeros(digits) -> np.ndarray:
    return digits.one_class(normal=[0], seed=0).train.images[:64]


# --- scikit-learn's own suite --------------------------------------------------------------------------------------


@parametrize_with_checks(
    [kind(**TINY) for kind in BOTH], expected_failed_checks=lambda estimator: CANNOT_HOLD
)
def test_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks' own
        check(estimator)


@pytest.mark.parametrize("kind", BOTH)
def test_nothing_but_the_signs_is_in_the_way_of_the_failed_checks(kind):
    class ScikitLearnSigns(kind):  # type: ignore[misc,valid-type]
        def score_samples(self, X):
            return -super().decision_function(X)

        def decision_function(self, X):
            return self.score_samples(X) - self.offset_

        def predict(self, X):
            return np.where(self.decision_function(X) >= 0, 1, -1)

        def fit_predict(self, X, y=None):
            return self.fit(X).predict(X)

        # The constructor's arguments are looked up in the signature of this class.
        __init__ = kind.__init__

    for name in CANNOT_HOLD:
        getattr(estimator_checks, name)("ScikitLearnSigns", ScikitLearnSigns(**TINY))


# --- what PyOD's tests ask -----------------------------------------------------------------------------------------


class TestPyOD:
    def test_it_is_a_detector_of_pyod(self, fitted):
        assert isinstance(fitted, BaseDetector)
        check_detector(fitted)

    def test_fitted_attributes(self, fitted, table):
        train = table[0]
        assert fitted.decision_scores_.shape == fitted.labels_.shape == (len(train),)
        assert fitted.decision_scores_.dtype == np.float64
        assert np.isfinite(fitted.decision_scores_).all()
        assert set(fitted.labels_) == {0, 1}
        assert fitted.labels_.sum() == 20  # the contamination's tenth
        assert_array_equal(fitted.labels_, fitted.decision_scores_ > fitted.threshold_)
        assert fitted.threshold_ == pytest.approx(np.percentile(fitted.decision_scores_, 90))
        assert (fitted._mu, fitted._sigma) == pytest.approx(
            (fitted.decision_scores_.mean(), fitted.decision_scores_.std())
        )
        assert fitted.n_features_in_ == 5
        assert fitted.path_ == "table"
        assert len(fitted.history_) == SHORT["epochs"]

    def test_training_scores_are_those_of_the_training_rows(self, fitted, table):
        assert_allclose(fitted.decision_function(table[0]), fitted.decision_scores_, rtol=1e-12)

    def test_outliers_score_higher(self, fitted, table):
        _, test, _, truth = table
        assert roc_auc_score(truth, fitted.decision_function(test)) > 0.9

    def test_labels(self, fitted, table):
        _, test, _, truth = table
        labels = fitted.predict(test)
        assert labels.shape == truth.shape
        assert labels.dtype.kind == "i"
        assert_array_equal(labels, fitted.decision_function(test) > fitted.threshold_)

    @pytest.mark.parametrize("method", ["linear", "unify"])
    def test_probabilities(self, fitted, table, method):
        probabilities, confidence = fitted.predict_proba(table[1], method=method, return_confidence=True)
        assert probabilities.shape == (100, 2)
        assert_allclose(probabilities.sum(1), 1)
        assert probabilities.min() >= 0
        assert_array_equal(fitted.predict_proba(table[1], method=method), probabilities)
        assert confidence.shape == (100,)
        assert 0 <= confidence.min() <= confidence.max() <= 1
        assert_array_equal(fitted.predict_proba(table[1].tolist(), method=method), probabilities)

    def test_unknown_probabilities(self, fitted, table):
        with pytest.raises(ValueError, match="not a valid probability conversion"):
            fitted.predict_proba(table[1], method="something")

    def test_confidence(self, fitted, table):
        labels, confidence = fitted.predict(table[1], return_confidence=True)
        assert_array_equal(labels, fitted.predict(table[1]))
        assert_array_equal(confidence, fitted.predict_confidence(table[1]))
        assert 0 <= confidence.min() <= confidence.max() <= 1

    def test_rejection(self, fitted, table):
        labels = fitted.predict_with_rejection(table[1], c_r=0.1)
        kept = labels != -2
        assert_array_equal(labels[kept], fitted.predict(table[1])[kept])
        _, (rejected, bound, cost) = fitted.predict_with_rejection(table[1], return_stats=True, c_r=0.1)
        assert 0 <= rejected <= 1
        assert 0 <= bound <= 1
        assert cost >= 0

    def test_ranks(self, fitted, table):
        scores = fitted.decision_function(table[1])
        ranks = fitted._predict_rank(table[1])
        assert_allclose(rankdata(ranks), rankdata(scores), atol=3)
        assert 0 <= ranks.min() <= ranks.max() <= 200
        assert fitted._predict_rank(table[1], normalized=True).max() == 1

    @pytest.mark.parametrize("kind", BOTH)
    def test_fit_predict(self, kind, table, capsys):
        detector = kind(**TINY)
        assert_array_equal(detector.fit_predict(table[0]), detector.labels_)
        with pytest.warns(FutureWarning):
            detector.fit_predict_score(table[1], table[3])
        assert "roc_auc_score" in capsys.readouterr().out

    @pytest.mark.parametrize("kind", BOTH)
    def test_contamination_moves_the_threshold_alone(self, kind, table):
        few, many = (kind(contamination=share, **TINY).fit(table[0]) for share in (0.05, 0.5))
        assert_array_equal(few.decision_scores_, many.decision_scores_)
        assert (few.labels_.sum(), many.labels_.sum()) == (10, 100)
        assert few.calibrated_threshold(0.1) == many.calibrated_threshold(0.1)

    def test_thresholder_in_place_of_contamination(self, table):
        """The interface of PyThresh, which need not be installed."""

        class AboveMean:
            def fit(self, scores):
                self.thresh_ = scores.mean()
                self.labels_ = self.predict(scores)
                return self

            def predict(self, scores):
                return (scores > self.thresh_).astype(int)

        detector = AutoencoderDetector(contamination=AboveMean(), **TINY).fit(table[0])
        assert detector.threshold_ == detector.decision_scores_.mean()
        assert detector.offset_ == -detector.threshold_
        labels, confidence = detector.predict(table[1], return_confidence=True)
        assert_array_equal(labels, detector.decision_function(table[1]) > detector.threshold_)
        assert confidence.shape == (100,)

    def test_thresholders_of_pythresh(self, table):
        pytest.importorskip("pythresh")
        from pyod.models.thresholds import FILTER

        detector = AutoencoderDetector(contamination=FILTER(), **TINY).fit(table[0])
        assert set(detector.predict(table[1])) <= {0, 1}

    def test_combinations(self, table, capsys):
        pytest.importorskip("combo")
        from pyod.models.combination import aom, average, maximization

        train, test, _, truth = table
        detectors = [kind(**SHORT).fit(train) for kind in BOTH] + [KNN().fit(train)]
        scores = np.stack([detector.decision_function(test) for detector in detectors], axis=1)
        fit_on = np.stack([detector.decision_scores_ for detector in detectors], axis=1)
        _, scores = standardizer(fit_on, scores)
        for combined in (average(scores), maximization(scores), aom(scores, 3)):
            assert roc_auc_score(truth, combined) > 0.9
        evaluate_print("average", truth, average(scores))
        assert "average ROC:" in capsys.readouterr().out

    @pytest.mark.parametrize("kind", BOTH)
    def test_feature_bagging(self, kind, table):
        pytest.importorskip("combo")
        from pyod.models.feature_bagging import FeatureBagging

        bagging = FeatureBagging(kind(**SHORT), n_estimators=3, random_state=0).fit(table[0])
        assert roc_auc_score(table[3], bagging.decision_function(table[1])) > 0.9
        assert len({detector.random_state for detector in bagging.estimators_}) == 3

    @pytest.mark.filterwarnings("ignore:The number of histogram bins:UserWarning")
    def test_lscp(self, table):
        detectors = [kind(**SHORT) for kind in BOTH]
        scores = LSCP(detectors, random_state=0).fit(table[0]).decision_function(table[1])
        assert roc_auc_score(table[3], scores) > 0.8

    def test_suod(self, table):
        pytest.importorskip("suod")
        from pyod.models.suod import SUOD

        detectors = [kind(**TINY) for kind in BOTH]
        scores = SUOD(detectors, n_jobs=1, verbose=False).fit(table[0]).decision_function(table[1])
        assert scores.shape == (100,)


# --- scikit-learn's tools ------------------------------------------------------------------------------------------


class TestScikitLearn:
    @pytest.mark.parametrize("kind", BOTH)
    def test_clone_and_parameters(self, kind, table):
        detector = kind(latent_dim=2, random_state=5, **TINY).fit(table[0])
        again = clone(detector)
        assert again.get_params() == detector.get_params()
        assert not hasattr(again, "detector_")
        assert_array_equal(again.fit(table[0]).decision_scores_, detector.decision_scores_)
        assert again.set_params(latent_dim=3) is again
        assert again.latent_dim == 3
        with pytest.raises(ValueError, match="Invalid parameter"):
            again.set_params(latnet_dim=3)
        assert "latent_dim=2" in repr(detector)
        assert kind.__name__ in detector._repr_html_()

    def test_score_samples_and_offset_have_its_sign(self, fitted, table):
        scores = fitted.score_samples(table[1])
        assert_array_equal(scores, -fitted.decision_function(table[1]))
        assert fitted.offset_ == -fitted.threshold_
        assert_array_equal(scores < fitted.offset_, fitted.predict(table[1]) == 1)
        assert_array_equal(make_pipeline(fitted).score_samples(table[1]), scores)

    @pytest.mark.parametrize("kind", BOTH)
    def test_offset_follows_the_threshold(self, kind, table):
        detector = kind(**TINY).fit(table[0])
        before = detector.offset_
        assert detector.set_params(contamination=0.3).fit(table[0]).offset_ > before
        detector.threshold_ = 5.0
        assert detector.offset_ == -5.0
        assert pickle.loads(pickle.dumps(detector)).offset_ == -5.0

    @pytest.mark.parametrize("kind", BOTH)
    def test_pipeline(self, kind, table):
        pipeline = make_pipeline(StandardScaler(), kind(**SHORT)).fit(table[0])
        assert roc_auc_score(table[3], pipeline.decision_function(table[1])) > 0.9
        assert pipeline.predict(table[1]).shape == (100,)
        # Columns are standardised anyway, so that another scale changes nothing.
        assert_allclose(
            pipeline.decision_function(table[1] * 100), pipeline.decision_function(table[1] * 100)
        )
        alone = kind(**SHORT).fit(table[0] * 1e4 - 5).decision_function(table[1] * 1e4 - 5)
        assert_allclose(alone, kind(**SHORT).fit(table[0]).decision_function(table[1]), rtol=1e-3)

    @pytest.mark.parametrize("kind", BOTH)
    def test_pipeline_on_pixels_takes_the_table_path(self, kind, zeros, images):
        pipeline = make_pipeline(StandardScaler(), kind(**IMAGE)).fit(zeros.reshape(-1, 784))
        assert pipeline[-1].path_ == "table"
        assert np.isfinite(pipeline.decision_function(images.reshape(-1, 784))).all()

    @pytest.mark.parametrize("scoring", ["roc_auc", "scorer"])
    def test_cross_val_score(self, table, scoring):
        if scoring == "scorer":
            scoring = make_scorer(roc_auc_score, response_method="decision_function")
        folds = StratifiedKFold(3)  # plain folds of these rows, which are in order, would lack a class
        found = cross_val_score(AutoencoderDetector(**SHORT), *table[::2], scoring=scoring, cv=folds)
        assert found.shape == (3,)
        assert found.min() > 0.8

    def test_grid_search(self, table):
        grid = {"latent_dim": [1, 2], "noise": np.array([0.0, 1.0])}
        search = GridSearchCV(AutoencoderDetector(**SHORT), grid, scoring="roc_auc", cv=StratifiedKFold(2))
        search.fit(table[0], table[2])
        assert search.best_score_ > 0.8
        assert search.best_estimator_.latent_dim == search.best_params_["latent_dim"]
        assert search.decision_function(table[1]).shape == (100,)

    def test_grid_search_over_images(self, zeros, images):
        search = GridSearchCV(VAEDetector(**IMAGE), {"beta": [0.5, 1.0]}, scoring=lambda e, X: 0.0, cv=2)
        assert search.fit(zeros).best_estimator_.path_ == "image"
        assert search.decision_function(images).shape == (len(images),)

    def test_data_frames(self, table):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(table[0], columns=list("abcde"))
        detector = AutoencoderDetector(**TINY).fit(frame)
        assert_array_equal(detector.feature_names_in_, list("abcde"))
        assert_array_equal(
            detector.decision_scores_, AutoencoderDetector(**TINY).fit(table[0]).decision_scores_
        )
        assert detector.predict_proba(frame).shape == (200, 2)
        with pytest.raises(ValueError, match="feature names"):
            detector.predict(frame[list("edcba")])


# --- images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "model"), [(AutoencoderDetector, "ae"), (VAEDetector, "vae")])
class TestImages:
    def test_equals_the_detector(self, kind, model, zeros, images):
        ours = kind(random_state=3, **IMAGE).fit(zeros)
        detector = Detector(model=model, seed=3, **IMAGE).fit(zeros, conformal="split")
        assert ours.path_ == "image"
        assert ours.n_features_in_ == 784
        assert_array_equal(ours.decision_function(images), detector.score(images))
        assert_array_equal(ours.decision_scores_, detector.score(zeros))
        assert_array_equal(ours.p_values(images), detector.p_values(images))
        assert_array_equal(ours.flags(images, 0.1), detector.flags(images, 0.1))
        assert ours.calibrated_threshold(0.1) == detector.threshold(0.1)
        assert ours.history_[-1].loss == detector.history[-1].loss

    def test_any_form_of_the_same_images_is_the_same(self, kind, model, zeros, images):
        detector = kind(**IMAGE).fit(zeros)
        scores = detector.decision_function(images)
        floats = images / 255
        read_only = floats.astype(np.float32).reshape(-1, 784)
        read_only.setflags(write=False)
        for same in (images[:, None], images.reshape(-1, 784), floats, floats.tolist(), read_only):
            assert_allclose(detector.decision_function(same), scores, rtol=1e-5)
        assert_allclose(detector.decision_function(torch.from_numpy(floats)), scores, rtol=1e-5)
        refitted = kind(**IMAGE).fit(read_only[:50])
        assert refitted.path_ == "image"

    def test_other_settings_reach_the_detector(self, kind, model, zeros, images):
        ours = kind(**IMAGE | {"hidden": (4, 8)}, architecture="conv", noise=0.0, rule="mse").fit(zeros)
        detector = Detector(
            model=model, **IMAGE | {"hidden": (4, 8)}, architecture="conv", noise=0.0, score="mse"
        )
        assert_array_equal(
            ours.decision_function(images), detector.fit(zeros, conformal="split").score(images)
        )

    def test_what_is_no_image_is_refused_after_images(self, kind, model, zeros):
        detector = kind(**IMAGE).fit(zeros)
        with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
            detector.predict(zeros * 1.0)
        with pytest.raises(ValueError, match="int64"):
            detector.predict(zeros.astype(np.int64) + 200)
        with pytest.raises(ValueError, match="expecting 784 features"):
            detector.predict(np.zeros((3, 5)))
        with pytest.raises(ValueError, match="NaN"):
            detector.predict(np.full((1, 28, 28), np.nan))


class TestPaths:
    def test_floats_outside_the_unit_interval_take_the_table_path(self, zeros):
        for shape in ((-1, 784), (-1, 28, 28), (-1, 1, 28, 28)):
            rows = (zeros / 255 * 2 - 1).reshape(shape)
            assert AutoencoderDetector(**IMAGE).fit(rows).path_ == "table"

    def test_zeros_and_ones_of_any_type_are_images(self, zeros):
        ink = zeros > 127
        scores = AutoencoderDetector(**IMAGE).fit(ink.astype(np.float32)).decision_scores_
        for kind in (bool, np.int64, np.float64):
            detector = AutoencoderDetector(**IMAGE).fit(ink.astype(kind))
            assert detector.path_ == "image"
            assert_array_equal(detector.decision_scores_, scores)

    def test_gray_levels_of_another_type_are_a_table_with_a_warning(self, zeros):
        levels = zeros.reshape(-1, 784).astype(np.int64)
        with pytest.warns(UserWarning, match="784 columns of whole numbers from 0 to 255 look like images"):
            assert AutoencoderDetector(**IMAGE).fit(levels).path_ == "table"
        assert AutoencoderDetector(path="table", **IMAGE).fit(levels).path_ == "table"

    def test_asked_for(self, zeros, table):
        assert AutoencoderDetector(path="table", **IMAGE).fit(zeros).path_ == "table"
        with pytest.raises(ValueError, match="expected"):
            AutoencoderDetector(path="image", **IMAGE).fit(table[0])
        with pytest.raises(ConfigError, match="path 'pixels': must be one of auto, image, table"):
            AutoencoderDetector(path="pixels").fit(table[0])

    def test_fitting_again_may_take_the_other_path(self, zeros, table):
        detector = AutoencoderDetector(**IMAGE).fit(zeros).fit(table[0])
        assert detector.path_ == "table"
        assert_array_equal(
            detector.decision_scores_, AutoencoderDetector(**IMAGE).fit(table[0]).decision_scores_
        )


# --- tables --------------------------------------------------------------------------------------------------------


def halves(normal: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every other normal row to train; the rest and the others to test, with what they are."""
    test = np.concatenate([normal[1::2], other])
    return normal[::2], test, np.arange(len(test)) >= len(normal[1::2])


@pytest.mark.parametrize("kind", BOTH)
class TestTables:
    def test_rows_off_the_plane_are_found(self, kind):
        """Rows of a noisy plane; the anomalies have the same columns one by one, but not together."""
        rng = np.random.default_rng(0)
        plane = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 8)) * 50 + 1000
        plane += rng.normal(size=plane.shape)
        shuffled = rng.permuted(plane[:100], axis=0)
        train, test, truth = halves(plane, shuffled)
        detector = kind(latent_dim=2, epochs=40).fit(train)
        assert roc_auc_score(truth, detector.decision_function(test)) > 0.95

    def test_breast_cancer(self, kind):
        data = load_breast_cancer()
        train, test, truth = halves(data.data[data.target == 1], data.data[data.target == 0])
        assert roc_auc_score(truth, kind(epochs=60).fit(train).decision_function(test)) > 0.93

    def test_wine(self, kind):
        data = load_wine()
        train, test, truth = halves(data.data[data.target == 0], data.data[data.target != 0])
        assert roc_auc_score(truth, kind(epochs=150).fit(train).decision_function(test)) > 0.9

    def test_verdicts_are_calibrated(self, kind):
        rng = np.random.default_rng(1)
        detector = kind(**SHORT).fit(rng.normal(size=(600, 4)))
        p = detector.p_values(rng.normal(size=(2000, 4)))
        assert len(detector.calibration_scores()) == 60
        assert p.min() >= 1 / 61
        assert abs(p.mean() - 0.5) < 0.1
        assert 0.02 < (p <= 0.1).mean() < 0.2  # Beta(6, 55) is within this 99.7 times in 100
        far = np.full((1, 4), 20.0)
        assert detector.flags(far)[0]
        assert detector.p_values(far)[0] == 1 / 61
        assert detector.decision_function(far)[0] > detector.calibrated_threshold(0.05)

    def test_same_seed_same_scores_other_seed_others(self, kind, table):
        first, again, other = (kind(random_state=seed, **TINY).fit(table[0]) for seed in (0, 0, 1))
        assert_array_equal(first.decision_scores_, again.decision_scores_)
        assert_array_equal(kind(**TINY).fit(table[0]).decision_scores_, first.decision_scores_)
        assert not np.allclose(first.decision_scores_, other.decision_scores_)

    def test_random_states(self, kind, table):
        first, again = (kind(random_state=np.random.RandomState(7), **TINY).fit(table[0]) for _ in range(2))
        assert first.seed_ == again.seed_
        assert_array_equal(first.decision_scores_, again.decision_scores_)
        free = [kind(random_state=None, **TINY).fit(table[0]).seed_ for _ in range(2)]
        assert free[0] != free[1]

    def test_the_global_generators_are_left_alone(self, kind, table):
        def states():
            return torch.get_rng_state().tolist(), np.random.mtrand._rand.get_state(legacy=False)["state"]

        before = states()
        kind(**TINY).fit(table[0]).predict(table[1])
        assert str(states()) == str(before)

    def test_input_is_left_as_it_was(self, kind, table):
        rows = table[0].copy()
        kind(**TINY).fit(rows).decision_function(rows)
        assert_array_equal(rows, table[0])

    def test_order_and_neighbours_do_not_matter(self, kind, fitted, table):
        test = table[1]
        scores = fitted.decision_function(test)
        assert_allclose(fitted.decision_function(test[::-1])[::-1], scores, rtol=1e-9)
        assert_allclose([fitted.decision_function(row[None])[0] for row in test[:9]], scores[:9], rtol=1e-9)

    def test_scores_are_the_mean_squared_error_of_standardised_columns(self, kind, table):
        detector = kind(**TINY).fit(table[0])
        inner = detector.detector_
        z = (table[1] - inner.mean) / inner.scale
        shown = torch.from_numpy(np.clip(z, inner.low, inner.high))
        with torch.no_grad():
            rebuilt = inner._model.reconstruct(shown).numpy()
        assert_allclose(detector.decision_function(table[1]), ((z - rebuilt) ** 2).mean(1), rtol=1e-12)

    def test_constant_columns_keep_their_unit(self, kind, table):
        rows = np.column_stack([table[0], np.full(200, 7.0)])
        detector = kind(**SHORT).fit(rows)
        assert detector.detector_.scale[-1] == 1
        odd = rows[:5].copy()
        odd[:, -1] += 10
        assert (detector.decision_function(odd) > detector.decision_function(rows[:5]) + 10).all()
        still = kind(**TINY).fit(np.ones((20, 3)))
        assert_allclose(still.decision_function(np.ones((2, 3))), still.decision_scores_[:2])

    def test_far_values_score_ever_higher(self, kind, fitted, table):
        far = table[1][:1] * 10.0 ** np.arange(1, 60, 6)[:, None]
        scores = fitted.decision_function(far)
        assert np.isfinite(scores).all()
        assert (np.diff(scores) > 0).all()

    @pytest.mark.parametrize("rows", [3, 4, 50])
    @pytest.mark.parametrize("features", [1, 2])
    def test_small_tables(self, kind, rows, features):
        values = np.random.default_rng(0).normal(size=(rows, features))
        assert np.isfinite(kind(**TINY).fit(values).decision_function(values)).all()

    def test_integers_and_large_numbers(self, kind):
        rows = np.random.default_rng(0).integers(-(10**12), 10**12, (40, 3))
        assert_array_equal(
            kind(**TINY).fit(rows).decision_scores_, kind(**TINY).fit(rows.astype(float)).decision_scores_
        )


def test_widths_follow_the_table():
    small, wide = table_settings(1000, 3), table_settings(10_000, 5000)
    assert (small.hidden, small.latent_dim) == ((64, 32), 1)
    assert (wide.hidden, wide.latent_dim) == ((512, 256), 64)
    assert table_settings(20, 5000).latent_dim == 5
    assert table_settings(1000, 3, hidden=(7,), latent_dim=None).hidden == (7,)


# --- pickle --------------------------------------------------------------------------------------------------------


def through_joblib(estimator: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(estimator, file)
    return joblib.load(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy, through_joblib])
@pytest.mark.parametrize("kind", BOTH)
class TestPickle:
    def test_table(self, kind, again, table):
        detector = kind(**TINY).fit(table[0])
        copied = again(detector)
        assert_array_equal(copied.decision_function(table[1]), detector.decision_function(table[1]))
        assert_array_equal(copied.predict(table[1]), detector.predict(table[1]))
        assert copied.get_params() == detector.get_params()

    def test_images(self, kind, again, zeros, images):
        detector = kind(**IMAGE).fit(zeros)
        copied = again(detector)
        assert_array_equal(copied.decision_function(images), detector.decision_function(images))
        assert_array_equal(copied.p_values(images), detector.p_values(images))
        copied.detector_.save("run")
        assert_array_equal(Detector.load("run").score(images), detector.decision_function(images))

    @pytest.mark.parametrize("of", ["table", "images"])
    def test_what_fitting_left_is_there_again(self, kind, again, of, zeros, table):
        settings, rows = (TINY, table[0]) if of == "table" else (IMAGE, zeros)
        detector = kind(threads=1, **settings).fit(rows)
        copied = again(detector)
        assert vars(copied).keys() == vars(detector).keys()
        assert copied.history_ == copied.detector_.history == detector.history_
        assert copied.detector_.settings == detector.detector_.settings
        assert copied.detector_.threads == 1
        assert copied.detector_.device == detector.detector_.device
        assert_array_equal(copied.calibration_scores(), detector.calibration_scores())
        assert_array_equal(again(copied).decision_function(rows), detector.decision_function(rows))
        assert copied.fit(rows).decision_scores_.tolist() == detector.decision_scores_.tolist()

    def test_after_a_fit_that_failed_it_is_what_it_was(self, kind, again, zeros, table, images):
        detector = kind(**IMAGE).fit(zeros)
        with pytest.raises(ConfigError):
            detector.set_params(rule="smooth").fit(table[0])
        copied = again(detector)
        assert_array_equal(copied.detector_.score(images), detector.detector_.score(images))

    def test_unfitted(self, kind, again, table):
        copied = again(kind(latent_dim=2, **TINY))
        assert copied.get_params() == kind(latent_dim=2, **TINY).get_params()
        with pytest.raises(NotFittedError):
            copied.predict(table[1])


@pytest.mark.parametrize("of", ["table", "images"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_pickle_names_no_module_of_ours_but_the_estimators(kind, of, zeros, table):
    """Modules move; what is kept by their names is then lost."""
    detector = kind(**IMAGE).fit(zeros) if of == "images" else kind(**TINY).fit(table[0])
    words = {word for _, word, _ in pickletools.genops(pickle.dumps(detector)) if isinstance(word, str)}
    assert kind.__name__ in words
    modules = {word for word in words if word.partition(".")[0] in ("anomalae", "torch")}
    assert modules == {"anomalae.estimator"}


def test_a_pickle_in_memory_that_must_not_be_written_is_read(tmp_path, table, request):
    detector = AutoencoderDetector(**TINY).fit(table[0])
    joblib.dump(detector, tmp_path / "kept")
    request.addfinalizer(lambda: torch.set_warn_always(False))
    torch.set_warn_always(True)  # of such memory it does but once
    mapped = joblib.load(tmp_path / "kept", mmap_mode="r")
    assert_array_equal(mapped.decision_function(table[1]), detector.decision_function(table[1]))


@pytest.mark.parametrize("of", ["table", "images"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_pickle_leaves_threads_and_missing_devices_alone(kind, of, zeros, table, monkeypatch):
    rows = zeros if of == "images" else table[0]
    detector = kind(**(IMAGE if of == "images" else TINY)).fit(rows)
    detector.set_params(device="mps", threads=5)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    copied = pickle.loads(pickle.dumps(detector))
    assert asked == []
    assert copied.detector_.device.type == "cpu"
    assert_array_equal(copied.decision_function(rows), detector.decision_function(rows))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("kind", BOTH)
def test_what_was_trained_on_an_accelerator_is_pickled_for_any_machine(kind, zeros, images, monkeypatch):
    detector = kind(device="cuda", **IMAGE).fit(zeros)
    kept = pickle.dumps(detector)
    there = pickle.loads(kept)
    assert there.detector_.device.type == "cuda"
    assert_array_equal(there.decision_function(images), detector.decision_function(images))
    assert detector.detector_.device.type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    elsewhere = pickle.loads(kept)
    assert elsewhere.detector_.device.type == "cpu"
    assert_allclose(elsewhere.decision_function(images), detector.decision_function(images), rtol=1e-3)


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
class TestBadInput:
    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (np.full((9, 3), np.nan), "Input X contains NaN"),
            (np.full((9, 3), np.inf), "Input X contains infinity"),
            ([["a", "b"]] * 9, "bytes/strings"),
            (np.ones(9), "Expected 2D array, got 1D array"),
            (np.ones((9, 3, 3)), "dim 3"),
            (np.ones((9, 0)), "0 feature"),
            (np.ones((0, 3)), "0 sample"),
            (np.ones((2, 3)), "2 sample.* minimum of 3 is required"),
            (np.full((9, 28, 28), np.nan), "Input X contains NaN"),
            (np.ones((2, 28, 28)), "2 sample.* minimum of 3 is required"),
        ],
    )
    def test_rows(self, kind, rows, message):
        with pytest.raises(ValueError, match=message):
            kind(**TINY).fit(rows)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"contamination": 0.6}, "contamination 0.6: must be above 0 and at most 0.5"),
            ({"contamination": 0}, "contamination 0: must be above 0"),
            ({"contamination": "auto"}, "contamination 'auto': must be a float"),
            ({"latent_dim": 0}, "latent_dim 0: must be from 1"),
            ({"hidden": 5}, "hidden 5: must be several whole numbers"),
            ({"epochs": 0}, "epochs 0: must be from 1 to 100000"),
            ({"random_state": -1}, "seed -1: must be from 0"),
            ({"device": "tpu"}, "device 'tpu': must be one of"),
            ({"threads": 0}, "threads 0: must be a whole number, at least 1"),
            ({"rule": "smooth"}, "score 'smooth': for tables it is mse"),
            ({"architecture": "conv"}, "architecture 'conv': for tables it is dense"),
            ({"learning_rate": -1.0}, "learning_rate -1.0: must be above 0"),
        ],
    )
    def test_settings_are_checked_by_fit(self, kind, settings, message, table):
        detector = kind(**settings)  # says nothing yet, as scikit-learn asks
        with pytest.raises(ConfigError, match=message):
            detector.fit(table[0])

    def test_unfitted(self, kind, table):
        for method in ("decision_function", "score_samples", "predict", "predict_proba", "p_values", "flags"):
            with pytest.raises(NotFittedError):
                getattr(kind(), method)(table[1])
        with pytest.raises(NotFittedError):
            kind().calibrated_threshold()
        with pytest.raises(NotFittedError):
            _ = kind().offset_
        assert not hasattr(kind(), "offset_")
        detector = kind(epochs=0)
        with pytest.raises(ConfigError):
            detector.fit(table[0])
        with pytest.raises(NotFittedError):
            detector.decision_function(table[1])

    def test_other_columns_later(self, kind, fitted, table):
        with pytest.raises(ValueError, match=r"X has 4 features, but .* is expecting 5"):
            fitted.decision_function(table[1][:, :4])
        with pytest.raises(ValueError, match="NaN"):
            fitted.decision_function(np.full((1, 5), np.nan))

    def test_numbers_too_large(self, kind):
        rows = np.random.default_rng(0).normal(size=(20, 2)) * [1, 1e200]
        with pytest.raises(DataError, match="column 1: its values are too large"):
            kind(**TINY).fit(rows)

    def test_a_training_that_breaks(self, kind, table):
        with pytest.raises(TrainingError, match="lower learning_rate"):
            kind(**TINY | {"learning_rate": 1e30}).fit(table[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"likelihood": "bernoulli"}, "likelihood 'bernoulli': for tables it is gaussian"),
        ({"samples": 4}, "samples 4: the score of a table, mse, draws none"),
        ({"beta": -1.0}, "beta -1.0: must be at least 0"),
    ],
)
def test_settings_of_the_vae(settings, message, table):
    with pytest.raises(ConfigError, match=message):
        VAEDetector(**settings).fit(table[0])


def test_beta_weighs_the_kl_term():
    """A heavy KL term leaves nothing of the row in the code: all are rebuilt as the mean, and score as a norm."""
    rows = np.random.default_rng(0).normal(size=(300, 3))
    heavy = TableDetector(model="vae", beta=1000.0, epochs=30).fit(rows)
    z = (rows - heavy.mean) / heavy.scale
    assert_allclose(heavy.score(rows), (z**2).mean(1), atol=0.3)
    light = TableDetector(model="vae", beta=0.0, epochs=30, noise=0.0, latent_dim=3).fit(rows)
    assert light.score(rows).mean() < 0.3 * heavy.score(rows).mean()


# --- settings ------------------------------------------------------------------------------------------------------

OTHER_NAMES = {"score": "rule", "seed": "random_state"}  # scikit-learn has taken `score`, and calls a seed so
MISSING = {
    "model": "each estimator is one",
    "views": "one network of the usual view, for tables have none",
    "members": "as views; ensembles of estimators are PyOD's and scikit-learn's to make",
    "neighbours": "as views; PyOD has its own",
    "distance": "of neighbours",
    "layers": "of a ladder-vae, which is no estimator",
    "auxiliary_dim": "of an adgm, which is no estimator",
}
OF_THE_VAE = {"likelihood", "beta", "samples"}
FOLLOW_THE_TABLE = {"hidden", "latent_dim"}  # None: of images the measured default, of tables what fits them
MORE = {"contamination", "device", "threads", "path"}  # no settings
# By setting, a value that it must not have, of images as of tables.
WRONG = {
    "latent_dim": 785,
    "hidden": (0,),
    "epochs": 0,
    "batch_size": 2.5,
    "learning_rate": 0,
    "weight_decay": -1.0,
    "noise": float("nan"),
    "passes": 0,
    "random_state": -1,
    "beta": -0.5,
}
WRONG_OF_IMAGES = {
    "architecture": "rnn",
    "hidden": 5,
    "rule": "smoth",
    "likelihood": "normal",
    "samples": 0,
}


def parameters(kind: type) -> dict[str, Any]:
    """Names and defaults of an estimator's constructor."""
    given = inspect.signature(kind).parameters.values()
    return {parameter.name: parameter.default for parameter in given}


@pytest.mark.parametrize(("kind", "model"), [(AutoencoderDetector, "ae"), (VAEDetector, "vae")])
class TestSettings:
    def test_every_setting_is_an_argument_or_missing_for_a_reason(self, kind, model):
        missing = set(MISSING) | (OF_THE_VAE if model == "ae" else set())
        expected = {OTHER_NAMES.get(name, name) for name in set(DESCRIPTIONS) - missing}
        assert set(parameters(kind)) == expected | MORE
        assert MODELS[model].own.keys() == (OF_THE_VAE if model == "vae" else set())
        assert kind().get_params() == parameters(kind)

    def test_defaults_are_those_of_settings(self, kind, model):
        ours = {OTHER_NAMES.get(name, name): name for name in DESCRIPTIONS}
        for argument, default in parameters(kind).items():
            if argument not in MORE:
                name = ours[argument]
                wanted = None if name in FOLLOW_THE_TABLE else Settings.__dataclass_fields__[name].default
                assert default == wanted, argument
                assert type(default) is type(wanted), argument

    @pytest.mark.parametrize("of", ["table", "images"])
    def test_wrong_values_are_told_as_by_settings(self, kind, model, of, zeros, table):
        rows, wrong = (table[0], WRONG) if of == "table" else (zeros, WRONG | WRONG_OF_IMAGES)
        names = {other: name for name, other in OTHER_NAMES.items()}
        for argument in parameters(kind).keys() & wrong.keys():
            with pytest.raises(ConfigError) as expected:
                Settings.of(model=model, **{names.get(argument, argument): wrong[argument]})
            with pytest.raises(ConfigError, match=f"^{re.escape(str(expected.value))}$"):
                kind(**{argument: wrong[argument]}).fit(rows)

    def test_a_wrong_value_of_each_is_tried(self, kind, model):
        assert parameters(kind).keys() - MORE <= WRONG.keys() | WRONG_OF_IMAGES.keys()


# --- the rest ------------------------------------------------------------------------------------------------------


def test_anomalae_does_not_import_the_estimators():
    code = "import sys, anomalae; print(sorted({'pyod', 'sklearn', 'anomalae.estimator'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_runs(capsys):
    page = (Path(__file__).parents[1] / "docs" / "estimators.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert blocks
    known: dict[str, Any] = {}
    for block in blocks:
        exec(block, known)
    promised = float(re.search(r"print\(.*\)  # (.*)", page)[1])
    assert float(capsys.readouterr().out) == pytest.approx(promised, abs=0.011)
    for name, reason in CANNOT_HOLD.items():
        assert name in page, reason
